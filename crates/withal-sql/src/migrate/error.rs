//! What keeps a database from its newest version.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::history::Problem;
use crate::Error;

/// Where in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// Why migrations were not applied.
#[derive(Debug)]
#[non_exhaustive]
pub enum MigrateError {
    /// The directory or a file in it cannot be read.
    #[non_exhaustive]
    Read {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file cannot be a migration: its name, its number or something in it. Nothing was run.
    #[non_exhaustive]
    File {
        /// Which one.
        path: PathBuf,
        /// Where in it, if it is something in it.
        position: Option<Position>,
        /// What is wrong with it, and what to do.
        why: String,
    },
    /// What was applied and what lies in the directory do not fit together. Nothing was run.
    History(Vec<Problem>),
    /// Somebody else migrates this database, for longer than was to be waited.
    #[non_exhaustive]
    Locked {
        /// Who, as far as can be known.
        holder: Option<String>,
        /// How long it was waited for.
        limit: Duration,
    },
    /// A statement failed. What its transaction did is rolled back.
    #[non_exhaustive]
    Statement {
        /// The file it stands in.
        path: PathBuf,
        /// Where in it: what the database complains of, if it says so, else where the statement
        /// begins.
        position: Position,
        /// What the database said.
        source: Error,
    },
    /// Something else failed that was asked of the database.
    #[non_exhaustive]
    Database {
        /// What was to be done, as "lock the database".
        doing: &'static str,
        /// What the database said.
        source: Error,
    },
}

impl MigrateError {
    pub(super) fn doing(doing: &'static str) -> impl Fn(Error) -> MigrateError {
        move |source| MigrateError::Database { doing, source }
    }

    /// Whether somebody else was migrating the database.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        matches!(self, MigrateError::Locked { .. })
    }
}

impl fmt::Display for MigrateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MigrateError::Read { path, .. } => write!(f, "cannot read `{}`", path.display()),
            MigrateError::File {
                path,
                position,
                why,
            } => {
                write!(f, "{}", path.display())?;
                if let Some(position) = position {
                    write!(f, ":{position}")?;
                }
                write!(f, ": {why}")
            }
            MigrateError::History(problems) => {
                for (number, problem) in problems.iter().enumerate() {
                    let separator = if number == 0 { "" } else { "; " };
                    write!(f, "{separator}{problem}")?;
                }
                Ok(())
            }
            MigrateError::Locked { holder, limit } => {
                let holder = holder.as_deref().unwrap_or("somebody else");
                write!(f, "{holder} migrates this database, still after {limit:?}")
            }
            MigrateError::Statement {
                path,
                position,
                source,
            } => {
                write!(f, "{}:{position}: {}", path.display(), source.message())?;
                if let Some(code) = source.code() {
                    write!(f, " ({code})")?;
                }
                match refused_transaction(source) {
                    true => write!(
                        f,
                        "; put it into a file of its own, with `{}` in the first line",
                        super::files::DIRECTIVE
                    ),
                    false => Ok(()),
                }
            }
            MigrateError::Database { doing, .. } => write!(f, "cannot {doing}"),
        }
    }
}

/// Whether it is a statement that no transaction can hold.
fn refused_transaction(error: &Error) -> bool {
    const ACTIVE_SQL_TRANSACTION: &str = "25001";
    let message = error.message();
    error.code() == Some(ACTIVE_SQL_TRANSACTION)
        || message.contains("within a transaction")
        || message.contains("inside a transaction")
}

impl std::error::Error for MigrateError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            MigrateError::Read { source, .. } => Some(source),
            MigrateError::Database { source, .. } => Some(source),
            // What the database said of a statement is in the text.
            _ => None,
        }
    }
}
