//! Words of a command line without their secrets.

/// Names whose values are nobody's business.
const SECRETS: [&str; 5] = ["password", "passwd", "secret", "token", "key"];

/// The word without the password of a URL in it, and without the value of what calls itself secret.
pub(crate) fn masked(word: &str) -> String {
    if let Some((name, value)) = word.split_once('=')
        && !value.is_empty()
        && is_secret(name)
    {
        return format!("{name}=***");
    }
    let Some((scheme, rest)) = word.split_once("://") else {
        return word.to_owned();
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let authority = match authority.rsplit_once('@') {
        Some((user, host)) => match user.split_once(':') {
            Some((user, _)) => format!("{user}:***@{host}"),
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
        Some((name, _)) if is_secret(name) => format!("{name}=***"),
        _ => pair.to_owned(),
    }
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRETS.iter().any(|secret| name.ends_with(secret))
}

#[cfg(test)]
mod tests {
    use super::masked;

    #[test]
    fn passwords_are_masked_and_nothing_else() {
        let check = |word: &str, expected: &str| assert_eq!(masked(word), expected);
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
    }
}
