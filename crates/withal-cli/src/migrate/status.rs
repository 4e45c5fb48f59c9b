//! Where each database stands.

use std::path::PathBuf;

use serde_json::json;
use withal_scope::{Scope, scope};
use withal_sql::migrate::{Migration, Migrator, State};

use super::file::Target;
use super::session::{FAILED, at, chain, connect};
use crate::message::shown;
use crate::output::Output;
use crate::run::Exit;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The file that names the databases
    #[arg(value_name = "FILE.toml")]
    pub(super) file: PathBuf,

    /// Print a JSON array instead of a table
    #[arg(long)]
    json: bool,
}

/// There is something to apply.
const PENDING: Exit = Exit::Code(2);

/// What is known of a database.
struct Found {
    name: String,
    version: Option<i64>,
    pending: Vec<Migration>,
    problems: Vec<String>,
    /// Whether its version could be read.
    is_read: bool,
}

pub(super) async fn run(targets: &[Target], arguments: &Arguments) -> anyhow::Result<Exit> {
    let found = look(targets).await?;
    match arguments.json {
        true => print_json(&found)?,
        false => print_table(&found)?,
    }
    Ok(if found.iter().any(|found| !found.problems.is_empty()) {
        FAILED
    } else if found.iter().any(|found| !found.pending.is_empty()) {
        PENDING
    } else {
        Exit::SUCCESS
    })
}

/// Prints what would be run.
pub(super) async fn dry_run(targets: &[Target]) -> anyhow::Result<Exit> {
    let found = look(targets).await?;
    let mut output = Output::new()?;
    for found in &found {
        let name = shown(&found.name);
        match found.is_read {
            true => output.line(format_args!(
                "{name}: at {}, {} to apply",
                at(found.version),
                found.pending.len()
            ))?,
            false => output.line(format_args!("{name}: its version is not known"))?,
        }
        for problem in &found.problems {
            output.line(format_args!("  wrong: {problem}"))?;
        }
        for migration in &found.pending {
            let path = shown(migration.path());
            match migration.in_transaction() {
                true => output.line(format_args!("  {path}"))?,
                false => output.line(format_args!("  {path} (outside of a transaction)"))?,
            }
        }
    }
    output.flush()?;
    Ok(match found.iter().all(|found| found.problems.is_empty()) {
        true => Exit::SUCCESS,
        false => FAILED,
    })
}

/// Reads the state of all, and changes none.
async fn look(targets: &[Target]) -> anyhow::Result<Vec<Found>> {
    let found = scope(async |s| {
        let mut found = Vec::new();
        for target in targets {
            let mut database = Found {
                name: target.name.clone(),
                version: None,
                pending: Vec::new(),
                problems: Vec::new(),
                is_read: false,
            };
            if let Err(error) = database.read(s, target).await {
                database.problems.push(chain(error.as_ref()));
            }
            found.push(database);
        }
        Ok(found)
    });
    Ok(found.await?)
}

impl Found {
    async fn read(&mut self, s: Scope<'_>, target: &Target) -> anyhow::Result<()> {
        let migrator = Migrator::new(target.migrations.clone());
        let state = match target.url.to_read() {
            None => State::of_nothing(migrator.migrations()),
            Some(url) => migrator.state(connect(s, url).await?).await?,
        };
        self.is_read = true;
        self.version = state.version;
        self.pending = state.pending.into_iter().cloned().collect();
        self.problems = state.problems.iter().map(ToString::to_string).collect();
        Ok(())
    }
}

fn print_table(found: &[Found]) -> anyhow::Result<()> {
    let rows = found.iter().map(|found| {
        let version = found.version.map(|version| version.to_string());
        let (version, pending) = match found.is_read {
            true => (
                version.unwrap_or_else(|| "-".to_owned()),
                found.pending.len().to_string(),
            ),
            false => ("?".to_owned(), "?".to_owned()),
        };
        [shown(&found.name), version, pending]
    });
    let head = ["DATABASE", "VERSION", "PENDING"].map(str::to_owned);
    let rows: Vec<[String; 3]> = std::iter::once(head).chain(rows).collect();
    let widths = [0, 1, 2].map(|column| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    });
    let [name_width, version_width, pending_width] = widths;
    let problems = found.iter().map(|found| found.problems.as_slice());
    let head = ["PROBLEMS".to_owned()];
    let problems = std::iter::once(head.as_slice()).chain(problems);
    let mut output = Output::new()?;
    for ([name, version, pending], problems) in rows.iter().zip(problems) {
        let first = problems.first().map_or("-", String::as_str);
        output.line(format_args!(
            "{name:name_width$}  {version:>version_width$}  {pending:>pending_width$}  {first}"
        ))?;
        for problem in problems.iter().skip(1) {
            let indent = name_width + version_width + pending_width + 6;
            output.line(format_args!("{:indent$}{problem}", ""))?;
        }
    }
    output.flush()
}

fn print_json(found: &[Found]) -> anyhow::Result<()> {
    let databases = found.iter().map(|found| {
        let pending: Vec<&str> = found.pending.iter().map(Migration::name).collect();
        json!({
            "name": found.name,
            "version": found.version,
            "pending": pending,
            "problems": found.problems,
        })
    });
    let mut output = Output::new()?;
    output.line(databases.collect::<serde_json::Value>())?;
    output.flush()
}
