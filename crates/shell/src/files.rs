//! The files that commands see: the editor's tabs in the page, the real directory natively.

use base::tree::BTreeMap;
use std::cell::RefCell;
use std::fmt;

use programs::files::WriteError;

/// Why a file cannot be read or written, in the words of the C library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileError {
    /// `ENOENT`
    NotFound,
    /// `EISDIR`
    IsDirectory,
    /// `ENOTDIR`
    NotDirectory,
    /// `EACCES`
    Denied,
    /// Anything else, as it was said.
    Other(String),
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FileError::NotFound => "No such file or directory",
            FileError::IsDirectory => "Is a directory",
            FileError::NotDirectory => "Not a directory",
            FileError::Denied => "Permission denied",
            FileError::Other(words) => words,
        })
    }
}

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A file.
    File,
    /// A directory.
    Directory,
}

/// A place for files. Paths are absolute, their parts separated by `/`.
pub trait Files {
    /// What is at a path.
    fn kind(&self, path: &str) -> Option<FileKind>;
    /// A file's content.
    fn read(&self, path: &str) -> Result<Vec<u8>, FileError>;
    /// Makes or replaces a file.
    fn write(&self, path: &str, content: &[u8]) -> Result<(), FileError>;
    /// Adds to a file's end; makes it, if it is not there.
    fn append(&self, path: &str, content: &[u8]) -> Result<(), FileError>;
    /// Takes a file away.
    fn remove(&self, path: &str) -> Result<(), FileError>;
    /// The names in a directory, sorted.
    fn list(&self, path: &str) -> Result<Vec<String>, FileError>;
    /// The directory that a new shell is in.
    fn home(&self) -> String;
}

/// Files in memory. Directories are there while something is in them.
#[derive(Debug, Default)]
pub struct MemoryFiles {
    files: RefCell<BTreeMap<String, Vec<u8>>>,
}

impl MemoryFiles {
    /// All files with their paths.
    pub fn all(&self) -> Vec<(String, Vec<u8>)> {
        let files = self.files.borrow();
        files.iter().map(|(path, content)| (path.clone(), content.clone())).collect()
    }
}

impl Files for MemoryFiles {
    fn kind(&self, path: &str) -> Option<FileKind> {
        let files = self.files.borrow();
        if files.contains_key(path) {
            return Some(FileKind::File);
        }
        let prefix = format!("{}/", path.trim_end_matches('/'));
        let is_home = path.trim_end_matches('/') == self.home();
        let holds = files.keys().any(|known| known.starts_with(&prefix));
        (is_home || holds || path == "/").then_some(FileKind::Directory)
    }

    fn read(&self, path: &str) -> Result<Vec<u8>, FileError> {
        match self.kind(path) {
            Some(FileKind::Directory) => Err(FileError::IsDirectory),
            _ => self.files.borrow().get(path).cloned().ok_or(FileError::NotFound),
        }
    }

    fn write(&self, path: &str, content: &[u8]) -> Result<(), FileError> {
        if self.kind(path) == Some(FileKind::Directory) {
            return Err(FileError::IsDirectory);
        }
        self.files.borrow_mut().insert(path.to_string(), content.to_vec());
        Ok(())
    }

    fn append(&self, path: &str, content: &[u8]) -> Result<(), FileError> {
        if self.kind(path) == Some(FileKind::Directory) {
            return Err(FileError::IsDirectory);
        }
        let mut files = self.files.borrow_mut();
        files.entry(path.to_string()).or_default().extend_from_slice(content);
        Ok(())
    }

    fn remove(&self, path: &str) -> Result<(), FileError> {
        match self.files.borrow_mut().remove(path) {
            Some(_) => Ok(()),
            None => Err(FileError::NotFound),
        }
    }

