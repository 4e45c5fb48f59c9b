//! `--redis-lock`: a lease on a Redis server; the command is stopped if it is lost.

use std::time::Duration;

use clap::{ArgMatches, FromArgMatches};
use serde::Deserialize;
use withal_lock::{LeaseError, RedisLease};

use super::lease::{self, Acquire, Left, Server};
use super::{Kind, Setting};

/// A lease on a Redis server.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct RedisLock(lease::Keys);

/// The option's own value; `--lease` is that of `--pg-lock`.
#[derive(Debug, clap::Args)]
#[group(skip)]
struct Own {
    /// Hold a lease on KEY in the Redis of $REDIS_URL; lost, it stops the command
    #[arg(long, value_name = "KEY")]
    redis_lock: Vec<String>,
}

#[derive(Debug)]
pub(super) struct Options {
    redis_lock: Vec<String>,
    lease: Option<Duration>,
}

impl FromArgMatches for Options {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Options, clap::Error> {
        let Own { redis_lock } = Own::from_arg_matches(matches)?;
        let lease = matches.get_one("lease").copied();
        Ok(Options { redis_lock, lease })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Options::from_arg_matches(matches)?;
        Ok(())
    }
}

impl clap::Args for Options {
    fn augment_args(command: clap::Command) -> clap::Command {
        Own::augment_args(command)
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Own::augment_args_for_update(command)
    }
}

impl Server for RedisLease {
    const NAME: &'static str = "redis-lock";
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
    type Options = Options;
    type Gate = Acquire<RedisLease>;
    type Undo = Left<RedisLease>;

    fn gate(self, setting: &Setting<'_>) -> anyhow::Result<Acquire<RedisLease>> {
        self.0.gate(setting)
    }

    fn intent(gate: &Acquire<RedisLease>) -> Option<Left<RedisLease>> {
        Some(gate.undo())
    }
}

impl super::Options for Options {
    const OPTION: &'static str = "redis_lock";
    type Kind = RedisLock;

    fn gates(self) -> anyhow::Result<Vec<RedisLock>> {
        let keys = lease::of_options("redis-lock", self.redis_lock, self.lease)?;
        Ok(keys.into_iter().map(RedisLock).collect())
    }
}
