//! Ending what nobody waits for any more.

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Poll, ready};
use std::time::Duration;

use tokio_postgres::error::SqlState;

use super::session::{Failure, Postgres, Running, describe};
use crate::{Error, ErrorKind};

/// How long what was given up may run on, before it is cancelled: most of it has ended long before.
const GRACE: Duration = Duration::from_millis(5);

/// How long what ends a statement may take: a server that does not answer is given up.
pub(super) const LIMIT: Duration = Duration::from_secs(2);

impl Postgres {
    /// If something was given up, waits until it has ended, and cancels it if that takes long.
    ///
    /// If that fails, the session is not used any more.
    pub(super) async fn settle(&self) -> Result<(), Error> {
        self.check_broken()?;
        match self.is_settled() {
            true => Ok(()),
            false => Box::pin(self.do_settle()).await,
        }
    }

    /// Whether nothing was given up, and it can be used.
    pub(super) fn is_settled(&self) -> bool {
        let state = self.state();
        !state.abandoned && state.cancelling.is_none() && state.broken.is_none()
    }

    async fn do_settle(&self) -> Result<(), Error> {
        let _settling = self.settling.lock().await;
        let cancelled = tokio::time::timeout(LIMIT, self.wait_cancelled()).await;
        cancelled
            .unwrap_or_else(|_| Err(silent()))
            .inspect_err(|error| self.broken(error))?;
        {
            let state = self.state();
            // A cancel request names a session: it would hit those that are waited for.
            if !state.abandoned || state.running > 0 {
                return Ok(());
            }
        }
        // In a transaction that has failed by it, this fails, too: that is how we know.
        let settled = self.quiet("SELECT").await;
        let has_failed = match settled {
            Ok(()) => false,
            Err(error) if error.kind() == ErrorKind::Poisoned => true,
            Err(error) => {
                self.broken(&error);
                return Err(error);
            }
        };
        let mut state = self.state();
        state.abandoned = false;
        state.failed |= has_failed;
        Ok(())
    }

    /// Runs statements behind whatever runs, which is cancelled if it takes long.
    ///
    /// If there is no answer, the session is not used any more.
    pub(super) async fn quiet(&self, sql: &str) -> Result<(), Error> {
        self.check_broken()?;
        let _ = self.wait_committed().await;
        self.check_broken()?;
        let running = Running::new(self);
        let answered = tokio::time::timeout(LIMIT, self.behind(sql)).await;
        let result = answered.unwrap_or_else(|_| Err(Failure::Ours(silent())));
        running.answered();
        result.map_err(|failure| {
            let is_refused = matches!(&failure, Failure::Driver(error) if error.code().is_some());
            let error = match failure {
                Failure::Ours(error) | Failure::HalfDone(error) => error,
                Failure::Driver(error) => describe(error),
            };
            if !is_refused {
                self.broken(&error);
            }
            error.of_statement(sql)
        })
    }

    async fn behind(&self, sql: &str) -> Result<(), Failure> {
        self.wait_cancelled().await.map_err(Failure::Ours)?;
        let answer = match self.behind_or_cancel(sql).await {
            // The cancel request has hit this instead.
            Err(Failure::Driver(error)) if error.code() == Some(&SqlState::QUERY_CANCELED) => {
                let again = self.client.batch_execute(sql);
                self.answer(again).await.map_err(Failure::from)
            }
            answer => answer,
        };
        self.wait_reset().await.map_err(Failure::Ours)?;
        answer
    }

    async fn behind_or_cancel(&self, sql: &str) -> Result<(), Failure> {
        let mut answer = pin!(self.answer(self.client.batch_execute(sql)));
        if let Ok(answer) = tokio::time::timeout(GRACE, &mut answer).await {
            return Ok(answer?);
        }
        self.cancel().await.map_err(Failure::Ours)?;
        Ok(answer.await?)
    }

    /// Asks the server to cancel what runs, and waits until it has done so. Dropped, it is waited
    /// for by who comes next.
    pub(super) async fn cancel(&self) -> Result<(), Error> {
        let canceller = self.canceller.clone();
        let cancelling = async move { canceller.cancel().await };
        self.state().cancelling = Some(Box::pin(cancelling));
        self.wait_cancelled().await
    }

    /// Waits for the end of a request to cancel: what is sent before that may be hit by it. A
    /// `BEGIN` that was hit would leave what is sent with it outside of a transaction.
    async fn wait_cancelled(&self) -> Result<(), Error> {
        let cancelled = poll_fn(|context| {
            let mut state = self.state();
            let Some(cancelling) = &mut state.cancelling else {
                return Poll::Ready(Ok(()));
            };
            let cancelled = ready!(cancelling.as_mut().poll(context));
            state.cancelling = None;
            Poll::Ready(cancelled)
        });
        cancelled.await.map_err(|error| {
            let message = "the server cannot be asked to cancel a statement";
            Error::new(ErrorKind::ConnectionLost, message).with_source(error)
        })
    }
}

fn silent() -> Error {
    let message = format!("the server has not answered for {LIMIT:?}");
    Error::new(ErrorKind::ConnectionLost, message)
}
