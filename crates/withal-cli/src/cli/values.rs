//! Values on the command line, and what to write instead of a wrong one.

use std::time::Duration;

use nix::sys::signal::Signal;

const DURATION_REMEDY: &str = "not a duration; write `500ms`, `5s`, `10m`, `1h` or plain seconds";

/// For ever, and yet a time that clocks can count to.
const LONGEST: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// `500ms`, `5s`, `1h 30m`, or seconds: `5`, `0.5`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let is_number = |c: char| c.is_ascii_digit() || c == '.';
    let parsed = match text.chars().all(is_number) {
        true => text
            .parse()
            .ok()
            .and_then(|s| Duration::try_from_secs_f64(s).ok()),
        false => humantime::parse_duration(text).ok(),
    };
    let parsed = parsed.map(|duration| duration.min(LONGEST));
    parsed.ok_or_else(|| DURATION_REMEDY.to_owned())
}

/// A duration that something may take.
pub(crate) fn time_limit(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("no time at all; leave the option out for no limit".to_owned()),
        limit => Ok(limit),
    }
}

/// `1` or `0`, as a variable has it in place of an option without a value; nothing is 0, too.
pub(crate) fn switch(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" | "t" | "y" => Ok(true),
        "" | "0" | "false" | "no" | "off" | "f" | "n" => Ok(false),
        _ => Err("neither yes nor no; write 1 or 0".to_owned()),
    }
}

/// `75`.
pub(crate) fn status(text: &str) -> Result<u8, String> {
    let parsed = text.parse();
    parsed.map_err(|_| "not an exit status; write a number from 0 to 255".to_owned())
}

/// `TERM`, `SIGTERM`, `term` or `15`.
pub(crate) fn signal(text: &str) -> Result<Signal, String> {
    let upper = text.to_ascii_uppercase();
    let name = match upper.starts_with("SIG") {
        true => upper,
        false => format!("SIG{upper}"),
    };
    let by_number = || {
        text.parse::<i32>()
            .ok()
            .and_then(|n| Signal::try_from(n).ok())
    };
    let found = name.parse().ok().or_else(by_number);
    found.ok_or_else(|| "not a signal; write a name or number, as `TERM`, `INT` or `9`".to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use nix::sys::signal::Signal;

    #[test]
    fn durations_are_numbers_with_units_or_seconds() {
        let check = |text: &str, milliseconds: Option<u64>| {
            let expected = milliseconds.map(Duration::from_millis);
            assert_eq!(super::duration(text).ok(), expected, "{text:?}");
        };
        check("500ms", Some(500));
        check("5s", Some(5_000));
        check("10m", Some(600_000));
        check("1h", Some(3_600_000));
        check("1h 30m", Some(5_400_000));
        check("5", Some(5_000));
        check("0.25", Some(250));
        check("0", Some(0));
        check(
            "18446744073709551615s",
            Some(super::LONGEST.as_secs() * 1_000),
        );
        for wrong in [
            "", ".", "1.2.3", "5x", "s", "-1", "-1s", "inf", "NaN", "1e3",
        ] {
            check(wrong, None);
        }
        check("99999999999999999999999999999999999999999999", None);
        check("99999999999999999999999999999999999h", None);
    }

    #[test]
    fn signals_have_names_and_numbers() {
        for text in ["TERM", "SIGTERM", "term", "sigterm", "15"] {
            assert_eq!(super::signal(text), Ok(Signal::SIGTERM), "{text:?}");
        }
        for wrong in ["", "0", "999", "SIG", "TERMINATE", "-9"] {
            assert!(super::signal(wrong).is_err(), "{wrong:?}");
        }
    }
}
