//! `--pg-server`: a private PostgreSQL server, its URL in a variable.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use nix::sys::signal::SigSet;
use nix::unistd::Pid;
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use withal_core::{AsyncContextManager, ExitCase};
use withal_os::FileId;
use withal_servers::{Postgres, postgres};

use super::keys::Bytes;
use super::{Equip, Kind, Recovery, Setting, Taken, Ties, Undo, Variable};
use crate::message::shown;
use crate::process;

/// What others can refer to: its URL, the directory of its socket, and its port, if it has one.
pub(super) const URL: &str = "url";
const SOCKET: &str = "socket";
const PORT: &str = "port";

/// A private PostgreSQL server, made of the packages that are installed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PostgresServer {
    /// The variable that gets its URL.
    #[serde(default = "url")]
    env: Variable,
    /// The major version, where several are installed.
    version: Option<u32>,
    /// Whether it listens on a port of loopback as well, with a password.
    #[serde(default)]
    port: bool,
    /// Whether it waits for the disk.
    #[serde(default)]
    durable: bool,
}

fn url() -> Variable {
    Variable::named("DATABASE_URL")
}

#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Options {
    /// Start a private PostgreSQL server, its URL in $VAR
    #[arg(long, value_name = "VAR")]
    pg_server: Vec<OsString>,
}

impl Kind for PostgresServer {
    const NAME: &'static str = "postgres-server";
    const ATTRIBUTES: &'static [&'static str] = &[URL, SOCKET, PORT];
    type Options = Options;
    type Gate = Start;
    type Undo = Remove;

    fn gate(self, setting: &Setting<'_>) -> anyhow::Result<Start> {
        let mut server = postgres().prepare(unblock).choose()?;
        if let Some(version) = self.version {
            server = server.version(version);
        }
        if self.durable {
            server = server.durable();
        }
        if !self.port {
            server = server.setting("listen_addresses", "");
        }
        Ok(Start {
            server,
            has_port: self.port,
            variable: self.env,
            ties: setting.ties.clone(),
        })
    }

    fn takes(&self, _gate: &Self::Gate) -> Vec<Taken> {
        vec![Taken::Variable(self.env.clone())]
    }

    fn intent(gate: &Start) -> Option<Remove> {
        gate.server.path().map(|path| Remove {
            path: path.into(),
            id: None,
        })
    }

    fn acquired(running: &Running) -> Option<Remove> {
        let id = running.server.directory_id();
        Some(Remove {
            path: running.server.socket_dir().into(),
            id: Some((id.device, id.inode)),
        })
    }
}

impl super::Options for Options {
    const OPTION: &'static str = "pg_server";
    type Kind = PostgresServer;

    fn gates(self) -> anyhow::Result<Vec<PostgresServer>> {
        let gates = self.pg_server.into_iter().map(|name| {
            let variable = Variable::try_from(name);
            let env = variable.map_err(|why| anyhow::anyhow!("--pg-server: {why}"))?;
            Ok(PostgresServer {
                env,
                version: None,
                port: false,
                durable: false,
            })
        });
        gates.collect()
    }
}

pub(super) struct Start {
    server: Postgres,
    has_port: bool,
    variable: Variable,
    ties: Ties,
}

impl fmt::Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgreSQL server {}", self.variable)
    }
}

/// A server that runs. Should this process be killed, the shell that watches over the server ends
/// it and removes its directory.
pub(super) struct Running {
    server: withal_servers::PostgresServer,
    url: String,
    has_port: bool,
    variable: Variable,
}

impl AsyncContextManager for Start {
    type Resource = Running;
    type Error = anyhow::Error;

    async fn enter(self) -> anyhow::Result<Running> {
        let server = self.server.enter().await?;
        let supervisor = server.supervisor().and_then(|pid| pid.try_into().ok());
        if let Some(supervisor) = supervisor {
            // It ends with the server, and is waited for there.
            let _service = self.ties.services.register(Pid::from_raw(supervisor));
        }
        let url = match self.has_port {
            true => server.url(),
            false => by_socket(server.socket_dir(), &server.port().to_string()),
        };
        Ok(Running {
            server,
            url,
            has_port: self.has_port,
            variable: self.variable,
        })
    }

    async fn exit(running: Running, case: ExitCase) -> anyhow::Result<()> {
        Ok(Postgres::exit(running.server, case).await?)
    }
}

/// We block signals, and read them; whoever we start is to hear them.
fn unblock(command: &mut Command) {
    process::hand_on(command, SigSet::empty());
}

/// There the superuser needs no password, as nobody else can reach it.
fn by_socket(directory: &Path, port: &str) -> String {
    let directory = percent_encode(directory.as_os_str().as_bytes(), NON_ALPHANUMERIC);
    format!("postgres:///postgres?host={directory}&port={port}&user=postgres")
}

/// The way without a password to the server that has these attributes, if it is such a server.
pub(super) fn without_password(attributes: &[(&'static str, OsString)]) -> Option<String> {
    let value = |name| {
        let mut attributes = attributes.iter();
        attributes.find_map(|(found, value)| (*found == name).then_some(value))
    };
    let (directory, port) = (value(SOCKET)?, value(PORT)?.to_str()?);
    Some(by_socket(Path::new(directory), port))
}

impl Equip for Running {
    fn equip(&mut self, command: &mut Command) -> anyhow::Result<()> {
        let _ = command.env(&self.variable, &self.url);
        Ok(())
    }

    fn attributes(&self) -> Vec<(&'static str, OsString)> {
        let mut attributes = vec![
            (URL, self.url.clone().into()),
            (SOCKET, self.server.socket_dir().into()),
        ];
        if self.has_port {
            attributes.push((PORT, self.server.port().to_string().into()));
        }
        attributes
    }

    fn detail(&self) -> Option<String> {
        Some(shown(self.server.socket_dir()))
    }
}

/// Removes the server's directory, if it is the one that was made.
///
/// The server itself has ended: its supervisor ends it when the keeper dies, and the kernel when
/// the supervisor does.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Remove {
    path: Bytes,
    /// Device and inode, once it is made.
    id: Option<(u64, u64)>,
}

/// How long the server may take to be gone: it may write into its directory until then.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(20);

impl Undo for Remove {
    const OUTLIVES_REBOOT: bool = true;

    async fn undo(self, recovery: &Recovery) -> anyhow::Result<()> {
        let path = PathBuf::from(self.path);
        let mut id = self.id.map(|(device, inode)| FileId { device, inode });
        if !recovery.is_same_boot
            && let (Some(id), Some(found)) = (&mut id, FileId::of(&path)?)
        {
            // Devices may be numbered anew when a machine starts.
            id.device = found.device;
        }
        let mut waited = Duration::ZERO;
        loop {
            let path = path.clone();
            let removed = spawn_blocking(move || Postgres::clear(&path, id)).await;
            match removed.context("the removal panicked")? {
                Err(_) if waited < PATIENCE => {}
                removed => return Ok(removed?),
            }
            // Its supervisor is removing it as well, or the server has not ended yet.
            sleep(PAUSE).await;
            waited += PAUSE;
        }
    }
}
