//! Tables as bytes, where what reads or writes them fails or is given up.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use withal_scope::with_ref;
use withal_sql::{Connection, Error, ErrorKind};

use crate::support::{balances, give_up_at, kind, with_connection};

const SCHEMA: &str = "CREATE TABLE accounts (id bigint PRIMARY KEY, balance bigint); \
    INSERT INTO accounts VALUES (1, 1000), (2, 1000)";
const ADD: &str = "UPDATE accounts SET balance = balance + 1 WHERE id = 1";
const IN: &str = "COPY accounts FROM STDIN";

/// More than fits between us and the server.
const OUT: &str = "COPY (SELECT repeat('x', 1000), generate_series(1, 1000000000)) TO STDOUT";

/// A file on a disk that fails after the first time.
#[derive(Default)]
struct Disk {
    is_gone: bool,
}

impl Disk {
    fn poll(&mut self) -> Poll<io::Result<()>> {
        match std::mem::replace(&mut self.is_gone, true) {
            true => Poll::Ready(Err(io::Error::other("the disk is gone"))),
            false => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncRead for Disk {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        buf.put_slice(b"3\t1000\n");
        self.poll()
    }
}

impl AsyncWrite for Disk {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll().map_ok(|()| bytes.len())
    }

    fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll()
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

async fn count(conn: &Connection) -> Result<i64, Error> {
    conn.query_one_as("SELECT count(*) FROM accounts", &[])
        .await
}

#[tokio::test]
async fn a_copy_whose_other_end_fails_is_not_committed_as_if_nothing_had_been() {
    with_connection(async |conn| {
        conn.batch(SCHEMA).await?;
        for is_in in [true, false] {
            let ended = with_ref(conn.begin(), async |tx| {
                tx.execute(ADD, &[]).await?;
                let copied = match is_in {
                    true => tx.copy_in(IN, Disk::default()).await,
                    false => tx.copy_out(OUT, Disk::default()).await,
                };
                assert_eq!(copied.unwrap_err().kind(), ErrorKind::Io);
                Ok(())
            });
            let ended = ended.await.unwrap_err();
            assert_eq!(kind(&ended), ErrorKind::Poisoned, "in: {is_in}");
            assert_eq!(balances(conn).await?, (1000, 1000), "in: {is_in}");
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_copy_whose_other_end_fails_costs_the_savepoint_alone() {
    with_connection(async |conn| {
        conn.batch(SCHEMA).await?;
        for is_in in [true, false] {
            with_ref(conn.begin(), async |tx| {
                tx.execute(ADD, &[]).await?;
                let inner = with_ref(tx.begin(), async |inner| {
                    inner.execute(ADD, &[]).await?;
                    let copied = match is_in {
                        true => inner.copy_in(IN, Disk::default()).await,
                        false => inner.copy_out(OUT, Disk::default()).await,
                    };
                    assert_eq!(copied.unwrap_err().kind(), ErrorKind::Io);
                    Ok(())
                });
                let inner = inner.await.unwrap_err();
                assert_eq!(kind(&inner), ErrorKind::Poisoned, "in: {is_in}");
                Ok(())
            })
            .await?;
        }
        assert_eq!(balances(conn).await?, (1002, 1000));
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_copy_given_up_anywhere_is_not_committed() {
    with_connection(async |conn| {
        conn.batch(SCHEMA).await?;
        let mut tried = 0;
        loop {
            let mut is_given_up = false;
            let ended = with_ref(conn.begin(), async |tx| {
                tx.execute(ADD, &[]).await?;
                is_given_up = give_up_at(tried, tx.copy_in(IN, &b"3\t1000\n"[..])).await;
                Ok(())
            });
            let ended = ended.await;
            if !is_given_up {
                ended?;
                break;
            }
            assert_eq!(kind(&ended.unwrap_err()), ErrorKind::Poisoned, "at {tried}");
            assert_eq!(
                (count(conn).await?, balances(conn).await?),
                (2, (1000, 1000))
            );
            tried += 1;
        }
        assert!(tried > 2, "{tried}");
        assert_eq!(count(conn).await?, 3);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_copy_out_given_up_anywhere_is_not_committed_and_is_over() {
    with_connection(async |conn| {
        conn.batch(SCHEMA).await?;
        for tried in 0..6 {
            let ended = with_ref(conn.begin(), async |tx| {
                tx.execute(ADD, &[]).await?;
                assert!(give_up_at(tried, tx.copy_out(OUT, tokio::io::sink())).await);
                Ok(())
            });
            let ended = ended.await.unwrap_err();
            assert_eq!(kind(&ended), ErrorKind::Poisoned, "at {tried}");
            assert_eq!(balances(conn).await?, (1000, 1000), "at {tried}");
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_copy_whose_other_end_fails_is_over_for_the_next_statement_and_the_next_user() {
    crate::support::with_postgres(1, async |db| {
        let mut conn = db.lease().await?;
        conn.batch(SCHEMA).await?;
        let copied = conn.copy_out(OUT, Disk::default()).await;
        assert_eq!(copied.unwrap_err().kind(), ErrorKind::Io);
        // What was left to run would run for hours.
        assert_eq!(count(&conn).await?, 2);
        let copied = conn.copy_out(OUT, Disk::default()).await;
        assert_eq!(copied.unwrap_err().kind(), ErrorKind::Io);
        conn.release().await;
        let mut conn = db.lease().await?;
        assert_eq!(count(&conn).await?, 2);
        let copied = conn.copy_in(IN, Disk::default()).await;
        assert_eq!(copied.unwrap_err().kind(), ErrorKind::Io);
        conn.release().await;
        let conn = db.lease().await?;
        assert_eq!(count(&conn).await?, 2);
        assert_eq!(db.pool().counters().created, 1);
        conn.release().await;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_copy_ends_no_transaction() {
    with_connection(async |conn| {
        conn.batch(SCHEMA).await?;
        with_ref(conn.begin(), async |tx| {
            tx.execute(ADD, &[]).await?;
            let ended = tx.copy_in("ROLLBACK", &b""[..]).await.unwrap_err();
            assert_eq!(ended.kind(), ErrorKind::Refused);
            let ended = tx.copy_out("COMMIT", Vec::new()).await.unwrap_err();
            assert_eq!(ended.kind(), ErrorKind::Refused);
            Ok(())
        })
        .await?;
        assert_eq!(balances(conn).await?, (1001, 1000));
        Ok(())
    })
    .await;
}
