//! Doing a transaction again that has collided with another one.

use std::time::Duration;

use withal_core::BoxError;
use withal_scope::{SendFn, with_ref};

use crate::{Error, ErrorKind, Isolation, Session, Transaction};

/// The wait after the first collision, and the longest one.
const WAIT: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));

/// A serializable transaction, which is done again while it collides with others, at most `times`
/// times.
///
/// Such a transaction may fail without a fault of its own ([`Retry`](ErrorKind::Retry)): what it
/// read may have changed, so all of it has to be done again, and `body` may run more than once.
/// Between two tries it waits longer each time, for a random time, so that those who have collided
/// do not do so again.
///
/// # Errors
///
/// The first error that is no collision, or the last collision.
///
/// # Cancel safety
///
/// That of [`with_ref`]: dropped, the transaction is rolled back before anything else is done on
/// the session.
///
/// # Examples
///
/// ```no_run
/// use withal_core::Error;
/// use withal_sql::{Session, params, retry_serializable};
///
/// # async fn f(conn: &mut Session) -> Result<(), Error> {
/// retry_serializable(conn, 10, async |tx| {
///     let balance: i64 = tx
///         .query_one_as("SELECT balance FROM accounts WHERE id = $1", params![1])
///         .await?;
///     tx.execute("UPDATE accounts SET balance = $1 WHERE id = 1", params![balance - 100])
///         .await?;
///     Ok(())
/// })
/// .await
/// # }
/// ```
pub async fn retry_serializable<B, T>(
    session: &mut Session,
    times: u32,
    body: B,
) -> Result<T, withal_core::Error>
where
    T: Send,
    B: for<'s, 'r> AsyncFn(&'r mut Transaction<&'s mut Session>) -> Result<T, BoxError> + Sync,
    for<'b, 's, 'r> &'b B: SendFn<&'r mut Transaction<&'s mut Session>, Result<T, BoxError>> + Send,
{
    let (mut wait, longest) = WAIT;
    let mut tried = 0;
    loop {
        tried += 1;
        let begin = session.begin().isolation(Isolation::Serializable);
        match with_ref(begin, &body).await {
            Err(error) if tried < times && is_collision(&error) => {
                tokio::time::sleep(wait.mul_f64(0.5 + fastrand::f64())).await;
                wait = longest.min(wait * 2);
            }
            result => return result,
        }
    }
}

/// Whether all that went wrong is that it collided with another transaction.
fn is_collision(error: &withal_core::Error) -> bool {
    let kinds = error
        .iter()
        .map(|failure| failure.downcast_ref().map(Error::kind));
    let (mut found, mut others) = (false, false);
    for kind in kinds {
        match kind {
            Some(ErrorKind::Retry) => found = true,
            Some(ErrorKind::Poisoned) => {}
            _ => others = true,
        }
    }
    found && !others
}
