//! What is kept of a refusal of the server, besides its message.

use std::fmt;

use tokio_postgres::error::{DbError, ErrorPosition};

/// Names alone: detail and context of a refusal hold values of rows and of parameters.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) schema: Option<Box<str>>,
    pub(crate) table: Option<Box<str>>,
    pub(crate) column: Option<Box<str>>,
    pub(crate) constraint: Option<Box<str>>,
    /// Which character of the statement it is about, from 0.
    pub(crate) character: Option<usize>,
    quotes: Quotes,
}

/// What the message may quote that does not stand in the statement.
#[derive(Debug)]
enum Quotes {
    /// Names of what is there, or what users have it say themselves.
    Names,
    /// Values, of rows and of parameters.
    Values,
    /// What was looked up, and is not there: by a name in the statement, or by a parameter.
    LookedUp(Said),
}

/// A message as it was said. It is not shown.
struct Said(String);

impl fmt::Debug for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl Quotes {
    fn of(code: &str, message: &str) -> Quotes {
        let class = code.get(..2).unwrap_or_default();
        match (class, code) {
            ("22", _) => Quotes::Values,
            // Besides policies, files: with what the system says of them.
            (_, "42501") if !message.contains(": ") => Quotes::Names,
            // Connections, cursors, databases, schemas, files, whatever other servers say, and what
            // nobody has foreseen; parts of other languages, columns, types, functions, tables.
            ("08" | "0A" | "34" | "3D" | "3F" | "58" | "HV" | "XX", _)
            | (_, "42501" | "42601" | "42602" | "42703" | "42704" | "42725" | "42883" | "42P01") => {
                Quotes::LookedUp(Said(String::new()))
            }
            _ => Quotes::Names,
        }
    }
}

