//! The log in async code, on tokio.
//!
//! Opening and closing a log waits for the disk, so they run on a blocking thread; appending is
//! [`Log::append_async`], which waits without one.

use std::borrow::Cow;
use std::io;

use ::tokio::task::{JoinError, spawn_blocking};
use withal_core::{AsyncContextManager, ContextManager, ExitCase};

use crate::error::LogError;
use crate::log::{Log, LogOptions};

/// The async form of the manager that [`Log::open`] gives; made by [`open`].
#[derive(Clone, Debug)]
#[must_use = "it does nothing until it is entered"]
pub struct OpenLog(LogOptions);

/// Opens a log in an async block, on a blocking thread.
///
/// # Cancel safety
///
/// In a block of `withal`, an opening that is cancelled is finished and closed again. Dropped
/// elsewhere, the log is closed as soon as it is open.
///
/// ```
/// use withal_log::{Log, Durability};
/// use withal_scope::async_with;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("log");
/// let options = Log::open(&path).durability(Durability::Always);
/// async_with(withal_log::tokio::open(options), async |log| {
///     log.append_async("order 17 paid").await?; // on the disk now
///     Ok(())
/// })
/// .await?;
/// # Ok(())
/// # }
/// ```
pub fn open(options: LogOptions) -> OpenLog {
    OpenLog(options)
}

impl AsyncContextManager for OpenLog {
    type Resource = Log;
    type Error = LogError;

    async fn enter(self) -> Result<Log, LogError> {
        spawn_blocking(move || self.0.open())
            .await
            .map_err(|error| lost("opened", error))?
    }

    async fn exit(log: Log, _: ExitCase) -> Result<(), LogError> {
        spawn_blocking(move || log.close())
            .await
            .map_err(|error| lost("closed", error))?
    }

    fn name(&self) -> Cow<'static, str> {
        ContextManager::name(&self.0)
    }
}

/// A panic there is a bug here; else the runtime is going down, and dropping the log closes it.
fn lost(how: &str, error: JoinError) -> LogError {
    match error.try_into_panic() {
        Ok(payload) => std::panic::resume_unwind(payload),
        Err(cancelled) => LogError::io(
            format!("the log could not be {how}: the runtime is shut down"),
            io::Error::other(cancelled),
        ),
    }
}
