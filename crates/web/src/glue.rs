//! The page's JavaScript: the editor and the terminal of `www/editor.js` and `www/terminal.js`, and the door
//! for scripts, `window.podwire`.
//!
//! Everything goes through `Reflect`, so that nothing here is `unsafe` and a page without these scripts (a
//! test's) still works: calls then do nothing.

use js_sys::{Array, Function, Object, Reflect, Uint8Array};
use wasm_bindgen::closure::Closure;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::Element;

/// The object that `www/editor.js` and `www/terminal.js` leave behind.
const HOST: &str = "podwireHost";
/// What scripts call.
const DOOR: &str = "podwire";

fn get(object: &JsValue, name: &str) -> JsValue {
    Reflect::get(object, &name.into()).unwrap_or(JsValue::UNDEFINED)
}

fn call(object: &JsValue, name: &str, arguments: &[JsValue]) -> JsValue {
    let Ok(function) = get(object, name).dyn_into::<Function>() else { return JsValue::UNDEFINED };
    let arguments: Array = arguments.iter().collect();
    Reflect::apply(&function, object, &arguments).unwrap_or(JsValue::UNDEFINED)
}

fn make(name: &str, arguments: &[JsValue]) -> JsValue {
    call(&get(&js_sys::global(), HOST), name, arguments)
}

/// The editor.
pub struct Editor(JsValue);

impl Editor {
    /// Makes it in an element. `on_change` gets a file's name and its text.
    pub fn new(
        parent: &Element,
        on_change: impl FnMut(String, String) + 'static,
        on_apply: impl FnMut() + 'static,
    ) -> Editor {
        let on_change: Closure<dyn FnMut(String, String)> = Closure::new(on_change);
        let on_apply: Closure<dyn FnMut()> = Closure::new(on_apply);
        let arguments = [parent.into(), on_change.into_js_value(), on_apply.into_js_value()];
        Editor(make("createEditor", &arguments))
    }

    /// Shows a file.
    pub fn open(&self, name: &str, text: &str) {
        call(&self.0, "open", &[name.into(), text.into()]);
    }

    /// The shown file has another text now.
    pub fn set_text(&self, text: &str) {
        call(&self.0, "setText", &[text.into()]);
    }

    /// A file is gone.
    pub fn forget(&self, name: &str) {
        call(&self.0, "forget", &[name.into()]);
    }
}

/// The terminal.
pub struct Terminal(JsValue);

impl Terminal {
    /// Makes it in an element.
    pub fn new(
        parent: &Element,
        on_data: impl FnMut(String) + 'static,
        on_resize: impl FnMut(u32) + 'static,
    ) -> Terminal {
        let on_data: Closure<dyn FnMut(String)> = Closure::new(on_data);
        let on_resize: Closure<dyn FnMut(u32)> = Closure::new(on_resize);
        let arguments = [parent.into(), on_data.into_js_value(), on_resize.into_js_value()];
        Terminal(make("createTerminal", &arguments))
    }

    /// Shows bytes.
    pub fn write(&self, bytes: &[u8]) {
        call(&self.0, "write", &[Uint8Array::from(bytes).into()]);
    }

    /// Its width.
    pub fn columns(&self) -> usize {
        call(&self.0, "columns", &[]).as_f64().map_or(80, |columns| columns as usize)
    }

    /// The theme has changed.
    pub fn retheme(&self) {
        call(&self.0, "retheme", &[]);
    }

    /// Takes the keyboard.
    pub fn focus(&self) {
        call(&self.0, "focus", &[]);
    }

    /// Everything that stands in it.
    pub fn text(&self) -> String {
        call(&self.0, "text", &[]).as_string().unwrap_or_default()
    }
}

/// Opens the door for scripts: `window.podwire`, with functions of these names.
pub struct Door(Object);

impl Default for Door {
    fn default() -> Self {
        Door(Object::new())
    }
}

impl Door {
    fn set(self, name: &str, function: JsValue) -> Door {
        // A plain object takes any property.
        let _ = Reflect::set(&self.0, &name.into(), &function);
        self
    }

    /// A function that tells something.
    pub fn tells(self, name: &str, function: impl FnMut() -> JsValue + 'static) -> Door {
        let function: Closure<dyn FnMut() -> JsValue> = Closure::new(function);
        self.set(name, function.into_js_value())
    }

    /// A function that takes a text.
    pub fn takes(self, name: &str, function: impl FnMut(String) + 'static) -> Door {
        let function: Closure<dyn FnMut(String)> = Closure::new(function);
        self.set(name, function.into_js_value())
    }

    /// A function that takes two texts.
    pub fn takes_two(self, name: &str, function: impl FnMut(String, String) + 'static) -> Door {
        let function: Closure<dyn FnMut(String, String)> = Closure::new(function);
        self.set(name, function.into_js_value())
    }

    /// Opens it.
    pub fn open(self) {
        let _ = Reflect::set(&js_sys::global(), &DOOR.into(), &self.0);
    }
}
