//! Rows one after the other, in a block that frees the session again.

use std::borrow::Cow;
use std::fmt;
use std::future::poll_fn;
#[cfg(feature = "sqlite")]
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use withal_core::{AsyncContextManager, ExitCase};
use withal_scope::RefContextManager;

use crate::driver::Driver;
#[cfg(feature = "postgres")]
use crate::options::{Then, TransactionOptions};
#[cfg(feature = "sqlite")]
use crate::sqlite::SqliteCursor;
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
/// Left early, the rest of the rows is not sent: the session is free again in milliseconds. Only an
/// exclusive cursor of a statement that changes rows or locks them is read to its end first, if its
/// block succeeds: to cancel it would undo that.
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
    /// in Postgres as many as make half a megabyte. An exclusive cursor of Postgres does not
    /// need to know.
    pub fn batch(mut self, rows: usize) -> OpenCursor<'s> {
        self.batch = Some(rows.max(1));
        self
    }
}

impl<'s> OpenCursor<'s> {
    #[cfg(feature = "postgres")]
    async fn enter_postgres(
        &self,
        postgres: &'s crate::postgres::Postgres,
    ) -> Result<(Rows<'s>, Option<Level<&'s Session>>), Error> {
        let is_inner = self.session.depth() > 0;
        // What is left of an exclusive one when it is left early is cancelled, which the
        // transaction around it has to survive; the other one needs a transaction.
        let transaction = match is_inner == self.is_exclusive {
            true => Some(Level::begin(self.session, &TransactionOptions::default()).await?),
            false => None,
        };
        let rows = match self.is_exclusive {
            true => Rows::Exclusive(Box::pin(postgres.stream(self.sql, self.params)).await?),
            false => {
                let opened = postgres.open_cursor(self.sql, self.params, self.batch);
                Rows::Shared(Box::pin(opened).await?)
            }
        };
        Ok((rows, transaction))
    }

    #[cfg(feature = "sqlite")]
    async fn enter_sqlite(&self, sqlite: &crate::sqlite::Sqlite) -> Result<Rows<'s>, Error> {
        let batch = self.batch.unwrap_or(crate::sqlite::BATCH);
        let opened = Box::pin(sqlite.open_cursor(self.sql, self.params, batch));
        Ok(Rows::Sqlite(Batches::new(opened.await?), PhantomData))
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
    sql: &'s str,
    rows: Rows<'s>,
    /// The transaction that was begun for it.
    transaction: Option<Level<&'s Session>>,
}

enum Rows<'s> {
    #[cfg(feature = "postgres")]
    Exclusive(crate::postgres::RowStream<'s>),
    #[cfg(feature = "postgres")]
    Shared(crate::postgres::PostgresCursor<'s>),
    #[cfg(feature = "sqlite")]
    Sqlite(Batches, PhantomData<&'s ()>),
}

#[cfg(feature = "sqlite")]
type Fetch = Pin<Box<dyn Future<Output = (SqliteCursor, Result<Vec<Row>, Error>)> + Send>>;

/// One batch is handed out while the next one is on its way.
#[cfg(feature = "sqlite")]
struct Batches {
    fetched: std::vec::IntoIter<Row>,
    cursor: Option<SqliteCursor>,
    fetch: Option<Fetch>,
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
            #[cfg(feature = "postgres")]
            Rows::Exclusive(rows) => ready!(Pin::new(rows).poll_next(context)),
            #[cfg(feature = "postgres")]
            Rows::Shared(rows) => ready!(Pin::new(rows).poll_next(context)),
            #[cfg(feature = "sqlite")]
            Rows::Sqlite(rows, _) => ready!(rows.poll_next(context)),
        };
        match next {
            Some(Err(error)) => Poll::Ready(Some(Err(error.of_statement(this.sql)))),
            row => Poll::Ready(row),
        }
    }
}

#[cfg(feature = "sqlite")]
impl Batches {
    fn new(cursor: SqliteCursor) -> Batches {
        Batches {
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
        if let Some(mut cursor) = self.cursor.take_if(|_| !self.is_over) {
            self.fetch = Some(Box::pin(async move {
                let rows = cursor.next_batch().await;
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
        self.session.ready().await?;
        self.session.driver().check(self.sql)?;
        let (rows, transaction) = match self.session.driver() {
            #[cfg(feature = "postgres")]
            Driver::Postgres(postgres) => self.enter_postgres(postgres).await?,
            #[cfg(feature = "sqlite")]
            Driver::Sqlite(sqlite) => (self.enter_sqlite(sqlite).await?, None),
        };
        Ok(Cursor {
            sql: self.sql,
            rows,
            transaction,
        })
    }

    async fn exit(cursor: Cursor<'s>, case: ExitCase) -> Result<(), Error> {
        let Cursor {
            rows, transaction, ..
        } = cursor;
        let has_succeeded = case.is_succeeded();
        let is_whole = match rows {
            #[cfg(feature = "postgres")]
            Rows::Exclusive(rows) => rows.close(transaction.is_some(), has_succeeded).await?,
            #[cfg(feature = "postgres")]
            Rows::Shared(rows) => {
                if has_succeeded {
                    rows.close(transaction.is_some()).await?;
                }
                true
            }
            #[cfg(feature = "sqlite")]
            Rows::Sqlite(Batches { cursor, fetch, .. }, _) => {
                let cursor = match fetch {
                    // A statement that is cancelled would cost the transaction.
                    Some(fetch) if has_succeeded => Some(fetch.await.0),
                    _ => cursor,
                };
                if let Some(cursor) = cursor.filter(|_| has_succeeded) {
                    cursor.close().await?;
                }
                true
            }
        };
        let keep = has_succeeded && is_whole;
        match transaction {
            Some(mut level) if keep => level.commit(Then::GoOn).await,
            Some(mut level) => level.rollback().await,
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
