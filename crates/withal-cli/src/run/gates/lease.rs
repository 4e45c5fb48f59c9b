//! What leases on Postgres and on Redis have in common as gates.

use std::ffi::OsString;
use std::fmt;
use std::marker::PhantomData;
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Arg, ArgAction, ArgGroup, ArgMatches, FromArgMatches};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use withal_core::{AsyncContextManager, ExitCase};
use withal_lock::{Lease, LeaseError, LeaseWatch, LostCause};

use super::reference::Reference;
use super::{
    Busy, Equip, Recovery, Setting, Taken, Template, Ties, Undo, Variable, Warnings, keys,
};
use crate::cli::duration;
use crate::run::RunId;

/// A server that has leases.
pub(super) trait Server:
    AsyncContextManager<Resource = Lease, Error = LeaseError> + Send + Sized + 'static
{
    /// What such a gate is called.
    const NAME: &'static str;

    /// The option that asks for one, without dashes.
    const OPTION: &'static str;

    /// What the option does.
    const HELP: &'static str;

    /// The variable with its URL, if nothing is said.
    const VARIABLE: &'static str;

    /// The lease `key`, asked for by `owner`.
    fn lease(url: String, key: &str, owner: &str) -> Self;

    /// With the rest of what is asked for.
    fn with(self, holder: String, ttl: Duration, wait: Option<Duration>) -> Self;

    /// Releases what its owner has left.
    fn clear(self) -> impl Future<Output = Result<bool, LeaseError>> + Send;
}

/// How long a lease is held without being renewed.
const TTL: Duration = Duration::from_secs(30);

/// What others can refer to.
pub(super) const ATTRIBUTES: &[&str] = &["token"];

/// The keys of such a gate.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Keys {
    key: Template,
    url_from: Option<Template>,
    /// How long it is held without being renewed.
    #[serde(default, deserialize_with = "keys::duration")]
    lease: Option<Duration>,
    /// How long to wait; for ever if nothing is said.
    #[serde(default, deserialize_with = "keys::duration")]
    wait: Option<Duration>,
    #[serde(default)]
    on_lost: OnLost,
    /// The variable that gets the token.
    #[serde(default = "token")]
    env: Variable,
}

fn token() -> Variable {
    Variable::named("WITHAL_TOKEN")
}

/// What a lost lease does to the command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum OnLost {
    #[default]
    Stop,
    Warn,
}

/// The options that ask for such gates: the server's own, and `--lease`, which all have in common.
#[derive(Debug)]
pub(super) struct Options<S> {
    asked: Vec<String>,
    lease: Option<Duration>,
    server: PhantomData<S>,
}

impl<S: Server> Options<S> {
    pub(super) fn keys(self) -> anyhow::Result<Vec<Keys>> {
        let keys = self.asked.into_iter().map(|key| Keys {
            key: OsString::from(key).into(),
            url_from: None,
            lease: self.lease,
            wait: None,
            on_lost: OnLost::Stop,
            env: token(),
        });
        Ok(keys.collect())
    }
}

/// By hand, as an option cannot be derived for several kinds: the first would take its value away.
impl<S: Server> FromArgMatches for Options<S> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Options<S>, clap::Error> {
        let asked = matches.get_many(S::OPTION);
        Ok(Options {
            asked: asked.unwrap_or_default().cloned().collect(),
            lease: matches.get_one(LEASE).copied(),
            server: PhantomData,
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Options::from_arg_matches(matches)?;
        Ok(())
    }
}

impl<S: Server> clap::Args for Options<S> {
    fn augment_args(command: clap::Command) -> clap::Command {
        let asked = Arg::new(S::OPTION).long(S::NAME).value_name("KEY");
        let command = command.arg(asked.help(S::HELP).action(ArgAction::Append));
        if command.get_groups().any(|it| it.get_id() == LEASES) {
            return command.mut_group(LEASES, |leases| leases.arg(S::OPTION));
        }
        let command = command.group(ArgGroup::new(LEASES).arg(S::OPTION).multiple(true));
        let lease = Arg::new(LEASE).long(LEASE).value_name("DUR");
        let lease = lease.value_parser(duration).allow_negative_numbers(true);
        let lease = lease.requires(LEASES);
        command.arg(
            lease.help("Renew leases so that they end DUR after the last renewal [default: 30s]"),
        )
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

const LEASE: &str = "lease";

/// All options that ask for one.
const LEASES: &str = "leases";

impl Keys {
    pub(super) fn gate<S: Server>(&self, setting: &Setting<'_>) -> anyhow::Result<Acquire<S>> {
        let key = setting.text(&self.key)?;
        let key = key.to_str().context("`key` is no text")?.to_owned();
        let run = setting.ties.run;
        Ok(Acquire {
            left: Left {
                url_from: Reference::of(self.url_from.as_ref(), S::VARIABLE, setting)?,
                key,
                // Two gates of a run are two that wait for each other.
                owner: format!("{run}.{}", RunId::random()?.short()),
                server: PhantomData,
            },
            ttl: self.lease.unwrap_or(TTL),
            wait: self.wait,
            on_lost: self.on_lost,
            variable: self.env.clone(),
            ties: setting.ties.clone(),
        })
    }
}

pub(super) struct Acquire<S> {
    left: Left<S>,
    ttl: Duration,
    wait: Option<Duration>,
    on_lost: OnLost,
    variable: Variable,
    ties: Ties,
}

impl<S: Server> Acquire<S> {
    pub(super) fn check(&self) -> anyhow::Result<()> {
        self.left.url_from.check()
    }

    pub(super) fn takes(&self) -> Vec<Taken> {
        let server = format!("{} {:?}", S::NAME, self.left.url_from);
        vec![
            Taken::Lease(server, self.left.key.clone()),
            Taken::Variable(self.variable.clone()),
        ]
    }

    pub(super) fn undo(&self) -> Left<S> {
        Left {
            url_from: self.left.url_from.clone(),
            key: self.left.key.clone(),
            owner: self.left.owner.clone(),
            server: PhantomData,
        }
    }
}

impl<S: Server> fmt::Display for Acquire<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", S::NAME, self.left.key)
    }
}

/// A lease that is held, and who watches it.
pub(super) struct Watched {
    lease: Lease,
    watcher: JoinSet<bool>,
    on_lost: OnLost,
    warnings: Warnings,
    variable: Variable,
}

impl<S: Server> AsyncContextManager for Acquire<S> {
    type Resource = Watched;
    type Error = anyhow::Error;

