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
        is_hidden: false,
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
    is_hidden: bool,
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
    /// Whether what stands next is a value that is not shown; else it is a key, or a value that is.
    is_hidden: bool,
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
                self.is_hidden = false;
                self.at += 1;
                self.section();
            }
            '=' => {
                self.is_hidden = self.hides_behind_key();
                self.at += 1;
            }
            '[' | '{' => {
                self.brackets.push(Bracket {
                    is_array: next == '[',
                    is_hidden: self.is_hidden,
                });
                if next == '{' {
                    self.is_hidden = false;
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
        let outside = self.brackets.last();
        self.is_hidden = outside.is_some_and(|bracket| bracket.is_array && bracket.is_hidden);
    }

    /// Whether the value of the key before is hidden.
    fn hides_behind_key(&self) -> bool {
        let name = self.key.rsplit('.').next().unwrap_or_default();
        let is_own = is_secret(name) && !["key", "secret"].contains(&name);
        let holds_variables = self.key.split('.').any(|key| VARIABLES.contains(&key));
        match self.brackets.last().map(|bracket| bracket.is_hidden) {
            _ if is_own => true,
            Some(true) => true,
            Some(false) => holds_variables,
            None => holds_variables || self.is_in_section,
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
        match self.is_hidden {
            false => self.key = text,
            true => self.hide(start, text),
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
        match self.is_hidden {
            false => self.key = word,
            // That it is no text is what may be wrong with it; what it is may be a PIN all the same.
            true => self.hide(self.at, word),
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
        check("[env]\nA = x y\nN = 5\nT = true", &["x", "y", "5", "true"]);
        check("env = { A = 'x', N = 5 }\nname = 'y'", &["x", "5"]);
        check(
            "[env]\nN = -1.5 # c\nD = 1979-05-27",
            &["-1.5", "1979-05-27"],
        );
        check("set = { A = [1, 2], B = { C = 3 } }", &["1", "2", "3"]);
        check("[env]\nA = 5\n[with]\nport = 80\non = true", &["5"]);
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