impl Refusal {
    pub(crate) fn of(error: &(dyn std::error::Error + 'static)) -> Option<Refusal> {
        let error: &tokio_postgres::Error = error.downcast_ref()?;
        error.as_db_error().map(Refusal::new)
    }

    fn new(error: &DbError) -> Refusal {
        let character = match error.position() {
            Some(ErrorPosition::Original(number)) => {
                let number = usize::try_from(*number).ok();
                number.and_then(|number| number.checked_sub(1))
            }
            _ => None,
        };
        Refusal {
            schema: error.schema().map(Box::from),
            table: error.table().map(Box::from),
            column: error.column().map(Box::from),
            constraint: error.constraint().map(Box::from),
            character,
            quotes: match (character, error.code().code()) {
                // A syntax error has a place in a parameter, too, as in `($1::text)::regtype`.
                (None, code) | (_, code @ "42601") => Quotes::of(code, error.message()),
                // It is about what stands there.
                (Some(_), _) => Quotes::Names,
            },
        }
    }

    /// The message without values: what stands in quotes, and what follows a colon.
    pub(crate) fn mask(&mut self, message: String) -> String {
        match &mut self.quotes {
            Quotes::Names => message,
            Quotes::Values => masked(&message),
            Quotes::LookedUp(said) => {
                let masked = masked(&message);
                *said = Said(message);
                masked
            }
        }
    }

    /// The message with all that it quotes, if that stands in the statement.
    pub(crate) fn message_for(&mut self, statement: &str) -> Option<String> {
        let Quotes::LookedUp(Said(said)) = std::mem::replace(&mut self.quotes, Quotes::Names)
        else {
            return None;
        };
        let names = [&self.schema, &self.table, &self.column, &self.constraint];
        let is_known = |piece: &str| {
            let mut names = names.iter().filter_map(|name| name.as_deref());
            stands_in(statement, piece) || names.any(|name| name == piece)
        };
        let has_place = self.character.is_some();
        is_all_known(&said, has_place, is_known).then_some(said)
    }
}

/// Whether all that is masked in a message is known.
fn is_all_known(message: &str, has_place: bool, is_known: impl Fn(&str) -> bool) -> bool {
    let Some((_, behind)) = message.split_once(QUOTES) else {
        let behind = message.split_once(": ");
        return has_place || behind.is_none_or(|(_, behind)| is_known(behind));
    };
    let Some((inner, _)) = behind.rsplit_once(QUOTES) else {
        return false;
    };
    // `c" of relation "t`, or a value with quotes of its own.
    let pieces: Vec<&str> = inner.split('"').collect();
    let is_word_between = |piece: &str| piece.starts_with(' ') && piece.ends_with(' ');
    let mut pieces_known = pieces
        .iter()
        .enumerate()
        .map(|(index, piece)| is_known(piece) || (index % 2 == 1 && is_word_between(piece)));
    is_known(inner.trim()) || (pieces.len() % 2 == 1 && pieces_known.all(|is_known| is_known))
}

/// Whether it is there, and no part of a longer word; names are folded.
fn stands_in(statement: &str, piece: &str) -> bool {
    let (statement, piece) = (statement.to_lowercase(), piece.to_lowercase());
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let begins_inside = |before: &str| piece.starts_with(is_part) && before.ends_with(is_part);
    let ends_inside = |after: &str| piece.ends_with(is_part) && after.starts_with(is_part);
    let mut places = statement.match_indices(&*piece);
    places.any(|(start, _)| {
        let before = statement.get(..start).unwrap_or_default();
        let after = statement.get(start + piece.len()..).unwrap_or_default();
        !begins_inside(before) && !ends_inside(after)
    })
}

/// The quotes of all languages that Postgres speaks.
const QUOTES: [char; 10] = ['"', '\'', '«', '»', '„', '“', '”', '‘', '’', '`'];

fn masked(message: &str) -> String {
    let quoted = message.split_once(QUOTES).zip(message.rsplit_once(QUOTES));
    let masked = match quoted {
        Some(((before, _), (_, after))) => format!("{before}\"…\"{after}"),
        None => message.to_owned(),
    };
    match masked.split_once(": ") {
        Some((what, _)) => format!("{what}: …"),
        None => masked,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_the_statement_is_known() {
        let check = |message: &str, statement: &str, expected: bool| {
            let is_known = |piece: &str| stands_in(statement, piece);
            let shown = is_all_known(message, false, is_known);
            assert_eq!(shown, expected, "{message} in {statement}");
        };
        let column = "column \"c\" of relation \"t\" does not exist";
        check(column, "ALTER TABLE T DROP C", true);
        check(column, "ALTER TABLE t DROP a_c", false);
        check("syntax error at or near \")\"", "SELECT (a))b", true);
        check(
            "syntax error at or near \"\"A b\"\"",
            "SELECT 1 \"A b\" c d",
            true,
        );
        let query = "syntax error in tsquery: \"'secret' & \"";
        check(query, "SELECT to_tsquery($1 || ' & ')", false);
        let query = "syntax error in tsquery: \" & \"secret\" & \"";
        check(query, "SELECT to_tsquery(' & ' || $1 || ' & ')", false);
        check("no closing \"secret", "SELECT $1", false);
        check(
            "operator does not exist: secret",
            "SELECT $1::regoper",
            false,
        );
        check(
            "operator does not exist: <=>",
            "SELECT '<=>'::regoper",
            true,
        );
        check(
            "la relation « t » n'existe pas",
            "SELECT $1::regclass",
            false,
        );
        check("out of memory", "SELECT 1", true);
    }

    #[test]
    fn values_are_masked() {
        let check = |message, expected| assert_eq!(masked(message), expected);
        check(
            "invalid input syntax for type integer: \"a\"b\"",
            "invalid input syntax for type integer: …",
        );
        check(
            "value \"99: 9\" is out of range for type smallint",
            "value \"…\" is out of range for type smallint",
        );
        check(
            "date field value out of range: 2026-13-45",
            "date field value out of range: …",
        );
        check(
            "syntaxe en entrée invalide pour le type integer : « a »",
            "syntaxe en entrée invalide pour le type integer : …",
        );
        check("division by zero", "division by zero");
    }
}
