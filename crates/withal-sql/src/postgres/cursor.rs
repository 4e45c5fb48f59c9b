//! Rows one after the other.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use tokio_postgres::Statement;

use super::ahead::{Batch, Queue, Seat, lock};
use super::session::{Failure, Postgres, Running, has_word};
use super::types::Param;
use crate::row::Row;
use crate::{Error, Value};

/// About so many bytes of rows are fetched at a time.
const FETCH: usize = 512 * 1024;

/// So many rows at first, when it is not known yet how large they are.
const FIRST: usize = 64;

/// So many batches are under way: one is read while the server makes the next.
const BATCHES: usize = 2;

/// What changes rows or locks them has one of these words.
const EFFECTS: [&str; 7] = [
    "INSERT", "UPDATE", "DELETE", "MERGE", "SHARE", "CALL", "EXECUTE",
];

/// No parameters.
const NOTHING: [i64; 0] = [];

/// A cursor of the server, from which rows are fetched in batches, ahead of who reads them.
pub(crate) struct PostgresCursor<'s> {
    session: &'s Postgres,
    name: String,
    fetch: Arc<Fetch>,
    /// Whether it is known how many rows are fetched at a time: the user has said so, or has seen
    /// some.
    is_sized: bool,
    /// Whether the user has said so.
    is_fixed: bool,
    queue: Arc<Mutex<Queue>>,
    seat: Seat,
    /// What was given up has to end before more is asked for.
    settling: Option<Settling<'s>>,
    has_settled: bool,
    is_over: bool,
}

type Settling<'s> = Pin<Box<dyn Future<Output = Result<(), Error>> + Send + 's>>;

/// So many rows at a time; prepared when it is first needed. Not kept for other cursors: it is for
/// the columns of this one.
struct Fetch {
    rows: usize,
    statement: OnceLock<Statement>,
}

