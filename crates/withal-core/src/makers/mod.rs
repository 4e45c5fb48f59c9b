//! Ready-made managers, and what turns other things into one.

mod closing;
mod generator;
mod nullcontext;
mod reentrant;
mod suppress;
mod wrap;

pub use closing::{Closing, closing};
pub use generator::{Generator, Given, SharedSlot, Slot, Yielded, Yielder, contextmanager};
pub use nullcontext::{Nullcontext, nullcontext};
pub use reentrant::{Held, Reentrant, reentrant};
pub use suppress::{Suppress, SuppressIf, suppress, suppress_if};
pub use wrap::{wrap, wrap1};
