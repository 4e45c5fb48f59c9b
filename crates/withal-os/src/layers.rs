//! Process-wide state that is changed by blocks and restored by their ends, in whatever order.

use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};

/// The changes in force, oldest first, each with what it replaced.
///
/// Blocks on one thread end in reverse order, and each restores what it found. Blocks on several
/// threads may end in any order: one that is not the newest hands what it saved to the next newer
/// one. So the newest open block's state is in force at all times, and the first one's saved state
/// is back once all have ended.
pub(crate) struct Layers(Mutex<Stack>);

struct Stack {
    next: u64,
    layers: Vec<Layer>,
}

struct Layer {
    id: LayerId,
    saved: OwnedFd,
}

/// One change in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LayerId(u64);

impl Layers {
    pub(crate) const fn new() -> Layers {
        Layers(Mutex::new(Stack {
            next: 0,
            layers: Vec::new(),
        }))
    }

    /// Makes a change: `switch` makes it and gives what was in force before.
    pub(crate) fn enter<E>(
        &self,
        switch: impl FnOnce() -> Result<OwnedFd, E>,
    ) -> Result<LayerId, E> {
        let mut stack = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let saved = switch()?;
        let id = LayerId(stack.next);
        stack.next += 1;
        stack.layers.push(Layer { id, saved });
        Ok(id)
    }

    /// Ends a change: `restore` puts back what was in force before, if nothing newer is.
    pub(crate) fn exit<E>(
        &self,
        id: LayerId,
        restore: impl FnOnce(&OwnedFd) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut stack = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(position) = stack.layers.iter().position(|layer| layer.id == id) else {
            return Ok(());
        };
        let ended = stack.layers.remove(position);
        match stack.layers.get_mut(position) {
            None => restore(&ended.saved),
            Some(newer) => {
                newer.saved = ended.saved;
                Ok(())
            }
        }
    }
}
