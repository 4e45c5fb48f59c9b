//! Holes: text of a segment that is missing or damaged, and the whole lines around it.

use std::io;
use std::ops::Range;

use memchr::{memchr, memrchr};

use crate::storage::File;

/// How much is read at a time.
const PIECE: usize = 256 * 1024;

/// Whether the content itself is at fault, rather than the way to it: asked again, it says the same.
pub(crate) fn is_damage(error: &io::Error) -> bool {
    let is_bad_sector = error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error());
    error.kind() == io::ErrorKind::InvalidData || is_bad_sector
}

/// Where whole lines begin again behind `from`, which lies in a line that is not whole; nothing if
/// none does before `end`.
pub(crate) fn next_line(text: &dyn File, mut from: u64, end: u64) -> io::Result<Option<u64>> {
    let mut piece = vec![0; PIECE];
    while from < end {
        match read(text, &mut piece, from, end) {
            Ok([]) => break,
            Ok(bytes) => match memchr(b'\n', bytes) {
                Some(newline) => return Ok(Some(from + newline as u64 + 1)),
                None => from += bytes.len() as u64,
            },
            Err(error) if is_damage(&error) => from = text.behind_damage(from),
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// The whole lines from `start`, where one begins, to `end`, in as many parts as the holes between
/// them make. The first part begins at `start`, and the last one ends at `end`; both may be empty.
pub(crate) fn whole_parts(text: &dyn File, start: u64, end: u64) -> io::Result<Vec<Range<u64>>> {
    let mut piece = vec![0; PIECE];
    let mut parts = Vec::new();
    // Where the current part begins, where its last whole line ends, and up to where it was read.
    let (mut begin, mut whole, mut at) = (start, start, start);
    while at < end {
        let is_sound = match read(text, &mut piece, at, end) {
            Ok([]) => break,
            Ok(bytes) => {
                let sound = memchr(0, bytes).unwrap_or(bytes.len());
                let (lines, rest) = bytes.split_at(sound);
                if let Some(newline) = memrchr(b'\n', lines) {
                    whole = at + newline as u64 + 1;
                }
                at += sound as u64;
                rest.is_empty()
            }
            Err(error) if is_damage(&error) => false,
            Err(error) => return Err(error),
        };
        if !is_sound {
            parts.push(begin..whole);
            begin = next_line(text, at, end)?.unwrap_or(end);
            (whole, at) = (begin, begin);
        }
    }
    parts.push(begin..whole);
    if whole < end {
        parts.push(end..end);
    }
    Ok(parts)
}

/// The bytes from `start` to `end` as far as there are any, with zeros for what is damaged, and where
/// that begins.
pub(crate) fn read_around(
    file: &dyn File,
    start: u64,
    end: u64,
) -> io::Result<(Vec<u8>, Option<u64>)> {
    let len = usize::try_from(end.saturating_sub(start)).map_err(io::Error::other)?;
    let mut bytes = vec![0; len];
    let (mut at, mut damaged) = (start, None);
    while let Some(space) = bytes
        .get_mut((at - start) as usize..)
        .filter(|rest| !rest.is_empty())
    {
        match file.read_until_damage(space, at) {
            Ok(0) => break,
            Ok(read) => at += read as u64,
            Err(error) if is_damage(&error) => {
                let _first = damaged.get_or_insert(at);
                at = file.behind_damage(at).min(end);
            }
            Err(error) => return Err(error),
        }
    }
    bytes.truncate((at - start) as usize);
    Ok((bytes, damaged))
}

fn read<'p>(text: &dyn File, piece: &'p mut [u8], from: u64, end: u64) -> io::Result<&'p [u8]> {
    let left = usize::try_from(end - from).unwrap_or(PIECE);
    let (piece, _) = piece.split_at_mut(left.min(piece.len()));
    let read = text.read_until_damage(piece, from)?;
    Ok(piece.get(..read).unwrap_or_default())
}
