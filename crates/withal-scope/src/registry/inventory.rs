//! What is open outside of any block, told by those who keep it: the leases of a pool.

use std::sync::Weak;
use std::time::Duration;

use withal_core::Entry;

use super::{Kind, Open, OpenState};

/// Somebody who keeps things open outside of any block, and can list them.
pub trait Inventory: Send + Sync {
    /// Shows what is open now. It must not open or close anything.
    fn each_open(&self, show: &mut dyn FnMut(Open));
}

/// Has [`open`](crate::open) ask `inventory` too, for as long as it lives.
pub fn add_inventory(inventory: Weak<dyn Inventory>) {
    #[cfg(feature = "registry")]
    listed::add(inventory);
    #[cfg(not(feature = "registry"))]
    drop(inventory);
}

/// Who opened something: its number, the block and the task it was opened in.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    #[cfg(feature = "registry")]
    id: u64,
    #[cfg(feature = "registry")]
    parent: u64,
    task: Option<tokio::task::Id>,
}

impl Mark {
    /// Of something that the calling code opens now.
    #[inline]
    #[must_use]
    pub fn here() -> Mark {
        Mark {
            #[cfg(feature = "registry")]
            id: super::record::next_id().0,
            #[cfg(feature = "registry")]
            parent: crate::cell::AnyFrame::current_id().0,
            task: tokio::task::try_id(),
        }
    }

    /// The task it was opened in.
    #[must_use]
    pub fn task(&self) -> Option<tokio::task::Id> {
        self.task
    }

    /// What the registry tells of it.
    #[cfg_attr(
        not(feature = "registry"),
        expect(unused_variables, reason = "there is no age without it")
    )]
    #[must_use]
    pub fn show(self, kind: Kind, entry: Entry, age: Duration, state: OpenState) -> Open {
        Open {
            #[cfg(feature = "registry")]
            id: self.id,
            #[cfg(not(feature = "registry"))]
            id: 0,
            #[cfg(feature = "registry")]
            parent: self.parent,
            #[cfg(not(feature = "registry"))]
            parent: 0,
            kind,
            entry,
            #[cfg(feature = "registry")]
            opened: super::clock::Since::ago(age),
            task: self.task,
            state,
        }
    }
}

#[cfg(feature = "registry")]
pub(super) use listed::each_listed;

#[cfg(feature = "registry")]
mod listed {
    use std::sync::{Arc, Mutex, PoisonError};

    use super::{Inventory, Open, Weak};

    static INVENTORIES: Mutex<Vec<Weak<dyn Inventory>>> = Mutex::new(Vec::new());

    pub(super) fn add(inventory: Weak<dyn Inventory>) {
        let mut all = INVENTORIES.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|known| known.strong_count() > 0);
        all.push(inventory);
    }

    /// Asks them one after the other, without the lock: the last owner may let go of one meanwhile.
    pub(in crate::registry) fn each_listed(mut show: impl FnMut(Open)) {
        let all = INVENTORIES.lock().unwrap_or_else(PoisonError::into_inner);
        let alive: Vec<Arc<dyn Inventory>> = all.iter().filter_map(Weak::upgrade).collect();
        drop(all);
        for inventory in alive {
            inventory.each_open(&mut show);
        }
    }
}
