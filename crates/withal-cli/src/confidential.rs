//! Where values stand in TOML that may be secrets; it need not be TOML all the way.

use std::ops::Range;

use crate::run::is_secret;

/// What opens a reference, which is no secret: `${gate.attribute}`.
const REFERENCE: &str = "${";

/// Tables and keys whose values are those of variables.
const VARIABLES: [&str; 3] = ["env", "set", "value"];

/// The places of values of variables, and of keys that call themselves secret, in the order of the
/// text; without the quotes around them, and without references to gates.
pub(crate) fn places(text: &str) -> Vec<Range<usize>> {
    let mut scan = Scan {
        text,
        at: 0,
        places: Vec::new(),
        is_in_section: false,
        brackets: Vec::new(),
        key: "",
        value: Value::None,
    };
    scan.section();
    while scan.at < text.len() {
        scan.step();
    }
    scan.places
}

/// Something in brackets.
struct Bracket {
    is_array: bool,
    hidden: Value,
}

/// Whether what stands next is a value, and shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value {
    /// It is a key, or a value that is shown.
    None,
    /// That of a variable: a number is none, for only texts are.
    Variable,
    /// That of a key that calls itself secret.
    Secret,
}

struct Scan<'t> {
    text: &'t str,
    at: usize,
    places: Vec<Range<usize>>,
    /// Whether the table that began with a line `[…]` is one of variables.
    is_in_section: bool,
    brackets: Vec<Bracket>,
    /// The word before.
    key: &'t str,
    value: Value,
}

impl<'t> Scan<'t> {
    fn step(&mut self) {
        let rest = self.rest();
        let Some(next) = rest.chars().next() else {
            return;
        };
        match next {
            '"' | '\'' => self.string(next),
            '#' => self.at += rest.find('\n').unwrap_or(rest.len()),
            '\n' if self.brackets.is_empty() => {
                self.value = Value::None;
                self.at += 1;
                self.section();
            }
            '=' => {
                self.value = self.behind_key();
                self.at += 1;
            }
            '[' | '{' => {
                self.brackets.push(Bracket {
                    is_array: next == '[',
                    hidden: self.value,
                });
                if next == '{' {
                    self.value = Value::None;
                }
                self.at += 1;
            }
            ']' | '}' => {
                let _ = self.brackets.pop();
                self.next_value();
                self.at += 1;
            }
            ',' => {
                self.next_value();
                self.at += 1;
            }
            _ if next.is_whitespace() => self.at += next.len_utf8(),
            _ => self.word(),
        }
    }

    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// The next one is a key, but in an array.
    fn next_value(&mut self) {
        self.value = match self.brackets.last() {
            Some(bracket) if bracket.is_array => bracket.hidden,
            _ => Value::None,
        };
    }

    /// What the value of the key before is.
    fn behind_key(&self) -> Value {
        let outside = self.brackets.last().map(|bracket| bracket.hidden);
        let name = self.key.rsplit('.').next().unwrap_or_default();
        let holds_variables = |key: &str| VARIABLES.contains(&key);
        let is_own = is_secret(name) && !["key", "secret"].contains(&name);
        match outside {
            _ if is_own => Value::Secret,
            Some(Value::None) | None if self.key.split('.').any(holds_variables) => Value::Variable,
            Some(Value::None) => Value::None,
            Some(hidden) => hidden,
            None if self.is_in_section => Value::Variable,
            None => Value::None,
        }
    }

    /// Reads `[name]`, if that is what the line is.
    fn section(&mut self) {
        let rest = self.rest();
        let line = rest.lines().next().unwrap_or_default();
        if !line.trim_start().starts_with('[') {
            return;
        }
        let names = line.split('#').next().unwrap_or_default();
        let names = names.trim().trim_matches(['[', ']', ' ']);
        let mut names = names.split('.').map(|name| name.trim().trim_matches('"'));
        self.is_in_section = names.any(|name| VARIABLES.contains(&name));
        self.at += line.len();
    }

