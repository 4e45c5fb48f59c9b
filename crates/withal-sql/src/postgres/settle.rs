//! Ending what nobody waits for any more.

use std::pin::pin;
use std::time::Duration;

use tokio_postgres::error::SqlState;

use super::session::{Failure, Postgres, Running, describe};
use crate::{Error, ErrorKind};

/// How long what was given up may run on, before it is cancelled: most of it has ended long before.
const GRACE: Duration = Duration::from_millis(5);

impl Postgres {
    /// If something was given up, waits until it has ended, and cancels it if that takes long.
    pub(super) async fn settle(&self) -> Result<(), Error> {
        {
            let mut state = self.state();
            if !state.abandoned {
                return Ok(());
            }
            if state.running > 0 {
                // A cancel request names a session: it would hit those that are waited for.
                return Ok(());
            }
            state.abandoned = false;
        }
        // In a transaction that has failed by it, this fails, too: that is how we know.
        match self.quiet("SELECT").await {
            Err(error) if error.kind() == ErrorKind::Poisoned => {
                self.state().failed = true;
                Ok(())
            }
            other => other,
        }
    }

    /// Runs statements behind whatever runs, which is cancelled if it takes long.
    pub(super) async fn quiet(&self, sql: &str) -> Result<(), Error> {
        let running = Running::new(self);
        let result = match self.behind(sql).await {
            // The cancel request has hit this instead.
            Err(Failure::Driver(error)) if error.code() == Some(&SqlState::QUERY_CANCELED) => {
                self.client.batch_execute(sql).await.map_err(Failure::from)
            }
            result => result,
        };
        running.answered();
        result.map_err(|failure| match failure {
            Failure::Ours(error) => error,
            Failure::Driver(error) => describe(error).of_statement(sql),
        })
    }

    async fn behind(&self, sql: &str) -> Result<(), Failure> {
        let mut answer = pin!(self.client.batch_execute(sql));
        if let Ok(answer) = tokio::time::timeout(GRACE, &mut answer).await {
            return Ok(answer?);
        }
        self.canceller.cancel().await.map_err(|error| {
            let message = "the server cannot be asked to cancel a statement";
            Failure::Ours(Error::new(ErrorKind::ConnectionLost, message).with_source(error))
        })?;
        Ok(answer.await?)
    }
}
