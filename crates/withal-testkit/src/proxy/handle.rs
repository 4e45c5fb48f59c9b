//! How a proxy is steered.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use super::faults::{Direction, Faults, Split, Way};

/// Steers a proxy; clones steer the same.
///
/// What it is told holds for connections that are open as for new ones, from when the call returns,
/// or its future is done.
#[derive(Clone)]
pub struct ProxyHandle {
    pub(super) addr: SocketAddr,
    pub(super) shared: Arc<Shared>,
    pub(super) commands: mpsc::UnboundedSender<Command>,
}

/// What connections look at and count.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) faults: watch::Sender<Faults>,
    pub(super) status: watch::Sender<ProxyStatus>,
}

/// What the task that listens is asked to do, and whom it answers.
pub(super) enum Command {
    Reset(oneshot::Sender<usize>),
    Refuse(oneshot::Sender<()>),
    Listen(oneshot::Sender<io::Result<()>>),
    Close(oneshot::Sender<()>),
}

/// What has gone through a proxy so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProxyStatus {
    /// Connections accepted.
    pub accepted: u64,
    /// Connections open now.
    pub open: usize,
    /// Connections whose server could not be reached.
    pub failed: u64,
    /// Bytes written to the server.
    pub bytes_to_server: u64,
    /// Bytes written to clients.
    pub bytes_to_client: u64,
}

impl ProxyStatus {
    pub(super) fn count(&mut self, way: Way, bytes: usize) {
        let counter = match way {
            Way::ToServer => &mut self.bytes_to_server,
            Way::ToClient => &mut self.bytes_to_client,
        };
        *counter += bytes as u64;
    }
}

impl ProxyHandle {
    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What has gone through so far.
    #[must_use]
    pub fn status(&self) -> ProxyStatus {
        *self.shared.status.borrow()
    }

    /// Waits until `condition` holds; gives what has gone through by then.
    ///
    /// # Cancel safety
    ///
    /// Dropping it loses nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// # use withal_testkit::proxy::ProxyHandle;
    /// # async fn example(proxy: &ProxyHandle) {
    /// proxy.wait_for(|status| status.bytes_to_server > 0).await;
    /// # }
    /// ```
    pub async fn wait_for(&self, condition: impl FnMut(&ProxyStatus) -> bool) -> ProxyStatus {
        let mut status = self.shared.status.subscribe();
        let found = status.wait_for(condition).await;
        // We hold what sends it: it is always found.
        found.map_or_else(|_| self.status(), |status| *status)
    }

    /// Lets everything arrive later by `delay`; zero is at once.
    ///
    /// It holds for what is read from now on. Order is kept, and up to a megabyte is under way.
    pub fn delay(&self, direction: Direction, delay: Duration) {
        self.change(direction, |lane| lane.delay = delay);
    }

    /// Lets messages arrive in pieces.
    pub fn split(&self, direction: Direction, split: Split) {
        self.change(direction, |lane| lane.split = split);
    }

    /// Lets nothing arrive any more, neither bytes nor the ends of connections.
    ///
    /// New connections are accepted; to the server they get only once requests may pass again.
    /// What is being written at this moment arrives.
    pub fn freeze(&self, direction: Direction) {
        self.change(direction, |lane| lane.is_frozen = true);
    }

    /// Accepts new connections, and takes them to the server only after [`resume`](Self::resume);
    /// those that are open go on.
    pub fn hold(&self) {
        let faults = &self.shared.faults;
        faults.send_modify(|faults| faults.is_held = true);
    }

    /// Lets what was held up by [`freeze`](Self::freeze) or [`hold`](Self::hold) arrive, and
    /// listens again after [`refuse`](Self::refuse), at the same port. Delays and splits stay.
    ///
    /// # Errors
    ///
    /// Somebody else listens at the port now; the proxy is closed.
    ///
    /// # Cancel safety
    ///
    /// Once polled it is done, waited for or not.
    pub async fn resume(&self) -> io::Result<()> {
        self.shared.faults.send_modify(|faults| {
            faults.is_held = false;
            faults.change(Direction::Both, |lane| lane.is_frozen = false);
        });
        let closed = || io::Error::new(io::ErrorKind::NotConnected, "the proxy is closed");
        self.ask(Command::Listen).await.ok_or_else(closed)?
    }

    /// Breaks the connections that are open: both ends get a `RST`, and what is under way is lost.
    /// Gives how many there were.
    ///
    /// # Cancel safety
    ///
    /// Once polled it is done, waited for or not.
    pub async fn reset(&self) -> usize {
        self.ask(Command::Reset).await.unwrap_or(0)
    }

    /// Refuses new connections, until [`resume`](Self::resume); those that are open stay.
    ///
    /// # Cancel safety
    ///
    /// Once polled it is done, waited for or not.
    pub async fn refuse(&self) {
        // A proxy that is closed refuses too.
        let _done = self.ask(Command::Refuse).await;
    }

    pub(super) async fn close(&self) {
        let _done = self.ask(Command::Close).await;
    }

    fn change(&self, direction: Direction, change: impl Fn(&mut super::faults::Lane)) {
        let faults = &self.shared.faults;
        faults.send_modify(|faults| faults.change(direction, change));
    }

    /// `None` once the proxy is closed.
    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        self.commands.send(command(answer)).ok()?;
        answered.await.ok()
    }
}

impl fmt::Debug for ProxyHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyHandle")
            .field("addr", &self.addr)
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}
