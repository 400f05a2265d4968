//! The same work in a browser: `cargo xtask bench --web`.

#![cfg(target_arch = "wasm32")]

use bench::run::{Size, all};
use wasm_bindgen_test::{console_log, wasm_bindgen_test, wasm_bindgen_test_configure};

wasm_bindgen_test_configure!(run_in_browser);

#[wasm_bindgen_test]
fn the_same_work_in_a_browser() {
    let clock = web_sys::window().and_then(|window| window.performance());
    let clock = clock.expect("a browser has a clock");
    all(Size(4), &|| clock.now() / 1000.0, &mut |row| console_log!("{row}"));
}
