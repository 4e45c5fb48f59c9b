//! `--pg`: a temporary database on a Postgres server, its URL in a variable.

use std::ffi::OsString;
use std::fmt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::sleep;
use withal_core::{AsyncContextManager, ExitCase, NoticeKind, emit_error};
use withal_scope::{async_with, cancellable};
use withal_sql::{Database, Session, params};

use super::reference::Reference;
use super::{Equip, Kind, Recovery, Setting, Taken, Template, Ties, Undo, Variable};
use crate::run::RunId;

/// The variable with the server's URL, if nothing is said, and with the database's.
const URL: &str = "DATABASE_URL";

/// How long after it was made a database may be dropped by whoever cleans up.
const EXPIRES: Duration = Duration::from_secs(24 * 3600);

/// Between two looks whether nobody makes it any more.
const PAUSE: Duration = Duration::from_millis(10);

/// A temporary database on a Postgres server.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Postgres {
    url_from: Option<Template>,
    /// The variable that gets the URL of the database.
    #[serde(default = "url")]
    env: Variable,
    /// The database it is a copy of.
    template: Option<Template>,
    #[serde(default)]
    extensions: Vec<Template>,
}

fn url() -> Variable {
    Variable::named(URL)
}

#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Options {
    /// Make a temporary database where URL says [default: env:DATABASE_URL], its own URL in $VAR
    #[arg(long, value_name = "VAR[=URL]")]
    pg: Vec<String>,
}

impl Kind for Postgres {
    const NAME: &'static str = "postgres";
    const ATTRIBUTES: &'static [&'static str] = &["url", "name"];
    type Options = Options;
    type Gate = Make;
    type Undo = Drop;

    fn gate(self, setting: &Setting<'_>) -> anyhow::Result<Make> {
        let text = |template: &Template| {
            let text = setting.text(template)?.into_string();
            text.map_err(|_| anyhow::anyhow!("the name of a database or extension is no text"))
        };
        let extensions = self.extensions.iter().map(text);
        Ok(Make {
            name: name(setting.ties),
            server: Reference::of(self.url_from.as_ref(), URL, setting)?,
            run: setting.ties.run,
            variable: self.env,
            template: self.template.as_ref().map(text).transpose()?,
            extensions: extensions.collect::<anyhow::Result<_>>()?,
        })
    }

    fn check(make: &Make) -> anyhow::Result<()> {
        make.server.check()
    }

    fn takes(&self, _gate: &Self::Gate) -> Vec<Taken> {
        vec![Taken::Variable(self.env.clone())]
    }

    fn intent(gate: &Make) -> Option<Drop> {
        Some(Drop {
            url_from: gate.server.clone(),
            name: gate.name.clone(),
        })
    }
}

impl super::Options for Options {
    const OPTION: &'static str = "pg";
    type Kind = Postgres;

    fn gates(self) -> anyhow::Result<Vec<Postgres>> {
        let gates = self.pg.into_iter().map(|asked| {
            let (name, url) = match asked.split_once('=') {
                Some((name, url)) => (name, Some(OsString::from(url).into())),
                None => (&*asked, None),
            };
            let env = Variable::try_from(OsString::from(name));
            let env = env.map_err(|why| anyhow::anyhow!("--pg: {why}; write `--pg VAR[=URL]`"));
            Ok(Postgres {
                url_from: url,
                env: env?,
                template: None,
                extensions: Vec::new(),
            })
        });
        gates.collect()
    }
}

/// The name of a run's next database.
fn name(ties: &Ties) -> String {
    let run = ties.run.short();
    match ties.names.fetch_add(1, Relaxed) {
        0 => format!("withal_{run}"),
        others => format!("withal_{run}_{}", others + 1),
    }
}

pub(super) struct Make {
    name: String,
    server: Reference,
    run: RunId,
    variable: Variable,
    template: Option<String>,
    extensions: Vec<String>,
}

impl fmt::Display for Make {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "database {}", self.name)
    }
}

/// A database that was made.
pub(super) struct Made {
    name: String,
    /// That of the server, and that of the database: both may have a password in them.
    server: String,
    url: String,
    variable: Variable,
}

impl AsyncContextManager for Make {
    type Resource = Made;
    type Error = anyhow::Error;

    async fn enter(self) -> anyhow::Result<Made> {
        let server = self.server.read()?;
        let url = of_database(&server, &self.name)?;
        let is_begun = AtomicBool::new(false);
        let failed = match cancellable(self.make(&server, &url, &is_begun)).await {
            Some(Ok(())) => {
                return Ok(Made {
                    name: self.name,
                    server,
                    url,
                    variable: self.variable,
                });
            }
            Some(Err(error)) => error,
            None => anyhow::anyhow!("cancelled"),
        };
        // It may be there, or half of what was asked for in it; or the server makes it still.
        if is_begun.into_inner()
            && let Err(error) = drop_half_made(&server, &self.name).await
        {
            emit_error(NoticeKind::TeardownFailed, None, format!("{error:#}"));
        }
        Err(failed)
    }

    async fn exit(made: Made, _case: ExitCase) -> anyhow::Result<()> {
        drop_database(&made.server, &made.name).await
    }
}

