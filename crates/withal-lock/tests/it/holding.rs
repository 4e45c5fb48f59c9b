//! One holder at a time, and tokens in order.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::yield_now;
use withal_core::{AsyncContextManager, BoxError, ExitCase};
use withal_lock::{Lease, LostCause, PgLease, RedisLease};
use withal_scope::{async_with, scope};
use withal_sql::{Database, params};

use super::support::{AnyLease, Kind, MINUTE, Place, Server, each, token_of};

/// What a lease protects: it refuses who comes with a smaller token than was seen.
#[derive(Debug, Default)]
struct Fenced {
    token: AtomicI64,
    is_busy: AtomicBool,
    writes: Mutex<Vec<i64>>,
}

impl Fenced {
    async fn write(&self, token: i64) {
        assert!(!self.is_busy.swap(true, SeqCst), "two at once");
        assert!(
            self.token.swap(token, SeqCst) < token,
            "a token that is not greater"
        );
        for _ in 0..10 {
            yield_now().await;
        }
        self.writes.lock().unwrap().push(token);
        assert!(self.is_busy.swap(false, SeqCst), "two at once");
    }
}

#[test]
fn two_never_hold_it_at_once_and_tokens_grow() {
    const HOLDERS: usize = 6;
    const ROUNDS: usize = 5;
    each(async |_, server| {
        let place = server.place();
        let fenced = Arc::new(Fenced::default());
        let written = fenced.clone();
        scope(async |s| {
            let mut holders = Vec::new();
            for _ in 0..HOLDERS {
                holders.push(s.spawn(write_often(place.clone(), fenced.clone(), ROUNDS)));
            }
            for holder in holders {
                holder.join().await?;
            }
            Ok(())
        })
        .await?;
        let writes = written.writes.lock().unwrap();
        assert_eq!(writes.len(), HOLDERS * ROUNDS);
        assert!(writes.is_sorted());
        Ok(())
    });
}

async fn write_often(place: Place, fenced: Arc<Fenced>, rounds: usize) -> Result<(), BoxError> {
    for _ in 0..rounds {
        let lease = place.lease("report").wait(MINUTE);
        async_with(lease, async |lease| Ok(fenced.write(lease.token()).await)).await?;
    }
    Ok(())
}

#[test]
fn leases_of_other_keys_are_others() {
    each(async |s, server| {
        let place = server.place();
        let one = s.enter(place.lease("one").wait(Duration::ZERO)).await?;
        let two = s
            .enter(place.lease("two's {other} key").wait(Duration::ZERO))
            .await?;
        assert_eq!((one.key(), two.key()), ("one", "two's {other} key"));
        assert!(one.check().is_ok() && two.check().is_ok());
        Ok(())
    });
}

#[test]
fn it_is_held_for_longer_than_its_time() {
    each(async |s, server| {
        let place = server.place();
        let ttl = Duration::from_millis(300);
        let lease = s.enter(place.lease("report").ttl(ttl)).await?;
        let other = place.lease("report").wait(ttl * 3);
        let error = other.enter().await.unwrap_err();
        assert!(error.is_busy(), "{error}");
        assert!(lease.check().is_ok());
        Ok(())
    });
}

#[test]
fn tokens_grow_even_if_the_server_forgets() {
    each(async |s, server| {
        let place = server.place();
        let held = |lease: &mut Lease| lease.token();
        let first = async_with(place.lease("report"), async |lease| Ok(held(lease))).await?;
        match server {
            Server::Postgres(server) => {
                let db = s.enter(Database::open(server.url())).await?;
                let session = s.enter(db.acquire()).await?;
                session
                    .execute("DROP TABLE withal_leases", params![])
                    .await?;
            }
            // It keeps nothing.
            Server::Redis(server) => server.restart().await?,
        }
        let second = async_with(place.lease("report"), async |lease| Ok(held(lease))).await?;
        assert!(second > first, "{second} after {first}");
        Ok(())
    });
}

#[test]
fn what_somebody_has_removed_is_lost() {
    each(async |s, server| {
        let place = server.place();
        let lease = place.lease("report").ttl(Duration::from_millis(900));
        let lease = lease.enter().await?;
        match server {
            Server::Postgres(server) => {
                let db = s.enter(Database::open(server.url())).await?;
                let session = s.enter(db.acquire()).await?;
                session
                    .execute("DELETE FROM withal_leases", params![])
                    .await?;
            }
            Server::Redis(server) => server.restart().await?,
        }
        let next = async_with(place.lease("report"), async |next| Ok(next.token())).await?;
        assert!(next > lease.token());
        assert_eq!(lease.lost().await.cause(), LostCause::Taken);
        let error = PgLease::exit(lease, ExitCase::Succeeded).await.unwrap_err();
        assert!(error.is_lost(), "{error}");
        Ok(())
    });
}

#[test]
fn what_an_owner_has_left_can_be_cleared_and_nothing_else() {
    each(async |_, server| {
        let place = server.place();
        assert!(
            !place.lease("report").owner("run-1").clear().await?,
            "no table yet"
        );
        // Its process was killed, as far as the server can see.
        drop(place.lease("report").owner("run-1").enter().await?);
        assert!(!place.lease("report").owner("run-2").clear().await?);
        assert!(!place.lease("report").owner("run").clear().await?);
        assert!(!place.lease("other").owner("run-1").clear().await?);
        assert!(place.lease("report").owner("run-1").clear().await?);
        assert!(!place.lease("report").owner("run-1").clear().await?);
        let next = place.lease("report").wait(Duration::ZERO);
        async_with(next, async |lease| Ok(assert!(lease.check().is_ok()))).await?;
        Ok(())
    });
}

#[test]
fn many_that_come_first_make_the_table_once() {
    each(async |_, server| {
        let place = server.place();
        scope(async |s| {
            let tasks: Vec<_> = (0..8)
                .map(|number| {
                    let lease = place.lease(&format!("key {number}"));
                    s.spawn(token_of(lease))
                })
                .collect();
            for task in tasks {
                assert!(task.join().await? > 0);
            }
            Ok(())
        })
        .await?;
        Ok(())
    });
}

#[test]
fn urls_and_terms_that_make_no_sense_are_refused() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let check = |lease: AnyLease, words: &str| {
        let error = runtime.block_on(lease.enter()).unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(text.contains(words), "{text}");
        assert!(!text.contains("s3cret"), "{text}");
    };
    for (kind, url) in [
        (Kind::Postgres, "postgres://ada:s3cret@127.0.0.1:1/db"),
        (Kind::Redis, "redis://:s3cret@127.0.0.1:1/"),
    ] {
        let place = Place {
            kind,
            url: url.to_owned(),
            password: String::new(),
        };
        assert!(!format!("{:?}", place.lease("report")).contains("s3cret"));
        check(place.lease("report"), "cannot acquire lease `report`");
        check(place.lease(""), "the key of a lease");
        check(place.lease("a").ttl(Duration::from_millis(99)), "100ms");
        check(place.lease("a").owner("two words"), "one word");
    }
    check(
        AnyLease::Redis(RedisLease::new("http://:s3cret@h", "a")),
        "redis://host",
    );
    check(
        AnyLease::Postgres(PgLease::new("mysql://:s3cret@h", "a")),
        "postgres://",
    );
}
