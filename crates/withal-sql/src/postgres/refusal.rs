//! What is kept of a refusal of the server, besides its message.

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
    /// Whether the message may quote a value that does not stand in the statement.
    is_about_data: bool,
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
            // A data exception; with a place it is about a literal of the statement.
            is_about_data: error.code().code().starts_with("22") && character.is_none(),
        }
    }

    /// The message without values: what stands in quotes, and what follows a colon.
    pub(crate) fn mask(&self, message: String) -> String {
        match self.is_about_data {
            true => masked(&message),
            false => message,
        }
    }
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
