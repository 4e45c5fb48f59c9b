//! Records as lines of text.
//!
//! A record is one line. UTF-8 without NUL, newline and over-long lines is stored byte for byte.
//! For all else there is the byte C0, which never occurs in UTF-8:
//!
//! | stored | means |
//! | --- | --- |
//! | `C0 80` | NUL |
//! | `C0 8A` | a newline inside a record |
//! | `C0 C0` | the byte C0 |
//! | `C0 81 0A` | nothing: the record goes on in the next line |
//! | `C0 82 0A` | the record ends, without a newline after it |
//!
//! So NUL never occurs in a segment, and what a crash left as zeros is told from text.

use memchr::{memchr, memchr_iter, memchr2, memchr3};

pub(crate) const MARK: u8 = 0xC0;
const NUL: u8 = 0x80;
const NEWLINE: u8 = 0x8A;
const CONTINUED: u8 = 0x81;
const UNENDED: u8 = 0x82;

/// How a record is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Newline,
    /// The input had none.
    None,
    /// The record goes on in the next one.
    Continued,
}

/// Writes `record`, which may hold any byte, as one record of lines no longer than `max` bytes of
/// it; gives the number of lines.
pub(crate) fn encode(into: &mut Vec<u8>, record: &[u8], max: usize, end: End) -> u32 {
    let mut lines = 1;
    let mut rest = record;
    while rest.len() > max {
        let (piece, more) = rest.split_at(boundary(rest, max));
        encode_bytes(into, piece);
        into.extend_from_slice(&[MARK, CONTINUED, b'\n']);
        rest = more;
        lines += 1;
    }
    encode_bytes(into, rest);
    match end {
        End::Newline => into.push(b'\n'),
        End::None => into.extend_from_slice(&[MARK, UNENDED, b'\n']),
        End::Continued => into.extend_from_slice(&[MARK, CONTINUED, b'\n']),
    }
    lines
}

/// Writes many records, each with its newline, which the last one may lack; gives the number of
/// lines.
pub(crate) fn encode_lines(into: &mut Vec<u8>, records: &[u8], max: usize) -> u64 {
    if are_plain_lines(records, max) {
        into.extend_from_slice(records);
        return count_lines(records);
    }
    let mut lines = 0;
    let mut rest = records;
    while !rest.is_empty() {
        let end = memchr(b'\n', rest).unwrap_or(rest.len());
        let (record, more) = rest.split_at(end);
        lines += u64::from(encode(into, record, max, End::Newline));
        rest = more.get(1..).unwrap_or_default();
    }
    lines
}

/// As `encode_lines`, and leaves `records` empty. What is stored byte for byte is not copied where
/// `into` is empty: the two change places.
pub(crate) fn move_lines(into: &mut Vec<u8>, records: &mut Vec<u8>, max: usize) -> u64 {
    let lines = match into.is_empty() && are_plain_lines(records, max) {
        true => {
            std::mem::swap(into, records);
            count_lines(into)
        }
        false => encode_lines(into, records, max),
    };
    records.clear();
    lines
}

/// How many lines end in `text`.
pub(crate) fn count_lines(text: &[u8]) -> u64 {
    bytecount::count(text, b'\n') as u64
}

/// Whether these are whole lines that are stored byte for byte.
fn are_plain_lines(lines: &[u8], max: usize) -> bool {
    if lines.last() != Some(&b'\n') || memchr2(0, MARK, lines).is_some() {
        return false;
    }
    if lines.len() <= max {
        return true;
    }
    let mut start = 0;
    memchr_iter(b'\n', lines).all(|end| {
        let len = end - start;
        start = end + 1;
        len <= max
    })
}

/// Whether the record of this stored line goes on in the next line: it was longer than a line may
/// be.
#[must_use]
pub fn is_continued(line: &[u8]) -> bool {
    ends_marked(line, CONTINUED)
}

/// Whether the record of this stored line ends without a newline, so that what was appended next
/// comes back in the same line.
///
/// ```
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("log");
/// let log = withal_log::Log::open(&path).open()?;
/// log.append_unended("half")?;
/// let stored = withal_log::last_lines(&path, 1)?;
/// assert!(withal_log::is_unended(&stored) && !withal_log::is_continued(&stored));
/// log.close()?;
/// # Ok::<(), withal_log::LogError>(())
/// ```
#[must_use]
pub fn is_unended(line: &[u8]) -> bool {
    ends_marked(line, UNENDED)
}

fn ends_marked(line: &[u8], how: u8) -> bool {
    let Some(marked) = line.strip_suffix(&[how, b'\n']) else {
        return false;
    };
    // Two marks are one byte of the record.
    let marks = marked.iter().rev().take_while(|byte| **byte == MARK);
    marks.count() % 2 == 1
}

