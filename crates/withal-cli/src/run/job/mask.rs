//! Words of a command line without their secrets.

use crate::message::MASK;

/// Names whose values are nobody's business.
const SECRETS: [&str; 7] = [
    "password",
    "passwd",
    "secret",
    "token",
    "key",
    "authorization",
    "cookie",
];

/// A command line without the passwords of URLs in it, and without the values of what calls itself
/// secret: in the same word, as of `--password=x` and `Authorization: x`, or in the next one.
pub(crate) fn masked(words: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut is_value = false;
    let words = words.into_iter().map(|word| {
        let is_option = word.starts_with('-');
        let was_value = std::mem::replace(&mut is_value, is_option && is_secret(&word));
        match was_value && !is_option {
            true => MASK.to_owned(),
            false => masked_word(&word),
        }
    });
    words.collect()
}

fn masked_word(word: &str) -> String {
    if let Some((name, value)) = word.split_once('=')
        && !value.is_empty()
        && is_secret(name)
    {
        return format!("{name}={MASK}");
    }
    if let Some((name, value)) = word.split_once(": ")
        && !value.is_empty()
        && is_secret(name)
    {
        return format!("{name}: {MASK}");
    }
    let Some((scheme, rest)) = word.split_once("://") else {
        return word.to_owned();
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let authority = match authority.rsplit_once('@') {
        Some((user, host)) => match user.split_once(':') {
            Some((user, _)) => format!("{user}:{MASK}@{host}"),
            None => authority.to_owned(),
        },
        None => authority.to_owned(),
    };
    let path = match path.split_once('?') {
        Some((path, query)) => {
            let pairs: Vec<String> = query.split('&').map(masked_pair).collect();
            format!("{path}?{}", pairs.join("&"))
        }
        None => path.to_owned(),
    };
    format!("{scheme}://{authority}{path}")
}

fn masked_pair(pair: &str) -> String {
    match pair.split_once('=') {
        Some((name, _)) if is_secret(name) => format!("{name}={MASK}"),
        _ => pair.to_owned(),
    }
}

/// Whether what is called so is nobody's business.
pub(crate) fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRETS.iter().any(|secret| name.ends_with(secret))
}

#[cfg(test)]
mod tests {
    use super::masked;

    #[test]
    fn passwords_are_masked_and_nothing_else() {
        let check = |word: &str, expected: &str| {
            assert_eq!(masked([word.to_owned()]), [expected]);
        };
        check("a=b", "a=b");
        check("--password=x", "--password=***");
        check("PGPASSWORD=x", "PGPASSWORD=***");
        check("API_TOKEN=", "API_TOKEN=");
        check("postgres://me:x@h/db", "postgres://me:***@h/db");
        check("--url=redis://:x@h:1/0", "--url=redis://:***@h:1/0");
        check("postgres://me:a@b@h/db", "postgres://me:***@h/db");
        check("http://h/a:b@c", "http://h/a:b@c");
        check("pg://h/d?user=a&password=x", "pg://h/d?user=a&password=***");
        check("http://me@h", "http://me@h");
        check("Authorization: Bearer x", "Authorization: ***");
        check("X-Api-Key: x", "X-Api-Key: ***");
        check("note: x", "note: x");
    }

    #[test]
    fn the_value_of_an_option_may_be_the_next_word() {
        let check = |line: &str, expected: &str| {
            let words = line.split(' ').map(str::to_owned);
            assert_eq!(masked(words).join(" "), expected);
        };
        check("run --password x --quiet y", "run --password *** --quiet y");
        check("run --token --quiet y", "run --token --quiet y");
        check("run --token=x y", "run --token=*** y");
        check("password x", "password x");
    }
}
