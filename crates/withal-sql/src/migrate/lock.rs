//! One migrator at a time on a database.

use std::borrow::Cow;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use withal_core::{AsyncContextManager, BoxError, ExitCase, NoticeKind, emit_error};
use withal_os::{FileLock, HeldLock};
use withal_scope::RefContextManager;

use super::apply::Event;
use super::error::MigrateError;
use super::script::Dialect;
use crate::{Error, Session, params};

/// The pauses between two tries: from the first they double up to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LAST_PAUSE: Duration = Duration::from_millis(500);

const LOCK: &str = "lock the database against other migrators";

/// The lock of a database, to be waited for.
///
/// In Postgres it is an advisory lock of the session. It is tried again and again: who waits in
/// `pg_advisory_lock` itself has a snapshot, for whose end the holder's `CREATE INDEX CONCURRENTLY`
/// would wait.
///
/// In SQLite it is a file beside that of the database. That one itself cannot be locked: closing a
/// file gives up all locks that the process has on it, SQLite's own included.
pub(super) struct Lock<'s> {
    pub(super) session: &'s mut Session,
    pub(super) limit: Option<Duration>,
    pub(super) watch: &'s (dyn Fn(Event<'_>) + Send + Sync),
}

/// The lock, had for the session that it lends.
pub(super) struct Locked<'s> {
    pub(super) session: &'s mut Session,
    held: Held,
}

enum Held {
    InDatabase,
    File(HeldLock),
}

enum Tried {
    Held(Held),
    Busy { holder: Option<String> },
}

impl<'s> AsyncContextManager for Lock<'s> {
    type Resource = Locked<'s>;
    type Error = BoxError;

    async fn enter(self) -> Result<Locked<'s>, BoxError> {
        let start = Instant::now();
        let mut pause = FIRST_PAUSE;
        let mut told = None;
        loop {
            let holder = match try_lock(self.session).await? {
                Tried::Busy { holder } => holder,
                Tried::Held(held) => {
                    let session = self.session;
                    return Ok(Locked { session, held });
                }
            };
            if let Some(limit) = self.limit.filter(|limit| start.elapsed() >= *limit) {
                return Err(MigrateError::Locked { holder, limit }.into());
            }
            if told.as_ref() != Some(&holder) {
                let holder = holder.as_deref();
                (self.watch)(Event::Waiting { holder });
                told = Some(holder.map(str::to_owned));
            }
            let left = self
                .limit
                .map(|limit| limit.saturating_sub(start.elapsed()));
            sleep(left.map_or(pause, |left| pause.min(left))).await;
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }

    async fn exit(locked: Locked<'s>, _: ExitCase) -> Result<(), BoxError> {
        match locked.held {
            // A connection that is lost holds no locks.
            Held::InDatabase if !locked.session.is_usable() => Ok(()),
            Held::InDatabase => {
                let unlock = format!("SELECT pg_advisory_unlock({KEY})");
                let unlocked = locked.session.query(&unlock, params![]).await;
                Ok(unlocked.map(|_row| ())?)
            }
            Held::File(held) => give_back(held),
        }
    }

    fn name(&self) -> Cow<'static, str> {
        "migration lock".into()
    }
}

/// In Postgres it goes when the session is given back, which rolls back first. In SQLite it goes at
/// once: until the transaction is rolled back, SQLite's own lock keeps the next migrator out.
impl RefContextManager for Lock<'_> {
    fn abandon(locked: Self::Resource) {
        if let Held::File(held) = locked.held
            && let Err(error) = give_back(held)
        {
            emit_error(NoticeKind::WorkedAround, None, error);
        }
    }
}

/// Who waits for a file that is gone goes on to the next of its name.
fn give_back(held: HeldLock) -> Result<(), BoxError> {
    match fs::remove_file(held.path()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(held.release()?),
    }
}

async fn try_lock(session: &Session) -> Result<Tried, BoxError> {
    match session.dialect() {
        Dialect::Postgres => {
            let tried = try_in_database(session).await;
            Ok(tried.map_err(MigrateError::doing(LOCK))?)
        }
        Dialect::Sqlite => try_file(session).await,
    }
}

/// What `pg_locks` shows as `classid` and `objid`.
const KEY: i64 = 0x7769_7468_616c_6d67;

async fn try_in_database(session: &Session) -> Result<Tried, Error> {
    let try_lock = format!("SELECT pg_try_advisory_lock({KEY})");
    if session.query_one_as(&try_lock, params![]).await? {
        return Ok(Tried::Held(Held::InDatabase));
    }
    let holder = session.query(&holder(), params![]).await?;
    let holder = holder.first().map(|row| row.get(0)).transpose()?;
    Ok(Tried::Busy { holder })
}

fn holder() -> String {
    let (class, object) = (KEY >> 32, KEY & 0xffff_ffff);
    format!(
        "SELECT format('session %s of %s (%s%s)', pid, usename, nullif(application_name, '') || ', ', \
                coalesce('at ' || host(client_addr), 'at this server')) \
         FROM pg_locks JOIN pg_stat_activity USING (pid) \
         WHERE locktype = 'advisory' AND granted AND objsubid = 1 \
           AND classid::bigint = {class} AND objid::bigint = {object} \
           AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
}

async fn try_file(session: &Session) -> Result<Tried, BoxError> {
    let Some(path) = lock_file(session)
        .await
        .map_err(MigrateError::doing(LOCK))?
    else {
        return Ok(Tried::Held(Held::InDatabase));
    };
    match FileLock::exclusive(path).try_lock() {
        Ok(held) => Ok(Tried::Held(Held::File(held))),
        Err(error) if error.is_busy() => Ok(Tried::Busy {
            holder: error.holder().map(ToString::to_string),
        }),
        Err(error) => Err(error.into()),
    }
}

/// Beside the file of the database, and named as what SQLite itself puts there.
async fn lock_file(session: &Session) -> Result<Option<PathBuf>, Error> {
    let rows = session.query("PRAGMA database_list", params![]).await?;
    for row in &rows {
        let (name, file): (String, Option<String>) = (row.get("name")?, row.get("file")?);
        if name == "main" {
            return Ok(file
                .filter(|file| !file.is_empty())
                .map(|file| format!("{file}-migrate").into()));
        }
    }
    Ok(None)
}
