//! Servers and proxies leave nothing wherever they are cancelled.
//!
//! A process of its own: descriptors are counted, and these tests open many.
#![cfg(all(feature = "servers", feature = "proxy"))]
#![allow(
    missing_docs,
    unused_results,
    clippy::unit_arg,
    clippy::unwrap_used,
    reason = "tests say what they check in their names"
)]

#[path = "../servers/support.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod support;

use std::net::Ipv4Addr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::net::{TcpListener, TcpStream};
use withal_core::BoxError;
use withal_scope::{Scope, scope};
use withal_testkit::proxy::Proxy;
use withal_testkit::servers::{postgres, redis};
use withal_testkit::{Cancel, Way};

use support::{directory, nothing_left, select_1};

/// One test at a time: what one opens is a leak to the others.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn a_server_is_gone_wherever_its_block_is_cancelled_in_every_way() {
    let _alone = alone();
    let directory = directory();
    let path = directory.path().to_owned();
    let scenario = move || {
        let path = path.clone();
        async move {
            scope(async move |s: Scope<'_>| {
                s.enter(redis().directory(&path)).await?;
                s.enter(postgres().directory(&path)).await?;
                Ok(tokio::task::yield_now().await)
            })
            .await
            .unwrap();
        }
    };
    let check = || nothing_left(directory.path());
    let report = Cancel::every_way().real_time().everywhere(scenario, check);
    println!("{} points, {} runs", report.points(), report.runs());
    report.assert_clean();
    assert!(report.points() >= 5, "{report}");
}

#[test]
fn a_server_that_is_asked_and_restarted_is_gone_wherever_that_is_dropped() {
    let _alone = alone();
    let directory = directory();
    let path = directory.path().to_owned();
    let scenario = move || {
        let path = path.clone();
        async move {
            scope(async move |s: Scope<'_>| {
                let server = s.enter(postgres().directory(&path)).await?;
                assert_eq!(select_1(&server.url()).await?, 1);
                server.crash().await?;
                Ok(server.start().await?)
            })
            .await
            .unwrap();
        }
    };
    let check = || nothing_left(directory.path());
    let drop = Cancel::by([Way::Drop]).real_time();
    let report = drop.everywhere(scenario, check);
    println!("{} points, {} runs", report.points(), report.runs());
    report.assert_clean();
}

#[test]
fn a_proxy_is_gone_wherever_its_block_is_cancelled_in_every_way() {
    let _alone = alone();
    let scenario = || async {
        let through = scope(async |s: Scope<'_>| {
            let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            let proxy = s.enter(Proxy::to(server.local_addr()?)).await?;
            let _client = TcpStream::connect(proxy.addr()).await?;
            let _accepted = server.accept().await?;
            proxy.refuse().await;
            proxy.resume().await?;
            Ok::<_, BoxError>(proxy.reset().await)
        });
        assert_eq!(through.await.unwrap(), 1);
    };
    let report = Cancel::every_way()
        .real_time()
        .everywhere(scenario, || Ok(()));
    println!("{} points, {} runs", report.points(), report.runs());
    report.assert_clean();
}
