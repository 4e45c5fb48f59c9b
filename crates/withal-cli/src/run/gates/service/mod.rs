//! `--with service`: a helper process that runs beside the command.

mod output;
mod ready;

use std::ffi::OsString;
use std::fmt;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use nix::sys::signal::Signal;
use serde::{Deserialize, Deserializer};
use tokio::task::{JoinSet, spawn_blocking};
use withal_core::{AsyncContextManager, ExitCase};
use withal_scope::cancellable;

use super::directory::check_opens;
use super::helper::{self, Argv, Helper, Owner};
use super::keys::{self, Port};
use super::{Attributes, Equip, Kind, NoUndo, OnlyKeys, Setting, Taken, Template, Ties, source};
use crate::run::name_run;
use output::{Output, Printing};
use ready::{Ready, Watch};

/// How long it may take to end after it was asked to. Together with the rest of undoing that fits
/// what a run that is asked to stop may take.
const GRACE: Duration = Duration::from_secs(3);

/// A helper process that runs beside the command.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Service {
    command: Argv,
    #[serde(default)]
    ready: Ready,
    port: Option<Port>,
    #[serde(default = "term", deserialize_with = "signal")]
    stop: Signal,
    #[serde(default, deserialize_with = "keys::duration")]
    grace: Option<Duration>,
    #[serde(default)]
    on_exit: OnExit,
    /// Where what it prints goes; withal's stderr, if nothing is said.
    output: Option<Template>,
}

fn term() -> Signal {
    Signal::SIGTERM
}

fn signal<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Signal, D::Error> {
    let name = String::deserialize(deserializer)?;
    crate::cli::signal(&name).map_err(serde::de::Error::custom)
}

/// What happens if it ends before the command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum OnExit {
    /// The command is stopped.
    #[default]
    Stop,
    Ignore,
}

impl Kind for Service {
    const NAME: &'static str = "service";
    const ATTRIBUTES: &'static [&'static str] = &["pid", "port"];
    type Options = OnlyKeys<Service>;
    type Gate = Start;
    /// Processes of gates are in the journal as they are; recovery ends them after the command.
    type Undo = NoUndo;

    fn gate(self, setting: &Setting<'_>) -> anyhow::Result<Start> {
        let port = match self.port {
            Some(Port::Number(port)) => Some(port),
            Some(Port::Free) => Some(free_port()?),
            None => None,
        };
        let own = port.map(|port| ("port", OsString::from(port.to_string())));
        let mut attributes: Attributes = setting.attributes.clone();
        if let Some(id) = setting.id {
            let _ = attributes.insert(id.to_owned(), own.into_iter().collect());
        }
        let argv = self.command.resolve(&attributes)?;
        let output = self.output.map(|path| setting.path(&path));
        Ok(Start {
            name: match setting.id {
                Some(id) => id.to_owned(),
                None => helper::program(&argv),
            },
            watch: self.ready.watch(&attributes, setting.directory)?,
            argv,
            port,
            stop: self.stop,
            grace: self.grace.unwrap_or(GRACE),
            on_exit: self.on_exit,
            output: output.transpose()?,
            directory: setting.directory.to_owned(),
            ties: setting.ties.clone(),
        })
    }

    fn runs_programs(_start: &Start) -> bool {
        true
    }

    fn check(start: &Start) -> anyhow::Result<()> {
        helper::check(&start.argv, start.directory())?;
        start.watch.check(start.directory())?;
        let checked = start.output.as_deref().map_or(Ok(()), check_opens);
        checked.context("output")
    }

    fn takes(&self, _gate: &Self::Gate) -> Vec<Taken> {
        self.port.and_then(Port::takes).into_iter().collect()
    }
}

/// A port that nobody listens on now.
fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let address = listener.and_then(|listener| listener.local_addr());
    Ok(address.context("no free port on 127.0.0.1")?.port())
}

pub(super) struct Start {
    /// What its output and its death are told under.
    name: String,
    argv: Vec<OsString>,
    watch: Watch,
    port: Option<u16>,
    stop: Signal,
    grace: Duration,
    on_exit: OnExit,
    output: Option<PathBuf>,
    directory: PathBuf,
    ties: Ties,
}

impl fmt::Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "service {}", self.name)
    }
}

impl Start {
    /// Where its programs are started.
    fn directory(&self) -> &Path {
        match self.directory.as_os_str().is_empty() {
            true => Path::new("."),
            false => &self.directory,
        }
    }
}

pub(super) struct Running {
    helper: Helper,
    printing: Printing,
    /// Tells its death.
    watching: JoinSet<()>,
    port: Option<u16>,
    stop: Signal,
    grace: Duration,
}

impl AsyncContextManager for Start {
    type Resource = Running;
    type Error = anyhow::Error;

    async fn enter(self) -> anyhow::Result<Running> {
        self.watch.check_nobody_answers().await?;
        let output = Output::open(
            &self.name,
            self.output.as_deref(),
            self.ties.secrets.clone(),
        )?;
        let (source, guard, write) = source::pipe()?;
        let mut command = helper::command(&self.argv, &self.directory)?;
        let copy = write.try_clone().context("no descriptor left")?;
        let _ = command.stdout(copy).stderr(write);
        name_run(&mut command, self.ties.run);
        let program = helper::program(&self.argv);
        let owner = Owner::from(&self.ties);
        let helper = Helper::start(command, &owner)?;
        let printing = Printing::start(source, guard, output, self.watch.line())?;
        let ready = cancellable(self.watch.wait(&program, &helper, &owner, &printing)).await;
        match ready.context("cancelled").flatten() {
            Ok(()) => {}
            Err(error) => {
                let stopped = helper.stop(self.stop, self.grace).await;
                let printed = spawn_blocking(|| printing.finish()).await;
                stopped?;
                printed.context("the wait panicked")??;
                return Err(error);
            }
        }
        let mut watching = JoinSet::new();
        let _task = watching.spawn(tell_end(
            helper.service(),
            self.name,
            self.on_exit,
            self.ties,
        ));
        Ok(Running {
            helper,
            printing,
            watching,
            port: self.port,
            stop: self.stop,
            grace: self.grace,
        })
    }

    async fn exit(mut running: Running, _case: ExitCase) -> anyhow::Result<()> {
        // From now on it may end.
        running.watching.shutdown().await;
        let stopped = running.helper.stop(running.stop, running.grace).await;
        let printed = spawn_blocking(|| running.printing.finish()).await;
        stopped?;
        printed.context("the wait panicked")?
    }
}

/// Waits for its end, and tells it.
async fn tell_end(service: crate::run::Service, name: String, on_exit: OnExit, ties: Ties) {
    let text = match service.ended().await {
        Ok(status) => format!("service {name} {}", helper::Ended::new(status)),
        Err(error) => format!("service {name}: {error:#}"),
    };
    match on_exit {
        OnExit::Stop => drop(ties.alarms.raise(text)),
        OnExit::Ignore => ties.warnings.warn(text),
    }
}

impl Equip for Running {
    /// The command has nothing of it but what it refers to.
    fn equip(&mut self, _command: &mut Command) -> anyhow::Result<()> {
        Ok(())
    }

    fn attributes(&self) -> Vec<(&'static str, OsString)> {
        let port = self.port.map(|port| ("port", port.to_string().into()));
        let pid = ("pid", self.helper.pid().to_string().into());
        std::iter::once(pid).chain(port).collect()
    }

    fn detail(&self) -> Option<String> {
        Some(format!("process {}", self.helper.pid()))
    }
}