    /// A text in quotes, or a key.
    fn string(&mut self, quote: char) {
        let rest = self.rest();
        let three: String = std::iter::repeat_n(quote, 3).collect();
        let (marks, is_long) = match rest.starts_with(&three) {
            true => (three.as_str(), true),
            false => (&three[..1], false),
        };
        let inner = rest.get(marks.len()..).unwrap_or_default();
        let mut end = inner.len();
        let mut is_escaped = false;
        for (at, character) in inner.char_indices() {
            let ends = inner[at..].starts_with(marks) || (!is_long && character == '\n');
            if ends && !is_escaped {
                end = at;
                break;
            }
            is_escaped = quote == '"' && character == '\\' && !is_escaped;
        }
        let start = self.at + marks.len();
        let text = inner.get(..end).unwrap_or_default();
        match self.value {
            Value::None => self.key = text,
            _ => self.hide(start, text),
        }
        let closed = inner.get(end..).unwrap_or_default().starts_with(marks);
        self.at = start + end + if closed { marks.len() } else { 0 };
    }

    /// A bare key, or a value without quotes.
    fn word(&mut self) {
        let rest = self.rest();
        let is_end = |c: char| c.is_whitespace() || ",=[]{}#\"'".contains(c);
        let word = rest.get(..rest.find(is_end).unwrap_or(rest.len()));
        let word = word.unwrap_or_default();
        let is_plain = ["true", "false"].contains(&word)
            || word
                .chars()
                .all(|c| c.is_ascii_digit() || "+-._:".contains(c));
        match self.value {
            Value::None => self.key = word,
            Value::Variable if is_plain => {}
            _ => self.hide(self.at, word),
        }
        self.at += word.len();
    }

    /// Notes what is text and no reference.
    fn hide(&mut self, start: usize, text: &str) {
        let mut from = 0;
        while let Some(rest) = text.get(from..).filter(|rest| !rest.is_empty()) {
            let reference = rest.find(REFERENCE);
            let whole = reference.and_then(|at| Some((at, at + rest.get(at..)?.find('}')? + 1)));
            let (literal, end) = whole.unwrap_or((rest.len(), rest.len()));
            if literal > 0 {
                self.places.push(start + from..start + from + literal);
            }
            from += end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::places;

    #[test]
    fn values_of_variables_and_secrets_are_found_and_nothing_else() {
        let check = |text: &str, expected: &[&str]| {
            let found: Vec<&str> = places(text).into_iter().map(|at| &text[at]).collect();
            assert_eq!(found, expected, "{text}");
        };
        check(
            "a = 'b'\n[env]\nA = 'x'\nB = \"y\\\"z\" # c\n",
            &["x", "y\\\"z"],
        );
        check("[env]\nA = 'x'\n[with]\npath = 'y'", &["x"]);
        check("[[with]]\nname = 'A'\nvalue = 'x'", &["x"]);
        check("[with.set]\nA = 'x'", &["x"]);
        check("[env]\nA = \"x", &["x"]);
        check("[env]\nA = x y\nN = 5\nT = true", &["x", "y"]);
        check("env = { A = 'x', N = 5 }\nname = 'y'", &["x"]);
        check("env.A = 'x'\nname = 'y'", &["x"]);
        check("[env]\nA = { b = 'x', c = ['y', 'z'] }", &["x", "y", "z"]);
        check("[env]\nA = '''x\ny'''\nB = \"\"\"z\"\"\"", &["x\ny", "z"]);
        check("{ kind='env', set={ A='x' }, secrt='y' }", &["x"]);
        check("set = {\n  A = 'x',\n}\nb = 'y'", &["x"]);
        check("set = { A = 'x'\n}\npath = 'y'", &["x"]);
        check("db_password = 'x'\napi_token = 5\nkey = 'y'", &["x", "5"]);
        check("secret = ['A', 'B']", &[]);
        check("value = '${env.A}x${b.c}'", &["x"]);
        check("value = 'x${y'", &["x${y"]);
        check("# value = 'x'", &[]);
        check("'value' = 'ü'", &["ü"]);
    }
}
