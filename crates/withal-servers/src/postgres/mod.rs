//! A private PostgreSQL cluster.

mod binaries;
mod configuration;
mod server;
mod template;

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::process::Command;

use withal_core::{AsyncContextManager, ContextManager, ExitCase};
use withal_os::{FileId, TempDir};

pub use server::PostgresServer;

use super::account::Account;
use super::error::ServerError;
use super::home::{self, Home};
use super::instance::{Instance, Recipe};
use super::shared::{Shared, blocking};
use super::supervised::EndBy;
use binaries::Binaries;
use configuration::Configuration;

/// A private PostgreSQL cluster for one block; see [`Postgres`].
pub fn postgres() -> Postgres {
    Postgres::default()
}

/// Starts a PostgreSQL cluster of its own, and leaves nothing of it behind.
///
/// It is made of Debian's packages (the newest below `/usr/lib/postgresql`) or of what is on the
/// `PATH`, in a temporary directory, with a socket there and a free port on loopback. It is empty
/// but for the database `postgres`, and its superuser `postgres` has a random password, which
/// [`url`](PostgresServer::url) contains. Encoding is UTF-8, collation `C`, time zone GMT.
///
/// Unless [`durable`](Postgres::durable), it never waits for a disk.
///
/// A new cluster takes `initdb` a second. So it is done once for each version of PostgreSQL and
/// boot of the machine, and kept below `$XDG_CACHE_HOME/withal` or `~/.cache/withal`: clusters are copies, which share their
/// blocks where the file system can. Test processes that start at the same time wait for one of them.
///
/// PostgreSQL refuses to run as root. If we are root it runs as the user `postgres`, or else
/// `nobody`; that user must be able to reach the temporary directory.
///
/// As an async manager it works on the runtime's blocking threads; as a sync one, where it is
/// entered.
///
/// # Errors
///
/// To enter fails if PostgreSQL [is not installed](ServerError::is_not_installed), if the directory
/// cannot be made, or if the server does not start: then its last words are in the message.
///
/// # Examples
///
/// ```
/// use withal_scope::scope;
/// use withal_servers::postgres;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), withal_core::Error> {
/// let url = scope(async |s| {
///     let server = s.enter(postgres().max_connections(20)).await?;
///     // … any client …
///     Ok(server.url())
/// })
/// .await?;
/// assert!(url.starts_with("postgres://postgres:"));
/// # Ok(())
/// # }
/// ```
///
/// One for all tests of a process needs no teardown: it ends with the process, however that ends.
///
/// ```
/// use std::sync::OnceLock;
/// use withal_core::ContextManager;
/// use withal_servers::{PostgresServer, postgres};
///
/// fn server() -> &'static PostgresServer {
///     static SERVER: OnceLock<PostgresServer> = OnceLock::new();
///     SERVER.get_or_init(|| ContextManager::enter(postgres()).expect("PostgreSQL starts"))
/// }
/// assert!(server().socket_dir().is_dir());
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "nothing is started before a block is entered with it"]
pub struct Postgres {
    version: Option<u32>,
    parent: Option<PathBuf>,
    chosen: Option<TempDir>,
    prepare: Option<fn(&mut Command)>,
    configuration: Configuration,
}

impl Postgres {
    /// The major version to run, where several are installed; the newest unless said otherwise.
    pub fn version(mut self, major: u32) -> Postgres {
        self.version = Some(major);
        self
    }

    /// The directory its directory is made in; `$TMPDIR`, or `/tmp`, unless said otherwise.
    ///
    /// A socket's path has at most 107 bytes, of which this one may take 49. If we are root, the
    /// user it runs as must be able to reach it, and to remove its own from it as from `/tmp`:
    /// else an empty directory is left if the process is killed.
    pub fn directory(mut self, parent: impl Into<PathBuf>) -> Postgres {
        self.parent = Some(parent.into());
        self
    }

    /// Chooses its directory now, before there is one: [`path`](Self::path).
    ///
    /// For who has to write down first what may have to be removed. What killed processes have left
    /// is not swept then.
    ///
    /// # Errors
    ///
    /// There are no random numbers, or no such place.
    pub fn choose(mut self) -> Result<Postgres, ServerError> {
        let directory = home::directory(NAME, self.parent.as_deref()).choose();
        let failed = "choose a directory for PostgreSQL";
        self.chosen = Some(directory.map_err(ServerError::doing(failed))?);
        Ok(self)
    }

