//! What crates that build on this one need of it, such as the pool. Not for applications: it may
//! change in any release.

use std::pin::Pin;

use tokio::runtime::Handle;
use withal_core::Error;

pub use crate::registry::{Inventory, Mark, add_inventory};
pub use crate::spawn::spawn_on;

use crate::Reaper;

/// Hands work that nobody awaits to `reaper`, to be finished on `runtime`; it gives what failed.
///
/// It is counted, drained and reported as a teardown is. Its deadlines are its own affair. Without
/// a runtime it is lost, and said to be.
pub fn hand_over(
    reaper: &Reaper,
    runtime: Option<Handle>,
    work: Pin<Box<dyn Future<Output = Option<Error>> + Send>>,
) {
    reaper.adopt(runtime, work);
}
