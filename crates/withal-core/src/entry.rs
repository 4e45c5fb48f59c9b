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

/// The last path segment of a type's name, generic arguments left out:
/// `app::db::Connect<app::Tls>` is `Connect`. Other text is given back as it is.
fn short_type_name(name: &str) -> &str {
    let outer = name.split_once('<').map_or(name, |(outer, _)| outer);
    if outer.chars().any(char::is_whitespace) {
        return name;
    }
    outer.rsplit("::").next().unwrap_or(outer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_names_are_cut_to_their_last_segment_and_free_text_is_kept() {
        let check = |name: &'static str, want: &str| assert_eq!(Entry::new(name).name(), want);
        check("app::db::Connect", "Connect");
        check("app::Named<app::db::Connect, alloc::String>", "Named");
        check("u8", "u8");
        check("orders database: primary", "orders database: primary");
    }
}
