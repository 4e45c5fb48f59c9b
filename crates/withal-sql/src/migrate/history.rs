//! What a database has had applied, beside what the files say.

use std::fmt;
use std::path::PathBuf;

use super::error::MigrateError;
use super::files::{Migration, Migrations};
use super::script::Dialect;
use crate::{Error, Session, params};

/// Where a database stands.
#[derive(Debug)]
#[non_exhaustive]
pub struct State<'m> {
    /// The number of the newest migration that is applied, if there is one.
    pub version: Option<i64>,
    /// How many are applied.
    pub applied: usize,
    /// What is to be applied, in order.
    pub pending: Vec<&'m Migration>,
    /// Why nothing can be applied.
    pub problems: Vec<Problem>,
}

impl<'m> State<'m> {
    /// Of a database that has no migration yet.
    #[must_use]
    pub fn of_nothing(migrations: &'m Migrations) -> State<'m> {
        State {
            version: None,
            applied: 0,
            pending: migrations.iter().collect(),
            problems: Vec::new(),
        }
    }

    fn new(migrations: &'m Migrations, applied: &[Applied]) -> State<'m> {
        let version = applied.iter().map(|applied| applied.version).max();
        let is_applied = |migration: &&Migration| {
            let mut versions = applied.iter().map(|applied| applied.version);
            versions.any(|version| version == migration.version())
        };
        let pending: Vec<&Migration> = migrations.iter().filter(|m| !is_applied(m)).collect();
        let known = applied
            .iter()
            .filter_map(|applied| applied.compare(migrations));
        let late = pending.iter().filter_map(|migration| {
            let after = applied.iter().find(|a| a.version > migration.version())?;
            Some(Problem::OutOfOrder {
                path: migration.path().to_owned(),
                after: after.name.clone(),
            })
        });
        State {
            version,
            applied: applied.len(),
            problems: known.chain(late).collect(),
            pending,
        }
    }

    pub(super) fn check(self) -> Result<State<'m>, MigrateError> {
        match self.problems.is_empty() {
            true => Ok(self),
            false => Err(MigrateError::History(self.problems)),
        }
    }
}

/// What was applied and what lies in the directory do not fit together.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// The file is not what was applied.
    #[non_exhaustive]
    Changed {
        /// The file.
        path: PathBuf,
        /// The name it was applied under.
        name: String,
        /// When it was applied, in UTC.
        applied_at: String,
    },
    /// It was applied, and there is no such file.
    #[non_exhaustive]
    Missing {
        /// The name it was applied under.
        name: String,
        /// When it was applied, in UTC.
        applied_at: String,
    },
    /// It is not applied, but one with a higher number is.
    #[non_exhaustive]
    OutOfOrder {
        /// The file.
        path: PathBuf,
        /// The one that is applied.
        after: String,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Changed {
                path,
                name,
                applied_at,
            } => {
                let path = path.display();
                write!(
                    f,
                    "{path}: not what was applied on {applied_at} as `{name}`; "
                )?;
                f.write_str("put that back, and write a new migration")
            }
            Problem::Missing { name, applied_at } => write!(
                f,
                "`{name}` was applied on {applied_at}, and there is no such file; put it back"
            ),
            Problem::OutOfOrder { path, after } => {
                let path = path.display();
                write!(
                    f,
                    "{path}: not applied, but `{after}` is; give it a higher number"
                )
            }
        }
    }
}

/// A row of the table.
#[derive(Debug)]
struct Applied {
    version: i64,
    name: String,
    checksum: String,
    at: String,
}

impl Applied {
    fn compare(&self, migrations: &Migrations) -> Option<Problem> {
        let (name, applied_at) = (self.name.clone(), self.at.clone());
        match migrations.get(self.version) {
            None => Some(Problem::Missing { name, applied_at }),
            Some(migration) if migration.checksum() != self.checksum => Some(Problem::Changed {
                path: migration.path().to_owned(),
                name,
                applied_at,
            }),
            Some(_) => None,
        }
    }
}

/// The table of what was applied: `withal_migrations`.
#[derive(Debug)]
pub(super) struct Table {
    dialect: Dialect,
    /// With its schema, quoted: a migration may change the path along which it would be found.
    name: String,
    is_there: bool,
}

impl Table {
    pub(super) async fn find(session: &Session) -> Result<Table, Error> {
        let dialect = session.dialect();
        let (name, is_there) = match dialect {
            Dialect::Postgres => {
                let (there, here): (Option<String>, Option<String>) =
                    session.query_one_as(FIND_IN_POSTGRES, params![]).await?;
                let is_there = there.is_some();
                let schema = there.or(here).ok_or_else(no_schema)?;
                (format!("{schema}.withal_migrations"), is_there)
            }
            Dialect::Sqlite => {
                let found = session.query_opt(FIND_IN_SQLITE, params![]).await?;
                ("main.withal_migrations".to_owned(), found.is_some())
            }
        };
        Ok(Table {
            dialect,
            name,
            is_there,
        })
    }

