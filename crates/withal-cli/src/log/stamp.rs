//! The time before each line.

use clap::ValueEnum;
use jiff::Timestamp;
use memchr::memchr_iter;

/// How a time is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// As 2025-11-20T09:30:00.123456Z
    Rfc3339,
    /// As @400000004a32392b2aa21dac, what daemontools and s6 write
    Tai64n,
}

/// The difference of TAI64 labels and seconds since 1970, as daemontools has it.
const TAI: i64 = (1 << 62) + 10;

/// How long an RFC 3339 stamp is, with the space after it.
const RFC3339: usize = 28;

/// What to write before a line, with the space after it.
fn stamp(format: Format, now: Timestamp) -> String {
    match format {
        Format::Rfc3339 => format!("{now:.6} "),
        Format::Tai64n => {
            let (seconds, nanoseconds) = (now.as_second(), now.subsec_nanosecond());
            format!("@{:016x}{nanoseconds:08x} ", seconds + TAI)
        }
    }
}

/// Puts the time before each of `lines`; before the first one only if it begins there.
pub(crate) fn put(format: Format, lines: &[u8], is_begun: bool, into: &mut Vec<u8>) {
    let stamp = stamp(format, Timestamp::now());
    match <[u8; RFC3339]>::try_from(stamp.as_bytes()) {
        // A length that the compiler knows is copied without a call.
        Ok(stamp) => put_before_each(&stamp, lines, is_begun, into),
        Err(_) => put_before_each(stamp.as_bytes(), lines, is_begun, into),
    }
}

fn put_before_each(
    stamp: &(impl AsRef<[u8]> + ?Sized),
    lines: &[u8],
    is_begun: bool,
    into: &mut Vec<u8>,
) {
    let stamp = stamp.as_ref();
    into.clear();
    into.reserve(lines.len() + stamp.len());
    let mut is_begun = is_begun;
    let mut start = 0;
    for newline in memchr_iter(b'\n', lines) {
        if !std::mem::take(&mut is_begun) {
            into.extend_from_slice(stamp);
        }
        into.extend_from_slice(lines.get(start..=newline).unwrap_or_default());
        start = newline + 1;
    }
    let rest = lines.get(start..).unwrap_or_default();
    if !rest.is_empty() {
        if !is_begun {
            into.extend_from_slice(stamp);
        }
        into.extend_from_slice(rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_have_the_form_of_their_standard() {
        let time: Timestamp = "2025-11-20T09:30:00.000001001Z".parse().unwrap();
        assert_eq!(stamp(Format::Rfc3339, time), "2025-11-20T09:30:00.000001Z ");
        assert_eq!(stamp(Format::Rfc3339, time).len(), RFC3339);
        let tai = stamp(Format::Tai64n, Timestamp::UNIX_EPOCH);
        assert_eq!(tai, "@400000000000000a00000000 ");
        assert_eq!(stamp(Format::Tai64n, time).len(), 26);
    }

    #[test]
    fn lines_that_have_begun_are_not_stamped_again() {
        let check = |lines: &str, is_begun, expected: &str| {
            let mut stamped = Vec::new();
            put_before_each(b"T ", lines.as_bytes(), is_begun, &mut stamped);
            assert_eq!(String::from_utf8(stamped).unwrap(), expected);
        };
        check("a\n\nb", false, "T a\nT \nT b");
        check("a\nb\n", true, "a\nT b\n");
        check("a", true, "a");
        check("", false, "");
    }
}
