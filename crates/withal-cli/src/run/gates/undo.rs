//! What undoes a gate whose process has died.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::message::Messages;
use crate::run::RunId;
use crate::run::identity::Distance;
use crate::run::journal::Story;

/// What undoes a gate whose processes have died.
///
/// It is written to the run's journal before the gate is acquired, so all its names are chosen by
/// then. It holds no secret, only references to one: the name of a variable or of a file.
pub(crate) trait Undo: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Whether what it undoes is still there after the machine has started again.
    const OUTLIVES_REBOOT: bool = true;

    /// Undoes the gate, however far it was acquired.
    ///
    /// It is idempotent: what is gone already is success. It touches nothing that is not ours, and
    /// compares what it finds: device and inode, owner, cookie, token.
    ///
    /// # Errors
    ///
    /// It is not undone: what is missing, and what to do. It is tried again later.
    fn undo(self, recovery: &Recovery) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// There is nothing to undo: what the gate holds ends with its process.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum NoUndo {}

impl Undo for NoUndo {
    const OUTLIVES_REBOOT: bool = false;

    async fn undo(self, _recovery: &Recovery) -> anyhow::Result<()> {
        match self {}
    }
}

/// What is known of a run that is being undone, and of who does it.
#[derive(Clone, Debug)]
pub(crate) struct Recovery {
    /// The run that died.
    pub(crate) run: RunId,
    /// Whether the machine has not been started anew since: device numbers and process ids mean
    /// what they meant.
    pub(crate) is_same_boot: bool,
    pub(crate) messages: Messages,
}

impl Recovery {
    pub(crate) fn new(story: &Story, distance: Distance, messages: Messages) -> Recovery {
        Recovery {
            run: story.opened.id,
            is_same_boot: matches!(distance, Distance::Here | Distance::OtherNamespace),
            messages,
        }
    }
}
