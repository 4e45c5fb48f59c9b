//! What a writer can be told.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::atomic::stamp::Stamp;

/// What is known to be on disk once a commit has returned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Durability {
    /// The content is synced before the rename and the directory after it: a power cut at any
    /// time leaves the old file or the new one, and after the commit it is the new one.
    #[default]
    Durable,
    /// The content is synced before the rename, the directory is not: a power cut at any time
    /// leaves the old file or the new one, but for some seconds after the commit it may still be
    /// the old one. It saves one flush of the disk in two.
    Content,
    /// Nothing is synced: readers see the old file or the new one, and so does everybody after a
    /// crash of this process, but a power cut may leave either, or an empty file.
    Atomic,
}

impl Durability {
    pub(crate) fn syncs_content(self) -> bool {
        matches!(self, Durability::Durable | Durability::Content)
    }

    pub(crate) fn syncs_names(self) -> bool {
        self == Durability::Durable
    }
}

/// What is done where the target's path ends in a symbolic link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Symlinks {
    /// The file it points at is replaced, and the link stays. A dangling link's file is made.
    #[default]
    Follow,
    /// The link itself is replaced by the new file.
    Replace,
    /// The writer does not open.
    Refuse,
}

/// How much it matters that an attribute of the old file is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Preserve {
    /// It is kept, or the commit fails.
    Require,
    /// It is kept where this process may; a notice ([`NoticeKind::WorkedAround`]) says what was
    /// not, once the file is in place without it.
    ///
    /// [`NoticeKind::WorkedAround`]: withal_core::NoticeKind::WorkedAround
    #[default]
    Try,
    /// The new file gets what any new file would.
    Ignore,
}

/// Where the old file goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Backup {
    Path(PathBuf),
    Suffix(OsString),
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    pub(crate) durability: Durability,
    pub(crate) symlinks: Symlinks,
    pub(crate) no_clobber: bool,
    /// The mode that was asked for, whatever that of the target.
    pub(crate) mode: Option<u32>,
    pub(crate) permissions: Preserve,
    pub(crate) owner: Preserve,
    pub(crate) acl: Preserve,
    pub(crate) selinux: Preserve,
    pub(crate) xattrs: Preserve,
    /// How many bytes there must be.
    pub(crate) size: Option<u64>,
    pub(crate) backup: Option<Backup>,
    /// What the target must still be like; `Some(None)` if there must be none.
    pub(crate) unchanged: Option<Option<Stamp>>,
}