impl Make {
    /// Makes it; `is_begun` once there may be something to be dropped.
    async fn make(&self, server: &str, url: &str, is_begun: &AtomicBool) -> anyhow::Result<()> {
        let name = quoted(&self.name);
        let template = self.template.as_deref().map(quoted);
        let template = template.map_or_else(String::new, |it| format!(" TEMPLATE {it}"));
        let comment = self.comment().replace('\'', "''");
        on(server, async |session| {
            // Should we be killed, the server goes on: whoever undoes this finds the session by it.
            let name_session = "SELECT set_config('application_name', $1, false)";
            let _ = session.query(name_session, params![&self.name]).await?;
            is_begun.store(true, Relaxed);
            let create = format!("CREATE DATABASE {name}{template}");
            let _ = session.execute(&create, params![]).await?;
            let comment = format!("COMMENT ON DATABASE {name} IS '{comment}'");
            let _ = session.execute(&comment, params![]).await?;
            Ok(())
        })
        .await?;
        if self.extensions.is_empty() {
            return Ok(());
        }
        on(url, async |session| {
            for extension in &self.extensions {
                let extension = quoted(extension);
                let create = format!("CREATE EXTENSION IF NOT EXISTS {extension} CASCADE");
                let _ = session.execute(&create, params![]).await?;
            }
            Ok(())
        })
        .await
    }

    /// Whose it is, and until when: for people who find it, and for whoever undoes the run.
    fn comment(&self) -> String {
        let expires = Timestamp::now().saturating_add(EXPIRES).ok();
        let expires = expires.map_or_else(String::new, |at| format!(", expires {at:.0}"));
        format!("{}{expires}", mark(self.run))
    }
}

/// How the comments of a run's databases begin.
fn mark(run: RunId) -> String {
    format!("withal run {run}")
}

/// Does `work` on a session with a database.
async fn on<T: Send>(
    url: &str,
    work: impl AsyncFnOnce(&Session) -> Result<T, withal_sql::Error>,
) -> anyhow::Result<T> {
    let database = Database::open(url).max_connections(1);
    let done = async_with(database, async |database| {
        let session = database.lease().await?;
        let done = work(&session).await;
        session.release().await;
        Ok(done?)
    });
    Ok(done.await?)
}

/// Drops it, whoever is connected to it. What is gone already is gone.
async fn drop_database(server: &str, name: &str) -> anyhow::Result<()> {
    let drop = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", quoted(name));
    let dropped = on(server, async |session| {
        session.execute(&drop, params![]).await
    })
    .await;
    let _ = dropped.with_context(|| format!("cannot drop the database `{name}`"))?;
    Ok(())
}

/// The same while it may still be made: a session that was given up ends by and by.
async fn drop_half_made(server: &str, name: &str) -> anyhow::Result<()> {
    end_makers(server, name).await?;
    drop_database(server, name).await
}

/// Ends sessions that may still make it for somebody who was killed, or has given up.
async fn end_makers(server: &str, name: &str) -> anyhow::Result<()> {
    const END: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                       WHERE application_name = $1 AND pid <> pg_backend_pid()";
    on(server, async |session| {
        while !session.query(END, params![name]).await?.is_empty() {
            sleep(PAUSE).await;
        }
        Ok(())
    })
    .await
}

/// The same URL with another database in it.
fn of_database(server: &str, name: &str) -> anyhow::Result<String> {
    let (base, query) = server.split_once('?').unwrap_or((server, ""));
    let parts = base.split_once("://");
    let (scheme, rest) =
        parts.context("the URL of the server is none: write `postgres://user@host/postgres`")?;
    let place = rest.split('/').next().unwrap_or_default();
    let others = query
        .split('&')
        .filter(|it| !it.is_empty() && !it.starts_with("dbname="));
    let others: Vec<&str> = others.collect();
    let query = match others.is_empty() {
        true => String::new(),
        false => format!("?{}", others.join("&")),
    };
    Ok(format!("{scheme}://{place}/{name}{query}"))
}

/// As an identifier in SQL.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

impl Equip for Made {
    fn equip(&mut self, command: &mut Command) -> anyhow::Result<()> {
        let _ = command.env(&self.variable, &self.url);
        Ok(())
    }

    fn attributes(&self) -> Vec<(&'static str, OsString)> {
        vec![
            ("url", self.url.clone().into()),
            ("name", self.name.clone().into()),
        ]
    }
}

/// Drops the database, if it is the run's.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Drop {
    url_from: Reference,
    name: String,
}

impl Undo for Drop {
    async fn undo(self, recovery: &Recovery) -> anyhow::Result<()> {
        let Drop { url_from, name } = self;
        let is_chosen = name.starts_with(&format!("withal_{}", recovery.run.short()));
        anyhow::ensure!(
            is_chosen,
            "`{name}`: no name that this run chooses for a database; it is left alone"
        );
        if url_from.is_gone() {
            return Ok(());
        }
        let server = url_from.read()?;
        end_makers(&server, &name).await?;
        let comments = on(&server, async |session| {
            let look =
                "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = $1";
            session
                .query_as::<Option<String>>(look, params![&name])
                .await
        });
        let comment = match &*comments.await? {
            [] => return Ok(()),
            [comment, ..] => comment.clone(),
        };
        // Killed between the two it has none yet; its name alone is 64 random bits.
        let is_ours = comment
            .as_ref()
            .is_none_or(|it| it.starts_with(&mark(recovery.run)));
        anyhow::ensure!(
            is_ours,
            "the comment on the database `{name}` says that it is not this run's; it is left alone"
        );
        drop_database(&server, &name).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_database_of_a_url_is_replaced() {
        let check =
            |url: &str, expected: &str| assert_eq!(of_database(url, "db").unwrap(), expected);
        check(
            "postgres://ada:x@host:1/postgres",
            "postgres://ada:x@host:1/db",
        );
        check("postgres://host", "postgres://host/db");
        check(
            "postgres://a,b:2/x?sslmode=require",
            "postgres://a,b:2/db?sslmode=require",
        );
        check(
            "postgres:///x?host=/run/pg&dbname=y",
            "postgres:///db?host=/run/pg",
        );
        assert!(of_database("host=a dbname=x", "db").is_err());
    }
}
