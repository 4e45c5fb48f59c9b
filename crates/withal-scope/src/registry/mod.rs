//! What is open now: kind, name, place, age, parent, task, state.
//!
//! The facts lie in each thing's own cell, and are collected only when somebody asks (see
//! `cell::listed`). With the feature `registry` off, every type here is empty and every call a
//! no-op.

#[cfg(feature = "registry")]
mod clock;
mod inventory;
mod open;
#[cfg(feature = "registry")]
mod record;

#[cfg(not(feature = "registry"))]
use withal_core::Entry;

pub use inventory::{Inventory, Mark, add_inventory};
pub use open::{Kind, Open, OpenState, open};
#[cfg(feature = "registry")]
pub(crate) use record::{Record, thread_number};

/// Names one open thing for as long as the process lives; zero names nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Id(pub(crate) u64);

#[cfg(not(feature = "registry"))]
#[derive(Debug)]
pub(crate) struct Record;

#[cfg(not(feature = "registry"))]
impl Record {
    pub(crate) fn new(_kind: Kind, _parent: Id) -> Record {
        Record
    }

    pub(crate) fn id(&self) -> Id {
        Id::default()
    }

    pub(crate) fn bury(&self, _entry: &Entry) {}
}