    async fn enter(self) -> anyhow::Result<Watched> {
        let lease = self.left.lease()?;
        let lease = lease.with(holder(self.ties.run), self.ttl, self.wait);
        let lease = lease.enter().await.map_err(|error| match error {
            LeaseError::Busy(busy) => Busy::new(busy.to_string()).into(),
            error => anyhow::Error::new(error),
        })?;
        let mut watcher = JoinSet::new();
        let _abort = watcher.spawn(watch(lease.watch(), self.on_lost, self.ties.clone()));
        let watched = lease.watch();
        // A command that was stopped must not go on without it, not even for a moment.
        self.ties.alarms.look_on_continue(move || {
            if self.on_lost == OnLost::Warn {
                return None;
            }
            let lost = watched.check().err()?;
            (lost.cause() != LostCause::Released).then(|| lost.to_string())
        });
        Ok(Watched {
            lease,
            watcher,
            on_lost: self.on_lost,
            warnings: self.ties.warnings.clone(),
            variable: self.variable,
        })
    }

    async fn exit(mut watched: Watched, case: ExitCase) -> anyhow::Result<()> {
        // It is done if it has told of a loss; else it must not take the release for one.
        watched.watcher.abort_all();
        let told = watched.watcher.join_next().await;
        let is_told = matches!(told, Some(Ok(true)));
        match S::exit(watched.lease, case).await {
            Err(LeaseError::Lost(_)) if is_told => Ok(()),
            Err(LeaseError::Lost(lost)) if watched.on_lost == OnLost::Warn => {
                watched.warnings.warn(&lost);
                Ok(())
            }
            released => Ok(released?),
        }
    }
}

/// Waits until it is lost, and tells; whether somebody has heard.
async fn watch(lease: LeaseWatch, on_lost: OnLost, ties: Ties) -> bool {
    let lost = lease.lost().await;
    if on_lost == OnLost::Stop {
        return ties.alarms.raise(lost.to_string());
    }
    ties.warnings.warn(&lost);
    true
}

/// Who we are, for those who wait.
fn holder(run: RunId) -> String {
    let host = rustix::system::uname();
    let host = host.nodename().to_string_lossy();
    let pid = std::process::id();
    format!("{host}, process {pid} (withal run {})", run.short())
}

impl Equip for Watched {
    fn equip(&mut self, command: &mut Command) -> anyhow::Result<()> {
        // Between acquiring it and this, other gates may have taken their time.
        let token = self.lease.check()?;
        let _ = command.env(&self.variable, token.to_string());
        Ok(())
    }

    fn attributes(&self) -> Vec<(&'static str, OsString)> {
        vec![("token", self.lease.token().to_string().into())]
    }

    fn detail(&self) -> Option<String> {
        Some(format!("token {}", self.lease.token()))
    }
}

/// Releases the lease if the run that died still has it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Left<S> {
    url_from: Reference,
    key: String,
    owner: String,
    #[serde(skip)]
    server: PhantomData<fn() -> S>,
}

impl<S: Server> Left<S> {
    fn lease(&self) -> anyhow::Result<S> {
        Ok(S::lease(self.url_from.read()?, &self.key, &self.owner))
    }
}

impl<S: Server> Undo for Left<S> {
    async fn undo(self, _recovery: &Recovery) -> anyhow::Result<()> {
        if self.url_from.is_gone() {
            return Ok(());
        }
        // What is not its own any more is somebody else's, or nobody's.
        let _was_held = self.lease()?.clear().await?;
        Ok(())
    }
}
