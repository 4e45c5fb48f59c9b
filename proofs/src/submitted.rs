//! What the writers write: everything follows from a number, so nothing has to be remembered.

use crate::dice::Dice;

/// The record with this number, without its newline.
#[must_use]
pub fn record(number: u64) -> Vec<u8> {
    let mut dice = Dice::new(number);
    let mut record = format!("{number:08} ").into_bytes();
    let len = 40 + dice.roll(120);
    record.extend((0..len).map(|_| b'a' + dice.roll(26) as u8));
    record
}

/// The record with this number of one of several threads, without its newline.
#[must_use]
pub fn record_of(thread: u64, number: u64) -> Vec<u8> {
    let mut record = format!("{thread:02} {number:08} ").into_bytes();
    let len = Dice::new(thread << 40 | number).roll(100);
    record.extend((0..len).map(|place| b'a' + ((number + place) % 26) as u8));
    record
}

/// The thread and the number of a line that [`record_of`] made, if every byte of it is right.
#[must_use]
pub fn parse_record_of(line: &[u8]) -> Option<(u64, u64)> {
    let text = std::str::from_utf8(line).ok()?;
    let mut words = text.split(' ');
    let thread = words.next()?.parse().ok()?;
    let number = words.next()?.parse().ok()?;
    (record_of(thread, number) == line).then_some((thread, number))
}

/// The content of a file in this version.
#[must_use]
pub fn content(version: u64) -> Vec<u8> {
    let len = (1 + Dice::new(version).roll(4)) * 3_000 + version % 977;
    let mut content = format!("{version:08} {len:08}\n").into_bytes();
    content.extend((0..len).map(|place| b'A' + ((version + place) % 26) as u8));
    content
}

/// The version of a content that [`content`] made, if every byte of it is right.
#[must_use]
pub fn parse_content(bytes: &[u8]) -> Option<u64> {
    let version = std::str::from_utf8(bytes.get(..8)?).ok()?.parse().ok()?;
    (content(version) == bytes).then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_byte_is_seen() {
        let mut content = content(17);
        assert_eq!(parse_content(&content), Some(17));
        content[4_000] ^= 1;
        assert_eq!(parse_content(&content), None);

        let mut line = record_of(3, 40);
        assert_eq!(parse_record_of(&line), Some((3, 40)));
        line.push(b'a');
        assert_eq!(parse_record_of(&line), None);
    }
}
