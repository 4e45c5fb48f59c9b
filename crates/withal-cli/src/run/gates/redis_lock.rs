//! `--redis-lock`: a lease on a Redis server; the command is stopped if it is lost.

use std::time::Duration;

use serde::Deserialize;
use withal_lock::{LeaseError, RedisLease};

use super::lease::{self, Acquire, Left, Server};
use super::{Kind, Setting, Taken};

/// A lease on a Redis server.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct RedisLock(lease::Keys);

impl Server for RedisLease {
    const NAME: &'static str = "redis-lock";
    const OPTION: &'static str = "redis_lock";
    const HELP: &'static str =
        "Hold a lease on KEY in the Redis of $REDIS_URL; lost, it stops the command";
    const VARIABLE: &'static str = "REDIS_URL";

    fn lease(url: String, key: &str, owner: &str) -> Self {
        RedisLease::new(url, key).owner(owner)
    }

    fn with(self, holder: String, ttl: Duration, wait: Option<Duration>) -> Self {
        self.holder(holder).ttl(ttl).wait(wait)
    }

    fn clear(self) -> impl Future<Output = Result<bool, LeaseError>> + Send {
        RedisLease::clear(self)
    }
}

impl Kind for RedisLock {
    const NAME: &'static str = "redis-lock";
    const ATTRIBUTES: &'static [&'static str] = lease::ATTRIBUTES;
    type Options = lease::Options<RedisLease>;
    type Gate = Acquire<RedisLease>;
    type Undo = Left<RedisLease>;

    fn gate(self, setting: &Setting<'_>) -> anyhow::Result<Acquire<RedisLease>> {
        self.0.gate(setting)
    }

    fn check(gate: &Self::Gate) -> anyhow::Result<()> {
        gate.check()
    }

    fn takes(&self, gate: &Self::Gate) -> Vec<Taken> {
        gate.takes()
    }

    fn intent(gate: &Acquire<RedisLease>) -> Option<Left<RedisLease>> {
        Some(gate.undo())
    }
}

impl super::Options for lease::Options<RedisLease> {
    const OPTION: &'static str = <RedisLease as Server>::OPTION;
    type Kind = RedisLock;

    fn gates(self) -> anyhow::Result<Vec<RedisLock>> {
        Ok(self.keys()?.into_iter().map(RedisLock).collect())
    }
}
