//! The names of segments: the offset of their first byte in the log, and when they were made.

use std::fmt;
use std::str::FromStr;

/// A segment's name, without the extension.
///
/// Names are in the order of the log, and stay as they are for as long as the segment exists.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name {
    pub(crate) base: u64,
    /// `20251120T232000Z`.
    made: String,
}

/// Digits of the base: all of a `u64`.
const DIGITS: usize = 20;

impl Name {
    pub(crate) fn new(base: u64, made: jiff::Timestamp) -> Name {
        Name {
            base,
            made: made.strftime("%Y%m%dT%H%M%SZ").to_string(),
        }
    }

    /// When it was made, in milliseconds since 1970.
    pub(crate) fn made_ms(&self) -> u64 {
        jiff::Timestamp::strptime(
            "%Y%m%dT%H%M%S%z",
            format!("{}+0000", self.made.trim_end_matches('Z')),
        )
        .ok()
        .and_then(|made| u64::try_from(made.as_millisecond()).ok())
        .unwrap_or_default()
    }

    pub(crate) fn text(&self) -> String {
        format!("{self}.log")
    }

    pub(crate) fn sidecar(&self) -> String {
        format!("{self}.idx")
    }

    pub(crate) fn compressed(&self) -> String {
        format!("{self}.log.zst")
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:020}-{}", self.base, self.made)
    }
}

/// It is no segment's name.
#[derive(Debug)]
pub(crate) struct NotASegment;

impl FromStr for Name {
    type Err = NotASegment;

    fn from_str(name: &str) -> Result<Name, NotASegment> {
        let (base, made) = name.split_once('-').ok_or(NotASegment)?;
        let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let stamp = made.strip_suffix('Z').and_then(|made| made.split_once('T'));
        match stamp {
            Some((day, time))
                if base.len() == DIGITS
                    && day.len() == 8
                    && time.len() == 6
                    && is_digits(base)
                    && is_digits(day)
                    && is_digits(time) =>
            {
                Ok(Name {
                    base: base.parse().map_err(|_| NotASegment)?,
                    made: made.to_owned(),
                })
            }
            _ => Err(NotASegment),
        }
    }
}

/// Which of a segment's files a name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Text,
    Sidecar,
    Compressed,
}

/// The segment a file belongs to, if it belongs to one.
pub(crate) fn parse(file: &str) -> Option<(Name, Part)> {
    let (name, part) = if let Some(name) = file.strip_suffix(".log") {
        (name, Part::Text)
    } else if let Some(name) = file.strip_suffix(".idx") {
        (name, Part::Sidecar)
    } else {
        (file.strip_suffix(".log.zst")?, Part::Compressed)
    };
    Some((name.parse().ok()?, part))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_and_sort_as_the_log_does() {
        let made = jiff::Timestamp::from_second(1_763_680_800).unwrap();
        let name = Name::new(12, made);
        assert_eq!(name.text(), "00000000000000000012-20251120T232000Z.log");
        for (file, part) in [
            (name.text(), Part::Text),
            (name.sidecar(), Part::Sidecar),
            (name.compressed(), Part::Compressed),
        ] {
            assert_eq!(parse(&file), Some((name.clone(), part)));
        }
        assert!(Name::new(9, made) < Name::new(10, made));
        assert_eq!(name.made_ms(), 1_763_680_800_000);
    }

    #[test]
    fn other_files_are_no_segments() {
        for file in [
            "current",
            "LOCK",
            "12-20251120T232000Z.log",
            "x.log",
            ".idx",
            "a-b.idx",
        ] {
            assert_eq!(parse(file), None, "{file}");
        }
    }
}
