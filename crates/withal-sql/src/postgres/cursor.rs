//! Rows one after the other.

use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use tokio_postgres::Statement;

use super::session::{Failure, Postgres, Running};
use super::types::Param;
use crate::row::Row;
use crate::{Error, Value};

/// A cursor of the server, from which rows are fetched in batches.
pub(crate) struct PostgresCursor {
    name: String,
    /// Not kept for others: it is for the columns of this one.
    fetch: Statement,
}

impl Postgres {
    pub(crate) async fn open_cursor(
        &self,
        sql: &str,
        params: &[Value<'_>],
        batch: usize,
    ) -> Result<PostgresCursor, Error> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        // Relaxed: only for names that differ.
        let name = format!("withal_cursor_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let declare = format!("DECLARE {name} NO SCROLL CURSOR FOR {sql}");
        let fetch = format!("FETCH {batch} FROM {name}");
        let work = async {
            let statement = self.client.prepare(&declare).await?;
            let given = params.iter().map(Param);
            let _ = self.client.execute_raw(&statement, given).await?;
            let fetch = self.client.prepare(&fetch).await?;
            Ok(PostgresCursor { name, fetch })
        };
        self.run(sql, work).await
    }

    pub(crate) async fn fetch(&self, cursor: &PostgresCursor) -> Result<Vec<Row>, Error> {
        self.run("", self.rows(&cursor.fetch, &[])).await
    }

    pub(crate) async fn close_cursor(&self, cursor: &PostgresCursor) -> Result<(), Error> {
        self.settle().await?;
        let has_failed = self.state().failed;
        if has_failed {
            // The failed transaction has closed it.
            return Ok(());
        }
        let close = format!("CLOSE {}", cursor.name);
        self.simple(&close).await
    }

    /// All rows as they come. Nothing else can be done on the session until the stream is gone.
    pub(crate) async fn stream(
        &self,
        sql: &str,
        params: &[Value<'_>],
    ) -> Result<RowStream<'_>, Error> {
        let work = async {
            let statement = self.prepare(sql, params.len()).await?;
            let given = params.iter().map(Param);
            Ok(self.client.query_raw(&statement, given).await?)
        };
        let rows = self.run(sql, work).await?;
        Ok(RowStream {
            running: Some(Running::new(self)),
            session: self,
            rows: Box::pin(rows),
        })
    }
}

impl fmt::Debug for PostgresCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// The rows of a statement, as they come.
pub(crate) struct RowStream<'s> {
    /// Dropped before the end, it leaves a mark.
    running: Option<Running<'s>>,
    session: &'s Postgres,
    rows: Pin<Box<tokio_postgres::RowStream>>,
}

impl RowStream<'_> {
    /// Whether all rows have come.
    pub(crate) fn is_over(&self) -> bool {
        self.running.is_none()
    }
}

impl Stream for RowStream<'_> {
    type Item = Result<Row, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = ready!(self.rows.as_mut().poll_next(context));
        if !matches!(next, Some(Ok(_)))
            && let Some(running) = self.running.take()
        {
            running.answered();
        }
        Poll::Ready(next.map(|row| match row {
            Ok(row) => Ok(Row::postgres(row)),
            Err(error) => Err(self.session.failed(Failure::Driver(error))),
        }))
    }
}
