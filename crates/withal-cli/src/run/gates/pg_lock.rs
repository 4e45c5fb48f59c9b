//! `--pg-lock`: a lease on a Postgres database; the command is stopped if it is lost.

use std::time::Duration;

use serde::Deserialize;
use withal_lock::{LeaseError, PgLease};

use super::lease::{self, Acquire, Left, Server};
use super::{Kind, Setting, Taken};

/// A lease on a Postgres database.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct PgLock(lease::Keys);

impl Server for PgLease {
    const NAME: &'static str = "pg-lock";
    const OPTION: &'static str = "pg_lock";
    const HELP: &'static str =
        "Hold a lease on KEY in the Postgres of $DATABASE_URL; lost, it stops the command";
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
    const ATTRIBUTES: &'static [&'static str] = lease::ATTRIBUTES;
    type Options = lease::Options<PgLease>;
    type Gate = Acquire<PgLease>;
    type Undo = Left<PgLease>;

    fn gate(self, setting: &Setting<'_>) -> anyhow::Result<Acquire<PgLease>> {
        self.0.gate(setting)
    }

    fn check(gate: &Self::Gate) -> anyhow::Result<()> {
        gate.check()
    }

    fn takes(&self, gate: &Self::Gate) -> Vec<Taken> {
        gate.takes()
    }

    fn intent(gate: &Acquire<PgLease>) -> Option<Left<PgLease>> {
        Some(gate.undo())
    }
}

impl super::Options for lease::Options<PgLease> {
    const OPTION: &'static str = <PgLease as Server>::OPTION;
    type Kind = PgLock;

    fn gates(self) -> anyhow::Result<Vec<PgLock>> {
        Ok(self.keys()?.into_iter().map(PgLock).collect())
    }
}
