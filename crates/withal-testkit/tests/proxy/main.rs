//! The proxy passes everything on, or fails as it is told.
#![cfg(feature = "proxy")]
#![allow(
    missing_docs,
    unused_results,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests say what they check in their names"
)]

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use withal_core::BoxError;
use withal_scope::scope;
use withal_testkit::proxy::{Direction, OpenProxy, Proxy, Split};

const HOUR: Duration = Duration::from_secs(3_600);

/// A server that answers what it is sent, and tells how it ended or what it read at once.
struct Echo {
    addr: SocketAddr,
    reads: mpsc::UnboundedReceiver<Result<usize, ErrorKind>>,
    _task: JoinSet<()>,
}

impl Echo {
    async fn new() -> Echo {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (sender, reads) = mpsc::unbounded_channel();
        let addr = listener.local_addr().unwrap();
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(echo(stream, sender.clone()));
            }
        });
        Echo {
            addr,
            reads,
            _task: task,
        }
    }

    async fn read(&mut self) -> Result<usize, ErrorKind> {
        self.reads.recv().await.unwrap()
    }

    /// What it read at once, for `count` bytes.
    async fn read_all(&mut self, count: usize) -> Vec<usize> {
        let mut lengths = Vec::new();
        while lengths.iter().sum::<usize>() < count {
            lengths.push(self.read().await.unwrap());
        }
        lengths
    }
}

async fn echo(mut stream: TcpStream, reads: mpsc::UnboundedSender<Result<usize, ErrorKind>>) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = stream.read(&mut buffer).await;
        let _gone = reads.send(read.as_ref().map_or_else(|e| Err(e.kind()), |it| Ok(*it)));
        match read {
            Ok(0) | Err(_) => return,
            Ok(length) if stream.write_all(&buffer[..length]).await.is_err() => return,
            Ok(_) => {}
        }
    }
}

/// A client of `proxy` that has been answered once.
async fn connected(proxy: &OpenProxy) -> TcpStream {
    let mut client = TcpStream::connect(proxy.addr()).await.unwrap();
    assert_eq!(exchange(&mut client, b"hello").await.unwrap(), b"hello");
    client
}

async fn exchange(client: &mut TcpStream, message: &[u8]) -> std::io::Result<Vec<u8>> {
    client.write_all(message).await?;
    let mut answer = vec![0; message.len()];
    client.read_exact(&mut answer).await?;
    Ok(answer)
}

