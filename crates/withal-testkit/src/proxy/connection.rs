//! One connection on its way through.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use super::faults::{Faults, Way};
use super::handle::Shared;

/// What is read at once.
const MESSAGE: usize = 16 * 1024;

/// How many messages of one direction are under way.
const UNDER_WAY: usize = 64;

/// Between the pieces of a message.
const PAUSE: Duration = Duration::from_millis(1);

/// Passes on what `client` and the server say to each other, until both have ended.
///
/// It is counted as soon as this is called.
pub(super) fn pass(
    client: TcpStream,
    upstream: SocketAddr,
    shared: Arc<Shared>,
) -> impl Future<Output = ()> {
    let resets = shared.faults.borrow().resets;
    let counted = Counted::new(&shared);
    async move {
        let mut connection = Connection {
            client,
            server: None,
            shared,
        };
        let mut faults = connection.shared.faults.subscribe();
        let is_whole = tokio::select! {
            biased;
            _ = faults.wait_for(|faults| faults.resets != resets) => false,
            is_whole = connection.relay(upstream) => is_whole,
        };
        if !is_whole {
            connection.reset();
        }
        drop(connection);
        drop(counted);
    }
}

struct Connection {
    client: TcpStream,
    server: Option<TcpStream>,
    shared: Arc<Shared>,
}

impl Connection {
    /// Whether both sides ended their streams in order.
    async fn relay(&mut self, upstream: SocketAddr) -> bool {
        let passed = self.try_relay(upstream).await;
        if passed.is_err() {
            // That the other side is gone is a message too.
            wait_until(&self.shared, |faults| !faults.is_frozen()).await;
        }
        passed.is_ok()
    }

    async fn try_relay(&mut self, upstream: SocketAddr) -> io::Result<()> {
        wait_until(&self.shared, Faults::admits).await;
        let connected = TcpStream::connect(upstream).await;
        if connected.is_err() {
            self.shared.status.send_modify(|status| status.failed += 1);
        }
        let server = self.server.insert(connected?);
        server.set_nodelay(true)?;
        self.client.set_nodelay(true)?;
        let (from_client, to_client) = self.client.split();
        let (from_server, to_server) = server.split();
        let requests = lane(from_client, to_server, Way::ToServer, &self.shared);
        let answers = lane(from_server, to_client, Way::ToClient, &self.shared);
        tokio::try_join!(requests, answers).map(|_| ())
    }

    /// Has both sides see a `RST` when they are closed, which is next.
    fn reset(&self) {
        let sides = [Some(&self.client), self.server.as_ref()];
        for side in sides.into_iter().flatten() {
            // It fails only for a socket that is no longer connected, and has nobody to tell.
            let _gone = set_socket_linger(side, Some(Duration::ZERO));
        }
    }
}

/// What goes one way, with the time at which it is due.
struct Message {
    due: Instant,
    /// Empty is the end of the stream.
    read: io::Result<Vec<u8>>,
}

/// Passes on what `from` says, and that it has ended. Reading goes on while delayed messages wait.
async fn lane(from: ReadHalf<'_>, to: WriteHalf<'_>, way: Way, shared: &Shared) -> io::Result<()> {
    let (sender, receiver) = mpsc::channel(UNDER_WAY);
    let ((), delivered) = tokio::join!(
        listen(from, sender, way, shared),
        deliver(receiver, to, way, shared)
    );
    delivered
}

async fn listen(mut from: ReadHalf<'_>, sender: mpsc::Sender<Message>, way: Way, shared: &Shared) {
    let mut buffer = vec![0; MESSAGE];
    loop {
        let read = tokio::select! {
            biased;
            () = sender.closed() => return,
            read = from.read(&mut buffer) => read,
        };
        let read = read.map(|length| buffer.iter().take(length).copied().collect::<Vec<u8>>());
        let is_last = read.as_ref().map_or(true, Vec::is_empty);
        let due = Instant::now() + shared.faults.borrow().lane(way).delay;
        let sent = sender.send(Message { due, read }).await;
        if sent.is_err() || is_last {
            return;
        }
    }
}

async fn deliver(
    mut receiver: mpsc::Receiver<Message>,
    mut to: WriteHalf<'_>,
    way: Way,
    shared: &Shared,
) -> io::Result<()> {
    while let Some(message) = receiver.recv().await {
        sleep_until(message.due).await;
        wait_until(shared, |faults| !faults.lane(way).is_frozen).await;
        let bytes = message.read?;
        if bytes.is_empty() {
            return to.shutdown().await;
        }
        let split = shared.faults.borrow().lane(way).split;
        for (index, piece) in split.pieces(&bytes).enumerate() {
            if index > 0 {
                sleep(PAUSE).await;
                wait_until(shared, |faults| !faults.lane(way).is_frozen).await;
            }
            to.write_all(piece).await?;
            let count = piece.len();
            shared.status.send_modify(|status| status.count(way, count));
        }
    }
    Ok(())
}

async fn wait_until(shared: &Shared, condition: impl FnMut(&Faults) -> bool) {
    let mut faults = shared.faults.subscribe();
    // We hold what sends them: it is always found.
    let _found = faults.wait_for(condition).await;
}

/// Counts an open connection for as long as it lives.
struct Counted(Arc<Shared>);

impl Counted {
    fn new(shared: &Arc<Shared>) -> Counted {
        shared.status.send_modify(|status| {
            status.accepted += 1;
            status.open += 1;
        });
        Counted(Arc::clone(shared))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.status.send_modify(|status| status.open -= 1);
    }
}
