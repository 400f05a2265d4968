//! The page as it is published: built into `dist/`, and weighed.

use std::fs;
use std::path::{Path, PathBuf};

use crate::chore::{Outcome, Workspace, timed};

/// What a visitor should have to load at most, in bytes as servers of files compress it (brotli).
const GOAL: u64 = 1_000_000;
/// Heavier than this the page may not become. It goes down with every gain, until it meets the goal.
const LIMIT: u64 = 1_240_000;

/// Prints raw and compressed size of each file named; Node.js is here anyway, and its zlib is the real one.
const WEIGH: &str = r#"
const { readFileSync } = require("node:fs");
const { brotliCompressSync } = require("node:zlib");
for (const name of process.argv.slice(1)) {
  const bytes = readFileSync(name);
  console.log(bytes.length, brotliCompressSync(bytes).length);
}"#;

/// Builds the page into `dist/`; fails if it has become too heavy.
pub(crate) fn build(ws: &Workspace) -> Outcome {
    timed("trunk build", || ws.line("trunk build --release --offline").run())?;
    let mut files = vec![];
    list(&ws.root.join("dist"), &mut files)?;
    files.sort();
    let sizes = weigh(ws, &files)?;
    print!("{}", table(&ws.root, &files, &sizes));
    let total: u64 = sizes.iter().map(|size| size.1).sum();
    let (met, gap) = if total <= GOAL { ("met", GOAL - total) } else { ("missed", total - GOAL) };
    println!("The goal of {GOAL} bytes compressed is {met} by {gap}.");
    if total > LIMIT {
        return Err(format!("The page has {total} bytes compressed; it must stay below {LIMIT}."));
    }
    Ok(())
}

/// All files under `dir`.
fn list(dir: &Path, files: &mut Vec<PathBuf>) -> Outcome {
    let entries = fs::read_dir(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    for entry in entries {
        let path = entry.map_err(|e| e.to_string())?.path();
        if path.is_dir() {
            list(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

/// Raw and compressed size of each file.
fn weigh(ws: &Workspace, files: &[PathBuf]) -> Outcome<Vec<(u64, u64)>> {
    let node = ws.line("node -e").arg(WEIGH).arg("--");
    let text = files.iter().fold(node, |node, file| node.arg(file)).read()?;
    let sizes = Vec::from_iter(text.lines().filter_map(size));
    if sizes.len() == files.len() { Ok(sizes) } else { Err(format!("sizes without sense: {text}")) }
}

fn size(line: &str) -> Option<(u64, u64)> {
    let (raw, brotli) = line.split_once(' ')?;
    Some((raw.parse().ok()?, brotli.parse().ok()?))
}

fn table(root: &Path, files: &[PathBuf], sizes: &[(u64, u64)]) -> String {
    let row = |raw, brotli, name| format!("{raw:>10} {brotli:>10}  {name}\n");
    let mut text = row("bytes".into(), "brotli".into(), "file".into());
    for (file, (raw, brotli)) in files.iter().zip(sizes) {
        let name = file.strip_prefix(root).unwrap_or(file).display();
        text += &row(raw.to_string(), brotli.to_string(), name.to_string());
    }
    let (raw, brotli) = sizes.iter().fold((0, 0), |sum, size| (sum.0 + size.0, sum.1 + size.1));
    text + &row(
        raw.to_string(),
        brotli.to_string(),
        format!("total (compressed it may be {LIMIT})"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_weighed() {
        let ws = Workspace::here().unwrap();
        if ws.find("node").is_none() {
            return;
        }
        let file = ws.root.join("clippy.toml");
        let raw = fs::metadata(&file).unwrap().len();
        let sizes = weigh(&ws, std::slice::from_ref(&file)).unwrap();
        assert_eq!(sizes[0].0, raw);
        assert!(sizes[0].1 < raw);
        let text = table(&ws.root, &[file], &[(10, 7)]);
        assert!(text.contains("        10          7  clippy.toml\n"), "{text}");
    }
}
