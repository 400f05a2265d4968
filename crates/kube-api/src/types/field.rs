//! Fields of objects: what they can be, and how objects are read from JSON and written to it.
//!
//! An object says what its fields are called and hands them out one by one; everything else is done here,
//! once for all types. Nothing here fails: what is read has been made to fit before (`crate::shape`), and a
//! value that does not fit is passed over.

use base::tree::BTreeMap;
use serde_json::{Map, Value};

/// What an object can have as a field.
pub trait Field {
    /// As JSON; `None` for a field that is left out.
    fn to_json(&self) -> Option<Value>;
    /// Takes its value from JSON.
    fn set(&mut self, value: Value);
    /// What it holds under a name, if it holds what has no field of its own.
    fn kept(&self, _: &str) -> Option<Value> {
        None
    }
}

/// An object: named fields, in JSON's spelling. One called `""` holds what has no field of its own.
pub trait Object {
    /// Shows every field.
    fn each(&self, visit: &mut dyn FnMut(&'static str, &dyn Field));
    /// Hands out every field for changing. The one called `""` comes last.
    fn each_mut(&mut self, visit: &mut dyn FnMut(&'static str, &mut dyn Field));
}

/// The object as JSON.
pub fn write(object: &dyn Object) -> Value {
    let mut map = Map::new();
    object.each(&mut |name, field| match field.to_json() {
        Some(Value::Object(rest)) if name.is_empty() => map.extend(rest),
        Some(value) => {
            map.insert(name.to_string(), value);
        }
        None => {}
    });
    Value::Object(map)
}

/// One field of the object as JSON; the others are not looked at.
pub fn part(object: &dyn Object, name: &str) -> Option<Value> {
    let mut found = None;
    object.each(&mut |known, field| {
        if known == name {
            found = field.to_json();
        } else if known.is_empty() && found.is_none() {
            found = field.kept(name);
        }
    });
    found
}

/// Takes the fields of the object from JSON; those that are not there stay as they are.
pub fn read(object: &mut dyn Object, value: Value) {
    let Value::Object(mut map) = value else { return };
    object.each_mut(&mut |name, field| {
        if name.is_empty() {
            field.set(Value::Object(std::mem::take(&mut map)));
        } else if let Some(value) = map.remove(name) {
            field.set(value);
        }
    });
}

impl<F: Field + Default> Field for Option<F> {
    fn to_json(&self) -> Option<Value> {
        self.as_ref()?.to_json()
    }
    fn set(&mut self, value: Value) {
        self.insert(F::default()).set(value);
    }
}

impl<F: Field + Default> Field for Vec<F> {
    fn to_json(&self) -> Option<Value> {
        Some(write_list(&mut self.iter().map(|item| item as &dyn Field)))
    }
    fn set(&mut self, value: Value) {
        self.clear();
        read_list(value, &mut |value| {
            let mut item = F::default();
            item.set(value);
            self.push(item);
        });
    }
}

fn write_list(items: &mut dyn Iterator<Item = &dyn Field>) -> Value {
    Value::Array(items.map(|item| item.to_json().unwrap_or_default()).collect())
}

fn read_list(value: Value, push: &mut dyn FnMut(Value)) {
    let Value::Array(values) = value else { return };
    values.into_iter().for_each(push);
}

fn write_map(pairs: &mut dyn Iterator<Item = (&str, &dyn Field)>) -> Value {
    let mut map = Map::new();
    for (key, item) in pairs {
        map.insert(key.to_string(), item.to_json().unwrap_or_default());
    }
    Value::Object(map)
}

impl<F: Field + Default> Field for BTreeMap<String, F> {
    fn to_json(&self) -> Option<Value> {
        Some(write_map(&mut self.iter().map(|(key, item)| (key.as_str(), item as &dyn Field))))
    }
    fn set(&mut self, value: Value) {
        let Value::Object(values) = value else { return };
        self.clear();
        for (key, value) in values {
            self.entry(key).or_default().set(value);
        }
    }
}

impl Field for Map<String, Value> {
    fn to_json(&self) -> Option<Value> {
        Some(Value::Object(self.clone()))
    }
    fn set(&mut self, value: Value) {
        if let Value::Object(map) = value {
            *self = map;
        }
    }
    fn kept(&self, name: &str) -> Option<Value> {
        self.get(name).cloned()
    }
}

impl Field for Value {
    fn to_json(&self) -> Option<Value> {
        Some(self.clone())
    }
    fn set(&mut self, value: Value) {
        *self = value;
    }
}

impl Field for String {
    fn to_json(&self) -> Option<Value> {
        Some(Value::String(self.clone()))
    }
    fn set(&mut self, value: Value) {
        if let Value::String(text) = value {
            *self = text;
        }
    }
}

/// What is the same in all objects of a type: `apiVersion` and `kind`.
impl Field for &'static str {
    fn to_json(&self) -> Option<Value> {
        Some(Value::String(self.to_string()))
    }
    fn set(&mut self, _: Value) {}
}

impl Field for bool {
    fn to_json(&self) -> Option<Value> {
        Some(Value::Bool(*self))
    }
    fn set(&mut self, value: Value) {
        *self = value.as_bool().unwrap_or(*self);
    }
}

impl Field for i32 {
    fn to_json(&self) -> Option<Value> {
        Some(Value::Number((*self).into()))
    }
    fn set(&mut self, value: Value) {
        let number = value.as_i64().and_then(|number| i32::try_from(number).ok());
        *self = number.unwrap_or(*self);
    }
}

impl Field for i64 {
    fn to_json(&self) -> Option<Value> {
        Some(Value::Number((*self).into()))
    }
    fn set(&mut self, value: Value) {
        *self = value.as_i64().unwrap_or(*self);
    }
}
