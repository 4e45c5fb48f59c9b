//! Rows one after the other, in a block that frees the session again.

use std::borrow::Cow;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use withal_core::{AsyncContextManager, ExitCase};
use withal_scope::RefContextManager;

#[cfg(feature = "postgres")]
use crate::driver::Driver;
use crate::driver::DriverCursor;
use crate::options::TransactionOptions;
use crate::transaction::Level;
use crate::{Error, Row, Session, Value};

/// How to read rows one after the other; a context manager that lends a [`Cursor`].
///
/// Made by [`Session::cursor`] and [`Session::exclusive_cursor`]. Enter it by `s.with`, or by
/// [`with_ref`](withal_scope::with_ref).
///
/// A cursor needs a transaction in Postgres. Outside of one it makes its own, which is committed if
/// the block succeeds and rolled back if not, with whatever else was done on the session meanwhile.
///
/// # Cancel safety
///
/// Left early, the rest of the rows is not sent: the session is free again in milliseconds.
#[must_use = "a context manager does nothing until it is entered"]
pub struct OpenCursor<'s> {
    session: &'s Session,
    sql: &'s str,
    params: &'s [Value<'s>],
    is_exclusive: bool,
    batch: Option<usize>,
}

impl<'s> OpenCursor<'s> {
    pub(crate) fn new(
        session: &'s Session,
        sql: &'s str,
        params: &'s [Value<'s>],
        is_exclusive: bool,
    ) -> OpenCursor<'s> {
        OpenCursor {
            session,
            sql,
            params,
            is_exclusive,
            batch: None,
        }
    }

    /// How many rows to fetch at a time; twice as many are in memory. By default 1000 in SQLite, and
    /// in Postgres as many as make a quarter of a megabyte. An exclusive cursor of Postgres does not
    /// need to know.
    pub fn batch(mut self, rows: usize) -> OpenCursor<'s> {
        self.batch = Some(rows.max(1));
        self
    }
}

impl fmt::Debug for OpenCursor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenCursor")
            .field("sql", &self.sql)
            .field("is_exclusive", &self.is_exclusive)
            .finish_non_exhaustive()
    }
}

/// The rows of a statement: a [`Stream`] of them, or call [`next`](Cursor::next).
pub struct Cursor<'s> {
    session: &'s Session,
    sql: &'s str,
    rows: Rows<'s>,
    /// The transaction that was begun for it.
    transaction: Option<Level<&'s Session>>,
}

type Fetch<'s> = Pin<Box<dyn Future<Output = (DriverCursor, Result<Vec<Row>, Error>)> + Send + 's>>;

enum Rows<'s> {
    Batches(Batches<'s>),
    #[cfg(feature = "postgres")]
    Stream(crate::postgres::RowStream<'s>),
}

/// One batch is handed out while the next one is on its way.
struct Batches<'s> {
    session: &'s Session,
    fetched: std::vec::IntoIter<Row>,
    cursor: Option<DriverCursor>,
    fetch: Option<Fetch<'s>>,
    is_over: bool,
}

impl Cursor<'_> {
    /// The next row; `None` at the end.
    ///
    /// # Errors
    ///
    /// As [`Session::query`]. There are no more rows after one.
    ///
    /// # Cancel safety
    ///
    /// Dropped, no row is lost.
    pub async fn next(&mut self) -> Result<Option<Row>, Error> {
        poll_fn(|context| Pin::new(&mut *self).poll_next(context))
            .await
            .transpose()
    }
}

impl Stream for Cursor<'_> {
    type Item = Result<Row, Error>;

    #[inline]
    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let next = match &mut this.rows {
            Rows::Batches(rows) => ready!(rows.poll_next(context)),
            #[cfg(feature = "postgres")]
            Rows::Stream(rows) => ready!(Pin::new(rows).poll_next(context)),
        };
        match next {
            Some(Err(error)) => Poll::Ready(Some(Err(error.of_statement(this.sql)))),
            row => Poll::Ready(row),
        }
    }
}

