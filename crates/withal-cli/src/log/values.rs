//! Values of options of `withal log`, and what to write instead of a wrong one.

use std::time::Duration;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use regex::bytes::Regex;
use withal_log::{CommitRing, Durability, OnFull};

use crate::cli::{duration, time_limit};

const SIZE_REMEDY: &str = "not a size; write `64MiB`, `500KiB`, `2GiB` or plain bytes";
const DURABILITY_REMEDY: &str =
    "not a durability; write `always`, `batch=5ms,1MiB`, `interval=1s` or `buffered`";
const ON_FULL_REMEDY: &str = "not a policy; write `block`, `block=30s`, `prune`, `drop` or `fail`";
const DROP_LINE_REMEDY: &str =
    r#"not a template for one line with `{count}` in it; write `{"dropped":{count}}`"#;
const COMPRESSION_REMEDY: &str =
    "not a compression; write `zstd`, or `zstd:19` for a level from 1 to 19";
const TIME_REMEDY: &str =
    "not a time; write `2025-11-20T09:30:00Z`, `2025-11-20 09:30`, `2025-11-20`, or `10m` for ago";

/// `64MiB`, `64M`, `64MB` (of 1000 each), or bytes.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit());
    let (number, unit) = text.split_at(digits.unwrap_or(text.len()));
    let unit = match unit.trim_start() {
        "" | "B" => 1,
        "K" | "KiB" => 1 << 10,
        "M" | "MiB" => 1 << 20,
        "G" | "GiB" => 1 << 30,
        "T" | "TiB" => 1 << 40,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        _ => return Err(SIZE_REMEDY.to_owned()),
    };
    let bytes = number.parse().ok().and_then(|n: u64| n.checked_mul(unit));
    match bytes.ok_or(SIZE_REMEDY)? {
        0 => Err("no size at all; leave it out for the default".to_owned()),
        bytes => Ok(bytes),
    }
}

/// How long a line may be.
pub(super) fn line(text: &str) -> Result<usize, String> {
    let bytes = size(text)?;
    match usize::try_from(bytes) {
        Ok(bytes) if (4..=1 << 30).contains(&bytes) => Ok(bytes),
        _ => Err("a line may have from 4 bytes to 1GiB".to_owned()),
    }
}

pub(super) fn durability(text: &str) -> Result<Durability, String> {
    let (mode, value) = match text.split_once('=') {
        Some((mode, value)) => (mode, Some(value)),
        None => (text, None),
    };
    match (mode, value) {
        ("always", None) => Ok(Durability::Always),
        ("buffered", None) => Ok(Durability::Buffered),
        ("interval", None) => Ok(Durability::Interval(Duration::from_secs(1))),
        ("interval", Some(every)) => Ok(Durability::Interval(duration(every)?)),
        ("batch", value) => {
            let (delay, bytes) = value.unwrap_or("5ms,1MiB").split_once(',').ok_or(
                "a batch has a time and a size, whichever is first; write `batch=5ms,1MiB`",
            )?;
            let bytes = usize::try_from(size(bytes)?).map_err(|_| SIZE_REMEDY)?;
            Ok(Durability::Batch {
                delay: duration(delay)?,
                bytes,
            })
        }
        _ => Err(DURABILITY_REMEDY.to_owned()),
    }
}

pub(super) fn on_full(text: &str) -> Result<OnFull, String> {
    match text.split_once('=') {
        Some(("block", limit)) => Ok(OnFull::Block(Some(time_limit(limit)?))),
        None if text == "block" => Ok(OnFull::Block(None)),
        None if text == "prune" => Ok(OnFull::Prune),
        None if text == "drop" => Ok(OnFull::Drop),
        None if text == "fail" => Ok(OnFull::Fail),
        _ => Err(ON_FULL_REMEDY.to_owned()),
    }
}

pub(super) fn commit_ring(text: &str) -> Result<CommitRing, String> {
    match text {
        "auto" => Ok(CommitRing::Auto),
        "always" => Ok(CommitRing::Always),
        "never" => Ok(CommitRing::Never),
        _ => Err("not a time for a commit ring; write `auto`, `always` or `never`".to_owned()),
    }
}

/// A template for a line that tells of what was dropped.
pub(super) fn drop_line(text: &str) -> Result<String, String> {
    match text.contains("{count}") && !text.contains('\n') {
        true => Ok(text.to_owned()),
        false => Err(DROP_LINE_REMEDY.to_owned()),
    }
}

