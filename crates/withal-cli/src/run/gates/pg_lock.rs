//! `--pg-lock`: a lease on a Postgres database; the command is stopped if it is lost.

use std::time::Duration;

use serde::Deserialize;
use withal_lock::{LeaseError, PgLease};

use super::lease::{self, Acquire, Left, Server};
use super::{Kind, Setting};
use crate::cli::duration;

/// A lease on a Postgres database.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct PgLock(lease::Keys);

#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Options {
    /// Hold a lease on KEY in the Postgres of $DATABASE_URL; lost, it stops the command
    #[arg(long, value_name = "KEY")]
    pg_lock: Vec<String>,

    /// Renew leases so that they end DUR after the last renewal [default: 30s]
    #[arg(long, value_name = "DUR", value_parser = duration, allow_negative_numbers = true)]
    lease: Option<Duration>,
}

impl Server for PgLease {
    const NAME: &'static str = "pg-lock";
    const VARIABLE: &'static str = "DATABASE_URL";

    fn lease(url: String, key: &str, owner: &str) -> Self {
        PgLease::new(url, key).owner(owner)
    }

    fn with(self, holder: String, ttl: Duration, wait: Option<Duration>) -> Self {
        self.holder(holder).ttl(ttl).wait(wait)
    }

    fn clear(self) -> impl Future<Output = Result<bool, LeaseError>> + Send {
        PgLease::clear(self)
    }
}

impl Kind for PgLock {
    const NAME: &'static str = "pg-lock";
    type Options = Options;
    type Gate = Acquire<PgLease>;
    type Undo = Left<PgLease>;

    fn gate(self, setting: &Setting<'_>) -> anyhow::Result<Acquire<PgLease>> {
        self.0.gate(setting)
    }

    fn intent(gate: &Acquire<PgLease>) -> Option<Left<PgLease>> {
        Some(gate.undo())
    }
}

impl super::Options for Options {
    const OPTION: &'static str = "pg_lock";
    type Kind = PgLock;

    fn gates(self) -> anyhow::Result<Vec<PgLock>> {
        let keys = lease::of_options("pg-lock", self.pg_lock, self.lease)?;
        Ok(keys.into_iter().map(PgLock).collect())
    }
}
