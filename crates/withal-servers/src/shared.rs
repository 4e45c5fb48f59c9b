//! A server and those who start and stop it.

use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::spawn_blocking;

use super::error::ServerError;
use super::instance::Instance;

/// The one server of a block. Work on it waits for the disk and for processes, so it is done on the
/// runtime's blocking threads, to its end, even if nobody waits any more; a server that is closed
/// stays closed.
#[derive(Clone, Debug)]
pub(super) struct Shared(Arc<Mutex<Option<Instance>>>);

impl Shared {
    pub(super) fn new(instance: Instance) -> Shared {
        Shared(Arc::new(Mutex::new(Some(instance))))
    }

    pub(super) fn with<T>(
        &self,
        work: impl FnOnce(&mut Instance) -> Result<T, ServerError>,
    ) -> Result<T, ServerError> {
        let mut instance = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        work(instance.as_mut().ok_or_else(ServerError::closed)?)
    }

    /// The server's process id; `None` while it is stopped.
    pub(super) fn pid(&self) -> Option<u32> {
        self.with(|instance| Ok(instance.pid())).ok().flatten()
    }

    /// The process that watches over it; `None` while the server is stopped.
    pub(super) fn supervisor(&self) -> Option<u32> {
        self.with(|instance| Ok(instance.supervisor()))
            .ok()
            .flatten()
    }

    pub(super) async fn work(
        &self,
        work: impl FnOnce(&mut Instance) -> Result<(), ServerError> + Send + 'static,
    ) -> Result<(), ServerError> {
        let shared = self.clone();
        blocking("reach the server", move || shared.with(work)).await
    }

    /// Ends the server and removes its directory.
    pub(super) fn close(&self) -> Result<(), ServerError> {
        let taken = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        taken.map_or(Ok(()), Instance::close)
    }
}

/// Runs `work` on a blocking thread, to its end even if nobody waits for it. A panic goes on here.
pub(super) async fn blocking<T: Send + 'static>(
    doing: &'static str,
    work: impl FnOnce() -> Result<T, ServerError> + Send + 'static,
) -> Result<T, ServerError> {
    match spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            Err(cancelled) => Err(ServerError::doing(doing)(cancelled)),
        },
    }
}
