//! A network and servers that fail while a lease is held.

use std::time::Duration;

use withal_core::{AsyncContextManager, ExitCase};
use withal_lock::{LostCause, PgLease};
use withal_scope::{async_with, scope};
use withal_testkit::proxy::{Direction, Proxy};
use withal_testkit::servers::{postgres, redis};

use super::support::{Asked, MINUTE, Trace, each, each_with, token_of};

const TTL: Duration = Duration::from_millis(900);
/// For what must not be lost on a machine that has much else to do.
const LONG: Duration = Duration::from_secs(3);

#[test]
fn a_silent_network_is_told_before_anybody_else_has_it() {
    for direction in [Direction::Both, Direction::ToClient, Direction::ToServer] {
        each(async |s, server| {
            let proxy = s.enter(Proxy::to(server.addr())).await?;
            let far = server.place_at(proxy.addr());
            let lease = far.lease("report").ttl(TTL).enter().await?;
            let token = lease.token();
            proxy.freeze(direction);
            let trace = Trace::default();
            let noted = trace.clone();
            let waits = server.place().lease("report").wait(MINUTE);
            let next = async_with(waits, async |next| {
                noted.note("next");
                Ok(next.token())
            });
            let told = async {
                let lost = lease.lost().await;
                trace.note("lost");
                lost
            };
            let (lost, next) = tokio::join!(told, next);
            assert_eq!(lost.cause(), LostCause::Unreachable);
            assert_eq!(trace.take(), ["lost", "next"]);
            assert!(next? > token);
            proxy.resume().await?;
            let error = PgLease::exit(lease, ExitCase::Succeeded).await.unwrap_err();
            assert!(error.is_lost(), "{error}");
            Ok(())
        });
    }
}

#[test]
fn a_connection_that_breaks_is_replaced() {
    each(async |s, server| {
        let proxy = s.enter(Proxy::to(server.addr())).await?;
        let far = server.place_at(proxy.addr());
        async_with(far.lease("report").ttl(LONG), async |lease| {
            for _ in 0..3 {
                let before = proxy.status().accepted;
                assert_eq!(proxy.reset().await, 1);
                proxy
                    .wait_for(|status| status.accepted > before && status.open > 0)
                    .await;
            }
            let busy = server.place().lease("report").wait(LONG * 2);
            assert!(busy.enter().await.unwrap_err().is_busy());
            Ok(lease.check()?)
        })
        .await?;
        // It was released by the newest of them.
        let next = server.place().lease("report").wait(Duration::ZERO);
        async_with(next, async |_| Ok(())).await?;
        Ok(())
    });
}

#[test]
fn a_slow_network_costs_nothing() {
    each(async |s, server| {
        let proxy = s.enter(Proxy::to(server.addr())).await?;
        let far = server.place_at(proxy.addr());
        proxy.delay(Direction::Both, Duration::from_millis(20));
        async_with(far.lease("report").ttl(LONG), async |lease| {
            let busy = server.place().lease("report").wait(LONG * 2);
            assert!(busy.enter().await.unwrap_err().is_busy());
            Ok(lease.check()?)
        })
        .await?;
        Ok(())
    });
}

#[test]
fn a_server_that_is_restarted_and_forgets_nothing_costs_nothing() {
    let remembers = redis()
        .setting("appendonly", "yes")
        .setting("appendfsync", "always");
    each_with(postgres(), remembers, async |_, server| {
        async_with(
            server.place().lease("report").ttl(TTL * 10),
            async |lease| {
                server.stop().await?;
                server.start().await?;
                let busy = server.place().lease("report").wait(Duration::ZERO);
                assert!(busy.enter().await.unwrap_err().is_busy());
                // It is renewed by another connection.
                let busy = server.place().lease("report").wait(TTL * 11);
                assert!(busy.enter().await.unwrap_err().is_busy());
                Ok(lease.check()?)
            },
        )
        .await?;
        Ok(())
    });
}

#[test]
fn a_server_that_is_gone_is_told_and_the_work_is_dropped() {
    each(async |_, server| {
        let lease = server.place().lease("report").ttl(TTL);
        let ended = async_with(lease, async |lease| {
            server.stop().await?;
            Ok(lease.while_held(std::future::pending::<()>()).await?)
        })
        .await;
        let error = ended.unwrap_err();
        let text = format!("{error:?}");
        assert!(text.contains("could not be renewed in time"), "{text}");
        assert!(!text.contains(&server.place().password), "{text}");
        Ok(())
    });
}

#[test]
fn a_release_that_does_not_get_through_is_told() {
    each(async |s, server| {
        let proxy = s.enter(Proxy::to(server.addr())).await?;
        let far = server.place_at(proxy.addr());
        let ended = async_with(far.lease("report").ttl(TTL), async |_| {
            proxy.refuse().await;
            proxy.reset().await;
            Ok(())
        })
        .await;
        let text = ended.unwrap_err().to_string();
        assert!(
            text.contains("cannot release lease `report`, which ends by itself"),
            "{text}"
        );
        Ok(())
    });
}

#[test]
fn an_answer_that_is_lost_on_its_way_leaves_nothing() {
    each(async |s, server| {
        let proxy = s.enter(Proxy::to(server.addr())).await?;
        let far = server.place_at(proxy.addr());
        // The table is there, and the connection is not new.
        async_with(far.lease("report"), async |_| Ok(())).await?;
        let waits = far.lease("report").ttl(TTL).wait(MINUTE);
        let holds = server.place().lease("report").enter().await?;
        let asked = Asked::by(proxy, &far).await;
        scope(async |s| {
            let task = s.spawn(token_of(waits));
            asked.wait().await;
            proxy.freeze(Direction::ToClient);
            let token = holds.token();
            PgLease::exit(holds, ExitCase::Succeeded).await?;
            let accepted = proxy.status().accepted;
            // It gave up waiting for an answer, and asks by another connection.
            proxy.wait_for(|status| status.accepted > accepted).await;
            proxy.resume().await?;
            assert!(task.join().await? > token);
            Ok(())
        })
        .await?;
        let next = server.place().lease("report").wait(Duration::ZERO);
        async_with(next, async |_| Ok(())).await?;
        Ok(())
    });
}
