//! Ready-made async managers, and what turns other things into one.

mod aclosing;
mod deferred;
mod from_sync;
mod generator;
mod lending;
mod task;
mod with_ref;
mod wrap;

pub use aclosing::{Aclosing, aclosing};
pub(crate) use deferred::Deferred;
pub(crate) use from_sync::FromSync;
pub use generator::{AsyncGenerator, AsyncYielded, AsyncYielder, asynccontextmanager};
pub use lending::{Family, Giver, Lending, Proof, lending};
pub(crate) use task::TaskManager;
pub use task::{Task, stop_requested};
pub use with_ref::{RefContextManager, with_ref};
pub use wrap::{WrapStream, wrap_async, wrap_stream};
