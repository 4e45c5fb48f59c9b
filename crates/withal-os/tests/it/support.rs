//! A place to work in, and what one asks about it.

use std::error::Error;
use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::Command;

use withal_os::{OpenTempDir, TempDir};

/// An empty directory for one test.
pub(crate) struct Place(OpenTempDir);

impl Place {
    pub(crate) fn new() -> Place {
        Place(TempDir::new().prefix("withal-os-test-").open().unwrap())
    }

    /// One that any user may work in.
    pub(crate) fn for_all() -> Place {
        let place = Place::new();
        set_mode(&*place, 0o777);
        place
    }

    pub(crate) fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.join(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// All names in it, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        names(self)
    }
}

impl Deref for Place {
    type Target = Path;

    fn deref(&self) -> &Path {
        self.0.path()
    }
}

pub(crate) fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

pub(crate) fn temporaries(directory: &Path) -> Vec<String> {
    let mut names = names(directory);
    names.retain(|name| name.ends_with(".withal-tmp"));
    names
}

/// The one file without a name that this process has open in the directory: a way to open it.
pub(crate) fn unnamed(directory: &Path) -> PathBuf {
    let beginning = directory.join("#").into_os_string().into_string().unwrap();
    let is_unnamed = |path: &PathBuf| {
        // Closed since it was listed, it has no target.
        let target = fs::read_link(path).unwrap_or_default();
        target.to_str().unwrap().starts_with(&beginning)
    };
    let files = fs::read_dir("/proc/self/fd").unwrap();
    let mut files: Vec<PathBuf> = files
        .map(|entry| entry.unwrap().path())
        .filter(is_unnamed)
        .collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files.remove(0)
}

pub(crate) fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap()
}

pub(crate) fn mode(path: impl AsRef<Path>) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

pub(crate) fn set_mode(path: impl AsRef<Path>, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The error and its causes, as a report would show them.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

/// A mount that is gone when this is dropped.
pub(crate) struct Mount(PathBuf);

impl Mount {
    /// `None`, with a word on stderr, where this process may not mount.
    pub(crate) fn new(arguments: &[&str], on: &Path) -> Option<Mount> {
        let output = Command::new("mount").args(arguments).arg(on).output();
        match output {
            Ok(output) if output.status.success() => Some(Mount(on.to_owned())),
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                eprintln!("skipped: mount is refused: {}", said.trim());
                None
            }
            Err(error) => {
                eprintln!("skipped: mount cannot be run: {error}");
                None
            }
        }
    }

    pub(crate) fn tmpfs(size: &str, on: &Path) -> Option<Mount> {
        let options = format!("size={size},mode=0777");
        Mount::new(&["-t", "tmpfs", "-o", &options, "withal-test"], on)
    }

    /// Says what it is called since a directory above it was renamed.
    pub(crate) fn moved_to(&mut self, path: PathBuf) {
        self.0 = path;
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let status = Command::new("umount").arg("-l").arg(&self.0).status();
        assert!(
            status.unwrap().success(),
            "{} stays mounted",
            self.0.display()
        );
    }
}
