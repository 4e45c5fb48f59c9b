//! Access lists, as the kernel writes them into extended attributes.

use std::ffi::CStr;
use std::fs::File;
use std::io;

use rustix::buffer::spare_capacity;
use rustix::io::Errno;

use crate::atomic::attributes::read_growing;
use crate::directory::Directory;

/// The attribute with the list of a file.
pub(crate) const ACCESS: &CStr = c"system.posix_acl_access";

/// That with the list which new files of a directory get.
const DEFAULT: &CStr = c"system.posix_acl_default";

/// A list is a version of four bytes and entries of eight: tag, rights, and whom it is for.
const HEADER: usize = 4;
const ENTRY: usize = 8;

const USER: u16 = 0x01;
const GROUP: u16 = 0x04;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;

/// Takes the list from a file, if it has one; the mode stays.
pub(crate) fn remove(file: &File) -> io::Result<()> {
    // Its length alone, which the kernel has at hand: to remove even what is not there changes the
    // file.
    match rustix::fs::fgetxattr(file, ACCESS, &mut [0_u8; 0]) {
        Ok(_length) => Ok(rustix::fs::fremovexattr(file, ACCESS)?),
        Err(Errno::NODATA | Errno::NOTSUP) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The mode of a new file in a directory that says so itself, rather than the umask.
pub(crate) fn default_mode(directory: &Directory) -> Option<u32> {
    let list =
        read_growing(|buffer| rustix::fs::fgetxattr(directory, DEFAULT, spare_capacity(buffer)));
    mode(&list.ok()?)
}

/// The mode of a new file that is made with 0666 and gets this list.
pub(crate) fn mode(list: &[u8]) -> Option<u32> {
    let of = |tag| find(list, tag).map(|rights| u32::from(rights & 6));
    let group = of(MASK).or_else(|| of(GROUP));
    Some(of(USER)? << 6 | group? << 3 | of(OTHER)?)
}

/// Gives the owning group, which is another one now, what everybody has.
pub(crate) fn limit_group(list: &mut [u8]) {
    let Some(other) = find(list, OTHER) else {
        return;
    };
    let entries = list.get_mut(HEADER..).unwrap_or_default();
    for entry in entries.chunks_exact_mut(ENTRY) {
        if let [low, high, rights, ..] = entry
            && [*low, *high] == GROUP.to_le_bytes()
        {
            *rights = other;
        }
    }
}

/// The rights that the entry with this tag grants, if there is one.
fn find(list: &[u8], tag: u16) -> Option<u8> {
    let entries = list.get(HEADER..)?.chunks_exact(ENTRY);
    let mut rights = entries.filter_map(|entry| match entry {
        [low, high, rights, ..] if [*low, *high] == tag.to_le_bytes() => Some(*rights),
        _ => None,
    });
    rights.next()
}
