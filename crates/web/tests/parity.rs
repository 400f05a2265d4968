//! The story in the browser gives the same bytes as natively: the transcript is compared with the golden one,
//! and its last line is the fingerprint of every entry and every packet.

#![cfg(target_arch = "wasm32")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::rc::Rc;

use lab::{Options, World};
use shell::script::{PlayOptions, play};
use shell::{Files, MemoryFiles, Shell, Transcript};
use wasm_bindgen_test::{wasm_bindgen_test, wasm_bindgen_test_configure};

wasm_bindgen_test_configure!(run_in_browser);

macro_rules! case {
    ($name:literal) => {
        include_str!(concat!("../../../tests/cases/story/first-page/", $name))
    };
}

#[wasm_bindgen_test]
fn the_story_is_the_same_to_the_byte() {
    let files = MemoryFiles::default();
    for (name, text) in [
        ("kind.yml", case!("kind.yml")),
        ("deployment.yml", case!("deployment.yml")),
        ("service.yml", case!("service.yml")),
        ("httpd.yml", case!("httpd.yml")),
    ] {
        files.write(&format!("{}/{name}", files.home()), text.as_bytes()).unwrap();
    }
    let world = World::new(&Options::default());
    let terminal = Rc::new(Transcript::default());
    let shell = Shell::new(world.lab(), Rc::new(files), terminal.clone());
    let options = PlayOptions { keep_going: true, quiet: false };
    let code = play(&world, &shell, case!("script.sh"), options);
    let transcript = format!("{}[exit {code}]\n", terminal.take());
    let expected = case!("expected.txt");
    for (is, expected) in transcript.lines().zip(expected.lines()) {
        assert_eq!(is, expected);
    }
    assert_eq!(transcript.len(), expected.len());
    assert!(expected.contains("fingerprint"), "the transcript ends with the fingerprint");
}
