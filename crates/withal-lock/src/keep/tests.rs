//! When a lease counts as lost, by a virtual clock and a server that fails as it is told.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::{Instant, advance, sleep, sleep_until, timeout};
use withal_core::BoxError;

use crate::acquire::acquire;
use crate::error::Holder;
use crate::store::{Store, Taken};
use crate::terms::Terms;
use crate::{Lease, LeaseError, LostCause};

const SECOND: Duration = Duration::from_secs(1);
const NEVER: Duration = Duration::from_secs(1_000_000);

/// A server that has one lease, and the network before it.
#[derive(Clone, Default)]
struct Fake(Arc<Mutex<Server>>);

#[derive(Default)]
struct Server {
    owner: Option<String>,
    expires: Option<Instant>,
    token: i64,
    renewals: Vec<Instant>,
    network: Network,
    is_shaky: bool,
}

#[derive(Clone, Copy, Default)]
struct Network {
    there: Duration,
    back: Duration,
    is_down: bool,
}

impl Network {
    const SILENT: Network = Network {
        there: NEVER,
        back: NEVER,
        is_down: false,
    };

    fn any() -> Network {
        let delay = || match fastrand::u8(..8) {
            0 => NEVER,
            1 => Duration::from_millis(fastrand::u64(..20_000)),
            _ => Duration::from_millis(fastrand::u64(..50)),
        };
        Network {
            there: delay(),
            back: delay(),
            is_down: fastrand::u8(..4) == 0,
        }
    }
}

impl Fake {
    fn set(&self, network: Network) {
        self.0.lock().unwrap().network = network;
    }

    /// When somebody else can have it; `None` if at once.
    fn expires(&self) -> Option<Instant> {
        let server = self.0.lock().unwrap();
        server.expires.filter(|_| server.owner.is_some())
    }

    /// Does `work` on the server, as far as it can be reached.
    async fn ask<T>(&self, work: impl FnOnce(&mut Server) -> T) -> Result<T, BoxError> {
        let network = {
            let server = self.0.lock().unwrap();
            match server.is_shaky {
                true => Network::any(),
                false => server.network,
            }
        };
        if network.is_down {
            return Err("connection refused".into());
        }
        sleep(network.there).await;
        let answer = work(&mut self.0.lock().unwrap());
        sleep(network.back).await;
        Ok(answer)
    }
}

impl Store for Fake {
    async fn connect(&mut self) -> Result<(), BoxError> {
        Ok(())
    }

    fn disconnect(&mut self) {}

    async fn take(&mut self, terms: &Terms) -> Result<Taken, BoxError> {
        let (owner, ttl) = (terms.owner.clone(), terms.ttl);
        self.ask(|server| {
            let now = Instant::now();
            let is_own = server.owner.as_ref() == Some(&owner);
            let left = server.expires.map(|it| it.saturating_duration_since(now));
            let left = left.unwrap_or_default();
            if server.owner.is_some() && !is_own && !left.is_zero() {
                let name = "somebody".to_owned();
                let token = Some(server.token);
                return Taken::Busy(Holder { name, token, left });
            }
            server.token += i64::from(!is_own);
            server.owner = Some(owner);
            server.expires = Some(now + ttl);
            Taken::Ours(server.token)
        })
        .await
    }

    async fn renew(&mut self, terms: &Terms) -> Result<bool, BoxError> {
        self.ask(|server| {
            server.renewals.push(Instant::now());
            let is_own = server.owner.as_ref() == Some(&terms.owner);
            if is_own {
                server.expires = Some(Instant::now() + terms.ttl);
            }
            is_own
        })
        .await
    }

    async fn release(&mut self, terms: &Terms) -> Result<bool, BoxError> {
        self.ask(|server| {
            let is_own = server.owner.as_ref() == Some(&terms.owner);
            if is_own {
                server.owner = None;
            }
            is_own
        })
        .await
    }

    async fn close(self) -> Result<(), BoxError> {
        Ok(())
    }
}

/// Thirty seconds, and ten of margin.
fn terms() -> Terms {
    Terms::new("report".to_owned())
}

async fn held(server: &Fake) -> Lease {
    acquire(server.clone(), terms()).await.unwrap()
}

/// What others would have to wait for when this one was told.
async fn check_lost(server: &Fake, lease: &Lease, cause: LostCause, left: Duration) {
    let lost = lease.lost().await;
    assert_eq!(lost.cause(), cause, "{lost}");
    assert_eq!(lease.check().unwrap_err().cause(), cause);
    let expires = server.expires().unwrap_or_else(Instant::now);
    assert_eq!(expires.saturating_duration_since(Instant::now()), left);
}

#[tokio::test(start_paused = true)]
async fn it_is_renewed_after_a_third_of_its_time_until_it_is_released() {
    let server = Fake::default();
    let start = Instant::now();
    let lease = held(&server).await;
    sleep(65 * SECOND).await;
    assert_eq!(lease.check().unwrap(), 1);
    lease.release().await.unwrap();
    sleep(100 * SECOND).await;
    let renewals = server.0.lock().unwrap().renewals.clone();
    let expected = [10, 20, 30, 40, 50, 60].map(|seconds| start + seconds * SECOND);
    let late = |(at, expected): (&Instant, Instant)| at.saturating_duration_since(expected);
    assert!(
        renewals
            .iter()
            .zip(expected)
            .map(late)
            .all(|late| late < SECOND)
    );
    assert_eq!(renewals.len(), expected.len());
    assert!(server.expires().is_none());
}

