//! A line that falls silent, as after a firewall has forgotten it: no end, no reset, no answer.
//! New connections are not touched.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::Result;

/// Passes connections on. Dropped, all of them end.
pub(crate) struct Hole {
    pub(crate) addr: SocketAddr,
    lines: Arc<Lines>,
    _task: JoinSet<()>,
}

#[derive(Default)]
struct Lines {
    accepted: AtomicU64,
    /// Those up to this one are silent.
    silent: AtomicU64,
}

impl Hole {
    pub(crate) async fn to(upstream: SocketAddr) -> Result<Hole> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let addr = listener.local_addr()?;
        let lines = Arc::<Lines>::default();
        let mut task = JoinSet::new();
        let _ = task.spawn(serve(listener, upstream, Arc::clone(&lines)));
        Ok(Hole {
            addr,
            lines,
            _task: task,
        })
    }

    /// From now on, nothing comes through on the lines there are.
    pub(crate) fn silence(&self) {
        let accepted = self.lines.accepted.load(Ordering::SeqCst);
        self.lines.silent.store(accepted, Ordering::SeqCst);
    }
}

async fn serve(listener: TcpListener, upstream: SocketAddr, lines: Arc<Lines>) {
    let mut open = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let number = lines.accepted.fetch_add(1, Ordering::SeqCst) + 1;
        let lines = Arc::clone(&lines);
        let _ = open.spawn(async move {
            if let Ok(server) = TcpStream::connect(upstream).await {
                // An end of either is an end of both.
                drop((client.set_nodelay(true), server.set_nodelay(true)));
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                tokio::select! {
                    () = pass(number, &lines, from_client, to_server) => {}
                    () = pass(number, &lines, from_server, to_client) => {}
                }
            }
        });
    }
}

async fn pass(
    number: u64,
    lines: &Lines,
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
) {
    let mut buffer = [0; 16 * 1024];
    loop {
        let read = from.read(&mut buffer).await;
        if number <= lines.silent.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        let bytes = match read {
            Ok(1..) => read.ok().and_then(|count| buffer.get(..count)),
            _ => None,
        };
        let Some(bytes) = bytes else { return };
        if to.write_all(bytes).await.is_err() {
            return;
        }
    }
}
