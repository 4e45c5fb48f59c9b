//! The holder's process id in the lock file, for those who find it locked.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// The longest record: ten digits and a newline.
const MAX_LENGTH: usize = 11;

/// Writes this process's id into a file that is empty or holds another's, and nothing else: a lock
/// on a file with a content of its own must not cost that content.
///
/// Gives whether it was written. It is a courtesy: where it fails the lock is as good.
pub(crate) fn write(file: &File) -> bool {
    let record = format!("{}\n", std::process::id());
    is_empty_or_record(file)
        && file.set_len(0).is_ok()
        && file.write_all_at(record.as_bytes(), 0).is_ok()
}

/// Takes back what [`write`] wrote, if nobody has written anything else since.
pub(crate) fn clear(file: &File) -> io::Result<()> {
    match read(file) {
        Some(pid) if pid == std::process::id() => file.set_len(0),
        _ => Ok(()),
    }
}

/// The process id in the file, if that is all there is.
pub(crate) fn read(file: &File) -> Option<u32> {
    parse(&content(file)?)
}

fn is_empty_or_record(file: &File) -> bool {
    content(file).is_some_and(|content| content.is_empty() || parse(&content).is_some())
}

/// The whole content, if it is short enough to be a record.
fn content(file: &File) -> Option<Vec<u8>> {
    let mut buffer = [0; MAX_LENGTH + 1];
    let mut length = 0;
    while let Some(rest) = buffer.get_mut(length..)
        && !rest.is_empty()
    {
        match file.read_at(rest, length as u64) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
    (length <= MAX_LENGTH).then(|| buffer.get(..length).unwrap_or_default().to_vec())
}

pub(crate) fn parse(content: &[u8]) -> Option<u32> {
    let digits = content.strip_suffix(b"\n")?;
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}
