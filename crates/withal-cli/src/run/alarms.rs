//! What a gate may find out while the command runs, and the command must not outlive.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// A gate's way to stop the command: a lease is lost, a mock was asked what it must not be.
///
/// The command is then asked to stop, has the grace period, and is killed; withal exits with 123.
#[derive(Clone, Debug)]
pub(crate) struct Alarms {
    sender: UnboundedSender<String>,
    looks: Looks,
}

/// Where alarms arrive.
#[derive(Debug)]
pub(crate) struct Raised {
    receiver: UnboundedReceiver<String>,
    looks: Looks,
}

/// Looks without waiting whether there is an alarm to be raised.
type Look = Box<dyn Fn() -> Option<String> + Send>;

/// What is looked at before a stopped command goes on.
#[derive(Clone, Default)]
struct Looks(Arc<Mutex<Vec<Look>>>);

impl fmt::Debug for Looks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Looks").finish_non_exhaustive()
    }
}

impl Alarms {
    pub(crate) fn new() -> (Alarms, Raised) {
        let (sender, receiver) = unbounded_channel();
        let looks = Looks::default();
        let alarms = Alarms {
            sender,
            looks: looks.clone(),
        };
        (alarms, Raised { receiver, looks })
    }

    /// Stops the command; `text` tells why, with the name of what is lost and no secret.
    ///
    /// Gives whether somebody hears it. After the command has ended nobody is there to be stopped:
    /// then the gate's exit has to fail instead.
    pub(crate) fn raise(&self, text: impl Into<String>) -> bool {
        self.sender.send(text.into()).is_ok()
    }

    /// Has `look` asked before a command that was stopped goes on, as it may not run in between:
    /// what it gives is an alarm.
    pub(crate) fn look_on_continue(&self, look: impl Fn() -> Option<String> + Send + 'static) {
        let mut looks = self.looks.0.lock().unwrap_or_else(PoisonError::into_inner);
        looks.push(Box::new(look));
    }
}

impl Raised {
    /// The first alarm that there is to be raised now.
    pub(super) fn look(&self) -> Option<String> {
        let looks = self.looks.0.lock().unwrap_or_else(PoisonError::into_inner);
        looks.iter().find_map(|look| look())
    }

    /// The next alarm.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it is ready, it has taken no alarm.
    pub(super) async fn next(&mut self) -> String {
        match self.receiver.recv().await {
            Some(text) => text,
            None => std::future::pending().await,
        }
    }

    /// One that has been raised already.
    pub(super) fn taken(&mut self) -> Option<String> {
        self.receiver.try_recv().ok()
    }
}
