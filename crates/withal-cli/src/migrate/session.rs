//! Migrating all databases: connect and check all, then one after the other.

use std::fmt::Display;

use withal_scope::{Scope, scope};
use withal_sql::migrate::{MigrateError, Migrator};
use withal_sql::{Connection, Database};

use super::Options;
use super::file::Target;
use super::progress::Progress;
use crate::message::shown;
use crate::run::Exit;

/// A database that is connected and checked, or has failed.
struct Open<'s, 't> {
    target: &'t Target,
    migrator: Migrator,
    connection: Option<&'s mut Connection>,
    state: State,
}

/// What became of a database.
enum State {
    /// Checked; so many migrations are to be applied.
    Pending(usize, Version),
    Migrated(usize, Version),
    Failed {
        /// Nothing if that cannot be known any more.
        version: Option<Version>,
        is_locked: bool,
    },
    /// Because another one failed.
    Left(Version),
}

/// The number of the newest migration.
type Version = Option<i64>;

pub(super) async fn run(
    targets: &[Target],
    options: Options,
    progress: Progress,
) -> anyhow::Result<Exit> {
    let mut exit = Exit::SUCCESS;
    let closed = scope(async |s| {
        let mut databases = Vec::new();
        for target in targets {
            databases.push(open(s, target, options, &progress).await);
        }
        if options.keep_going || !databases.iter().any(Open::has_failed) {
            progress.begin(databases.iter().map(Open::pending).sum());
            migrate(&mut databases, options, &progress).await;
            progress.end();
        }
        for database in &mut databases {
            database.leave();
        }
        exit = summarize(&databases, &progress);
        Ok(())
    })
    .await;
    if let Err(failed) = closed {
        for failure in failed.iter() {
            progress.error(failure);
        }
        if exit == Exit::SUCCESS {
            exit = Exit::TEARDOWN_FAILED;
        }
    }
    Ok(exit)
}

/// Connects and checks.
async fn open<'s, 't>(
    s: Scope<'s>,
    target: &'t Target,
    options: Options,
    progress: &Progress,
) -> Open<'s, 't> {
    let told = (target.name.clone(), progress.clone());
    let migrator = Migrator::new(target.migrations.clone())
        .lock_wait(options.lock_wait)
        .on_event(move |event| told.1.tell(&told.0, &event));
    let mut database = Open {
        target,
        migrator,
        connection: None,
        state: State::Left(None),
    };
    let connection = match connect(s, target.url.to_write()).await {
        Ok(connection) => connection,
        Err(error) => {
            database.fail(&error, None, progress);
            return database;
        }
    };
    match database.migrator.state(connection).await {
        Ok(state) if state.problems.is_empty() => {
            database.state = State::Pending(state.pending.len(), state.version);
        }
        Ok(state) => {
            let problems = state.problems.iter().map(ToString::to_string);
            let problems: Vec<String> = problems.collect();
            let version = state.version;
            database.fail_with(&problems, Some(version), progress);
        }
        Err(error) => database.fail(&error.into(), None, progress),
    }
    database.connection = Some(connection);
    database
}

/// A pool of one connection: the scope closes both.
pub(super) async fn connect<'s>(s: Scope<'s>, url: String) -> anyhow::Result<&'s mut Connection> {
    let opened = s.enter(Database::open(url).max_connections(1)).await;
    let database = opened.map_err(anyhow::Error::from_boxed)?;
    Ok(s.enter(database.acquire()).await?)
}

async fn migrate(databases: &mut [Open<'_, '_>], options: Options, progress: &Progress) {
    for database in databases {
        database.migrate(progress).await;
        if database.has_failed() && !options.keep_going {
            return;
        }
    }
}

impl Open<'_, '_> {
    async fn migrate(&mut self, progress: &Progress) {
        let (State::Pending(pending, version), Some(connection)) =
            (&self.state, &mut self.connection)
        else {
            return;
        };
        if *pending == 0 {
            self.state = State::Migrated(0, *version);
            return;
        }
        let ran = self.migrator.run(connection).await;
        // The database alone knows what was committed.
        let version = self
            .migrator
            .state(connection)
            .await
            .ok()
            .map(|state| state.version);
        match ran {
            Ok(count) => self.state = State::Migrated(count, version.flatten()),
            Err(error) => {
                let is_locked = error.downcast_ref().is_some_and(MigrateError::is_locked);
                let failures: Vec<String> =
                    error.iter().map(|failure| chain(failure.error())).collect();
                self.fail_with(&failures, version, progress);
                if let State::Failed { is_locked: is, .. } = &mut self.state {
                    *is = is_locked;
                }
            }
        }
    }

    fn fail(&mut self, error: &anyhow::Error, version: Option<Version>, progress: &Progress) {
        self.fail_with(&[chain(error.as_ref())], version, progress);
    }

    fn fail_with(&mut self, why: &[String], version: Option<Version>, progress: &Progress) {
        for why in why {
            progress.error(format_args!("{}: {why}", shown(&self.target.name)));
        }
        self.state = State::Failed {
            version,
            is_locked: false,
        };
    }

    fn has_failed(&self) -> bool {
        matches!(self.state, State::Failed { .. })
    }

    fn pending(&self) -> usize {
        match self.state {
            State::Pending(count, _) => count,
            _ => 0,
        }
    }

    /// Its turn will not come any more.
    fn leave(&mut self) {
        if let State::Pending(_, version) = self.state {
            self.state = State::Left(version);
        }
    }
}

fn summarize(databases: &[Open<'_, '_>], progress: &Progress) -> Exit {
    let (mut migrated, mut failed, mut left, mut locked) = (0, 0, 0, 0);
    for database in databases {
        let name = shown(&database.target.name);
        match &database.state {
            State::Migrated(0, version) => {
                migrated += 1;
                progress.say(format_args!("{name}: nothing to do, at {}", at(*version)));
            }
            State::Migrated(count, version) => {
                migrated += 1;
                progress.say(format_args!("{name}: {count} applied, at {}", at(*version)));
            }
            State::Failed {
                version: Some(version),
                is_locked,
            } => {
                failed += 1;
                locked += usize::from(*is_locked);
                progress.error(format_args!("{name}: failed, at {}", at(*version)));
            }
            State::Failed { version: None, .. } => {
                failed += 1;
                progress.error(format_args!("{name}: failed, its version is not known"));
            }
            State::Pending(_, version) | State::Left(version) => {
                left += 1;
                progress.error(format_args!("{name}: left as it is, at {}", at(*version)));
            }
        }
    }
    let summary = format!("summary: {migrated} up to date");
    match (failed, left) {
        (0, 0) => {
            progress.say(summary);
            Exit::SUCCESS
        }
        (failed, left) => {
            progress.error(format_args!(
                "{summary}, {failed} failed, {left} left as they are"
            ));
            match locked == failed {
                true => BUSY,
                false => FAILED,
            }
        }
    }
}

/// A database is not at its newest version.
pub(super) const FAILED: Exit = Exit::Code(1);

/// Another run migrates the database.
const BUSY: Exit = Exit::Code(75);

pub(super) fn at(version: Version) -> impl Display {
    match version {
        Some(version) => format!("version {version}"),
        None => "no version".to_owned(),
    }
}

/// An error and what it comes from, on one line. What the driver adds to an error of a database may
/// show values of rows, and is left out.
pub(super) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut error = error;
    while let Some(source) = error.source().filter(|_| !error.is::<withal_sql::Error>()) {
        text = format!("{text}: {source}");
        error = source;
    }
    text
}
