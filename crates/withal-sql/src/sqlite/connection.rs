//! Opening the database.

use std::sync::Arc;
use std::time::Instant;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::config::{Config, Mode};
use super::error::{During, explain};
use super::watch::Watch;
use crate::{Error, ErrorKind};

/// How many prepared statements a connection keeps.
const STATEMENTS: usize = 128;

pub(super) fn open(config: &Config, watch: &Arc<Watch>) -> Result<Connection, Error> {
    let path = config.path()?;
    let connection = Connection::open_with_flags(path, flags(config.mode));
    let connection = connection.and_then(|mut connection| {
        watch.install(&mut connection)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        set_up(&connection, config, watch)?;
        Ok(connection)
    });
    let connection = connection.map_err(|error| explain(&error, config, During::Open))?;
    if config.mode != Mode::Read && connection.is_readonly("main").unwrap_or(false) {
        let message = format!(
            "{config} is read-only: make the file and its directory writable, or say `?mode=ro`"
        );
        return Err(Error::new(ErrorKind::Connect, message));
    }
    let _ = watch.take_effects();
    Ok(connection)
}

/// Without URIs: a path is a path. Without SQLite's mutex: one thread has the connection.
fn flags(mode: Mode) -> OpenFlags {
    let flags = match mode {
        Mode::Read => OpenFlags::SQLITE_OPEN_READ_ONLY,
        Mode::Write => OpenFlags::SQLITE_OPEN_READ_WRITE,
        Mode::Create => OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
    };
    flags | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_EXRESCODE
}

fn set_up(connection: &Connection, config: &Config, watch: &Watch) -> rusqlite::Result<()> {
    // The first look into the file: whether it is a database.
    let _: i64 = connection.query_one("PRAGMA schema_version", [], |row| row.get(0))?;
    if config.mode != Mode::Read {
        write_ahead(connection, watch)?;
    }
    let synchronous = match config.is_memory() {
        true => "OFF",
        false => "NORMAL",
    };
    connection.execute_batch(&format!(
        "PRAGMA synchronous = {synchronous}; PRAGMA foreign_keys = ON;"
    ))
}

/// Several connections may try at once, and SQLite does not wait here of itself.
fn write_ahead(connection: &Connection, watch: &Watch) -> rusqlite::Result<()> {
    let mode = |sql| connection.query_one(sql, [], |row| row.get::<_, String>(0));
    let (since, mut tries) = (Instant::now(), 0);
    loop {
        let is_set = match mode("PRAGMA journal_mode") {
            // A file system without shared memory keeps the mode it can do.
            Ok(now) if now != "wal" => mode("PRAGMA journal_mode = WAL"),
            is_set => is_set,
        };
        match is_set {
            Err(error)
                if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
                    && watch.wait(tries, since) =>
            {
                tries += 1;
            }
            is_set => return is_set.map(drop),
        }
    }
}
