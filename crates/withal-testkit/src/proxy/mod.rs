//! A network that fails on demand: a proxy on loopback.
//!
//! See [`Proxy`]. The idea is that of [toxiproxy](https://github.com/Shopify/toxiproxy), in the
//! test's own process.

mod connection;
mod faults;
mod handle;
mod listener;

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::ops::Deref;
use std::panic::resume_unwind;

use tokio::task::JoinSet;
use withal_core::{AsyncContextManager, ExitCase};

pub use faults::{Direction, Split};
pub use handle::{ProxyHandle, ProxyStatus};

use listener::Listener;

/// Passes connections on to a server, and fails as it is told.
///
/// It listens on a port of 127.0.0.1 while its block is open, and passes everything on, unchanged
/// and at once, the ends of streams and resets too, until [its handle](ProxyHandle) says otherwise:
///
/// | call | what happens |
/// | --- | --- |
/// | [`delay`](ProxyHandle::delay) | everything arrives later, in order; throughput is as it was |
/// | [`split`](ProxyHandle::split) | every message arrives in pieces |
/// | [`freeze`](ProxyHandle::freeze) | nothing arrives any more; connections stay open, new ones are accepted |
/// | [`hold`](ProxyHandle::hold) | new connections are accepted, and get no further; open ones go on |
/// | [`reset`](ProxyHandle::reset) | open connections break: both ends get a `RST` |
/// | [`refuse`](ProxyHandle::refuse) | nobody listens: new connections are refused |
/// | [`resume`](ProxyHandle::resume) | the end of `freeze`, `hold` and `refuse`; what was held up arrives |
///
/// Its tasks run on the runtime it is entered on, and are gone after the exit.
///
/// # Errors
///
/// To enter fails if no port can be had. A server that cannot be reached is no error: the client's
/// connection is reset, and [counted](ProxyStatus::failed).
///
/// # Examples
///
/// The answer to a request is lost on its way:
///
/// ```
/// use std::net::Ipv4Addr;
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
/// use tokio::net::{TcpListener, TcpStream};
/// use withal_scope::scope;
/// use withal_testkit::proxy::{Direction, Proxy};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), withal_core::Error> {
/// scope(async |s| {
///     let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
///     let proxy = s.enter(Proxy::to(server.local_addr()?)).await?;
///     let mut client = TcpStream::connect(proxy.addr()).await?;
///     let (mut accepted, _) = server.accept().await?;
///
///     proxy.freeze(Direction::ToClient);
///     client.write_all(b"commit").await?;
///     let mut request = [0; 6];
///     let _ = accepted.read_exact(&mut request).await?; // it was done …
///     accepted.write_all(b"done").await?;
///     assert_eq!(proxy.reset().await, 1); // … but nobody will ever know
///     assert!(client.read(&mut [0; 4]).await.is_err());
///     assert_eq!(proxy.status().bytes_to_client, 0);
///     Ok(())
/// })
/// .await
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing listens before a block is entered with it"]
pub struct Proxy {
    upstream: SocketAddr,
}

impl Proxy {
    /// A proxy of the server at `upstream`.
    pub fn to(upstream: impl Into<SocketAddr>) -> Proxy {
        Proxy {
            upstream: upstream.into(),
        }
    }
}

impl AsyncContextManager for Proxy {
    type Resource = OpenProxy;
    type Error = io::Error;

    async fn enter(self) -> io::Result<OpenProxy> {
        let (handle, listener) = Listener::bind(self.upstream)?;
        let mut task = JoinSet::new();
        let _abort = task.spawn(listener.run());
        Ok(OpenProxy { handle, task })
    }

    async fn exit(mut proxy: OpenProxy, _case: ExitCase) -> io::Result<()> {
        proxy.handle.close().await;
        match proxy.task.join_next().await {
            Some(Err(error)) => match error.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                Err(cancelled) => Err(io::Error::other(cancelled)),
            },
            Some(Ok(())) | None => Ok(()),
        }
    }

    fn name(&self) -> Cow<'static, str> {
        format!("proxy of {}", self.upstream).into()
    }
}

/// A proxy that listens: what a [`Proxy`] lends. It is steered as its [`ProxyHandle`] is.
///
/// Dropped without an exit, its tasks are aborted.
#[must_use = "it is closed when this is dropped"]
pub struct OpenProxy {
    handle: ProxyHandle,
    task: JoinSet<()>,
}

impl OpenProxy {
    /// A handle to keep elsewhere, such as in another task.
    #[must_use]
    pub fn handle(&self) -> ProxyHandle {
        self.handle.clone()
    }
}

impl Deref for OpenProxy {
    type Target = ProxyHandle;

    fn deref(&self) -> &ProxyHandle {
        &self.handle
    }
}

impl fmt::Debug for OpenProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OpenProxy").field(&self.handle).finish()
    }
}
