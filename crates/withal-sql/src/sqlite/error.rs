//! SQLite's errors, and what to do about them.

use std::fs::{self, File, OpenOptions};
use std::io::Read as _;
use std::path::Path;

use rusqlite::ErrorCode;
use rusqlite::ffi;
use withal_core::{BoxError, NoticeKind, emit_error};

use super::config::{Config, Mode};
use crate::{Error, ErrorKind};

/// Says what nobody waits for any more.
pub(super) fn notice(error: impl Into<BoxError>) {
    emit_error(NoticeKind::WorkedAround, None, error);
}

pub(super) fn poisoned(why: &str) -> Error {
    Error::new(
        ErrorKind::Poisoned,
        format!("the transaction cannot go on: {why}"),
    )
}

pub(super) fn closed() -> Error {
    Error::new(ErrorKind::ConnectionLost, "the session is closed")
}

/// When it happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum During {
    Open,
    Statement,
    Transaction,
    ReadOnlyTransaction,
}

/// Says what SQLite says, and what helps.
pub(super) fn explain(error: &rusqlite::Error, config: &Config, during: During) -> Error {
    explain_on_line(None, error, config, during)
}

/// The same, of a statement on some line of a script.
pub(super) fn explain_on_line(
    line: Option<usize>,
    error: &rusqlite::Error,
    config: &Config,
    during: During,
) -> Error {
    let (failure, message) = match error {
        rusqlite::Error::SqliteFailure(failure, message) => (failure, message.as_deref()),
        rusqlite::Error::SqlInputError { error, msg, .. } => (error, Some(msg.as_str())),
        rusqlite::Error::FromSqlConversionFailure(column, _, cause) => {
            let message = format!("column {column} cannot be read: {cause}");
            return Error::new(ErrorKind::Decode, message);
        }
        _ => return Error::new(kind(None, during), error.to_string()),
    };
    let said = message.unwrap_or_else(|| ffi::code_to_str(failure.extended_code));
    let message = match failure.code {
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => format!(
            "{config} is locked by another connection, and was for {}",
            humantime::format_duration(config.busy_timeout)
        ),
        ErrorCode::NotADatabase => format!("{config} is no SQLite database: {said}"),
        ErrorCode::DatabaseCorrupt => format!(
            "{config} is damaged: {said}; restore it, or save what is left with `sqlite3 FILE .recover`"
        ),
        ErrorCode::ReadOnly if during == During::ReadOnlyTransaction => {
            "the transaction is read-only".to_owned()
        }
        ErrorCode::ReadOnly
            if failure.extended_code == ffi::SQLITE_READONLY_DIRECTORY && has_log(config) =>
        {
            format!(
                "{config} is read-only, and has a write-ahead log, without which SQLite cannot even \
                 read it: make its directory writable, or run `PRAGMA journal_mode = DELETE` where it is"
            )
        }
        ErrorCode::ReadOnly => format!("{config} is read-only: {}", writable(config)),
        ErrorCode::CannotOpen => format!("cannot open {config}: {}", missing(config, said)),
        ErrorCode::DiskFull => format!("no space is left for {config}: {said}"),
        ErrorCode::SystemIoFailure | ErrorCode::PermissionDenied => {
            format!("cannot read or write {config}: {said}")
        }
        _ => said.to_owned(),
    };
    let kind = kind(Some(failure.code), during);
    let mut said = Error::new(kind, message);
    if let Some(line) = line {
        said = said.on_line(line);
    }
    if let rusqlite::Error::SqlInputError { offset, .. } = error
        && let Ok(offset) = usize::try_from(*offset)
    {
        said = said.with_offset(offset);
    }
    match name(failure.extended_code).or_else(|| name(failure.extended_code & 0xff)) {
        Some(name) => said.with_code(name),
        None => said.with_code(failure.extended_code.to_string()),
    }
}

fn kind(code: Option<ErrorCode>, during: During) -> ErrorKind {
    match (code, during) {
        (_, During::Open) => ErrorKind::Connect,
        (
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked),
            During::Transaction | During::ReadOnlyTransaction,
        ) => ErrorKind::Retry,
        _ => ErrorKind::Refused,
    }
}

fn writable(config: &Config) -> &'static str {
    match config.mode {
        Mode::Read => "its URL says `mode=ro`",
        Mode::Write | Mode::Create => "make the file and its directory writable, or say `?mode=ro`",
    }
}

/// Whether the file says that it has a write-ahead log.
fn has_log(config: &Config) -> bool {
    let mut header = [0; 20];
    let file = config.path().ok().and_then(|path| File::open(path).ok());
    // Byte 19 is the version that one has to know to read it, and 2 is that of the log.
    file.is_some_and(|mut file| file.read_exact(&mut header).is_ok()) && header[19] == 2
}

