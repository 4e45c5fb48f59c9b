//! Coming to a lease, and giving one back.

use std::time::Duration;

use tokio::time::{sleep, timeout};
use withal_core::{BoxError, Entry, NoticeKind, emit_error};
use withal_scope::cancellable;

use crate::error::{Busy, Holder, LeaseError};
use crate::lease::Lease;
use crate::moment::Moment;
use crate::store::{Store, Taken};
use crate::terms::Terms;

/// How long to pause between two tries: from the first they double up to the last, each a bit more
/// or less, so that those who wait do not all ask at once.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LAST_PAUSE: Duration = Duration::from_millis(500);

/// How long giving back may take. What is not given back ends by itself.
const RELEASE: Duration = Duration::from_secs(3);
/// The same if nobody waits for it, but for somebody to be gone.
const HURRIED: Duration = Duration::from_millis(500);

/// Takes the lease, waiting as long as `terms` say.
pub(crate) async fn acquire<S: Store>(store: S, terms: Terms) -> Result<Lease, LeaseError> {
    terms.check()?;
    let mut claim = Claim {
        store,
        terms,
        is_open: false,
    };
    match cancellable(claim.wait()).await {
        Some(Ok((token, sent))) => Ok(Lease::keep(claim.store, claim.terms, token, sent)),
        Some(Err(error)) => {
            claim.withdraw(RELEASE).await;
            Err(error)
        }
        None => {
            claim.withdraw(HURRIED).await;
            Err(LeaseError::Cancelled)
        }
    }
}

/// What is asked of a server.
struct Claim<S> {
    store: S,
    terms: Terms,
    /// Whether it was asked for without an answer: it may be ours.
    is_open: bool,
}

impl<S: Store> Claim<S> {
    /// Asks until it is ours; gives the token, and when was asked.
    async fn wait(&mut self) -> Result<(i64, Moment), LeaseError> {
        let start = Moment::now();
        let limit = self.terms.wait.map(|limit| start.after(limit));
        let is_over = || limit.is_some_and(|limit| limit.left().is_zero());
        let mut pause = FIRST_PAUSE;
        let mut last: Option<Holder> = None;
        let mut is_told = false;
        loop {
            match self.ask().await {
                Ok((Taken::Ours(token), sent)) => return Ok((token, sent)),
                Ok((Taken::Busy(holder), _)) if is_over() => return Err(self.busy(holder)),
                Ok((Taken::Busy(holder), _)) => {
                    last = Some(holder);
                    is_told = false;
                }
                // A server that went away while we waited may come back; one that was never there
                // is wrong.
                Err(error) if last.is_none() || is_over() => {
                    let key = &self.terms.key;
                    let doing = format_args!("acquire lease `{key}`");
                    return Err(LeaseError::doing(doing, error));
                }
                Err(error) => {
                    if !std::mem::replace(&mut is_told, true) {
                        worked_around(&self.terms, error);
                    }
                }
            }
            let jittered = pause.mul_f64(0.5 + fastrand::f64());
            let ends = last.as_ref().map(|holder| holder.left);
            let ends = ends.filter(|left| !left.is_zero());
            let over = limit.map(Moment::left);
            let next = [ends, over].into_iter().flatten();
            sleep(next.fold(jittered, Duration::min)).await;
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }

    fn busy(&self, holder: Holder) -> LeaseError {
        LeaseError::Busy(Busy {
            key: self.terms.key.to_string(),
            holder,
            waited: self.terms.wait.unwrap_or_default(),
        })
    }

    /// Asks once. An answer that comes so late that the lease could not be used any more is none.
    async fn ask(&mut self) -> Result<(Taken, Moment), BoxError> {
        let Claim { store, terms, .. } = self;
        store.connect().await?;
        let sent = Moment::now();
        self.is_open = true;
        let taken = within(terms.usable(), store.take(terms)).await;
        match &taken {
            Ok(Taken::Busy(_)) => self.is_open = false,
            Ok(Taken::Ours(_)) => {}
            Err(_) => store.disconnect(),
        }
        taken.map(|taken| (taken, sent))
    }

    /// Gives back what may have been given to us.
    async fn withdraw(mut self, limit: Duration) {
        if !self.is_open {
            return;
        }
        let released = within(limit, release(&mut self.store, &self.terms)).await;
        if let Err(error) = released {
            worked_around(&self.terms, error);
        }
        close(self.store, &self.terms, limit).await;
    }
}

/// What `work` gives, if it gives it in time.
pub(crate) async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, BoxError>>,
) -> Result<T, BoxError> {
    let shown = Duration::from_millis(limit.as_millis().try_into().unwrap_or(u64::MAX));
    let late = || format!("no answer in {}", humantime::format_duration(shown));
    timeout(limit, work).await.map_err(|_| late())?
}

/// Releases it if it is still ours; whether it was. Should the connection turn out to be dead,
/// another is made.
async fn release<S: Store>(store: &mut S, terms: &Terms) -> Result<bool, BoxError> {
    store.connect().await?;
    if let Ok(released) = store.release(terms).await {
        return Ok(released);
    }
    store.disconnect();
    store.connect().await?;
    store.release(terms).await
}

/// Releases it within `limit`, and ends the connection; whether it was still ours.
pub(crate) async fn give_back<S: Store>(
    mut store: S,
    terms: &Terms,
    limit: Duration,
) -> Result<bool, LeaseError> {
    let released = within(limit.min(RELEASE), release(&mut store, terms)).await;
    let key = &terms.key;
    let released = released.map_err(|error| {
        LeaseError::doing(
            format_args!("release lease `{key}`, which ends by itself"),
            error,
        )
    });
    close(store, terms, HURRIED).await;
    released
}

/// Releases what somebody has left; whether there was something.
pub(crate) async fn clear<S: Store>(mut store: S, terms: &Terms) -> Result<bool, LeaseError> {
    let released = release(&mut store, terms).await;
    let doing = format_args!("clear lease `{}`", terms.key).to_string();
    let released = released.map_err(|error| LeaseError::doing(doing, error));
    close(store, terms, HURRIED).await;
    released
}

async fn close<S: Store>(store: S, terms: &Terms, limit: Duration) {
    if let Err(error) = within(limit, store.close()).await {
        worked_around(terms, error);
    }
}

/// Tells what nobody else hears of.
pub(crate) fn worked_around(terms: &Terms, error: impl Into<BoxError>) {
    let entry = Entry::new(format!("lease {}", terms.key));
    emit_error(NoticeKind::WorkedAround, Some(&entry), error);
}