impl<'s> Batches<'s> {
    fn new(session: &'s Session, cursor: DriverCursor) -> Batches<'s> {
        Batches {
            session,
            fetched: Vec::new().into_iter(),
            cursor: Some(cursor),
            fetch: None,
            is_over: false,
        }
    }

    #[inline]
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Row, Error>>> {
        // The next batch is on its way already.
        match self.fetched.next() {
            Some(row) => Poll::Ready(Some(Ok(row))),
            None => self.poll_batch(context),
        }
    }

    fn poll_batch(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Row, Error>>> {
        self.ask();
        let Some(fetch) = &mut self.fetch else {
            return Poll::Ready(None);
        };
        let (cursor, batch) = ready!(fetch.as_mut().poll(context));
        self.fetch = None;
        self.cursor = Some(cursor);
        self.is_over = batch.as_ref().map_or(true, Vec::is_empty);
        self.fetched = match batch {
            Ok(batch) => batch.into_iter(),
            Err(error) => return Poll::Ready(Some(Err(error))),
        };
        // Polled, so that it is sent before this batch is handed out.
        self.ask();
        if let Some(fetch) = &mut self.fetch
            && let Poll::Ready(fetched) = fetch.as_mut().poll(context)
        {
            *fetch = Box::pin(std::future::ready(fetched));
        }
        Poll::Ready(self.fetched.next().map(Ok))
    }

    /// Makes the next fetch, unless there is one, or nothing left.
    fn ask(&mut self) {
        let session = self.session;
        if let Some(mut cursor) = self.cursor.take_if(|_| !self.is_over) {
            self.fetch = Some(Box::pin(async move {
                let rows = session.driver().next_batch(&mut cursor).await;
                (cursor, rows)
            }));
        }
    }
}

impl fmt::Debug for Cursor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cursor")
            .field("sql", &self.sql)
            .finish_non_exhaustive()
    }
}

impl<'s> AsyncContextManager for OpenCursor<'s> {
    type Resource = Cursor<'s>;
    type Error = Error;

    async fn enter(self) -> Result<Cursor<'s>, Error> {
        let OpenCursor {
            session,
            sql,
            params,
            is_exclusive,
            batch,
        } = self;
        session.ready().await?;
        let driver = session.driver();
        let is_inner = session.depth() > 0;
        let begin = async |is_needed: bool| match is_needed {
            true => Level::begin(session, &TransactionOptions::default())
                .await
                .map(Some),
            false => Ok(None),
        };
        let (rows, transaction) = match (driver, is_exclusive) {
            #[cfg(feature = "postgres")]
            (Driver::Postgres(postgres), true) => {
                // What is left of it when it is left early is cancelled, which the transaction
                // around it has to survive.
                let transaction = begin(is_inner).await?;
                (
                    Rows::Stream(postgres.stream(sql, params).await?),
                    transaction,
                )
            }
            _ => {
                let transaction = begin(driver.cursors_need_transaction() && !is_inner).await?;
                let cursor = driver.open_cursor(sql, params, batch).await?;
                (Rows::Batches(Batches::new(session, cursor)), transaction)
            }
        };
        Ok(Cursor {
            session,
            sql,
            rows,
            transaction,
        })
    }

    async fn exit(cursor: Cursor<'s>, case: ExitCase) -> Result<(), Error> {
        let Cursor {
            session,
            rows,
            transaction,
            ..
        } = cursor;
        let driver = session.driver();
        let has_succeeded = case.is_succeeded();
        let is_whole = match rows {
            Rows::Batches(Batches { cursor, fetch, .. }) => {
                let cursor = match fetch {
                    // A statement that is cancelled would cost the transaction.
                    Some(fetch) if has_succeeded => Some(fetch.await.0),
                    _ => cursor,
                };
                if let Some(cursor) = cursor.filter(|_| has_succeeded) {
                    driver.close_cursor(cursor).await?;
                }
                true
            }
            #[cfg(feature = "postgres")]
            Rows::Stream(rows) => {
                let is_over = rows.is_over();
                drop(rows);
                if transaction.is_none() {
                    driver.ping().await?;
                }
                is_over
            }
        };
        let keep = has_succeeded && is_whole;
        match transaction {
            Some(level) if keep => level.commit().await,
            Some(level) => level.rollback().await,
            None => Ok(()),
        }
    }

    fn name(&self) -> Cow<'static, str> {
        Cow::Borrowed("cursor")
    }
}

/// Dropped in its body it is closed by whatever is done next on its session.
impl<'s> RefContextManager for OpenCursor<'s> {
    fn abandon(cursor: Cursor<'s>) {
        drop(cursor);
    }
}
