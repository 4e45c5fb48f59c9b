//! `--lock`: a lock on a file.

use std::ffi::OsString;
use std::fmt;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::Deserialize;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use withal_core::{AsyncContextManager, ExitCase};
use withal_os::{FileLock, HeldLock, LockError};
use withal_scope::cancellable;

use super::directory::check_of;
use super::{Busy, Equip, Kind, NoUndo, Setting, Taken, Template, keys, taken};
use crate::cli::duration;
use crate::message::shown;
use crate::run::Deposit;

/// How long to pause between two tries while the time to wait is limited.
const PAUSE: Duration = Duration::from_millis(20);

/// A lock on a file, exclusive if nothing else is said.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Lock {
    path: Template,
    /// How long to wait; for ever if nothing is said.
    #[serde(default, deserialize_with = "keys::duration")]
    wait: Option<Duration>,
    /// Whether others may hold it with us, if theirs is shared, too.
    #[serde(default)]
    shared: bool,
    /// The exit status if it is busy.
    busy_code: Option<u8>,
}

#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Options {
    /// Hold an exclusive lock on PATH, which is made if it is not there
    #[arg(short, long, value_name = "PATH")]
    lock: Vec<PathBuf>,

    /// Give up on a lock after DUR, 0 at once [default: wait]
    #[arg(long, value_name = "DUR", requires = "lock", value_parser = duration, allow_negative_numbers = true)]
    lock_wait: Option<Duration>,
}

impl Kind for Lock {
    const NAME: &'static str = "lock";
    const ATTRIBUTES: &'static [&'static str] = &["path"];
    const CAN_BE_OUTLIVED: bool = true;
    type Options = Options;
    type Gate = Acquire;
    type Undo = NoUndo;

    fn gate(self, setting: &Setting<'_>) -> anyhow::Result<Acquire> {
        Ok(Acquire {
            path: setting.path(&self.path)?,
            limit: self.wait,
            is_shared: self.shared,
            busy_code: self.busy_code,
            deposit: setting.ties.deposit.clone(),
        })
    }

    fn check(acquire: &Acquire) -> anyhow::Result<()> {
        check_of(&acquire.path, |_directory, why| {
            let lock = shown(&acquire.path);
            let is = match why.error.kind() {
                ErrorKind::NotFound => "does not exist",
                _ => "is none",
            };
            let remedy = why.remedy;
            format!("cannot open the lock file `{lock}`: its directory {is}; {remedy}")
        })
    }

    fn takes(&self, gate: &Self::Gate) -> Vec<Taken> {
        vec![Taken::Lock {
            path: taken::place(&gate.path),
            is_shared: gate.is_shared,
        }]
    }
}

impl super::Options for Options {
    const OPTION: &'static str = "lock";
    type Kind = Lock;

    fn gates(self) -> anyhow::Result<Vec<Lock>> {
        let locks = self.lock.into_iter().map(|path| Lock {
            path: path.into_os_string().into(),
            wait: self.lock_wait,
            shared: false,
            busy_code: None,
        });
        Ok(locks.collect())
    }
}

pub(super) struct Acquire {
    path: PathBuf,
    is_shared: bool,
    busy_code: Option<u8>,
    /// How long to wait; `None` is for ever.
    limit: Option<Duration>,
    /// The lock must not be free before the command has ended, even if this process is killed.
    deposit: Deposit,
}

impl fmt::Display for Acquire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shared = if self.is_shared { "shared " } else { "" };
        write!(f, "{shared}lock {}", shown(&self.path))
    }
}

impl AsyncContextManager for Acquire {
    type Resource = HeldLock;
    type Error = anyhow::Error;

    async fn enter(self) -> anyhow::Result<HeldLock> {
        let deposit = self.deposit.clone();
        let waited = cancellable(self.wait()).await;
        let held = waited.context("cancelled")??;
        deposit.keep(held.file())?;
        Ok(held)
    }

    async fn exit(held: HeldLock, _case: ExitCase) -> anyhow::Result<()> {
        Ok(held.release()?)
    }
}

impl Acquire {
    /// Waits as long as it may.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it holds no lock, or will let go of it as soon as it gets it.
    async fn wait(self) -> anyhow::Result<HeldLock> {
        let lock = match self.is_shared {
            true => FileLock::shared(self.path),
            false => FileLock::exclusive(self.path),
        };
        let Some(limit) = self.limit else {
            // The kernel's queue: served in order, and at once. Nobody waits for the thread.
            let locked = spawn_blocking(|| lock.lock()).await;
            return Ok(locked.context("waiting for the lock panicked")??);
        };
        let start = Instant::now();
        loop {
            match lock.try_lock() {
                Ok(held) => return Ok(held),
                Err(error) if !error.is_busy() => return Err(error.into()),
                Err(error) if start.elapsed() >= limit => {
                    return Err(busy(&error, limit, self.busy_code));
                }
                Err(_) => sleep(PAUSE.min(limit.saturating_sub(start.elapsed()))).await,
            }
        }
    }
}

fn busy(error: &LockError, limit: Duration, code: Option<u8>) -> anyhow::Error {
    let waited = match limit.is_zero() {
        true => String::new(),
        false => format!(", still after {}", humantime::format_duration(limit)),
    };
    Busy {
        text: format!("{error}{waited}"),
        code,
    }
    .into()
}

impl Equip for HeldLock {
    /// The lock is withal's own; the command does not get its descriptor.
    fn equip(&mut self, _command: &mut Command) -> anyhow::Result<()> {
        Ok(())
    }

    fn attributes(&self) -> Vec<(&'static str, OsString)> {
        vec![("path", self.path().into())]
    }
}
