//! The one place where tasks are started, so that each has somebody who waits for it.

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

/// Starts `task` on `runtime`.
#[expect(clippy::disallowed_methods, reason = "this is the one module that may")]
pub fn spawn_on<T: Send + 'static>(
    runtime: &Handle,
    task: impl Future<Output = T> + Send + 'static,
) -> JoinHandle<T> {
    runtime.spawn(task)
}
