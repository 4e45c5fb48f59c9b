//! Which manager, entered where.

use std::borrow::Cow;
use std::fmt;
use std::panic::Location;

/// The name and the source location of one entered manager, as errors and reports show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    name: Cow<'static, str>,
    location: &'static Location<'static>,
}

impl Entry {
    /// An entry called `name`, entered at the caller's location.
    #[track_caller]
    #[must_use]
    pub fn new(name: impl Into<Cow<'static, str>>) -> Entry {
        Entry::at(name, Location::caller())
    }

    /// An entry called `name`, entered at `location`.
    #[must_use]
    pub fn at(name: impl Into<Cow<'static, str>>, location: &'static Location<'static>) -> Entry {
        Entry {
            name: name.into(),
            location,
        }
    }

    /// What was entered: the manager's [`name`](crate::ContextManager::name).
    #[must_use]
    pub fn name(&self) -> &str {
        short_type_name(&self.name)
    }

    /// Where it was entered.
    #[must_use]
    pub fn location(&self) -> &'static Location<'static> {
        self.location
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` at {}", self.name(), self.location)
    }
}

/// The last path segment of a type's name, generic arguments and closures left out:
/// `app::db::Connect<app::Tls>` is `Connect`, and a closure in `app::tag` is `tag`.
/// Other text is given back as it is.
fn short_type_name(name: &str) -> &str {
    let path = name.trim_start_matches('&').trim_start_matches("mut ");
    let path = match path.split_once('<') {
        Some((path, arguments)) if arguments.ends_with('>') => path,
        Some(_) => return name,
        None => path,
    };
    let segments = path.split("::").filter(|segment| *segment != CLOSURE);
    if !path.contains("::") || !segments.clone().all(is_identifier) {
        return name;
    }
    segments.last().unwrap_or(name)
}

const CLOSURE: &str = "{{closure}}";

fn is_identifier(segment: &str) -> bool {
    let is_part = |c: char| c == '_' || c.is_alphanumeric();
    !segment.is_empty() && !segment.starts_with(char::is_numeric) && segment.chars().all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_names_are_cut_to_their_last_segment_and_free_text_is_kept() {
        let check = |name: &'static str, want: &str| assert_eq!(Entry::new(name).name(), want);
        check("app::db::Connect", "Connect");
        check("app::Named<app::db::Connect, alloc::String>", "Named");
        check("&app::Pool", "Pool");
        check("&mut app::Pool<u8>", "Pool");
        check("app::tag::{{closure}}", "tag");
        check("app::tag<u8>::{{closure}}", "app::tag<u8>::{{closure}}");
        check("u8", "u8");
        check("orders database: primary", "orders database: primary");
        check("[::1]:5432", "[::1]:5432");
        check("lock<orders>", "lock<orders>");
        check("a->b", "a->b");
        check("", "");
    }
}
