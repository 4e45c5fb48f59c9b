//! What serde says of a value that does not fit, in our words: what it is, what belongs there, and
//! what to write. The value itself is not repeated, for it may be a secret; the name of a key, and of
//! one of several settings, is.

use crate::suggest;

/// Why a value does not fit, as `message` has it.
pub(crate) fn of(message: &str) -> String {
    let reworded = missing(message)
        .or_else(|| unknown_key(message))
        .or_else(|| unknown_setting(message))
        .or_else(|| misfit(message));
    reworded.unwrap_or_else(|| message.to_owned())
}

fn missing(message: &str) -> Option<String> {
    let key = message.strip_prefix("missing field `")?.strip_suffix('`')?;
    Some(format!("no `{key}`; write `{key} = …`"))
}

fn unknown_key(message: &str) -> Option<String> {
    let (key, known) = unknown(message, "unknown field `", ", there are no fields")?;
    let instead = suggest::instead(key, &known);
    Some(format!("there is no key `{key}` here; {instead}"))
}

fn unknown_setting(message: &str) -> Option<String> {
    let (setting, known) = unknown(message, "unknown variant `", ", there are no variants")?;
    Some(format!(
        "`{setting}`: not known; write {}",
        alternatives(&known)
    ))
}

/// A name that nobody knows, and those that are known.
fn unknown<'m>(message: &'m str, before: &str, none: &str) -> Option<(&'m str, Vec<&'m str>)> {
    let rest = message.strip_prefix(before)?;
    if let Some(name) = rest.strip_suffix(none).and_then(|it| it.strip_suffix('`')) {
        return Some((name, Vec::new()));
    }
    let (name, known) = rest.rsplit_once("`, expected ")?;
    let known = known.split('`').skip(1).step_by(2);
    Some((name, known.collect()))
}

/// `a`, `b` or `c`.
fn alternatives(names: &[&str]) -> String {
    let quoted = |name: &&str| format!("`{name}`");
    match names {
        [] => "nothing".to_owned(),
        [one] => quoted(one),
        [others @ .., last] => {
            let others: Vec<String> = others.iter().map(quoted).collect();
            format!("{} or {}", others.join(", "), quoted(last))
        }
    }
}

/// What belongs to a place, and how it is written.
struct Wanted {
    what: String,
    remedy: String,
}

impl Wanted {
    /// What serde calls so.
    fn of(expected: &str) -> Option<Wanted> {
        let (what, remedy) = match expected {
            "a string" | "string or table" => ("a text", "write it in quotes"),
            "a boolean" => ("true or false", "write `true` or `false`, without quotes"),
            "a sequence" => ("a list", "write it in brackets, as [\"a\", \"b\"]"),
            "u8" => return Some(Wanted::number(u8::MAX)),
            "u16" => return Some(Wanted::number(u16::MAX)),
            "u32" => return Some(Wanted::number(u32::MAX)),
            "i64" => ("a whole number", "write it in digits, without quotes"),
            "u64" => (
                "a whole number from 0 on",
                "write it in digits, without quotes",
            ),
            _ if expected == "a map" || expected.starts_with("struct ") => {
                ("a table", "write it in braces, as { name = \"value\" }")
            }
            _ => return None,
        };
        let (what, remedy) = (what.to_owned(), remedy.to_owned());
        Some(Wanted { what, remedy })
    }

    fn number(most: impl Into<u64>) -> Wanted {
        Wanted {
            what: format!("a number from 0 to {}", most.into()),
            remedy: "write it in digits, without quotes".to_owned(),
        }
    }
}

fn misfit(message: &str) -> Option<String> {
    if message.starts_with("wanted exactly 1 element") || message == "wanted string or table" {
        let wanted = Wanted::of("a string")?;
        return Some(format!("not {}; {}", wanted.what, wanted.remedy));
    }
    // A text that was found is repeated in front, and may be anything.
    let (found, expected) = message.rsplit_once(", expected ")?;
    if let Some(length) = found.strip_prefix("invalid length ") {
        let what = expected.split(" with ").next().unwrap_or(expected);
        let wanted = Wanted::of(what)?;
        return Some(format!(
            "a list of {length}, not {}; {}",
            wanted.what, wanted.remedy
        ));
    }
    let (found, is_out_of_range) = match found.strip_prefix("invalid value: ") {
        Some(found) => (found, true),
        None => (found.strip_prefix("invalid type: ")?, false),
    };
    let wanted = Wanted::of(expected)?;
    Some(match is_out_of_range {
        true => format!("not {}; write such a one", wanted.what),
        false => format!(
            "{}, not {}; {}",
            found_as(found),
            wanted.what,
            wanted.remedy
        ),
    })
}

