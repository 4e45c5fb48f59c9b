//! What is open now: kind, name, place, age, parent, task, state.
//!
//! With the feature `registry` off, every type here is empty and every call a no-op.

mod open;
#[cfg(feature = "registry")]
mod shards;

pub use open::{Kind, Open, OpenState, open};

use withal_core::Entry;

/// Names one open thing for as long as the process lives; zero names nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Id(pub(crate) u64);

/// The place of one entry in the registry.
///
/// It takes that place only when others could see it: once entered, or once it had to wait. A
/// manager that is entered and exited without waiting takes one shard's lock twice.
#[cfg(feature = "registry")]
#[derive(Debug)]
pub(crate) struct Registration {
    id: Id,
    parent: Id,
    kind: Kind,
    /// Where its record is, and the state it shows.
    record: Option<(shards::Key, OpenState)>,
}

#[cfg(feature = "registry")]
impl Registration {
    pub(crate) fn new(kind: Kind, parent: Id) -> Registration {
        Registration {
            id: shards::next_id(),
            parent,
            kind,
            record: None,
        }
    }

    pub(crate) fn id(&self) -> Id {
        self.id
    }

    /// Shows `state`.
    pub(crate) fn set(&mut self, entry: &Entry, state: OpenState) {
        match &mut self.record {
            Some((_, shown)) if *shown == state => {}
            Some((key, shown)) => {
                *shown = state;
                shards::update(*key, state);
            }
            None => {
                let key = shards::insert(self.id, self.parent, self.kind, entry, state);
                self.record = Some((key, state));
            }
        }
    }

    /// It is closed: forgets it.
    pub(crate) fn close(&mut self) {
        if let Some((key, state)) = self.record.take()
            && state != OpenState::Abandoned
        {
            drop(shards::remove(key));
        }
    }

    /// It was dropped without its exit having run to the end: it stays, as a leak with a name.
    #[cold]
    pub(crate) fn give_up(&mut self, entry: &Entry) {
        self.set(entry, OpenState::Abandoned);
        if let Some((key, _)) = self.record.take() {
            shards::bury(key);
        }
    }
}

#[cfg(feature = "registry")]
impl Drop for Registration {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(not(feature = "registry"))]
#[derive(Debug)]
pub(crate) struct Registration;

#[cfg(not(feature = "registry"))]
impl Registration {
    pub(crate) fn new(_kind: Kind, _parent: Id) -> Registration {
        Registration
    }

    pub(crate) fn id(&self) -> Id {
        Id::default()
    }

    pub(crate) fn set(&mut self, _entry: &Entry, _state: OpenState) {}

    pub(crate) fn close(&mut self) {}

    pub(crate) fn give_up(&mut self, _entry: &Entry) {}
}