/// Runs `test` with a server and a proxy of it.
async fn check(test: impl AsyncFnOnce(&OpenProxy, &mut Echo) -> Result<(), BoxError>) {
    let mut server = Echo::new().await;
    scope(async |s| {
        let proxy = s.enter(Proxy::to(server.addr)).await?;
        test(proxy, &mut server).await
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn everything_arrives_unchanged_and_so_does_the_end() {
    check(async |proxy, _| {
        let sent: Vec<u8> = (0..1_000_000_u32)
            .map(|i| i.to_le_bytes()[i as usize % 3])
            .collect();
        let (mut from, mut to) = TcpStream::connect(proxy.addr()).await?.into_split();
        let mut received = Vec::new();
        let write = async {
            to.write_all(&sent).await?;
            to.shutdown().await
        };
        tokio::try_join!(write, from.read_to_end(&mut received))?;
        assert!(received == sent);
        drop((from, to));
        let status = proxy.wait_for(|status| status.open == 0).await;
        assert_eq!((status.accepted, status.failed), (1, 0));
        let bytes = (status.bytes_to_server, status.bytes_to_client);
        assert_eq!(bytes, (1_000_000, 1_000_000));
        Ok(())
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_delay_holds_for_its_direction_and_keeps_the_order() {
    check(async |proxy, _| {
        let mut client = connected(proxy).await;
        let start = Instant::now();
        proxy.delay(Direction::ToServer, HOUR);
        assert_eq!(exchange(&mut client, b"one").await?, b"one");
        let once = start.elapsed();
        assert!(once >= HOUR && once < 2 * HOUR, "{once:?}");

        proxy.delay(Direction::Both, HOUR);
        client.write_all(b"two").await?;
        proxy.delay(Direction::ToServer, Duration::ZERO);
        assert_eq!(exchange(&mut client, b"thr").await?, b"two");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn messages_arrive_in_pieces_on_the_way_to_the_server() {
    check(async |proxy, server| {
        let mut client = connected(proxy).await;
        assert_eq!(server.read_all(5).await, [5]);
        proxy.split(Direction::ToServer, Split::Halves);
        assert_eq!(exchange(&mut client, b"twice").await?, b"twice");
        assert_eq!(server.read_all(5).await, [3, 2]);
        proxy.split(Direction::ToServer, Split::Bytes);
        assert_eq!(exchange(&mut client, b"often").await?, b"often");
        assert_eq!(server.read_all(5).await, [1; 5]);
        proxy.split(Direction::ToServer, Split::Whole);
        assert_eq!(exchange(&mut client, b"whole").await?, b"whole");
        assert_eq!(server.read_all(5).await, [5]);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn messages_arrive_in_pieces_on_the_way_to_the_client() {
    check(async |proxy, server| {
        let mut client = connected(proxy).await;
        server.read().await.unwrap();
        proxy.split(Direction::ToClient, Split::Bytes);
        client.write_all(b"abc").await?;
        let mut buffer = [0; 16];
        for byte in b"abc" {
            let length = client.read(&mut buffer).await?;
            assert_eq!(&buffer[..length], [*byte]);
        }
        assert_eq!(server.read_all(3).await, [3]);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_frozen_answer_waits_while_requests_pass() {
    check(async |proxy, server| {
        let mut client = connected(proxy).await;
        server.read().await.unwrap();
        proxy.freeze(Direction::ToClient);
        client.write_all(b"commit").await?;
        assert_eq!(server.read_all(6).await, [6]);
        // The server is done, and asking it once more shows that nothing came of it.
        client.write_all(b"again").await?;
        assert_eq!(server.read_all(5).await, [5]);
        let nothing = client.try_read(&mut [0; 16]).unwrap_err();
        assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
        assert_eq!(proxy.status().bytes_to_client, 5);
        proxy.resume().await?;
        let mut answer = [0; 11];
        client.read_exact(&mut answer).await?;
        assert_eq!(&answer, b"commitagain");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn frozen_it_accepts_and_the_server_hears_nothing_until_it_resumes() {
    check(async |proxy, server| {
        proxy.freeze(Direction::Both);
        let mut client = TcpStream::connect(proxy.addr()).await?;
        client.write_all(b"hello").await?;
        proxy.wait_for(|status| status.accepted == 1).await;
        assert!(server.reads.try_recv().is_err());
        assert_eq!(proxy.status().bytes_to_server, 0);
        proxy.resume().await?;
        assert_eq!(server.read_all(5).await, [5]);
        client.read_exact(&mut [0; 5]).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn held_it_accepts_and_takes_nobody_else_to_the_server_until_it_resumes() {
    check(async |proxy, server| {
        let mut open = connected(proxy).await;
        assert_eq!(server.read_all(5).await, [5]);
        proxy.hold();
        let mut new = TcpStream::connect(proxy.addr()).await?;
        new.write_all(b"new").await?;
        proxy.wait_for(|status| status.accepted == 2).await;
        assert_eq!(exchange(&mut open, b"still").await?, b"still");
        assert_eq!(server.read_all(5).await, [5]);
        assert!(server.reads.try_recv().is_err());
        proxy.resume().await?;
        new.read_exact(&mut [0; 3]).await?;
        assert_eq!(server.read_all(3).await, [3]);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_server_that_goes_while_the_proxy_is_frozen_goes_later_for_the_client() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    scope(async |s| {
        let proxy = s.enter(Proxy::to(listener.local_addr()?)).await?;
        let mut client = TcpStream::connect(proxy.addr()).await?;
        let (server, _) = listener.accept().await?;
        proxy.freeze(Direction::ToClient);
        drop(server);
        client.write_all(b"anybody there?").await?;
        let mut buffer = [0; 4];
        {
            let mut ended = std::pin::pin!(client.read(&mut buffer));
            let frozen = proxy.wait_for(|status| status.bytes_to_server > 0);
            tokio::select! {
                biased;
                ended = &mut ended => panic!("{ended:?}"),
                _ = frozen => {}
            }
            proxy.resume().await?;
            assert!(matches!(ended.await, Ok(0) | Err(_)));
        }
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_reset_breaks_both_ends_and_new_connections_work() {
    check(async |proxy, server| {
        let mut clients = [connected(proxy).await, connected(proxy).await];
        server.read_all(10).await;
        proxy.freeze(Direction::Both);
        assert_eq!(proxy.reset().await, 2);
        for client in &mut clients {
            let error = client.read(&mut [0; 16]).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
            assert_eq!(server.read().await, Err(ErrorKind::ConnectionReset));
        }
        assert_eq!(proxy.status().open, 0);
        proxy.resume().await?;
        connected(proxy).await;
        assert_eq!(proxy.reset().await, 1);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn refusing_it_keeps_what_is_open_and_comes_back_at_the_same_port() {
    check(async |proxy, _| {
        let mut client = connected(proxy).await;
        proxy.refuse().await;
        proxy.refuse().await;
        let refused = TcpStream::connect(proxy.addr()).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        assert_eq!(exchange(&mut client, b"still").await?, b"still");
        proxy.resume().await?;
        proxy.resume().await?;
        connected(proxy).await;
        assert_eq!(proxy.status().accepted, 2);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_resets_the_client_and_is_counted() {
    let nobody = TcpSocket::new_v4().unwrap();
    nobody.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    scope(async |s| {
        let proxy = s.enter(Proxy::to(nobody.local_addr()?)).await?;
        let mut client = TcpStream::connect(proxy.addr()).await?;
        let error = client.read(&mut [0; 16]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        let status = proxy.wait_for(|status| status.open == 0).await;
        assert_eq!((status.accepted, status.failed), (1, 1));
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn after_the_block_nobody_listens_connections_are_gone_and_handles_say_so() {
    let server = Echo::new().await;
    let (mut client, handle) = scope(async |s| {
        let proxy = s.enter(Proxy::to(server.addr)).await?;
        Ok((connected(proxy).await, proxy.handle()))
    })
    .await
    .unwrap();
    assert!(matches!(client.read(&mut [0; 16]).await, Ok(0) | Err(_)));
    let refused = TcpStream::connect(handle.addr()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    assert_eq!((handle.status().open, handle.reset().await), (0, 0));
    handle.refuse().await;
    let closed = handle.resume().await.unwrap_err();
    assert_eq!(closed.kind(), ErrorKind::NotConnected);
}