/// Whether it is said of a value that it does not fit, and not of which key it is.
pub(crate) fn is_misfit(why: &str) -> bool {
    let (what, _remedy) = why.split_once("; ").unwrap_or((why, ""));
    let wanted = what.split_once("not ").map(|(_, wanted)| wanted);
    wanted.is_some_and(|wanted| {
        ["a text", "true or false", "a list", "a table"].contains(&wanted)
            || wanted.starts_with("a number from 0 to ")
            || wanted.starts_with("a whole number")
    })
}

/// What was found, by its kind alone.
fn found_as(found: &str) -> &'static str {
    match found.split([' ', '`']).next() {
        Some("string") => "a text",
        Some("integer") => "a number",
        Some("floating") => "a fraction",
        Some("boolean") => "a truth value",
        Some("sequence") => "a list",
        Some("map") => "a table",
        _ => "something else",
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{is_misfit, of};
    use crate::source::Flaw;

    /// Values of all types, most of them wrong for any key.
    pub(crate) const VALUES: [&str; 14] = [
        "5",
        "-1",
        "99999999999",
        "1.5",
        "true",
        "'s3cret'",
        "''",
        "[]",
        "[5]",
        "['s3cret', true]",
        "{}",
        "{ s3cret = 's3cret' }",
        "{ a = { b = 5 } }",
        "1979-05-27",
    ];

    /// What serde and the parser of TOML call things.
    const FOREIGN: [&str; 12] = [
        "missing field",
        "unknown field",
        "unknown variant",
        "invalid type",
        "invalid value",
        "invalid length",
        "wanted ",
        "expected",
        "did not match",
        "struct ",
        "variant",
        "$__toml",
    ];

    const REMEDIES: [&str; 4] = ["write ", "did you mean ", "there are ", "leave "];

    /// Checks that a flaw is told in our words, in its place, with what to write.
    #[track_caller]
    pub(crate) fn check_words(text: &str, flaw: &Flaw) {
        let why = &flaw.why;
        let is_ours = !FOREIGN.iter().any(|word| why.contains(word));
        let has_remedy = REMEDIES.iter().any(|remedy| why.contains(remedy));
        let has_place = flaw.span.as_ref().is_some_and(|span| !span.is_empty());
        assert!(is_ours && has_remedy && has_place, "{text}: {flaw:?}");
    }

    #[test]
    fn what_serde_says_is_said_in_our_words_without_values() {
        let check = |message: &str, expected: &str| assert_eq!(of(message), expected);
        check("missing field `path`", "no `path`; write `path = …`");
        check(
            "unknown field `htp`, expected `tcp` or `http`",
            "there is no key `htp` here; did you mean `http`?",
        );
        check(
            "unknown field `tpc`, expected one of `tcp`, `http`, `log`",
            "there is no key `tpc` here; there are tcp, http, log",
        );
        check(
            "unknown field `x`, there are no fields",
            "there is no key `x` here; there are none",
        );
        check(
            "unknown variant `a`, expected `stop` or `warn`",
            "`a`: not known; write `stop` or `warn`",
        );
        check(
            "unknown variant `nevr`, expected one of `never`, `on-failure`, `always`",
            "`nevr`: not known; write `never`, `on-failure` or `always`",
        );
        check(
            "invalid type: string \"a, expected b\", expected a boolean",
            "a text, not true or false; write `true` or `false`, without quotes",
        );
        check(
            "invalid type: integer `5`, expected a string",
            "a number, not a text; write it in quotes",
        );
        check(
            "invalid value: integer `-1`, expected u16",
            "not a number from 0 to 65535; write such a one",
        );
        check(
            "invalid length 1, expected struct Keys with 5 elements",
            "a list of 1, not a table; write it in braces, as { name = \"value\" }",
        );
        check(
            "invalid value: integer `-1`, expected u64",
            "not a whole number from 0 on; write such a one",
        );
        check("wanted string or table", "not a text; write it in quotes");
        check("no such thing", "no such thing");
    }

    #[test]
    fn what_is_said_of_a_value_is_known_again() {
        for message in [
            "invalid type: map, expected a string",
            "invalid type: string \"a\", expected a sequence",
            "invalid value: integer `-1`, expected u8",
            "invalid type: map, expected i64",
            "invalid type: map, expected u64",
            "invalid length 0, expected struct Keys with 5 elements",
            "wanted string or table",
        ] {
            assert!(is_misfit(&of(message)), "{message}");
        }
        assert!(!is_misfit("not a duration; write `5s`"));
        assert!(!is_misfit("`a`: not known; write `b`"));
    }
}
