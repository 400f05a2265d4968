//! The kernel's own table, in a network namespace: `ip netns exec … nft`. Needs root.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// A network namespace, gone with the value.
#[derive(Debug)]
pub(crate) struct Kernel {
    name: String,
}

/// One is as good as another.
impl PartialEq for Kernel {
    fn eq(&self, _: &Kernel) -> bool {
        true
    }
}

impl Kernel {
    /// `None`, and a word about it, where that is not possible.
    pub(crate) fn new(name: &str) -> Option<Kernel> {
        let name = format!("podwire-{name}-{}", std::process::id());
        let made = Command::new("ip").args(["netns", "add", &name]).output();
        let kernel = Kernel { name };
        if !made.is_ok_and(|output| output.status.success())
            || kernel.nft(&["list", "ruleset"], "").is_err()
        {
            eprintln!("skipped: no network namespaces, or no nft");
            return None;
        }
        Some(kernel)
    }

    fn nft(&self, args: &[&str], input: &str) -> Result<String, String> {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, "nft"]).args(args);
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().map_err(|error| error.to_string())?;
        let stdin = child.stdin.take();
        stdin.ok_or("stdin")?.write_all(input.as_bytes()).map_err(|error| error.to_string())?;
        let Output { status, stdout, stderr } =
            child.wait_with_output().map_err(|error| error.to_string())?;
        match status.success() {
            true => Ok(String::from_utf8_lossy(&stdout).into_owned()),
            false => Err(String::from_utf8_lossy(&stderr).into_owned()),
        }
    }

    /// Does what the lines say.
    pub(crate) fn run(&self, lines: &str) -> Result<(), String> {
        self.nft(&["-f", "-"], lines).map(drop)
    }

    /// What stands in the table, in the order of the texts: `chain NAME RULES`, `set NAME`, `map NAME`, and
    /// `element NAME KEY VERDICT`.
    pub(crate) fn lines(&self) -> Vec<String> {
        let Ok(text) = self.nft(&["-j", "list", "table", "ip", "kube-proxy"], "") else {
            return Vec::new();
        };
        let value: Value = serde_json::from_str(&text).unwrap_or_default();
        let all = value["nftables"].as_array().cloned().unwrap_or_default();
        let name = |value: &Value| value["name"].as_str().unwrap_or_default().to_string();
        let mut lines = Vec::new();
        for object in &all {
            if let Some(chain) = object.get("chain") {
                let is_its = |rule: &&Value| rule["rule"]["chain"] == chain["name"];
                lines.push(format!("chain {} {}", name(chain), all.iter().filter(is_its).count()));
            }
            for kind in ["set", "map"] {
                let Some(container) = object.get(kind) else { continue };
                lines.push(format!("{kind} {}", name(container)));
                for element in container["elem"].as_array().into_iter().flatten() {
                    let (key, verdict) = match element.as_array().map(Vec::as_slice) {
                        Some([key, verdict]) if kind == "map" => (key, word(verdict)),
                        _ => (element, String::new()),
                    };
                    lines.push(format!("element {} {} {verdict}", name(container), word(key)));
                }
            }
        }
        lines.sort();
        lines
    }
}

/// An element's key or verdict, as it is added.
fn word(value: &Value) -> String {
    if let Some(parts) = value.get("concat").and_then(Value::as_array) {
        return parts.iter().map(word).collect::<Vec<_>>().join(" . ");
    }
    if let Some(element) = value.get("elem") {
        return word(&element["val"]);
    }
    if let Some(target) = value.get("goto") {
        return format!("goto {}", target["target"].as_str().unwrap_or_default());
    }
    match value {
        Value::String(text) => text.clone(),
        Value::Object(object) => object.keys().cloned().collect(),
        other => other.to_string(),
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.name]).output();
    }
}
