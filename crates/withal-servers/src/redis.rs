//! A private Redis server.

use std::borrow::Cow;
use std::env;
use std::fmt;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use withal_core::{AsyncContextManager, ContextManager, ExitCase};

use super::account::Account;
use super::error::ServerError;
use super::home::Home;
use super::instance::{Instance, Recipe};
use super::random::secret;
use super::shared::{Shared, blocking};
use super::supervised::EndBy;

/// A private Redis server for one block; see [`Redis`].
pub fn redis() -> Redis {
    Redis::default()
}

/// Starts a Redis server of its own, and leaves nothing of it behind.
///
/// It has a temporary directory, a socket there and a free port on loopback, and asks for a random
/// password, which [`url`](RedisServer::url) contains. It is empty, and keeps nothing on disk. If
/// we are root it runs as the user `redis`, or else `nobody`.
///
/// # Errors
///
/// To enter fails if Redis [is not installed](ServerError::is_not_installed), if the directory
/// cannot be made, or if the server does not start: then its last words are in the message.
///
/// # Examples
///
/// ```
/// use withal_scope::scope;
/// use withal_servers::redis;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), withal_core::Error> {
/// scope(async |s| {
///     let server = s.enter(redis()).await?;
///     assert!(server.url().starts_with("redis://:"));
///     // … any client …
///     Ok(())
/// })
/// .await
/// # }
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "nothing is started before a block is entered with it"]
pub struct Redis {
    parent: Option<PathBuf>,
    settings: Vec<(String, String)>,
}

impl Redis {
    /// The directory its directory is made in; `$TMPDIR`, or `/tmp`, unless said otherwise.
    ///
    /// A socket's path has at most 107 bytes, of which this one may take 49. If we are root, the
    /// user it runs as must be able to reach it, and to remove its own from it as from `/tmp`:
    /// else an empty directory is left if the process is killed.
    pub fn directory(mut self, parent: impl Into<PathBuf>) -> Redis {
        self.parent = Some(parent.into());
        self
    }

    /// Sets a parameter, as a line of `redis.conf` would, such as `("appendonly", "yes")`. The last
    /// one counts.
    pub fn setting(mut self, name: impl Into<String>, value: impl Into<String>) -> Redis {
        self.settings.push((name.into(), value.into()));
        self
    }

    fn start(self) -> Result<RedisServer, ServerError> {
        let program = find()?;
        let failed = || ServerError::doing("configure Redis");
        let account = Account::unprivileged(&["redis", "nobody"]).map_err(failed())?;
        let home = Home::make("rd", self.parent.as_deref(), account)?;
        let password = secret().map_err(failed())?;
        let text = self.text(&home, &password);
        fs::write(home.join("redis.conf"), text).map_err(failed())?;
        home.hand_over()?;
        let instance = Instance::start(home, recipe(program, password.clone()))?;
        Ok(RedisServer {
            port: instance.port(),
            socket: instance.home().join(SOCKET),
            password,
            shared: Shared::new(instance),
        })
    }

    fn text(&self, home: &Home, password: &str) -> String {
        let home = home.path().display();
        let own = format!(
            "bind 127.0.0.1\n\
             unixsocket \"{home}/{SOCKET}\"\n\
             dir \"{home}\"\n\
             requirepass {password}\n\
             save \"\"\n"
        );
        let set = |(name, value): &(String, String)| format!("{name} {value}\n");
        own + &self.settings.iter().map(set).collect::<String>()
    }
}

const SOCKET: &str = "redis.sock";

fn find() -> Result<PathBuf, ServerError> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut programs = env::split_paths(&path).map(|folder| folder.join("redis-server"));
    let missing = || ServerError::not_installed("redis-server", "redis-server");
    programs
        .find(|program| program.is_file())
        .ok_or_else(missing)
}

fn recipe(program: PathBuf, password: String) -> Recipe {
    Recipe {
        name: "Redis",
        command: Box::new(move |home, port| {
            let port = port.to_string();
            let conf = home.join("redis.conf");
            vec![
                program.clone().into(),
                conf.into(),
                "--port".into(),
                port.into(),
            ]
        }),
        is_ready: Box::new(move |home, _, _| answers(home, &password).unwrap_or(false)),
        port_taken: "Could not create server TCP listening socket",
        graceful: EndBy("TERM"),
        forceful: EndBy("KILL"),
    }
}

/// Whether it says that the password is right: while it loads its data it would say that instead.
fn answers(home: &Home, password: &str) -> io::Result<bool> {
    let mut stream = UnixStream::connect(home.join(SOCKET))?;
    stream.write_all(format!("AUTH {password}\r\nPING\r\n").as_bytes())?;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer)?;
    Ok(answer == *b"+OK\r\n+PONG\r\n")
}

/// A private Redis server: what a [`Redis`] lends.
///
/// Dropped without an exit it ends too, before the drop returns; should the process be killed it
/// ends as well, and its directory goes.
pub struct RedisServer {
    port: u16,
    socket: PathBuf,
    password: String,
    shared: Shared,
}

impl RedisServer {
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

    /// Its socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Its password.
    #[must_use]
    pub fn password(&self) -> &str {
        &self.password
    }

    /// `redis://:<password>@127.0.0.1:<port>/`. It holds the password: keep it out of logs.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_at(self.addr())
    }

    /// The same by way of another address, such as that of a proxy.
    #[must_use]
    pub fn url_at(&self, addr: SocketAddr) -> String {
        format!("redis://:{}@{addr}/", self.password)
    }

    /// Its process id; `None` while it is stopped.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.shared.pid()
    }

    /// Stops it in order. Unless it was told to save, its data are gone. Does nothing if it is
    /// stopped.
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

    /// Kills it.
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

    /// Starts it again and waits until it answers. Does nothing if it runs.
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
    pub async fn restart(&self) -> Result<(), ServerError> {
        self.shared.work(Instance::restart).await
    }
}

impl fmt::Debug for RedisServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisServer")
            .field("port", &self.port)
            .field("socket", &self.socket)
            .finish_non_exhaustive()
    }
}

impl AsyncContextManager for Redis {
    type Resource = RedisServer;
    type Error = ServerError;

    async fn enter(self) -> Result<RedisServer, ServerError> {
        blocking("start Redis", || self.start()).await
    }

    async fn exit(server: RedisServer, _case: ExitCase) -> Result<(), ServerError> {
        blocking("stop Redis", move || server.shared.close()).await
    }

    fn name(&self) -> Cow<'static, str> {
        "Redis".into()
    }
}

impl ContextManager for Redis {
    type Resource = RedisServer;
    type Error = ServerError;

    fn enter(self) -> Result<RedisServer, ServerError> {
        self.start()
    }

    fn exit(server: RedisServer, _case: ExitCase) -> Result<(), ServerError> {
        server.shared.close()
    }

    fn name(&self) -> Cow<'static, str> {
        "Redis".into()
    }
}
