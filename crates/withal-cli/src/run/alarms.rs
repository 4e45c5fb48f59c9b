//! What a gate may find out while the command runs, and the command must not outlive.

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// A gate's way to stop the command: a lease is lost, a mock was asked what it must not be.
///
/// The command is then asked to stop, has the grace period, and is killed; withal exits with 123.
#[derive(Clone, Debug)]
pub(crate) struct Alarms(UnboundedSender<String>);

/// Where alarms arrive.
#[derive(Debug)]
pub(crate) struct Raised(UnboundedReceiver<String>);

impl Alarms {
    pub(crate) fn new() -> (Alarms, Raised) {
        let (sender, receiver) = unbounded_channel();
        (Alarms(sender), Raised(receiver))
    }

    /// Stops the command; `text` tells why, with the name of what is lost and no secret.
    ///
    /// After the command has ended nobody is there to be stopped: then a gate's exit fails instead.
    pub(crate) fn raise(&self, text: impl Into<String>) {
        // Nobody listens any more only if the run is over.
        let _over = self.0.send(text.into());
    }
}

impl Raised {
    /// The next alarm.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it is ready, it has taken no alarm.
    pub(super) async fn next(&mut self) -> String {
        match self.0.recv().await {
            Some(text) => text,
            None => std::future::pending().await,
        }
    }

    /// One that has been raised already.
    pub(super) fn taken(&mut self) -> Option<String> {
        self.0.try_recv().ok()
    }
}