    /// The directory it will have, once that is [chosen](Self::choose).
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.chosen.as_ref()?.path()
    }

    /// Removes what a server has left whose process, and the shell that watched over it, were killed:
    /// its directory, as [chosen](Self::choose), if it is `id` or that is not known.
    ///
    /// That there is none is success. Nothing is removed but what is named as such a directory is.
    ///
    /// # Errors
    ///
    /// Something else is there, or something cannot be removed.
    pub fn clear(path: &Path, id: Option<FileId>) -> Result<(), ServerError> {
        home::clear(NAME, path, id, account()?)
    }

    /// Has `prepare` look at the command of each process that it starts.
    ///
    /// For programs that block signals, or ignore them: processes would inherit that, and a server
    /// that is told to end by a signal would not hear it.
    pub fn prepare(mut self, prepare: fn(&mut Command)) -> Postgres {
        self.prepare = Some(prepare);
        self
    }

    /// Waits for the disk as an ordinary cluster does: `fsync`, `synchronous_commit` and
    /// `full_page_writes` are on.
    pub fn durable(mut self) -> Postgres {
        self.configuration.durable = true;
        self
    }

    /// How many connections it takes; 100 unless said otherwise.
    pub fn max_connections(self, count: u32) -> Postgres {
        self.setting("max_connections", count.to_string())
    }

    /// Sets a parameter, as a line of `postgresql.conf` would. The last one counts.
    pub fn setting(mut self, name: impl Into<String>, value: impl Into<String>) -> Postgres {
        let setting = (name.into(), value.into());
        self.configuration.settings.push(setting);
        self
    }

    /// Asks for TLS at its port, with a certificate for `localhost` and `127.0.0.1` by an authority
    /// of its own: [`root_certificate`](PostgresServer::root_certificate).
    ///
    /// The socket is as it was.
    #[cfg(feature = "tls")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tls")))]
    pub fn tls(mut self) -> Postgres {
        self.configuration.tls = true;
        self
    }

    fn start(self) -> Result<PostgresServer, ServerError> {
        let binaries = Binaries::find(self.version)?;
        let account = account()?.preparing(self.prepare);
        let home = match self.chosen {
            Some(chosen) => Home::make_chosen(chosen, account)?,
            None => Home::make(NAME, self.parent.as_deref(), account)?,
        };
        let password = template::unpack(&binaries, &home)?;
        let root_certificate = self.configuration.write(&home)?;
        home.hand_over()?;
        let instance = Instance::start(home, recipe(binaries))?;
        Ok(PostgresServer {
            port: instance.port(),
            socket_dir: instance.home().path().to_owned(),
            log_path: instance.log_path(),
            tls: self.configuration.tls,
            password,
            root_certificate,
            directory_id: instance.home().id(),
            shared: Shared::new(instance),
        })
    }
}

/// Whom it runs as.
fn account() -> Result<Account, ServerError> {
    let failed = ServerError::doing("find a user for PostgreSQL");
    Account::unprivileged(&["postgres", "nobody"]).map_err(failed)
}

/// What its directory is called after.
const NAME: &str = "pg";

fn recipe(binaries: Binaries) -> Recipe {
    Recipe {
        name: "PostgreSQL",
        command: Box::new(move |home, port| {
            vec![
                binaries.program("postgres").into(),
                "-D".into(),
                home.join("data").into(),
                "-p".into(),
                port.to_string().into(),
            ]
        }),
        is_ready: Box::new(|home, _, pid| server::is_ready(home, pid)),
        port_taken: "could not create any TCP/IP sockets",
        // Fast: clients are sent away, and a checkpoint is written.
        graceful: EndBy("INT"),
        // Immediate: the next start recovers.
        forceful: EndBy("QUIT"),
    }
}

impl AsyncContextManager for Postgres {
    type Resource = PostgresServer;
    type Error = ServerError;

    async fn enter(self) -> Result<PostgresServer, ServerError> {
        blocking("start PostgreSQL", || self.start()).await
    }

    async fn exit(server: PostgresServer, _case: ExitCase) -> Result<(), ServerError> {
        blocking("stop PostgreSQL", move || server.shared.close()).await
    }

    fn name(&self) -> Cow<'static, str> {
        "Postgres".into()
    }
}

impl ContextManager for Postgres {
    type Resource = PostgresServer;
    type Error = ServerError;

    fn enter(self) -> Result<PostgresServer, ServerError> {
        self.start()
    }

    fn exit(server: PostgresServer, _case: ExitCase) -> Result<(), ServerError> {
        server.shared.close()
    }

    fn name(&self) -> Cow<'static, str> {
        "Postgres".into()
    }
}
