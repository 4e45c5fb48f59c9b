//! What descriptors this process has open.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{read_dir, read_link};
use std::path::{Path, PathBuf};

const LISTING: &str = "/proc/self/fd";

/// An open file descriptor, and what it leads to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Descriptor {
    number: u32,
    target: PathBuf,
}

impl Descriptor {
    /// Its number.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// A path, or something like `socket:[4711]` for what has none.
    #[must_use]
    pub fn target(&self) -> &Path {
        &self.target
    }
}

impl fmt::Display for Descriptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "descriptor {} ({})", self.number, self.target.display())
    }
}

/// How many file descriptors this process has open; `None` where `/proc` does not tell.
///
/// # Examples
///
/// ```
/// use withal_testkit::open_descriptors;
///
/// if let Some(count) = open_descriptors() {
///     println!("{count} descriptors are open");
/// }
/// ```
#[must_use]
pub fn open_descriptors() -> Option<usize> {
    descriptors().map(|all| all.len())
}

pub(crate) fn descriptors() -> Option<BTreeSet<Descriptor>> {
    let names: Vec<_> = read_dir(LISTING)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.file_name()))
        .collect();
    // The listing needed a descriptor itself. It is closed by now, and leads nowhere.
    let all = names.iter().filter_map(|name| {
        Some(Descriptor {
            number: name.to_str()?.parse().ok()?,
            target: read_link(Path::new(LISTING).join(name)).ok()?,
        })
    });
    Some(all.collect())
}
