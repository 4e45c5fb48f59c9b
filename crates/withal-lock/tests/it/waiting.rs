//! Waiting for others, and hearing who they are.

use std::time::Duration;

use withal_core::AsyncContextManager;
use withal_lock::LeaseError;
use withal_scope::{async_with, scope};

use withal_testkit::proxy::Proxy;

use super::support::{Asked, MINUTE, Trace, each, token_of};

#[test]
fn who_has_it_is_named() {
    each(async |s, server| {
        let place = server.place();
        let lease = s
            .enter(place.lease("report").holder("ada on host 1, `nightly`"))
            .await?;
        let error = place
            .lease("report")
            .wait(Duration::ZERO)
            .enter()
            .await
            .unwrap_err();
        let LeaseError::Busy(busy) = &error else {
            panic!("{error}");
        };
        assert_eq!(busy.holder(), "ada on host 1, `nightly`");
        assert_eq!(busy.token(), Some(lease.token()));
        assert!(busy.left() > Duration::from_secs(10) && busy.left() <= Duration::from_secs(30));
        let text = error.to_string();
        assert!(
            text.starts_with("lease `report` is held by ada on host 1, `nightly` (token "),
            "{text}"
        );
        Ok(())
    });
}

#[test]
fn by_default_it_is_this_process() {
    each(async |s, server| {
        let place = server.place();
        s.enter(place.lease("report")).await?;
        let error = place
            .lease("report")
            .wait(Duration::ZERO)
            .enter()
            .await
            .unwrap_err();
        let who = format!("process {} (", std::process::id());
        assert!(error.to_string().contains(&who), "{error}");
        Ok(())
    });
}

#[test]
fn who_waits_has_it_once_it_is_released() {
    each(async |_, server| {
        let place = server.place();
        let trace = Trace::default();
        let (first, second) = (trace.clone(), trace.clone());
        let lease = place.lease("report").enter().await?;
        let waits = place.lease("report").wait(MINUTE);
        scope(async |s| {
            let task = s.spawn(async move {
                async_with(waits, async |_| Ok(second.note("second"))).await?;
                Ok(())
            });
            first.note("first");
            withal_lock::PgLease::exit(lease, withal_core::ExitCase::Succeeded).await?;
            task.join().await?;
            Ok(())
        })
        .await?;
        assert_eq!(trace.take(), ["first", "second"]);
        Ok(())
    });
}

#[test]
fn who_is_dead_is_waited_for_no_longer_than_its_time() {
    each(async |_, server| {
        let place = server.place();
        let dead = place
            .lease("report")
            .ttl(Duration::from_millis(300))
            .enter()
            .await?;
        let token = dead.token();
        drop(dead);
        let next = place.lease("report").wait(MINUTE);
        let next = async_with(next, async |lease| Ok(lease.token())).await?;
        assert!(next > token);
        Ok(())
    });
}

#[test]
fn a_server_that_is_away_for_a_while_is_waited_for() {
    each(async |s, server| {
        let proxy = s.enter(Proxy::to(server.addr())).await?;
        let far = server.place_at(proxy.addr());
        let dead = server
            .place()
            .lease("report")
            .ttl(Duration::from_secs(5))
            .enter()
            .await?;
        let token = dead.token();
        drop(dead);
        let asked = Asked::by(proxy, &far).await;
        scope(async |s| {
            let task = s.spawn(token_of(far.lease("report").wait(MINUTE)));
            asked.wait().await;
            server.stop().await?;
            server.start().await?;
            assert!(task.join().await? > token);
            Ok(())
        })
        .await?;
        Ok(())
    });
}
