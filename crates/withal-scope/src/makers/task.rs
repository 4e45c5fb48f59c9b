//! A task as a resource.

use std::borrow::Cow;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle};
use withal_core::{AsyncContextManager, BoxError, ExitCase};

use crate::cell::{AnyFrame, poll_with_parent};
use crate::spawn::spawn_on;

/// How long a task may take to stop once it is asked to.
const GRACE: Duration = Duration::from_secs(5);

tokio::task_local! {
    static STOP: watch::Receiver<bool>;
}

/// Waits until the scope that started this task is being left.
///
/// Only in a task started by [`Scope::spawn`](crate::Scope::spawn); elsewhere it waits for ever.
///
/// # Cancel safety
///
/// Dropping it loses nothing; a stop that was requested meanwhile is seen by the next call.
pub async fn stop_requested() {
    let Ok(mut stop) = STOP.try_with(watch::Receiver::clone) else {
        return std::future::pending().await;
    };
    // An error says that the task's scope is gone, which is a stop as well.
    drop(stop.wait_for(|stop| *stop).await);
}

type Boxed<T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send>>;

/// Starts a task on enter, stops it on exit.
pub(crate) struct TaskManager<T> {
    task: Boxed<T>,
    parent: Arc<AnyFrame>,
}

impl<T> TaskManager<T> {
    pub(crate) fn new<F>(task: F, parent: Arc<AnyFrame>) -> TaskManager<T>
    where
        F: Future<Output = Result<T, BoxError>> + Send + 'static,
    {
        TaskManager {
            task: Box::pin(task),
            parent,
        }
    }
}

/// A running task of a scope; made by [`Scope::spawn`](crate::Scope::spawn).
pub struct Task<T> {
    /// `None` once its output has been taken.
    handle: Option<JoinHandle<Result<T, BoxError>>>,
    id: tokio::task::Id,
    stop: watch::Sender<bool>,
}

impl<T> Task<T> {
    /// Waits for the task's own end.
    ///
    /// # Errors
    ///
    /// The task's error, or its panic as [`Panicked`](withal_core::Panicked). Joining a second time
    /// is an error too.
    ///
    /// # Cancel safety
    ///
    /// Dropping it loses nothing: the task goes on, and can be joined again.
    pub async fn join(&mut self) -> Result<T, BoxError> {
        let ended = match &mut self.handle {
            Some(handle) => handle.await,
            None => return Err("the task's output has been taken already".into()),
        };
        self.handle = None;
        flatten(ended)
    }

    /// Asks the task to stop, and goes on.
    pub fn request_stop(&self) {
        let _ = self.stop.send_replace(true);
    }

    /// Whether the task has ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.handle.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// The task's id, as in [`Open::task`](crate::Open::task).
    #[must_use]
    pub fn id(&self) -> tokio::task::Id {
        self.id
    }
}

fn flatten<T>(ended: Result<Result<T, BoxError>, JoinError>) -> Result<T, BoxError> {
    match ended {
        Ok(output) => output,
        Err(error) => match error.try_into_panic() {
            Ok(payload) => Err(Box::new(withal_core::Panicked::new(&*payload))),
            Err(aborted) => Err(Box::new(aborted)),
        },
    }
}

impl<T: Send + 'static> AsyncContextManager for TaskManager<T> {
    type Resource = Task<T>;
    type Error = BoxError;

    async fn enter(self) -> Result<Task<T>, BoxError> {
        let (stop, stopped) = watch::channel(false);
        let task = poll_with_parent(self.parent, self.task);
        let handle = spawn_on(&Handle::current(), STOP.scope(stopped, task));
        Ok(Task {
            id: handle.id(),
            handle: Some(handle),
            stop,
        })
    }

    async fn exit(mut task: Task<T>, _case: ExitCase) -> Result<(), BoxError> {
        task.request_stop();
        let Some(handle) = &mut task.handle else {
            return Ok(());
        };
        let mut grace = None;
        let in_time = poll_fn(|context| {
            let ended = Pin::new(&mut *handle).poll(context).map(Some);
            if ended.is_ready() {
                return ended;
            }
            crate::deadline::poll(&mut grace, Some(GRACE), context).map(|_| None)
        })
        .await;
        let ended = match in_time {
            Some(ended) => ended,
            None => {
                handle.abort();
                match handle.await {
                    // It had not listened: that is what aborting is for, and no error.
                    Err(error) if error.is_cancelled() => return Ok(()),
                    ended => ended,
                }
            }
        };
        flatten(ended).map(drop)
    }

    fn name(&self) -> Cow<'static, str> {
        Cow::Borrowed("task")
    }
}

impl<T> Drop for Task<T> {
    /// Reached unended only if its exit was given up: nobody waits for it any more.
    fn drop(&mut self) {
        if let Some(handle) = &self.handle {
            handle.abort();
        }
    }
}

impl<T> fmt::Debug for Task<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task")
            .field("id", &self.id)
            .field("finished", &self.is_finished())
            .finish()
    }
}