/// `zstd`, or `zstd:19`; gives the level.
pub(super) fn compression(text: &str) -> Result<i32, String> {
    let level = match text.split_once(':') {
        None if text == "zstd" => Some(3),
        Some(("zstd", level)) => level.parse().ok(),
        _ => None,
    };
    level
        .filter(|level| (1..=19).contains(level))
        .ok_or_else(|| COMPRESSION_REMEDY.to_owned())
}

/// A time, or how long ago it is; in milliseconds since 1970.
pub(super) fn time(text: &str) -> Result<u64, String> {
    let is_number = text.chars().all(|c| c.is_ascii_digit() || c == '.');
    let ago = match is_number {
        true => None,
        false => duration(text.strip_suffix(" ago").unwrap_or(text)).ok(),
    };
    let ago = ago.and_then(|ago| SignedDuration::try_from(ago).ok());
    let found = match ago {
        Some(ago) => Timestamp::now().checked_sub(ago).ok(),
        None => text.parse::<Timestamp>().ok().or_else(|| local(text)),
    };
    let milliseconds = found.map(Timestamp::as_millisecond);
    let milliseconds = milliseconds.and_then(|time| u64::try_from(time).ok());
    milliseconds.ok_or_else(|| TIME_REMEDY.to_owned())
}

/// A time or day as the clock on the wall has it.
fn local(text: &str) -> Option<Timestamp> {
    let time: DateTime = text.parse().ok()?;
    let zoned = time.to_zoned(TimeZone::system()).ok()?;
    Some(zoned.timestamp())
}

pub(super) fn pattern(text: &str) -> Result<Regex, String> {
    Regex::new(text).map_err(|error| {
        let error = error.to_string();
        let reason = error.lines().last().unwrap_or_default();
        let reason = reason.strip_prefix("error: ").unwrap_or(reason);
        format!("not a regular expression: {reason}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_or_are_bytes() {
        for (text, bytes) in [
            ("1", 1),
            ("64MiB", 64 << 20),
            ("64M", 64 << 20),
            ("1 KiB", 1 << 10),
            ("2GB", 2_000_000_000),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text:?}");
        }
        for wrong in ["", "MiB", "-1", "1.5M", "1X", "0", "99999999T"] {
            assert!(size(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn durabilities_have_names_and_values() {
        let second = Duration::from_secs(1);
        for (text, mode) in [
            ("always", Durability::Always),
            ("buffered", Durability::Buffered),
            ("interval", Durability::Interval(second)),
            ("interval=250ms", Durability::Interval(second / 4)),
            (
                "batch=1s,4KiB",
                Durability::Batch {
                    delay: second,
                    bytes: 4096,
                },
            ),
        ] {
            assert_eq!(durability(text), Ok(mode), "{text:?}");
        }
        for wrong in ["", "never", "always=1", "batch=5ms", "interval=soon"] {
            assert!(durability(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn policies_have_names() {
        let limit = Some(Duration::from_secs(30));
        assert_eq!(on_full("block"), Ok(OnFull::Block(None)));
        assert_eq!(on_full("block=30s"), Ok(OnFull::Block(limit)));
        for wrong in ["", "block=", "block=0", "drop=1", "ignore"] {
            assert!(on_full(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_drop_line_is_one_line_with_the_count() {
        let template = r#"{"dropped":{count}}"#;
        assert_eq!(drop_line(template).as_deref(), Ok(template));
        for wrong in ["", "dropped", "{since}", "{count}\n"] {
            assert!(drop_line(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn compressions_have_levels() {
        assert_eq!(compression("zstd"), Ok(3));
        assert_eq!(compression("zstd:19"), Ok(19));
        for wrong in ["", "gzip", "zstd:", "zstd:0", "zstd:20", "zstd:fast", "3"] {
            assert!(compression(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn times_are_absolute_or_ago() {
        assert_eq!(time("1970-01-01T00:00:01Z"), Ok(1_000));
        assert_eq!(time("2025-11-20T10:30:00+01:00"), Ok(1_763_631_000_000));
        assert!(time("2025-11-20").is_ok() && time("2025-11-20 09:30").is_ok());
        let now = u64::try_from(Timestamp::now().as_millisecond()).unwrap();
        let ago = now - time("10m").unwrap();
        assert!((595_000..=600_000).contains(&ago), "{ago}");
        for wrong in ["", "2025", "yesterday", "1969-01-01T00:00:00Z", "-5m"] {
            assert!(time(wrong).is_err(), "{wrong:?}");
        }
    }
}