/// Where to split `record` so that no character is cut: at most at `max`.
fn boundary(record: &[u8], max: usize) -> usize {
    let is_start = |at: &usize| record.get(*at).is_none_or(|byte| byte & 0xC0 != 0x80);
    let lowest = max.saturating_sub(3).max(1);
    (lowest..=max).rev().find(is_start).unwrap_or(max)
}

#[inline]
fn encode_bytes(into: &mut Vec<u8>, mut bytes: &[u8]) {
    while let Some(at) = memchr3(0, b'\n', MARK, bytes) {
        let (plain, rest) = bytes.split_at(at);
        into.extend_from_slice(plain);
        let Some((special, rest)) = rest.split_first() else {
            return;
        };
        into.extend_from_slice(&match special {
            0 => [MARK, NUL],
            b'\n' => [MARK, NEWLINE],
            _ => [MARK, MARK],
        });
        bytes = rest;
    }
    into.extend_from_slice(bytes);
}

/// Appends what was recorded in `line`, which may end in a newline, as it was before `encode`.
///
/// Bytes that `encode` never writes are kept as they are: nothing is lost of a damaged line.
pub fn decode(line: &[u8], into: &mut Vec<u8>) {
    let mut rest = line;
    while let Some(at) = memchr(MARK, rest) {
        let (plain, special) = rest.split_at(at);
        into.extend_from_slice(plain);
        rest = match special {
            [_, NUL, rest @ ..] => {
                into.push(0);
                rest
            }
            [_, NEWLINE, rest @ ..] => {
                into.push(b'\n');
                rest
            }
            [_, MARK, rest @ ..] => {
                into.push(MARK);
                rest
            }
            [_, CONTINUED | UNENDED, b'\n', rest @ ..] => rest,
            [mark, rest @ ..] => {
                into.push(*mark);
                rest
            }
            [] => rest,
        };
    }
    into.extend_from_slice(rest);
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(record: &[u8], max: usize, end: End) -> (Vec<u8>, u32) {
        let mut text = Vec::new();
        let lines = encode(&mut text, record, max, end);
        (text, lines)
    }

    fn decoded(text: &[u8]) -> Vec<u8> {
        let mut record = Vec::new();
        decode(text, &mut record);
        record
    }

    #[test]
    fn utf8_is_stored_byte_for_byte() {
        let record = "Grüße, 世界, \u{7f}\t\r".as_bytes();
        let (text, lines) = encoded(record, 1 << 20, End::Newline);
        assert_eq!((text.strip_suffix(b"\n").unwrap(), lines), (record, 1));
    }

    #[test]
    fn long_lines_are_split_between_characters() {
        let (text, lines) = encoded("aé世".as_bytes(), 4, End::Newline);
        assert_eq!(
            (text, lines),
            (b"a\xc3\xa9\xc0\x81\n\xe4\xb8\x96\n".to_vec(), 2)
        );
    }

    proptest! {
        #[test]
        fn any_bytes_come_back(record: Vec<u8>, max in 1_usize..40, ended: bool) {
            let end = if ended { End::Newline } else { End::None };
            let (text, lines) = encoded(&record, max, end);
            prop_assert!(!text.contains(&0));
            prop_assert_eq!(text.last(), Some(&b'\n'));
            prop_assert_eq!(text.iter().filter(|byte| **byte == b'\n').count(), lines as usize);
            let mut expected = record;
            if ended {
                expected.push(b'\n');
            }
            prop_assert_eq!(decoded(&text), expected);
        }

        #[test]
        fn many_lines_are_stored_as_one_by_one(
            records in prop::collection::vec("[a-c\u{0}\u{e9}]{0,12}", 0..6),
            max in 4_usize..20,
        ) {
            let input: String = records.iter().map(|record| format!("{record}\n")).collect();
            let mut one_by_one = Vec::new();
            let count: u32 = records
                .iter()
                .map(|record| encode(&mut one_by_one, record.as_bytes(), max, End::Newline))
                .sum();
            let mut at_once = Vec::new();
            prop_assert_eq!(encode_lines(&mut at_once, input.as_bytes(), max), u64::from(count));
            prop_assert_eq!(&at_once, &one_by_one);

            // A buffer is taken as it is, or added to what is there.
            let mut moved = Vec::new();
            for half in [input.clone(), input] {
                let mut half = half.into_bytes();
                prop_assert_eq!(move_lines(&mut moved, &mut half, max), u64::from(count));
                prop_assert!(half.is_empty());
            }
            prop_assert_eq!(moved, [&one_by_one[..], &one_by_one].concat());
        }

        #[test]
        fn only_parts_are_continued(record: Vec<u8>) {
            let stored = |end| encoded(&record, usize::MAX, end).0;
            prop_assert!(is_continued(&stored(End::Continued)));
            prop_assert!(!is_continued(&stored(End::Newline)));
            prop_assert!(!is_continued(&stored(End::None)));
        }

        #[test]
        fn any_text_is_decoded_without_panic(text: Vec<u8>) {
            let _ = decoded(&text);
        }
    }
}
