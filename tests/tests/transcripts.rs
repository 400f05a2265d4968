//! Golden transcripts: every directory of `tests/cases/<area>/<name>/` is a case. It has a script,
//! `script.sh`, the files that the script sees, and `expected.txt`, the transcript. `UPDATE_EXPECT=1` writes
//! the transcripts anew.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use lab::{Options, World};
use libtest_mimic::{Arguments, Failed, Trial};
use shell::script::{PlayOptions, play};
use shell::{Files, MemoryFiles, Shell, Transcript};

fn main() {
    let arguments = Arguments::from_args();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases");
    let mut trials = Vec::new();
    for area in directories(&root) {
        for case in directories(&area) {
            let name = case.strip_prefix(&root).unwrap().display().to_string();
            trials.push(Trial::test(name, move || check(&case)));
        }
    }
    assert!(!trials.is_empty(), "there are no cases");
    libtest_mimic::run(&arguments, trials).exit();
}

fn directories(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
    found.sort();
    found
}

fn transcript(case: &Path) -> String {
    let files = MemoryFiles::default();
    for entry in fs::read_dir(case).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if !matches!(name, "script.sh" | "expected.txt") {
            files.write(&format!("{}/{name}", files.home()), &fs::read(&path).unwrap()).unwrap();
        }
    }
    let world = World::new(&Options::default());
    let terminal = Rc::new(Transcript::default());
    let shell = Shell::new(world.lab(), Rc::new(files), terminal.clone());
    let script = fs::read_to_string(case.join("script.sh")).unwrap();
    let code = play(&world, &shell, &script, PlayOptions { keep_going: true, quiet: false });
    format!("{}[exit {code}]\n", terminal.take())
}

fn check(case: &Path) -> Result<(), Failed> {
    let (path, is) = (case.join("expected.txt"), transcript(case));
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(&path, &is)?;
        return Ok(());
    }
    let expected = fs::read_to_string(&path)
        .map_err(|_| "there is no expected.txt; UPDATE_EXPECT=1 writes it")?;
    if is == expected {
        return Ok(());
    }
    let (number, was, now) = difference(&expected, &is);
    Err(format!("line {number} differs\n  expected: {was}\n  is:       {now}\n\n{is}").into())
}

fn difference<'a>(expected: &'a str, is: &'a str) -> (usize, &'a str, &'a str) {
    let mut lines = (expected.lines(), is.lines());
    for number in 1.. {
        match (lines.0.next(), lines.1.next()) {
            (None, None) => break,
            (a, b) if a != b => return (number, a.unwrap_or("(end)"), b.unwrap_or("(end)")),
            _ => {}
        }
    }
    (0, "", "")
}