impl Postgres {
    pub(crate) async fn open_cursor(
        &self,
        sql: &str,
        params: &[Value<'_>],
        batch: Option<usize>,
    ) -> Result<PostgresCursor<'_>, Error> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        // Relaxed: only for names that differ.
        let name = format!("withal_cursor_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let declare = format!("DECLARE {name} NO SCROLL CURSOR FOR {sql}");
        let rows = batch.unwrap_or(FIRST);
        let work = async {
            let statement = self.preparing(&declare).await?;
            let declare = self
                .client
                .execute_raw(&statement, params.iter().map(Param));
            let fetch = self.preparing(&fetch(rows, &name));
            // They are sent together: the second is refused if the first is.
            let (declared, fetch) = tokio::join!(biased; declare, fetch);
            let _ = declared?;
            Ok(OnceLock::from(fetch?))
        };
        let statement = self.run(sql, work).await?;
        Ok(PostgresCursor {
            session: self,
            name,
            fetch: Arc::new(Fetch { rows, statement }),
            is_sized: batch.is_some(),
            is_fixed: batch.is_some(),
            queue: self.ahead.queue(),
            seat: Seat::default(),
            settling: None,
            has_settled: false,
            is_over: false,
        })
    }

    /// All rows as they come. Nothing else can be done on the session until the stream is gone.
    pub(crate) async fn stream(
        &self,
        sql: &str,
        params: &[Value<'_>],
    ) -> Result<RowStream<'_>, Error> {
        let work = move || async move {
            let statement = self.prepare(sql, params.len()).await?;
            let given = params.iter().map(Param);
            Ok(self.client.query_raw(&statement, given).await?)
        };
        let rows = self.run_prepared(sql, work).await?;
        Ok(RowStream {
            running: Some(Running::new(self)),
            has_effects: has_word(sql, &EFFECTS),
            session: self,
            rows: Box::pin(rows),
        })
    }
}

fn fetch(rows: usize, name: &str) -> String {
    format!("FETCH {rows} FROM {name}")
}

impl PostgresCursor<'_> {
    /// Waits until all that was asked for has come, and closes it, unless its transaction ends now.
    ///
    /// What it has asked for is not cancelled: that would cost the transaction.
    pub(crate) async fn close(mut self, is_last: bool) -> Result<(), Error> {
        let session = self.session;
        poll_fn(|context| {
            session.ahead.park(&mut self.seat, context);
            match lock(&self.queue).discard() {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
        session.settle().await?;
        let has_failed = session.state().failed;
        // A transaction that has failed has closed it.
        if is_last || has_failed {
            return Ok(());
        }
        session.simple(&format!("CLOSE {}", self.name)).await
    }

    /// A row that has come.
    #[inline]
    fn take(&mut self) -> Poll<Option<Result<Row, Error>>> {
        let mut queue = lock(&self.queue);
        if let Some(batch) = queue.0.front_mut()
            && let Poll::Ready(Some(row)) = batch.poll_row(&mut self.session.ahead.context())
        {
            return Poll::Ready(Some(Ok(row)));
        }
        drop(queue);
        self.take_next()
    }

    /// The same, of the next batch if there is nothing left of the first.
    fn take_next(&mut self) -> Poll<Option<Result<Row, Error>>> {
        let queue = Arc::clone(&self.queue);
        let mut queue = lock(&queue);
        while !self.is_over {
            self.ask(&mut queue);
            let Some(batch) = queue.0.front_mut() else {
                return Poll::Pending;
            };
            if let Some(row) = ready!(batch.poll_row(&mut self.session.ahead.context())) {
                return Poll::Ready(Some(Ok(row)));
            }
            if let Some(batch) = queue.0.pop_front() {
                self.adapt(&batch);
                self.is_over = batch.rows < batch.wanted;
                if let Some(error) = batch.failure() {
                    self.is_over = true;
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
        Poll::Ready(None)
    }

    /// Asks for as many batches as may be under way; for none if something has to be settled before.
    fn ask(&mut self, queue: &mut Queue) {
        let most = if self.is_sized { BATCHES } else { 1 };
        while queue.0.len() < most {
            let is_settled = self.has_settled || self.session.is_settled();
            let is_prepared = self.fetch.statement.get().is_some();
            match queue.0.is_empty() {
                true if !is_settled => {
                    if self.settling.is_none() {
                        self.settling = Some(Box::pin(self.session.settle()));
                    }
                    return;
                }
                false if !is_settled || !is_prepared => return,
                _ => {}
            }
            self.has_settled = false;
            let mut batch = self.batch();
            batch.send(&mut self.session.ahead.context());
            queue.0.push_back(batch);
        }
    }

    fn batch(&self) -> Batch {
        let session = self.session;
        let (client, fetching) = (Arc::clone(&session.client), Arc::clone(&self.fetch));
        let preparing = session.preparing(&fetch(fetching.rows, &self.name));
        let wanted = fetching.rows;
        let asking = async move {
            let statement = match fetching.statement.get() {
                Some(statement) => statement,
                None => {
                    let statement = preparing.await?;
                    fetching.statement.get_or_init(|| statement)
                }
            };
            client.query_raw(statement, NOTHING).await
        };
        Batch::new(wanted, Box::pin(asking), Running::new(session))
    }

    /// Asks for more or fewer rows next time, in steps: each needs a statement of its own.
    fn adapt(&mut self, batch: &Batch) {
        self.is_sized = true;
        if self.is_fixed || batch.rows < batch.wanted {
            return;
        }
        let wanted = (FETCH / (batch.bytes / batch.rows).max(1)).max(1);
        let rows = match wanted.is_power_of_two() {
            true => wanted,
            false => wanted.next_power_of_two() / 2,
        };
        // What is twice the size is put up with, for rows differ.
        if rows > self.fetch.rows || rows < self.fetch.rows / 2 {
            let statement = OnceLock::new();
            self.fetch = Arc::new(Fetch { rows, statement });
        }
    }
}

impl Stream for PostgresCursor<'_> {
    type Item = Result<Row, Error>;

    #[inline]
    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.take() {
            Poll::Pending => self.poll_more(context),
            next => next,
        }
    }
}

impl PostgresCursor<'_> {
    /// Nothing has come: waits for it.
    fn poll_more(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Row, Error>>> {
        loop {
            if let Some(settling) = &mut self.settling {
                let settled = ready!(settling.as_mut().poll(context));
                self.settling = None;
                // If not, others still wait for answers.
                self.has_settled = true;
                if let Err(error) = settled {
                    self.is_over = true;
                    return Poll::Ready(Some(Err(error)));
                }
            }
            // Other cursors' rows may be before ours.
            self.session.ahead.park(&mut self.seat, context);
            let next = self.take();
            if next.is_ready() || self.settling.is_none() {
                return next;
            }
        }
    }
}

impl fmt::Debug for PostgresCursor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// The rows of a statement, as they come.
pub(crate) struct RowStream<'s> {
    /// Dropped before the end, it leaves a mark.
    running: Option<Running>,
    /// Whether it may change rows or lock them.
    has_effects: bool,
    session: &'s Postgres,
    rows: Pin<Box<tokio_postgres::RowStream>>,
}

impl RowStream<'_> {
    /// Gives whether all rows have come. Those that have not are cancelled; now, unless its
    /// transaction ends and does so. If it `is_kept`, they are read where that would undo what the
    /// statement has done.
    pub(crate) async fn close(mut self, is_last: bool, is_kept: bool) -> Result<bool, Error> {
        let session = self.session;
        while is_kept
            && self.has_effects
            && self.running.is_some()
            && let Some(row) = poll_fn(|context| Pin::new(&mut self).poll_next(context)).await
        {
            let _ = row?;
        }
        let is_over = self.running.is_none();
        drop(self);
        if !is_last && !is_over {
            session.ping().await?;
        }
        Ok(is_over)
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
