//! What goes wrong with a database.

use std::fmt;

use withal_core::BoxError;

/// A failure of a database, of one of its statements, or of the way to it.
///
/// It never shows a password or a parameter: of what Postgres says in detail, and where it quotes a
/// value that does not stand in the statement, nothing is kept but the names of what it is about.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    message: String,
    statement: Option<Box<str>>,
    code: Option<Box<str>>,
    /// On which line of a script.
    line: Option<usize>,
    /// Where in the statement, in bytes.
    offset: Option<usize>,
    #[cfg(feature = "postgres")]
    refusal: Option<crate::postgres::Refusal>,
    source: Option<BoxError>,
}

/// What kind of failure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The URL cannot be read, or asks for what there is not.
    Url,
    /// There is no connection: wrong host, port, password, file or certificate.
    Connect,
    /// The connection was lost on the way.
    ConnectionLost,
    /// The pool had no connection in time, or is closed.
    Acquire,
    /// The database refused the statement; see [`Error::code`].
    Refused,
    /// It collided with another transaction: run the whole transaction again, as
    /// [`retry_serializable`](crate::retry_serializable) does.
    Retry,
    /// The transaction cannot go on: an earlier statement failed or was given up, or it was ended
    /// behind its back. Nothing of it is kept.
    Poisoned,
    /// The connection was lost while it committed: it may be committed or not.
    CommitUnknown,
    /// There is no row, where one was asked for.
    NoRow,
    /// There is more than one row.
    ManyRows,
    /// A column is not what was asked for, or not there.
    Decode,
    /// A parameter is not what the statement takes.
    Parameter,
    /// What is copied in cannot be read, or what is copied out cannot be written.
    Io,
    /// This database has no such thing.
    Unsupported,
}

/// How much of a statement is shown.
const SHOWN: usize = 200;

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Error {
        Error(Box::new(Inner {
            kind,
            message: message.into(),
            statement: None,
            code: None,
            line: None,
            offset: None,
            #[cfg(feature = "postgres")]
            refusal: None,
            source: None,
        }))
    }

    /// A refusal of the server is not kept whole: it shows values.
    pub(crate) fn with_source(mut self, source: impl Into<BoxError>) -> Error {
        let source = source.into();
        #[cfg(feature = "postgres")]
        if let Some(mut refusal) = crate::postgres::Refusal::of(&*source) {
            self.0.message = refusal.mask(self.0.message);
            self.0.refusal = Some(refusal);
            return self;
        }
        self.0.source = Some(source);
        self
    }

    pub(crate) fn with_code(mut self, code: impl Into<Box<str>>) -> Error {
        self.0.code = Some(code.into());
        self
    }

    /// Says on which line of a script the statement is wrong.
    #[cfg(feature = "sqlite")]
    pub(crate) fn on_line(mut self, line: usize) -> Error {
        self.0.line = Some(line);
        self
    }

    /// Says where in the statement it is, in bytes.
    #[cfg(feature = "sqlite")]
    pub(crate) fn with_offset(mut self, offset: usize) -> Error {
        self.0.offset = Some(offset);
        self
    }

    /// Says which statement it was; the first to say so is right.
    pub(crate) fn of_statement(mut self, statement: &str) -> Error {
        if statement.is_empty() || self.0.statement.is_some() {
            return self;
        }
        #[cfg(feature = "postgres")]
        if let Some(message) = self.message_for(statement) {
            self.0.message = message;
        }
        self.0.statement = Some(statement.into());
        self
    }

    #[cfg(feature = "postgres")]
    pub(crate) fn with_kind(mut self, kind: ErrorKind) -> Error {
        self.0.kind = kind;
        self
    }

    /// What kind of failure it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The database's code for it: the SQLSTATE of Postgres, as `23505`, or the name SQLite gives
    /// it, as `SQLITE_CONSTRAINT_UNIQUE`.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.0.code.as_deref()
    }

    /// The statement that failed, without its parameters.
    #[must_use]
    pub fn statement(&self) -> Option<&str> {
        self.0.statement.as_deref()
    }
}

impl Error {
    /// Where in the statement it is, in bytes, if the database says so.
    #[must_use]
    pub fn offset(&self) -> Option<usize> {
        #[cfg(feature = "postgres")]
        if let Some(character) = self.refusal().and_then(|refusal| refusal.character) {
            let mut characters = self.statement()?.char_indices();
            return characters.nth(character).map(|(offset, _)| offset);
        }
        self.0.offset
    }

    /// What the database said, without its code and the statement.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }
}

/// What it is about, as far as Postgres says so.
#[cfg(feature = "postgres")]
impl Error {
    /// The constraint that was broken.
    #[must_use]
    pub fn constraint(&self) -> Option<&str> {
        self.refusal()?.constraint.as_deref()
    }

    /// The schema of the [`table`](Error::table).
    #[must_use]
    pub fn schema(&self) -> Option<&str> {
        self.refusal()?.schema.as_deref()
    }

    /// The table.
    #[must_use]
    pub fn table(&self) -> Option<&str> {
        self.refusal()?.table.as_deref()
    }

    /// The column of the [`table`](Error::table).
    #[must_use]
    pub fn column(&self) -> Option<&str> {
        self.refusal()?.column.as_deref()
    }

    /// What is masked in it is not, if it stands in the statement.
    fn message_for(&mut self, statement: &str) -> Option<String> {
        self.0.refusal.as_mut()?.message_for(statement)
    }

    fn refusal(&self) -> Option<&crate::postgres::Refusal> {
        self.0.refusal.as_ref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner {
            message,
            statement,
            code,
            line,
            ..
        } = &*self.0;
        if let Some(line) = line {
            write!(f, "line {line}: ")?;
        }
        f.write_str(message)?;
        if let Some(code) = code {
            write!(f, " ({code})")?;
        }
        if let Some(statement) = statement {
            let shown: Vec<&str> = statement.split_whitespace().collect();
            let shown = shown.join(" ");
            match shown.char_indices().nth(SHOWN) {
                Some((end, _)) => write!(f, " in `{}…`", shown.get(..end).unwrap_or_default())?,
                None => write!(f, " in `{shown}`")?,
            }
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        let source = self.0.source.as_deref()?;
        Some(source)
    }
}