/// Why there is no file to open: SQLite does not say.
fn missing(config: &Config, said: &str) -> String {
    let path = match config.path() {
        Ok(path) => path,
        Err(error) => return error.to_string(),
    };
    let dir = match path.parent() {
        Some(dir) if dir != Path::new("") => dir,
        _ => Path::new("."),
    };
    if path.is_dir() {
        return "it is a directory".to_owned();
    }
    match fs::metadata(dir) {
        Ok(about) if !about.is_dir() => return format!("{} is no directory", dir.display()),
        Ok(_) => {}
        Err(error) => return format!("its directory {}: {error}", dir.display()),
    }
    let is_there = path.exists();
    if !is_there && config.mode != Mode::Create {
        return "there is no such file, and `mode=rwc` alone makes one".to_owned();
    }
    let probe = match is_there {
        true => OpenOptions::new()
            .read(true)
            .write(config.mode != Mode::Read)
            .open(&path)
            .err(),
        // To make it in order to see would leave it behind.
        false => fs::read_dir(dir).err(),
    };
    probe.map_or_else(
        || format!("{said}; is its directory writable?"),
        |error| error.to_string(),
    )
}

macro_rules! names {
    ($($name:ident)+) => {
        /// What SQLite calls a code.
        fn name(code: i32) -> Option<&'static str> {
            match code {
                $(ffi::$name => Some(stringify!($name)),)+
                _ => None,
            }
        }
    };
}

names! {
    SQLITE_ERROR SQLITE_INTERNAL SQLITE_PERM SQLITE_ABORT SQLITE_BUSY SQLITE_LOCKED SQLITE_NOMEM
    SQLITE_READONLY SQLITE_INTERRUPT SQLITE_IOERR SQLITE_CORRUPT SQLITE_NOTFOUND SQLITE_FULL
    SQLITE_CANTOPEN SQLITE_PROTOCOL SQLITE_EMPTY SQLITE_SCHEMA SQLITE_TOOBIG SQLITE_CONSTRAINT
    SQLITE_MISMATCH SQLITE_MISUSE SQLITE_NOLFS SQLITE_AUTH SQLITE_FORMAT SQLITE_RANGE SQLITE_NOTADB
    SQLITE_ERROR_MISSING_COLLSEQ SQLITE_ERROR_RETRY SQLITE_ERROR_SNAPSHOT
    SQLITE_IOERR_READ SQLITE_IOERR_SHORT_READ SQLITE_IOERR_WRITE SQLITE_IOERR_FSYNC
    SQLITE_IOERR_DIR_FSYNC SQLITE_IOERR_TRUNCATE SQLITE_IOERR_FSTAT SQLITE_IOERR_UNLOCK
    SQLITE_IOERR_RDLOCK SQLITE_IOERR_DELETE SQLITE_IOERR_BLOCKED SQLITE_IOERR_NOMEM
    SQLITE_IOERR_ACCESS SQLITE_IOERR_CHECKRESERVEDLOCK SQLITE_IOERR_LOCK SQLITE_IOERR_CLOSE
    SQLITE_IOERR_DIR_CLOSE SQLITE_IOERR_SHMOPEN SQLITE_IOERR_SHMSIZE SQLITE_IOERR_SHMLOCK
    SQLITE_IOERR_SHMMAP SQLITE_IOERR_SEEK SQLITE_IOERR_DELETE_NOENT SQLITE_IOERR_MMAP
    SQLITE_IOERR_GETTEMPPATH SQLITE_IOERR_CONVPATH SQLITE_IOERR_VNODE SQLITE_IOERR_AUTH
    SQLITE_IOERR_BEGIN_ATOMIC SQLITE_IOERR_COMMIT_ATOMIC SQLITE_IOERR_ROLLBACK_ATOMIC
    SQLITE_IOERR_DATA SQLITE_IOERR_CORRUPTFS
    SQLITE_LOCKED_SHAREDCACHE SQLITE_LOCKED_VTAB
    SQLITE_BUSY_RECOVERY SQLITE_BUSY_SNAPSHOT SQLITE_BUSY_TIMEOUT
    SQLITE_CANTOPEN_NOTEMPDIR SQLITE_CANTOPEN_ISDIR SQLITE_CANTOPEN_FULLPATH
    SQLITE_CANTOPEN_CONVPATH SQLITE_CANTOPEN_SYMLINK
    SQLITE_CORRUPT_VTAB SQLITE_CORRUPT_SEQUENCE SQLITE_CORRUPT_INDEX
    SQLITE_READONLY_RECOVERY SQLITE_READONLY_CANTLOCK SQLITE_READONLY_ROLLBACK
    SQLITE_READONLY_DBMOVED SQLITE_READONLY_CANTINIT SQLITE_READONLY_DIRECTORY
    SQLITE_ABORT_ROLLBACK
    SQLITE_CONSTRAINT_CHECK SQLITE_CONSTRAINT_COMMITHOOK SQLITE_CONSTRAINT_FOREIGNKEY
    SQLITE_CONSTRAINT_FUNCTION SQLITE_CONSTRAINT_NOTNULL SQLITE_CONSTRAINT_PRIMARYKEY
    SQLITE_CONSTRAINT_TRIGGER SQLITE_CONSTRAINT_UNIQUE SQLITE_CONSTRAINT_VTAB
    SQLITE_CONSTRAINT_ROWID SQLITE_CONSTRAINT_PINNED SQLITE_CONSTRAINT_DATATYPE
    SQLITE_AUTH_USER
}
