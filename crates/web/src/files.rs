//! The files of the shell, which are the tabs of the editor.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use shell::{FileError, FileKind, Files, MemoryFiles};

/// The directory whose files are tabs.
const HOME: &str = "/home/you/";

/// What a new lab's tabs hold.
const SAMPLES: [(&str, &str); 3] = [
    ("deployment.yml", include_str!("../../../www/samples/deployment.yml")),
    ("service.yml", include_str!("../../../www/samples/service.yml")),
    ("kind.yml", include_str!("../../../www/samples/kind.yml")),
];

/// Files in memory, with the order of their tabs, and a count of the changes.
#[derive(Debug, Default)]
pub struct TabFiles {
    memory: MemoryFiles,
    order: RefCell<Vec<String>>,
    revision: Cell<u64>,
}

impl TabFiles {
    /// The files of a new lab.
    pub fn samples() -> Rc<TabFiles> {
        let files = TabFiles::default();
        for (name, text) in SAMPLES {
            files.set(name, text);
        }
        Rc::new(files)
    }

    /// Rises whenever a file is changed.
    pub fn revision(&self) -> u64 {
        self.revision.get()
    }

    /// The names of the tabs, in order: files of the home directory and below it.
    pub fn names(&self) -> Vec<String> {
        self.order.borrow().clone()
    }

    /// A tab's text.
    pub fn text(&self, name: &str) -> Option<String> {
        let bytes = self.memory.read(&path_of(name)).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Changes a tab's text, or makes the tab.
    pub fn set(&self, name: &str, text: &str) {
        // A name that is a directory's is refused; there is nothing to change then.
        let _ = self.write(&path_of(name), text.as_bytes());
    }

    /// Closes a tab: the file is gone.
    pub fn close(&self, name: &str) {
        let _ = self.remove(&path_of(name));
    }

    /// Gives a file another name, in the same place among the tabs. `false`: the name is taken, or none.
    pub fn rename(&self, from: &str, to: &str) -> bool {
        let to = to.trim();
        let is_name = !to.is_empty() && !to.starts_with('/') && !to.contains(['\\', '\n', '\0']);
        if !is_name || self.memory.kind(&path_of(to)).is_some() {
            return false;
        }
        let Some(text) = self.text(from) else { return false };
        let at = self.order.borrow().iter().position(|name| name == from);
        self.close(from);
        self.set(to, &text);
        let mut order = self.order.borrow_mut();
        order.retain(|name| name != to);
        let at = at.unwrap_or(order.len()).min(order.len());
        order.insert(at, to.to_string());
        true
    }

    /// A name that no file has yet.
    pub fn free_name(&self) -> String {
        let names = self.order.borrow();
        let candidates = (1u32..).map(|n| format!("file{n}.yml"));
        candidates.into_iter().find(|name| !names.contains(name)).unwrap_or_default()
    }

    fn touched(&self, path: &str) {
        self.revision.set(self.revision.get() + 1);
        let Some(name) = path.strip_prefix(HOME) else { return };
        let mut order = self.order.borrow_mut();
        let is_there = self.memory.kind(path) == Some(FileKind::File);
        let is_known = order.iter().any(|known| known == name);
        if is_there && !is_known {
            order.push(name.to_string());
        } else if !is_there {
            order.retain(|known| known != name);
        }
    }

    /// The manifests among the tabs: what Apply applies.
    pub fn manifests(&self) -> Vec<String> {
        let names = self.names().into_iter();
        names.filter(|name| is_yaml(name) && !self.is_kind_config(name)).collect()
    }

    /// A tab holds a configuration of kind, and no manifest.
    pub fn is_kind_config(&self, name: &str) -> bool {
        let text = self.text(name).unwrap_or_default();
        let line = |start: &str| text.lines().find(|line| line.starts_with(start));
        let is_cluster = line("kind:").is_some_and(|line| line.contains("Cluster"));
        is_cluster && line("apiVersion:").is_some_and(|line| line.contains("kind.x-k8s.io"))
    }
}

fn path_of(name: &str) -> String {
    format!("{HOME}{name}")
}

fn is_yaml(name: &str) -> bool {
    [".yml", ".yaml", ".json"].iter().any(|end| name.ends_with(end))
}

/// A file's name as a word of a command line.
pub fn quoted(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    if name.chars().all(is_plain) && !name.starts_with('-') {
        return name.to_string();
    }
    let prefix = if name.starts_with('-') { "./" } else { "" };
    format!("'{prefix}{}'", name.replace('\'', r"'\''"))
}

impl Files for TabFiles {
    fn kind(&self, path: &str) -> Option<FileKind> {
        self.memory.kind(path)
    }

    fn read(&self, path: &str) -> Result<Vec<u8>, FileError> {
        self.memory.read(path)
    }

    fn write(&self, path: &str, content: &[u8]) -> Result<(), FileError> {
        self.memory.write(path, content)?;
        self.touched(path);
        Ok(())
    }

    fn append(&self, path: &str, content: &[u8]) -> Result<(), FileError> {
        self.memory.append(path, content)?;
        self.touched(path);
        Ok(())
    }

    fn remove(&self, path: &str) -> Result<(), FileError> {
        self.memory.remove(path)?;
        self.touched(path);
        Ok(())
    }

    fn list(&self, path: &str) -> Result<Vec<String>, FileError> {
        self.memory.list(path)
    }

    fn home(&self) -> String {
        self.memory.home()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tabs_follow_the_files() {
        let files = TabFiles::samples();
        assert_eq!(files.manifests(), ["deployment.yml", "service.yml"]);
        assert!(files.is_kind_config("kind.yml"));
        files.write("/home/you/notes.txt", b"x").unwrap();
        files.write("/tmp/elsewhere.yml", b"x").unwrap();
        files.remove("/home/you/service.yml").unwrap();
        assert_eq!(files.names(), ["deployment.yml", "kind.yml", "notes.txt"]);
        assert!(files.rename("deployment.yml", "web.yml"));
        assert!(!files.rename("web.yml", "kind.yml"));
        assert_eq!(files.names(), ["web.yml", "kind.yml", "notes.txt"]);
    }

    #[test]
    fn names_become_words() {
        assert_eq!(quoted("k8s/a.yml"), "k8s/a.yml");
        assert_eq!(quoted("my file's.yml"), r"'my file'\''s.yml'");
        assert_eq!(quoted("-f.yml"), "'./-f.yml'");
    }
}
