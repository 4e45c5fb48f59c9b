//! A `COMMIT` on its way. It is finished by whoever comes next if its future is dropped, and not
//! cancelled: what it does cannot be had twice.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::Stream as _;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;
use withal_core::{NoticeKind, emit_error};

use super::session::{Postgres, RESET, describe};
use super::settle::LIMIT;
use crate::{Error, ErrorKind};

/// How to commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Plain,
    /// It may be another transaction than the one that was begun: then it is not committed.
    Marked,
    /// The session is made as new in the same message.
    Reset,
}

/// What was done.
enum Committed {
    Alone,
    WithReset,
    /// What makes the session as new has failed.
    NotClean(tokio_postgres::Error),
}

/// A `COMMIT` that was sent, and has no answer yet. Dropped, nobody will ever know, which is
/// noticed.
pub(super) struct Committing(Option<Answer>);

type Answer = Pin<Box<dyn Future<Output = Result<Committed, Error>> + Send>>;

impl Committing {
    /// Its answer; `None` if that has come before.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Committed, Error>>> {
        let Some(answer) = &mut self.0 else {
            return Poll::Ready(None);
        };
        let answered = ready!(answer.as_mut().poll(context));
        self.0 = None;
        Poll::Ready(Some(answered))
    }
}

impl Drop for Committing {
    fn drop(&mut self) {
        if self.0.is_some() {
            let why = "a COMMIT was given up before its answer: it may be committed or not";
            notice(Error::new(ErrorKind::CommitUnknown, why));
        }
    }
}

/// Nobody else hears of it.
fn notice(error: Error) {
    emit_error(NoticeKind::TeardownFailed, None, error);
}

/// Leaves the `COMMIT` to whoever comes next.
struct Leave<'s> {
    session: &'s Postgres,
    committing: Committing,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        let answer = self.committing.0.take();
        self.session.state().committing = answer.map(|answer| Committing(Some(answer)));
    }
}

impl Postgres {
    /// Sends a `COMMIT`, and waits for its answer; gives whether the session is as new then.
    pub(super) async fn send_commit(&self, way: Way) -> Result<bool, Error> {
        let client = Arc::clone(&self.client);
        let answer: Answer = Box::pin(async move { commit(&client, way).await });
        // Left only after it was polled, and so sent.
        let mut leave = Leave {
            session: self,
            committing: Committing(Some(answer)),
        };
        let answer = poll_fn(|context| leave.committing.poll(context));
        match self.answer(answer).await {
            Some(answered) => answered.map(|committed| self.is_as_new(committed)),
            None => Ok(false),
        }
    }

    fn is_as_new(&self, committed: Committed) -> bool {
        match committed {
            Committed::Alone => false,
            Committed::WithReset => true,
            Committed::NotClean(error) => {
                self.not_clean(&error);
                false
            }
        }
    }

    /// Waits for a `COMMIT` whose future was dropped; whether there was one, and it is done. What
    /// went wrong with it is noticed.
    ///
    /// If there is no answer, the session is not used any more.
    pub(super) async fn wait_committed(&self) -> bool {
        if self.state().committing.is_none() {
            return false;
        }
        let committed = poll_fn(|context| self.poll_committing(context));
        match tokio::time::timeout(LIMIT, committed).await {
            Ok(None) => false,
            Ok(Some(Ok(committed))) => {
                let _is_reset_again = self.is_as_new(committed);
                true
            }
            Ok(Some(Err(error))) => {
                notice(error.of_statement("COMMIT"));
                false
            }
            Err(_) => {
                self.broken("a COMMIT was not answered");
                drop(self.state().committing.take());
                false
            }
        }
    }

    fn poll_committing(&self, context: &mut Context<'_>) -> Poll<Option<Result<Committed, Error>>> {
        let mut state = self.state();
        let Some(committing) = &mut state.committing else {
            return Poll::Ready(None);
        };
        let answered = ready!(committing.poll(context));
        state.committing = None;
        Poll::Ready(answered)
    }
}

async fn commit(client: &Client, way: Way) -> Result<Committed, Error> {
    let committed = match way {
        Way::Plain => client.batch_execute("COMMIT").await,
        Way::Marked => client.batch_execute(COMMIT_MARKED).await,
        Way::Reset => return commit_and_reset(client).await.map_err(not_committed),
    };
    match committed {
        Ok(()) => Ok(Committed::Alone),
        Err(error) if way == Way::Marked && error.code() == Some(&SqlState::DIVISION_BY_ZERO) => {
            // The division is ours: nobody else need hear of it.
            let message = "not committed: the transaction was ended behind its back";
            Err(Error::new(ErrorKind::Poisoned, message))
        }
        Err(error) => Err(not_committed(error)),
    }
}

/// There is one answer to wait for.
async fn commit_and_reset(client: &Client) -> Result<Committed, tokio_postgres::Error> {
    let sql = format!("COMMIT; {RESET}");
    let mut answers = pin!(client.simple_query_raw(&sql).await?);
    let mut is_committed = false;
    while let Some(answer) = poll_fn(|context| answers.as_mut().poll_next(context)).await {
        match answer {
            // The first is that of COMMIT.
            Ok(_) => is_committed = true,
            Err(error) if is_committed => return Ok(Committed::NotClean(error)),
            Err(error) => return Err(error),
        }
    }
    Ok(Committed::WithReset)
}

/// Sent with `BEGIN`: no transaction has it that was begun by others, nor one that has ended. No
/// savepoint is before it, so that none undoes it.
pub(super) const MARK: &str = "; SET LOCAL withal.transaction = ours";

/// Divides by zero in a transaction without the mark.
const COMMIT_MARKED: &str = "SELECT 1 / \
    (current_setting('withal.transaction', true) IS NOT DISTINCT FROM 'ours')::int; COMMIT";

/// Why a transaction is not committed, or why nobody knows.
fn not_committed(error: tokio_postgres::Error) -> Error {
    match error.code() {
        // The server has rolled back.
        Some(&SqlState::IN_FAILED_SQL_TRANSACTION) => {
            describe(error).with_kind(ErrorKind::Poisoned)
        }
        Some(_) => match describe(error) {
            lost if lost.kind() == ErrorKind::ConnectionLost => unknown(lost),
            refused => refused,
        },
        None => unknown(error),
    }
}

fn unknown(error: impl Into<withal_core::BoxError>) -> Error {
    let message = "the connection was lost in COMMIT: it may be committed or not";
    Error::new(ErrorKind::CommitUnknown, message).with_source(error)
}
