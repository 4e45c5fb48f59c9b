//! Names as they stand in messages.

use std::ffi::OsStr;
use std::fmt::{self, Write as _};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A path or name that stays on one line and can be told from every other: what is no text, and
/// what would end the line or move the cursor, is shown as an escape.
pub(crate) struct Shown<'a>(&'a OsStr);

pub(crate) fn shown(path: &(impl AsRef<Path> + ?Sized)) -> Shown<'_> {
    Shown(path.as_ref().as_os_str())
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.as_bytes().utf8_chunks() {
            for character in chunk.valid().chars() {
                match character.is_control() {
                    true => write!(f, "{}", character.escape_default())?,
                    false => f.write_char(character)?,
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn names_stay_on_one_line_and_keep_their_bytes() {
        let check = |name: &[u8], expected: &str| {
            assert_eq!(super::shown(OsStr::from_bytes(name)).to_string(), expected);
        };
        check(b"a b/\xc3\xa4'`", "a b/ä'`");
        check(b"two\nlines\x1b[31m", "two\\nlines\\u{1b}[31m");
        check(b"\xff\xc3/x", "\\xff\\xc3/x");
        check(b"", "");
    }
}
