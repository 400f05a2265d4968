//! The real directory as the shell's files.

use std::fs;
use std::io::{ErrorKind, Write as _};

use shell::{FileError, FileKind, Files};

/// Files on disk, from the directory that the command was started in.
pub(crate) struct Disk {
    home: String,
}

impl Disk {
    pub(crate) fn here() -> Disk {
        let here = std::env::current_dir().ok();
        let home = here.and_then(|path| path.to_str().map(str::to_string));
        Disk { home: home.unwrap_or_else(|| "/".to_string()) }
    }
}

fn said(error: std::io::Error) -> FileError {
    match error.kind() {
        ErrorKind::NotFound => FileError::NotFound,
        ErrorKind::PermissionDenied => FileError::Denied,
        ErrorKind::IsADirectory => FileError::IsDirectory,
        ErrorKind::NotADirectory => FileError::NotDirectory,
        _ => FileError::Other(error.to_string()),
    }
}

impl Files for Disk {
    fn kind(&self, path: &str) -> Option<FileKind> {
        let meta = fs::metadata(path).ok()?;
        Some(if meta.is_dir() { FileKind::Directory } else { FileKind::File })
    }

    fn read(&self, path: &str) -> Result<Vec<u8>, FileError> {
        fs::read(path).map_err(said)
    }

    fn write(&self, path: &str, content: &[u8]) -> Result<(), FileError> {
        fs::write(path, content).map_err(said)
    }

    fn append(&self, path: &str, content: &[u8]) -> Result<(), FileError> {
        let mut file = fs::OpenOptions::new().append(true).create(true).open(path).map_err(said)?;
        file.write_all(content).map_err(said)
    }

    fn remove(&self, path: &str) -> Result<(), FileError> {
        fs::remove_file(path).map_err(said)
    }

    fn list(&self, path: &str) -> Result<Vec<String>, FileError> {
        let entries = fs::read_dir(path).map_err(said)?;
        let mut names: Vec<String> =
            entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
        names.sort();
        Ok(names)
    }

    fn home(&self) -> String {
        self.home.clone()
    }
}
