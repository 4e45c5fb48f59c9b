//! The way to a connection's thread.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::Thread;

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::error::{closed, notice};
use super::watch::{Mark, Ticket};
use super::worker::Worker;
use crate::Error;

/// Something for the thread to do.
pub(super) struct Envelope {
    pub(super) ticket: Arc<Ticket>,
    pub(super) job: Job,
}

pub(super) type Reply = oneshot::Sender<Result<(), Error>>;
pub(super) type RawJob = Box<dyn FnOnce(Result<&mut Connection, Error>) + Send>;

pub(super) enum Job {
    /// It calls [`Worker::publish`] before it replies.
    Run(Box<dyn FnOnce(&mut Worker<'_>) + Send>),
    /// It has the connection for itself.
    Raw(RawJob),
    Reset(Reply),
    Close(Option<Reply>),
    /// Nothing: what was given up is noticed.
    Wake,
}

/// What the thread and its session both see.
#[derive(Debug)]
pub(super) struct Shared {
    /// Jobs sent and not done.
    pending: AtomicUsize,
    /// Whether the connection is as new; only means something once nothing is pending.
    is_clean: AtomicBool,
    is_usable: AtomicBool,
    /// What a statement had written before it was given up.
    given_up: Mutex<Option<Mark>>,
}

impl Shared {
    pub(super) fn new() -> Arc<Shared> {
        Arc::new(Shared {
            pending: AtomicUsize::new(0),
            is_clean: AtomicBool::new(true),
            is_usable: AtomicBool::new(true),
            given_up: Mutex::default(),
        })
    }

    /// A job is done. What it did is seen by whoever sees that nothing is pending.
    pub(super) fn done(&self, is_clean: bool) {
        self.is_clean.store(is_clean, Ordering::Relaxed);
        let _ = self.pending.fetch_sub(1, Ordering::Release);
    }

    pub(super) fn is_clean(&self) -> bool {
        self.pending.load(Ordering::Acquire) == 0 && self.is_clean.load(Ordering::Relaxed)
    }

    pub(super) fn is_usable(&self) -> bool {
        self.is_usable.load(Ordering::Acquire)
    }

    pub(super) fn set_unusable(&self) {
        self.is_usable.store(false, Ordering::Release);
    }

    /// A statement was given up that had written. Of one transaction, the outermost counts.
    pub(super) fn give_up(&self, mark: Mark) {
        let mut given_up = self.given_up.lock().unwrap_or_else(PoisonError::into_inner);
        *given_up = Some(match *given_up {
            Some(other) if other.transaction == mark.transaction => Mark {
                depth: other.depth.min(mark.depth),
                ..mark
            },
            _ => mark,
        });
    }

    pub(super) fn take_given_up(&self) -> Option<Mark> {
        let mut given_up = self.given_up.lock().unwrap_or_else(PoisonError::into_inner);
        given_up.take()
    }
}

/// Sends jobs.
#[derive(Debug)]
pub(super) struct Handle {
    pub(super) jobs: mpsc::Sender<Envelope>,
    pub(super) shared: Arc<Shared>,
    pub(super) thread: Thread,
}

impl Handle {
    pub(super) fn send(&self, ticket: Arc<Ticket>, job: Job) -> Result<(), Error> {
        let _ = self.shared.pending.fetch_add(1, Ordering::Relaxed);
        self.jobs.send(Envelope { ticket, job }).map_err(|_| {
            let _ = self.shared.pending.fetch_sub(1, Ordering::Relaxed);
            closed()
        })
    }

    /// Runs a job that is skipped or cancelled if this future is dropped.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Worker<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        Guard::new(self).run(job).await
    }

    /// Runs a job that goes on to its end whatever becomes of this future.
    pub(super) async fn finish(
        &self,
        job: impl FnOnce(&mut Worker<'_>) -> Result<(), Error> + Send + 'static,
    ) -> Result<(), Error> {
        let (reply, answer) = oneshot::channel();
        let ticket = Arc::<Ticket>::default();
        let own = Arc::clone(&ticket);
        let job = move |worker: &mut Worker<'_>| {
            let result = worker.perform(&own, job);
            worker.publish();
            answer_or_notice(reply, result);
        };
        self.send(ticket, Job::Run(Box::new(job)))?;
        answer.await.map_err(|_| closed())?
    }
}

/// An error that nobody waits for any more is noticed.
pub(super) fn answer_or_notice(reply: Reply, result: Result<(), Error>) {
    if let Err(Err(error)) = reply.send(result) {
        notice(error);
    }
}

/// Gives its job up when it is dropped.
pub(super) struct Guard<'h> {
    handle: &'h Handle,
    pub(super) ticket: Arc<Ticket>,
    is_answered: bool,
}

impl<'h> Guard<'h> {
    pub(super) fn new(handle: &'h Handle) -> Guard<'h> {
        Guard::with_ticket(handle, Arc::default())
    }

    pub(super) fn with_ticket(handle: &'h Handle, ticket: Arc<Ticket>) -> Guard<'h> {
        Guard {
            handle,
            ticket,
            is_answered: false,
        }
    }

    pub(super) async fn run<T: Send + 'static>(
        self,
        job: impl FnOnce(&mut Worker<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        let ticket = Arc::clone(&self.ticket);
        let job = move |worker: &mut Worker<'_>| {
            let result = worker.perform(&ticket, job);
            worker.publish();
            // Nobody waits: it was given up, and its errors with it.
            let _ = reply.send(result);
        };
        let ticket = Arc::clone(&self.ticket);
        self.handle.send(ticket, Job::Run(Box::new(job)))?;
        self.wait(answer).await?
    }

    pub(super) async fn wait<T>(mut self, answer: oneshot::Receiver<T>) -> Result<T, Error> {
        let answer = answer.await;
        self.is_answered = true;
        answer.map_err(|_| closed())
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if self.is_answered {
            return;
        }
        if let Some(mark) = self.ticket.give_up() {
            self.handle.shared.give_up(mark);
        }
        // It may be waiting for a lock.
        self.handle.thread.unpark();
        // A session that is closed has no more to do.
        let _ = self.handle.send(Arc::default(), Job::Wake);
    }
}