    pub(super) async fn state<'m>(
        &self,
        session: &Session,
        migrations: &'m Migrations,
    ) -> Result<State<'m>, Error> {
        if !self.is_there {
            return Ok(State::of_nothing(migrations));
        }
        let at = match self.dialect {
            Dialect::Postgres => "to_char(applied_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')",
            Dialect::Sqlite => "applied_at",
        };
        let name = &self.name;
        let sql = format!("SELECT version, name, checksum, {at} FROM {name} ORDER BY version");
        let rows: Vec<(i64, String, String, String)> = session.query_as(&sql, params![]).await?;
        let applied: Vec<Applied> = rows
            .into_iter()
            .map(|(version, name, checksum, at)| Applied {
                version,
                name,
                checksum,
                at,
            })
            .collect();
        Ok(State::new(migrations, &applied))
    }

    /// Makes it, if it is not there.
    pub(super) async fn make(&mut self, session: &Session) -> Result<(), Error> {
        if self.is_there {
            return Ok(());
        }
        let (time, now) = match self.dialect {
            Dialect::Postgres => ("timestamptz", "clock_timestamp()"),
            Dialect::Sqlite => ("text", "(datetime('now'))"),
        };
        let name = &self.name;
        let sql = format!(
            "CREATE TABLE IF NOT EXISTS {name} (version bigint PRIMARY KEY, name text NOT NULL, \
             checksum text NOT NULL, applied_at {time} NOT NULL DEFAULT {now})"
        );
        session.batch(&sql).await?;
        self.is_there = true;
        Ok(())
    }

    pub(super) async fn note(&self, session: &Session, migration: &Migration) -> Result<(), Error> {
        let name = &self.name;
        let sql = format!("INSERT INTO {name} (version, name, checksum) VALUES ($1, $2, $3)");
        let params = params![migration.version(), migration.name(), migration.checksum()];
        session.execute(&sql, params).await.map(|_one| ())
    }
}

/// Where the table is in the path of schemas, and where it would be made. A temporary table is
/// another one.
const FIND_IN_POSTGRES: &str = "\
    WITH path AS (SELECT n.oid, quote_ident(n.nspname) AS name, place \
                  FROM unnest(current_schemas(false)) WITH ORDINALITY AS schemas (name, place) \
                  JOIN pg_namespace n ON n.nspname = schemas.name WHERE n.oid <> pg_my_temp_schema()) \
    SELECT (SELECT path.name FROM path JOIN pg_class c ON c.relnamespace = path.oid \
            WHERE c.relname = 'withal_migrations' ORDER BY place LIMIT 1), \
           (SELECT path.name FROM path ORDER BY place LIMIT 1)";

const FIND_IN_SQLITE: &str =
    "SELECT 1 FROM main.sqlite_master WHERE type = 'table' AND name = 'withal_migrations'";

fn no_schema() -> Error {
    Error::new(
        crate::ErrorKind::Unsupported,
        "there is no schema to make `withal_migrations` in; make the first one of `search_path`",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(migration: &Migration) -> Applied {
        Applied {
            version: migration.version(),
            name: migration.name().to_owned(),
            checksum: migration.checksum().to_owned(),
            at: "2026-11-21 10:00:00".to_owned(),
        }
    }

    fn migrations() -> Migrations {
        Migrations::of([("1_a.sql", "A"), ("3_c.sql", "C"), ("5_e.sql", "E")]).unwrap()
    }

    #[track_caller]
    fn check(then: &Migrations, count: usize, pending: &[i64], problems: &[&str]) {
        let before = migrations();
        let rows: Vec<Applied> = before.iter().take(count).map(applied).collect();
        let state = State::new(then, &rows);
        let found: Vec<i64> = state.pending.iter().map(|m| m.version()).collect();
        assert_eq!(found, pending);
        let found: Vec<String> = state.problems.iter().map(ToString::to_string).collect();
        assert_eq!(found, problems);
        assert_eq!(state.version, rows.last().map(|applied| applied.version));
    }

    #[test]
    fn what_is_not_applied_is_pending() {
        check(&migrations(), 0, &[1, 3, 5], &[]);
        check(&migrations(), 2, &[5], &[]);
        check(&migrations(), 3, &[], &[]);
    }

    #[test]
    fn history_may_not_be_rewritten() {
        let changed = Migrations::of([("1_a.sql", "a"), ("3_z.sql", "C")]).unwrap();
        check(
            &changed,
            2,
            &[],
            &[
                "1_a.sql: not what was applied on 2026-11-21 10:00:00 as `1_a.sql`; put that back, and \
             write a new migration",
            ],
        );
        let missing = Migrations::of([("3_c.sql", "C")]).unwrap();
        check(
            &missing,
            2,
            &[],
            &[
                "`1_a.sql` was applied on 2026-11-21 10:00:00, and there is no such file; put it back",
            ],
        );
        let late = Migrations::of([
            ("1_a.sql", "A"),
            ("2_b.sql", "B"),
            ("3_c.sql", "C"),
            ("4_d.sql", "D"),
        ]);
        check(
            &late.unwrap(),
            2,
            &[2, 4],
            &["2_b.sql: not applied, but `3_c.sql` is; give it a higher number"],
        );
    }
}