#[tokio::test(start_paused = true)]
async fn silence_is_told_the_margin_before_anybody_else_can_have_it() {
    let server = Fake::default();
    let lease = held(&server).await;
    server.set(Network::SILENT);
    check_lost(&server, &lease, LostCause::Unreachable, 10 * SECOND).await;
    let error = lease.release().await.unwrap_err();
    assert!(error.is_lost(), "{error}");
}

#[tokio::test(start_paused = true)]
async fn it_is_reckoned_from_when_the_last_renewal_was_sent() {
    let server = Fake::default();
    let lease = held(&server).await;
    let slow = Network {
        there: 3 * SECOND,
        ..Network::default()
    };
    server.set(slow);
    sleep(14 * SECOND).await;
    // The server counts from three seconds later.
    server.set(Network::SILENT);
    check_lost(&server, &lease, LostCause::Unreachable, 13 * SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_comes_back_in_time_costs_nothing() {
    let server = Fake::default();
    let lease = held(&server).await;
    server.set(Network {
        is_down: true,
        ..Network::default()
    });
    sleep(19 * SECOND).await;
    server.set(Network::default());
    sleep(60 * SECOND).await;
    assert_eq!(lease.check().unwrap(), 1);
    lease.release().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_others_have_is_told_at_the_next_renewal() {
    let server = Fake::default();
    let lease = held(&server).await;
    server.0.lock().unwrap().owner = None;
    check_lost(&server, &lease, LostCause::Taken, Duration::ZERO).await;
    assert!(lease.release().await.unwrap_err().is_lost());
}

#[tokio::test(start_paused = true)]
async fn what_others_have_is_told_at_the_release_if_there_was_no_renewal() {
    let server = Fake::default();
    let lease = held(&server).await;
    server.0.lock().unwrap().owner = None;
    assert!(lease.release().await.unwrap_err().is_lost());
}

#[tokio::test(start_paused = true)]
async fn who_was_stopped_for_too_long_sees_it_at_once() {
    let server = Fake::default();
    let lease = held(&server).await;
    // Nothing runs meanwhile.
    advance(20 * SECOND).await;
    assert_eq!(lease.check().unwrap_err().cause(), LostCause::Late);
    assert_eq!(lease.lost().await.cause(), LostCause::Late);
    assert!(server.expires().unwrap() >= Instant::now() + 9 * SECOND);
    assert!(lease.release().await.unwrap_err().is_lost());
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_is_under_way_keeps_no_release_waiting() {
    let server = Fake::default();
    let lease = held(&server).await;
    server.set(Network::SILENT);
    sleep(11 * SECOND).await;
    server.set(Network::default());
    let begun = Instant::now();
    lease.release().await.unwrap();
    assert!(begun.elapsed() < SECOND);
    assert!(server.expires().is_none());
}

#[tokio::test(start_paused = true)]
async fn watchers_hear_of_the_release() {
    let server = Fake::default();
    let lease = held(&server).await;
    let watch = lease.watch();
    lease.release().await.unwrap();
    assert_eq!(watch.lost().await.cause(), LostCause::Released);
    let error = watch.while_held(std::future::pending::<()>()).await;
    assert_eq!(error.unwrap_err().cause(), LostCause::Released);
}

#[tokio::test(start_paused = true)]
async fn who_waits_gets_it_when_it_ends_and_not_before() {
    let server = Fake::default();
    let dead = held(&server).await;
    let expires = server.expires().unwrap();
    drop(dead);
    let next = held(&server).await;
    assert_eq!(next.token(), 2);
    assert!(Instant::now() >= expires);
    assert!(expires.elapsed() < SECOND);
    next.release().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_limit_of_waiting_is_kept() {
    let server = Fake::default();
    let first = held(&server).await;
    let terms = Terms {
        wait: Some(5 * SECOND),
        ..terms()
    };
    let begun = Instant::now();
    let error = acquire(server.clone(), terms).await.unwrap_err();
    let LeaseError::Busy(busy) = error else {
        panic!("{error}");
    };
    assert!((5 * SECOND..6 * SECOND).contains(&begun.elapsed()));
    assert_eq!(busy.token(), Some(1));
    assert_eq!(busy.holder(), "somebody");
    assert!(busy.left() > 20 * SECOND);
    first.release().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_lost_costs_no_token_and_leaves_nothing() {
    let server = Fake::default();
    server.set(Network {
        back: NEVER,
        ..Network::default()
    });
    let acquired = acquire(server.clone(), terms());
    let freed = async {
        sleep(21 * SECOND).await;
        server.set(Network::default());
    };
    let (acquired, ()) = tokio::join!(acquired, freed);
    assert!(acquired.is_err());
    assert!(server.expires().is_none(), "it was withdrawn");
}

/// Whatever the network does: the holder has been told before anybody else can have it.
#[tokio::test(start_paused = true)]
async fn whatever_the_network_does_a_loss_is_told_the_margin_before() {
    let mut lost = 0;
    for seed in 0..500 {
        fastrand::seed(seed);
        let server = Fake::default();
        let lease = held(&server).await;
        server.0.lock().unwrap().is_shaky = true;
        let end = Instant::now() + 60 * SECOND;
        let Ok(_) = timeout(60 * SECOND, lease.lost()).await else {
            let expires = server.expires().unwrap();
            assert!(
                expires > end,
                "seed {seed}: others can have it, and nobody was told"
            );
            continue;
        };
        lost += 1;
        // Renewals may still arrive, but the past cannot be changed: it was not free until now, nor
        // will it be before the margin is over.
        let expires = server.expires().unwrap();
        let left = expires.saturating_duration_since(Instant::now());
        assert!(left >= 10 * SECOND, "seed {seed}: told {left:?} before");
        sleep_until(expires).await;
    }
    assert!((50..450).contains(&lost), "{lost} of 500 were lost");
}
