//! The task that renews a lease.

#[cfg(test)]
mod tests;

use std::time::Duration;

use tokio::sync::oneshot;
use withal_core::BoxError;

use crate::acquire::{within, worked_around};
use crate::error::LostCause;
use crate::lease::LeaseWatch;
use crate::moment::Moment;
use crate::store::Store;
use crate::terms::Terms;

/// How long to pause after a renewal that failed.
const PAUSE: Duration = Duration::from_millis(200);

/// Renews the lease that was asked for at `sent`, until it is lost or nobody wants it any more;
/// gives the store back.
pub(crate) async fn keep<S: Store>(
    mut store: S,
    held: LeaseWatch,
    sent: Moment,
    stopped: oneshot::Receiver<()>,
) -> S {
    tokio::select! {
        biased;
        _ = stopped => {}
        () = renew(&mut store, &held, sent) => {}
    }
    store
}

/// Renews it until it is lost.
async fn renew<S: Store>(store: &mut S, held: &LeaseWatch, mut sent: Moment) {
    let terms = held.terms();
    let mut due = sent.after(terms.ttl / 3);
    loop {
        due.wait().await;
        if held.check().is_err() {
            return;
        }
        let left = held.good_until().left();
        sent = Moment::now();
        // Two tries fit between a third of its time and the margin, should the first get no answer.
        match within(left.min(terms.ttl / 6), once(store, terms)).await {
            Ok(true) if held.renewed(sent) => due = sent.after(terms.ttl / 3),
            // The answer came too late.
            Ok(true) => return,
            Ok(false) => {
                let _lost = held.end(LostCause::Taken);
                return;
            }
            Err(error) => {
                store.disconnect();
                let why = format!("it could not be renewed, and is tried again: {error}");
                if held.failing(error) {
                    worked_around(terms, why);
                }
                due = Moment::now().after(PAUSE.min(terms.ttl / 30));
            }
        }
    }
}

async fn once<S: Store>(store: &mut S, terms: &Terms) -> Result<bool, BoxError> {
    store.connect().await?;
    store.renew(terms).await
}
