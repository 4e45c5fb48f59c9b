//! Rows that are on their way before somebody reads them.
//!
//! A connection answers in order: rows that nobody takes would keep back the answer of a statement
//! that was sent after them. So whoever waits for an answer takes the rows before it from the
//! connection, and parks them where their cursor finds them.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Wake, Waker, ready};

use futures_core::Stream as _;
use tokio_postgres::RowStream;

use super::session::{Failure, Running};
use crate::Error;
use crate::row::Row;

/// What a row takes in memory beside its bytes, about.
const ROW: usize = 128;

/// The rows that are on their way to the cursors of a session.
pub(super) struct Ahead {
    queues: Mutex<Vec<Weak<Mutex<Queue>>>>,
    crowd: Arc<Crowd>,
    /// Wakes the crowd.
    waker: Waker,
}

impl Default for Ahead {
    fn default() -> Ahead {
        let crowd: Arc<Crowd> = Arc::default();
        Ahead {
            queues: Mutex::default(),
            waker: Waker::from(Arc::clone(&crowd)),
            crowd,
        }
    }
}

impl Ahead {
    /// For a cursor.
    pub(super) fn queue(&self) -> Arc<Mutex<Queue>> {
        let queue = Arc::default();
        lock(&self.queues).push(Arc::downgrade(&queue));
        queue
    }

    /// With which queues are polled: whoever has a [`Seat`] is woken.
    pub(super) fn context(&self) -> Context<'_> {
        Context::from_waker(&self.waker)
    }

    /// Parks what has come for all cursors. The task of `context` is woken when there is more.
    pub(super) fn park(&self, seat: &mut Seat, context: &Context<'_>) {
        let mut queues = lock(&self.queues);
        if queues.is_empty() {
            return;
        }
        queues.retain(|queue| queue.strong_count() > 0);
        self.wait(seat, context);
        for queue in queues.iter().filter_map(Weak::upgrade) {
            lock(&queue).park(&mut self.context());
        }
    }

    /// Has the task of `context` woken when the next rows come.
    pub(super) fn wait(&self, seat: &mut Seat, context: &Context<'_>) {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let (_, number) = seat.0.get_or_insert_with(|| {
            // Relaxed: only for numbers that differ.
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            (Arc::clone(&self.crowd), number)
        });
        let mut waiting = lock(&self.crowd.0);
        match waiting.iter_mut().find(|(known, _)| known == number) {
            Some((_, waker)) => waker.clone_from(context.waker()),
            None => waiting.push((*number, context.waker().clone())),
        }
    }
}

/// All who wait for rows, for themselves or to park them: a stream knows only whom to wake who has
/// polled it last, and that one may be gone.
#[derive(Default)]
struct Crowd(Mutex<Vec<(u64, Waker)>>);

impl Wake for Crowd {
    fn wake(self: Arc<Crowd>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Crowd>) {
        let waiting = std::mem::take(&mut *lock(&self.0));
        waiting.into_iter().for_each(|(_, waker)| waker.wake());
    }
}

/// A place in the crowd, taken at the first wait.
#[derive(Default)]
pub(super) struct Seat(Option<(Arc<Crowd>, u64)>);

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some((crowd, number)) = &self.0 {
            lock(&crowd.0).retain(|(known, _)| known != number);
        }
    }
}

/// What one cursor has asked for, in this order.
#[derive(Default)]
pub(super) struct Queue(pub(super) VecDeque<Batch>);

impl Queue {
    fn park(&mut self, context: &mut Context<'_>) {
        for batch in &mut self.0 {
            if batch.park(context).is_pending() {
                return;
            }
        }
    }

    /// Drops the rows that have come; gives whether they were the last.
    pub(super) fn discard(&mut self) -> bool {
        self.0
            .retain(|batch| !matches!(batch.source, Source::Over(_)));
        for batch in &mut self.0 {
            batch.parked.clear();
        }
        self.0.is_empty()
    }
}

/// Asking for rows.
pub(super) type Asking =
    Pin<Box<dyn Future<Output = Result<RowStream, tokio_postgres::Error>> + Send>>;

/// Rows that were asked for at once.
pub(super) struct Batch {
    /// How many were asked for.
    pub(super) wanted: usize,
    /// How many have come.
    pub(super) rows: usize,
    /// What they take in memory, about.
    pub(super) bytes: usize,
    parked: VecDeque<Row>,
    source: Source,
}

enum Source {
    Asked(Asking, Running),
    Rows(Pin<Box<RowStream>>, Running),
    Over(Option<Error>),
}

impl Batch {
    pub(super) fn new(wanted: usize, asking: Asking, running: Running) -> Batch {
        Batch {
            wanted,
            rows: 0,
            bytes: 0,
            parked: VecDeque::new(),
            source: Source::Asked(asking, running),
        }
    }

    /// Sends it, if it was not sent before.
    pub(super) fn send(&mut self, context: &mut Context<'_>) {
        let _ = self.poll_begun(context);
    }

    /// The next row; `None` at the end.
    #[inline]
    pub(super) fn poll_row(&mut self, context: &mut Context<'_>) -> Poll<Option<Row>> {
        match self.parked.pop_front() {
            Some(row) => Poll::Ready(Some(row)),
            None => self.poll_source(context),
        }
    }

    /// Why there are no more rows, if that is an error.
    pub(super) fn failure(self) -> Option<Error> {
        match self.source {
            Source::Over(failure) => failure,
            Source::Asked(..) | Source::Rows(..) => None,
        }
    }

    fn park(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while let Some(row) = ready!(self.poll_source(context)) {
            self.parked.push_back(row);
        }
        Poll::Ready(())
    }

    #[inline]
    fn poll_source(&mut self, context: &mut Context<'_>) -> Poll<Option<Row>> {
        if let Source::Asked(..) = self.source {
            ready!(self.poll_begun(context));
        }
        let Source::Rows(rows, _) = &mut self.source else {
            return Poll::Ready(None);
        };
        let result = match ready!(rows.as_mut().poll_next(context)) {
            Some(Ok(row)) => {
                self.rows += 1;
                self.bytes += row.raw_size_bytes() + ROW;
                return Poll::Ready(Some(Row::postgres(row)));
            }
            Some(Err(error)) => Err(error),
            None => Ok(()),
        };
        self.end(result);
        Poll::Ready(None)
    }

    /// Whether it is known that there are rows, or that there are none.
    fn poll_begun(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Source::Asked(asking, _) = &mut self.source else {
            return Poll::Ready(());
        };
        match ready!(asking.as_mut().poll(context)) {
            Ok(rows) => {
                let asked = std::mem::replace(&mut self.source, Source::Over(None));
                if let Source::Asked(_, running) = asked {
                    self.source = Source::Rows(Box::pin(rows), running);
                }
            }
            Err(error) => self.end(Err(error)),
        }
        Poll::Ready(())
    }

    fn end(&mut self, result: Result<(), tokio_postgres::Error>) {
        let source = std::mem::replace(&mut self.source, Source::Over(None));
        if let Source::Asked(_, running) | Source::Rows(_, running) = source {
            let failure = result
                .err()
                .map(|error| running.failed(Failure::Driver(error)));
            running.answered();
            self.source = Source::Over(failure);
        }
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