    fn list(&self, path: &str) -> Result<Vec<String>, FileError> {
        match self.kind(path) {
            None => return Err(FileError::NotFound),
            Some(FileKind::File) => return Err(FileError::NotDirectory),
            Some(FileKind::Directory) => {}
        }
        let prefix = format!("{}/", path.trim_end_matches('/'));
        let files = self.files.borrow();
        let mut names: Vec<String> = files
            .keys()
            .filter_map(|known| known.strip_prefix(&prefix))
            .filter_map(|rest| rest.split('/').next())
            .map(str::to_string)
            .collect();
        names.dedup();
        Ok(names)
    }

    fn home(&self) -> String {
        "/home/you".to_string()
    }
}

/// The files of a container.
pub struct ContainerFiles(pub programs::Files);

fn unwritten(why: WriteError) -> FileError {
    FileError::Other(match why {
        WriteError::ReadOnly => "Read-only file system".to_string(),
        WriteError::Full => "No space left on device".to_string(),
    })
}

impl Files for ContainerFiles {
    fn kind(&self, path: &str) -> Option<FileKind> {
        if self.0.read(path).is_some() {
            return Some(FileKind::File);
        }
        self.0.list(path).map(|_| FileKind::Directory)
    }

    fn read(&self, path: &str) -> Result<Vec<u8>, FileError> {
        match self.0.read(path) {
            Some(content) => Ok(content.to_vec()),
            None if self.0.list(path).is_some() => Err(FileError::IsDirectory),
            None => Err(FileError::NotFound),
        }
    }

    fn write(&self, path: &str, content: &[u8]) -> Result<(), FileError> {
        if self.kind(path) == Some(FileKind::Directory) {
            return Err(FileError::IsDirectory);
        }
        self.0.write(path, content).map_err(unwritten)
    }

    fn append(&self, path: &str, content: &[u8]) -> Result<(), FileError> {
        let mut all = match self.read(path) {
            Err(FileError::NotFound) => Vec::new(),
            read => read?,
        };
        all.extend_from_slice(content);
        self.0.write(path, all).map_err(unwritten)
    }

    fn remove(&self, path: &str) -> Result<(), FileError> {
        if self.0.remove(path).map_err(unwritten)? { Ok(()) } else { Err(FileError::NotFound) }
    }

    fn list(&self, path: &str) -> Result<Vec<String>, FileError> {
        match self.0.list(path) {
            Some(names) => Ok(names),
            None if self.0.read(path).is_some() => Err(FileError::NotDirectory),
            None => Err(FileError::NotFound),
        }
    }

    fn home(&self) -> String {
        "/root".to_string()
    }
}

/// A path as an absolute one, without `.` and `..`.
pub fn absolute(cwd: &str, path: &str) -> String {
    let whole = if path.starts_with('/') { path.to_string() } else { format!("{cwd}/{path}") };
    let mut parts: Vec<&str> = Vec::new();
    for part in whole.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_absolute() {
        for (path, whole) in [
            ("a.yml", "/home/you/a.yml"),
            ("./k8s/../a.yml", "/home/you/a.yml"),
            ("/etc//hosts", "/etc/hosts"),
            ("../../..", "/"),
            (".", "/home/you"),
        ] {
            assert_eq!(absolute("/home/you", path), whole);
        }
    }

    #[test]
    fn directories_are_there_while_something_is_in_them() {
        let files = MemoryFiles::default();
        files.write("/home/you/k8s/a.yml", b"a").unwrap();
        files.append("/home/you/k8s/a.yml", b"b").unwrap();
        assert_eq!(files.read("/home/you/k8s/a.yml").unwrap(), b"ab");
        assert_eq!(files.list("/home/you").unwrap(), ["k8s"]);
        assert_eq!(files.read("/home/you/k8s"), Err(FileError::IsDirectory));
        files.remove("/home/you/k8s/a.yml").unwrap();
        assert_eq!(files.kind("/home/you/k8s"), None);
        assert_eq!(files.kind("/home/you"), Some(FileKind::Directory));
    }
}
