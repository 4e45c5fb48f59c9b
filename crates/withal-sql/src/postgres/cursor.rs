//! Rows one after the other.

use std::fmt;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use tokio::task::JoinSet;
use tokio_postgres::Statement;

use super::session::{Failure, Postgres, Running};
use super::types::Param;
use crate::row::Row;
use crate::{Error, ErrorKind, Value};

/// About so many bytes of rows are fetched at a time.
const FETCH: usize = 256 * 1024;

/// So many rows at first, when it is not known yet how large they are.
const FIRST: usize = 64;

/// What a row takes in memory beside its bytes, about.
const ROW: usize = 128;

/// No parameters.
const NOTHING: [i64; 0] = [];

/// A cursor of the server, from which rows are fetched in batches.
pub(crate) struct PostgresCursor {
    name: String,
    /// How many rows are fetched at a time.
    batch: usize,
    /// Whether the user has said so.
    is_fixed: bool,
    /// For this many. Not kept for others: it is for the columns of this cursor.
    fetch: Option<Statement>,
}

impl PostgresCursor {
    /// Asks for more or fewer rows next time, in steps: each needs a statement of its own.
    fn adapt(&mut self, rows: &[Row], bytes: usize) {
        if self.is_fixed || rows.len() < self.batch {
            return;
        }
        let wanted = (FETCH / (bytes / rows.len()).max(1)).max(1);
        let batch = match wanted.is_power_of_two() {
            true => wanted,
            false => wanted.next_power_of_two() / 2,
        };
        // What is twice the size is put up with, for rows differ.
        if batch > self.batch || batch < self.batch / 2 {
            self.batch = batch;
            self.fetch = None;
        }
    }
}

impl Postgres {
    pub(crate) async fn open_cursor(
        &self,
        sql: &str,
        params: &[Value<'_>],
        batch: Option<usize>,
    ) -> Result<PostgresCursor, Error> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        // Relaxed: only for names that differ.
        let name = format!("withal_cursor_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let declare = format!("DECLARE {name} NO SCROLL CURSOR FOR {sql}");
        let work = async {
            let statement = self.client.prepare(&declare).await?;
            let given = params.iter().map(Param);
            let _ = self.client.execute_raw(&statement, given).await?;
            Ok(PostgresCursor {
                name,
                batch: batch.unwrap_or(FIRST),
                is_fixed: batch.is_some(),
                fetch: None,
            })
        };
        self.run(sql, work).await
    }

    pub(crate) async fn fetch(&self, cursor: &mut PostgresCursor) -> Result<Vec<Row>, Error> {
        let work = async {
            let fetch = match &cursor.fetch {
                Some(fetch) => fetch.clone(),
                None => {
                    let sql = format!("FETCH {} FROM {}", cursor.batch, cursor.name);
                    let fetch = self.client.prepare(&sql).await?;
                    cursor.fetch.insert(fetch).clone()
                }
            };
            let (rows, bytes) = self.collect(fetch).await?;
            cursor.adapt(&rows, bytes);
            Ok(rows)
        };
        self.run("", work).await
    }

    /// All rows and their size, in memory as soon as they come: otherwise whoever runs another
    /// statement meanwhile would wait for its answer behind rows that nobody takes.
    async fn collect(&self, statement: Statement) -> Result<(Vec<Row>, usize), Failure> {
        let client = Arc::clone(&self.client);
        let mut collecting = Box::pin(async move {
            let mut stream = pin!(client.query_raw(&statement, NOTHING).await?);
            let (mut rows, mut bytes) = (Vec::new(), 0);
            while let Some(row) = poll_fn(|context| stream.as_mut().poll_next(context)).await {
                let row = row?;
                bytes += row.raw_size_bytes() + ROW;
                rows.push(Row::postgres(row));
            }
            Ok::<_, tokio_postgres::Error>((rows, bytes))
        });
        // It is sent now, in order with other statements.
        if let Poll::Ready(collected) =
            poll_fn(|context| Poll::Ready(collecting.as_mut().poll(context))).await
        {
            return Ok(collected?);
        }
        // Dropped, it ends the task.
        let mut task = JoinSet::new();
        let _ = task.spawn(collecting);
        match task.join_next().await {
            Some(Ok(collected)) => Ok(collected?),
            ended => {
                let message = "the task that collects rows has ended";
                let error = Error::new(ErrorKind::ConnectionLost, message);
                Err(Failure::Ours(match ended {
                    Some(Err(reason)) => error.with_source(reason),
                    _ => error,
                }))
            }
        }
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
        self.admit(sql)?;
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

    #[inline]
    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = ready!(self.rows.as_mut().poll_next(context));
        if let Some(Ok(row)) = next {
            return Poll::Ready(Some(Ok(Row::postgres(row))));
        }
        if let Some(running) = self.running.take() {
            running.answered();
        }
        let failed = next.and_then(Result::err);
        Poll::Ready(failed.map(|error| Err(self.session.failed(Failure::Driver(error)))))
    }
}
