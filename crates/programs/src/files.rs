//! The files of a container: what its image and its programs have written, and the volumes mounted over it.
//!
//! A volume is shared: what one container of a Pod writes, another reads. Directories are there while
//! something is in them, and where a volume is mounted.

use base::tree::BTreeMap;
use std::cell::RefCell;
use std::rc::Rc;

/// Bytes of a file, and of all files of a volume with what it takes to keep them: a loop that writes in a container
/// must not fill the memory.
const FILE_MAX: usize = 4 * 1024 * 1024;
const VOLUME_MAX: usize = 16 * 1024 * 1024;
/// What a file takes beside its path and content.
const ENTRY: usize = 64;

/// Files by their paths in the volume, without a `/` at the front. Cheap to copy; all copies are the same
/// volume.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Volume(Rc<RefCell<Held>>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Held {
    files: BTreeMap<String, Rc<[u8]>>,
    /// What all of them take.
    size: usize,
}

fn size(path: &str, content: &[u8]) -> usize {
    path.len() + content.len() + ENTRY
}

impl Held {
    fn of(files: BTreeMap<String, Rc<[u8]>>) -> Held {
        let size = files.iter().map(|(path, content)| size(path, content)).sum();
        Held { files, size }
    }
}

impl Volume {
    /// A volume that holds these files.
    pub fn of(files: BTreeMap<String, Rc<[u8]>>) -> Volume {
        Volume(Rc::new(RefCell::new(Held::of(files))))
    }

    /// A file's content.
    pub fn read(&self, path: &str) -> Option<Rc<[u8]>> {
        self.0.borrow().files.get(path).cloned()
    }

    /// Makes or replaces a file. `false`: there is no room for it.
    pub fn write(&self, path: &str, content: impl Into<Rc<[u8]>>) -> bool {
        let content = content.into();
        let mut held = self.0.borrow_mut();
        let old = held.files.get(path).map_or(0, |old| size(path, old));
        let all = held.size - old + size(path, &content);
        if content.len() > FILE_MAX || all > VOLUME_MAX {
            return false;
        }
        held.size = all;
        held.files.insert(path.to_string(), content);
        true
    }

    /// Takes a file away. `false`: there is none.
    pub fn remove(&self, path: &str) -> bool {
        let mut held = self.0.borrow_mut();
        let removed = held.files.remove(path);
        held.size -= removed.as_ref().map_or(0, |content| size(path, content));
        removed.is_some()
    }

    /// Has these files from now on, and no others.
    pub fn replace(&self, files: BTreeMap<String, Rc<[u8]>>) {
        *self.0.borrow_mut() = Held::of(files);
    }

    /// A volume of its own, with the same files.
    pub fn copy(&self) -> Volume {
        Volume(Rc::new(RefCell::new(self.0.borrow().clone())))
    }

    /// Shows the path of every file below a directory, from there on.
    fn each_below(&self, directory: &str, show: &mut dyn FnMut(&str)) {
        let prefix = if directory.is_empty() { String::new() } else { format!("{directory}/") };
        let held = self.0.borrow();
        for (path, _) in held.files.range_from(prefix.as_str()) {
            match path.strip_prefix(&prefix) {
                Some(rest) => show(rest),
                None => return,
            }
        }
    }
}

/// A volume, or a part of it, at a place among a container's files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mount {
    /// Where: an absolute path.
    pub at: String,
    /// What.
    pub volume: Volume,
    /// Only this file or directory of it; empty for all of it.
    pub sub_path: String,
    /// Nothing can be written there.
    pub is_read_only: bool,
}

/// The files of a container. Cheap to copy; all copies are the same files. Paths are absolute and without
/// `.` and `..`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    own: Volume,
    mounts: Rc<[Mount]>,
}

/// Why a file cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteError {
    /// What it is in is mounted read-only (`EROFS`).
    ReadOnly,
    /// It would be too long, or there is too much already (`ENOSPC`).
    Full,
}

/// Directories that every image has.
const DIRECTORIES: &str =
    "/bin /dev /etc /home /mnt /opt /proc /root /run /sbin /srv /sys /tmp /usr /var";

fn join(directory: &str, rest: &str) -> String {
    match (directory, rest) {
        ("", path) | (path, "") => path.to_string(),
        (directory, rest) => format!("{directory}/{rest}"),
    }
}

/// What of `path` lies below `directory`; nothing when they are the same.
fn below<'a>(path: &'a str, directory: &str) -> Option<&'a str> {
    let rest = path.strip_prefix(directory.trim_end_matches('/'))?;
    if rest.is_empty() { Some("") } else { rest.strip_prefix('/') }
}

impl Files {
    /// Files of a container that is new.
    pub fn new(mut mounts: Vec<Mount>) -> Files {
        for mount in &mut mounts {
            mount.sub_path = mount.sub_path.trim_matches('/').to_string();
        }
        Files { own: Volume::default(), mounts: mounts.into() }
    }

