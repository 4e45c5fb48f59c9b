//! A running cluster.

use std::fmt;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use withal_os::FileId;

use super::super::error::ServerError;
use super::super::home::Home;
use super::super::instance::Instance;
use super::super::shared::Shared;

/// A private PostgreSQL cluster: what a [`Postgres`](super::Postgres) lends.
///
/// Dropped without an exit it ends too, before the drop returns, which blocks for some
/// milliseconds; should the process be killed it ends as well, and its directory goes.
///
/// Its methods that start and stop it work on the runtime's blocking threads, one after the other.
pub struct PostgresServer {
    pub(super) port: u16,
    pub(super) socket_dir: PathBuf,
    pub(super) log_path: PathBuf,
    pub(super) password: String,
    pub(super) tls: bool,
    pub(super) root_certificate: Option<String>,
    pub(super) directory_id: FileId,
    pub(super) shared: Shared,
}

impl PostgresServer {
    /// Its port on 127.0.0.1. It keeps it when it is restarted.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// The directory of its socket, `.s.PGSQL.<port>`. There the superuser needs no password.
    #[must_use]
    pub fn socket_dir(&self) -> &Path {
        &self.socket_dir
    }

    /// The password of the superuser, `postgres`.
    #[must_use]
    pub fn password(&self) -> &str {
        &self.password
    }

    /// `postgres://postgres:<password>@127.0.0.1:<port>/postgres`, and `?sslmode=require` where it
    /// asks for TLS. It holds the password: keep it out of logs.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_at(self.addr())
    }

    /// The same by way of another address, such as that of a proxy.
    #[must_use]
    pub fn url_at(&self, addr: SocketAddr) -> String {
        let tls = if self.tls { "?sslmode=require" } else { "" };
        format!("postgres://postgres:{}@{addr}/postgres{tls}", self.password)
    }

    /// What it writes about itself.
    #[must_use]
    pub fn log_path(&self) -> &Path {
        &self.log_path
    }

    /// The certificate of its authority, in PEM, if it was started with TLS: trust this one and
    /// none else. The names are `localhost` and `127.0.0.1`.
    #[must_use]
    pub fn root_certificate(&self) -> Option<&str> {
        self.root_certificate.as_deref()
    }

    /// The process id of its postmaster; `None` while it is stopped.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.shared.pid()
    }

    /// The process id of the shell that watches over it, a child of this process that leads its own
    /// process group; `None` while it is stopped. It must be left alone, but may be reaped.
    #[must_use]
    pub fn supervisor(&self) -> Option<u32> {
        self.shared.supervisor()
    }

    /// Device and inode of its directory.
    #[must_use]
    pub fn directory_id(&self) -> FileId {
        self.directory_id
    }

    /// Stops it in order (PostgreSQL's "fast"): clients are sent away, a checkpoint is written.
    /// Does nothing if it is stopped.
    ///
    /// # Errors
    ///
    /// It did not end within a minute, and was killed; the runtime is shutting down.
    ///
    /// # Cancel safety
    ///
    /// Once polled it goes on to its end, waited for or not.
    pub async fn stop(&self) -> Result<(), ServerError> {
        self.shared.work(Instance::stop).await
    }

    /// Stops it as a crash would (PostgreSQL's "immediate"): nothing is written any more, and the
    /// next start recovers from its log. What a machine would lose in a power failure is not lost.
    ///
    /// # Errors
    ///
    /// As for [`stop`](Self::stop).
    ///
    /// # Cancel safety
    ///
    /// Once polled it goes on to its end, waited for or not.
    pub async fn crash(&self) -> Result<(), ServerError> {
        self.shared.work(Instance::crash).await
    }

    /// Starts it again, with its data, and waits until it answers. Does nothing if it runs.
    ///
    /// # Errors
    ///
    /// It ended, or does not answer within a minute: its last words are in the message.
    ///
    /// # Cancel safety
    ///
    /// Once polled it goes on to its end, waited for or not.
    pub async fn start(&self) -> Result<(), ServerError> {
        self.shared.work(Instance::launch).await
    }

    /// [Stops](Self::stop) and [starts](Self::start) it.
    ///
    /// # Errors
    ///
    /// As for the two.
    ///
    /// # Cancel safety
    ///
    /// Once polled it goes on to its end, waited for or not.
    ///
    /// # Examples
    ///
    /// ```
    /// # use withal_scope::scope;
    /// # use withal_servers::postgres;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), withal_core::Error> {
    /// scope(async |s| {
    ///     let server = s.enter(postgres()).await?;
    ///     let (before, port) = (server.pid(), server.port());
    ///     server.restart().await?;
    ///     assert_ne!(server.pid(), before);
    ///     assert_eq!(server.port(), port);
    ///     Ok(())
    /// })
    /// .await
    /// # }
    /// ```
    pub async fn restart(&self) -> Result<(), ServerError> {
        self.shared.work(Instance::restart).await
    }
}

impl fmt::Debug for PostgresServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresServer")
            .field("port", &self.port)
            .field("socket_dir", &self.socket_dir)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

/// Whether the postmaster with this process id takes connections: it says so in the eighth line of
/// a file.
pub(super) fn is_ready(home: &Home, pid: u32) -> bool {
    let text = fs::read_to_string(home.join("data/postmaster.pid")).unwrap_or_default();
    let mut lines = text.lines();
    let its = lines.next().and_then(|line| line.trim().parse().ok());
    its == Some(pid) && lines.nth(6).is_some_and(|status| status.trim() == "ready")
}
