//! The task that accepts connections and does what handles ask.

use std::future::pending;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use withal_core::{Entry, NoticeKind, emit_error};
use withal_servers::free_port;

use super::connection;
use super::handle::{Command, ProxyHandle, Shared};

/// How long to wait after connections could not be accepted, such as for want of descriptors.
const PAUSE: Duration = Duration::from_millis(10);

/// How often another port is tried if somebody was faster.
const PORTS: usize = 16;

pub(super) struct Listener {
    addr: SocketAddr,
    /// `None` while connections are refused.
    listener: Option<TcpListener>,
    upstream: SocketAddr,
    shared: Arc<Shared>,
    commands: mpsc::UnboundedReceiver<Command>,
    connections: JoinSet<()>,
}

impl Listener {
    pub(super) fn bind(upstream: SocketAddr) -> io::Result<(ProxyHandle, Listener)> {
        let listener = bind_free()?;
        let addr = listener.local_addr()?;
        let shared = Arc::<Shared>::default();
        let (sender, commands) = mpsc::unbounded_channel();
        let handle = ProxyHandle {
            addr,
            shared: Arc::clone(&shared),
            commands: sender,
        };
        let listener = Listener {
            addr,
            listener: Some(listener),
            upstream,
            shared,
            commands,
            connections: JoinSet::new(),
        };
        Ok((handle, listener))
    }

    /// Runs until it is told to close.
    pub(super) async fn run(mut self) {
        loop {
            tokio::select! {
                biased;
                command = self.commands.recv() => match command {
                    Some(Command::Close(answer)) => {
                        self.connections.shutdown().await;
                        self.listener = None;
                        let _gone = answer.send(());
                        return;
                    }
                    Some(command) => self.obey(command).await,
                    None => return,
                },
                Some(ended) = self.connections.join_next() => passed_on(ended),
                client = accept(self.listener.as_ref()) => self.pass(client),
            }
        }
    }

    /// Does it, then says so; whoever asked may be gone by then.
    async fn obey(&mut self, command: Command) {
        match command {
            Command::Reset(answer) => {
                let count = self.reset().await;
                let _gone = answer.send(count);
            }
            Command::Refuse(answer) => {
                self.listener = None;
                let _gone = answer.send(());
            }
            Command::Listen(answer) => {
                let _gone = answer.send(self.listen());
            }
            Command::Close(answer) => drop(answer),
        }
    }

    async fn reset(&mut self) -> usize {
        let count = self.shared.status.borrow().open;
        self.shared.faults.send_modify(|faults| faults.resets += 1);
        while let Some(ended) = self.connections.join_next().await {
            passed_on(ended);
        }
        count
    }

    fn listen(&mut self) -> io::Result<()> {
        if self.listener.is_none() {
            self.listener = Some(bind(self.addr)?);
        }
        Ok(())
    }

    fn pass(&mut self, client: TcpStream) {
        let shared = Arc::clone(&self.shared);
        let connection = connection::pass(client, self.upstream, shared);
        let _abort = self.connections.spawn(connection);
    }
}

/// A port below those that are lent: it is free again when connections are no longer refused.
fn bind_free() -> io::Result<TcpListener> {
    let mut bound = bind((Ipv4Addr::LOCALHOST, free_port()?).into());
    for _ in 1..PORTS {
        if bound.is_ok() {
            break;
        }
        bound = bind((Ipv4Addr::LOCALHOST, free_port()?).into());
    }
    bound
}

fn bind(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    // Connections of the listener before may still be open.
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(1024)
}

async fn accept(listener: Option<&TcpListener>) -> TcpStream {
    let Some(listener) = listener else {
        return pending().await;
    };
    loop {
        match listener.accept().await {
            Ok((client, _)) => return client,
            Err(error) => {
                let entry = Entry::new("Proxy");
                emit_error(NoticeKind::WorkedAround, Some(&entry), error);
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// A connection that panicked is a bug, and shall not go unseen.
fn passed_on(ended: Result<(), JoinError>) {
    if let Some(panic) = ended.err().and_then(|error| error.try_into_panic().ok()) {
        resume_unwind(panic);
    }
}