    /// The volume that a path lies in, the path there, and whether it is read-only.
    fn locate(&self, path: &str) -> (&Volume, String, bool) {
        let mut best: Option<(&Mount, &str)> = None;
        for mount in self.mounts.iter() {
            let is_closer = best.is_none_or(|(other, _)| other.at.len() <= mount.at.len());
            if let Some(rest) = below(path, &mount.at).filter(|_| is_closer) {
                best = Some((mount, rest));
            }
        }
        match best {
            Some((mount, rest)) => (&mount.volume, join(&mount.sub_path, rest), mount.is_read_only),
            None => (&self.own, path.trim_matches('/').to_string(), false),
        }
    }

    /// A file's content.
    pub fn read(&self, path: &str) -> Option<Rc<[u8]>> {
        let (volume, inside, _) = self.locate(path);
        volume.read(&inside)
    }

    /// Makes or replaces a file.
    pub fn write(&self, path: &str, content: impl Into<Rc<[u8]>>) -> Result<(), WriteError> {
        let (volume, inside, is_read_only) = self.locate(path);
        if is_read_only {
            return Err(WriteError::ReadOnly);
        }
        if volume.write(&inside, content) { Ok(()) } else { Err(WriteError::Full) }
    }

    /// Puts a file there that the image has. What is mounted over it hides it; what was written before stays.
    pub fn bake(&self, path: &str, content: impl Into<Rc<[u8]>>) {
        let path = path.trim_matches('/');
        if self.own.read(path).is_none() {
            self.own.write(path, content);
        }
    }

    /// Takes a file away. `false`: there is none.
    pub fn remove(&self, path: &str) -> Result<bool, WriteError> {
        let (volume, inside, is_read_only) = self.locate(path);
        if is_read_only { Err(WriteError::ReadOnly) } else { Ok(volume.remove(&inside)) }
    }

    /// The names in a directory, sorted; `None` when there is no such directory.
    pub fn list(&self, path: &str) -> Option<Vec<String>> {
        let (volume, inside, _) = self.locate(path);
        let mut names: BTreeMap<String, ()> = BTreeMap::new();
        let mut add = |rest: &str| {
            if let Some(name) = rest.split('/').next().filter(|name| !name.is_empty()) {
                names.insert(name.to_string(), ());
            }
        };
        volume.each_below(&inside, &mut add);
        let mut is_there = path == "/";
        for at in self.mounts.iter().map(|mount| mount.at.as_str()).chain(DIRECTORIES.split(' ')) {
            if let Some(rest) = below(at, path) {
                is_there |= !rest.is_empty() || volume.read(&inside).is_none();
                add(rest);
            }
        }
        is_there |= !names.is_empty();
        is_there.then(|| names.into_keys().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_of_a_pod_share_volumes_and_nothing_else() {
        let shared = Volume::default();
        let mount = |at: &str| Mount { at: at.into(), volume: shared.clone(), ..Mount::default() };
        let (a, b) = (Files::new(vec![mount("/out")]), Files::new(vec![mount("/usr/html")]));
        a.write("/out/sub/x", *b"1").unwrap();
        a.write("/tmp/own", *b"2").unwrap();
        assert_eq!(b.read("/usr/html/sub/x").as_deref(), Some(&b"1"[..]));
        assert_eq!((b.read("/tmp/own"), b.list("/usr/html")), (None, Some(vec!["sub".into()])));
        assert_eq!((b.list("/nowhere"), a.list("/out/none")), (None, None));
        assert_eq!(b.list("/usr"), Some(vec!["html".into()]));
    }

    #[test]
    fn a_volume_has_an_end() {
        let files = Files::default();
        let mut content = Vec::new();
        let mut count = 0;
        while files.write(&format!("/f{count}"), vec![0; FILE_MAX]).is_ok() {
            count += 1;
        }
        assert_eq!(count, VOLUME_MAX / FILE_MAX - 1);
        content.resize(FILE_MAX + 1, 0);
        files.remove("/f0").unwrap();
        assert_eq!(files.write("/f0", content), Err(WriteError::Full));
        assert_eq!(files.write("/f0", *b"x"), Ok(()));
    }

    #[test]
    fn a_part_of_a_volume_is_mounted_and_cannot_be_written() {
        let files = [("a.conf", b"a"), ("d/b.conf", b"b")];
        let files = files.map(|(path, content)| (path.to_string(), Rc::from(&content[..])));
        let volume = Volume::of(files.into());
        let file = Mount {
            at: "/etc/a.conf".into(),
            volume: volume.clone(),
            sub_path: "a.conf".into(),
            is_read_only: true,
        };
        let directory = Mount { at: "/d".into(), sub_path: "/d/".into(), ..file.clone() };
        let files = Files::new(vec![file, directory]);
        assert_eq!(files.read("/etc/a.conf").as_deref(), Some(&b"a"[..]));
        assert_eq!(files.read("/d/b.conf").as_deref(), Some(&b"b"[..]));
        assert_eq!(files.write("/d/c", *b"c"), Err(WriteError::ReadOnly));
        assert_eq!(files.list("/etc/a.conf"), None);
        assert_eq!(files.list("/etc"), Some(vec!["a.conf".into()]));
    }
}
