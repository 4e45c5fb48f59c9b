#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod cancellable;
mod cell;
mod deadline;
mod interruption;
mod makers;
mod options;
mod reaper;
mod registry;
mod root;
mod scope;
mod send;
mod spawn;
mod stack;
mod sync;
mod teardown;
mod with;

/// What crates that build on this one need of it. Not for applications.
#[doc(hidden)]
pub mod integration;

/// Public for the loom models only.
#[doc(hidden)]
pub mod chain;
/// Public for the loom models only.
#[doc(hidden)]
pub mod countdown;

pub use cancellable::cancellable;
pub use cell::{Lease, Scope};
pub use makers::{
    Aclosing, AsyncGenerator, AsyncYielded, AsyncYielder, Family, Giver, Lending, Proof,
    RefContextManager, Task, WrapStream, aclosing, asynccontextmanager, lending, stop_requested,
    with_ref, wrap_async, wrap_stream,
};
pub use options::Options;
pub use reaper::{Reaper, Report};
pub use registry::{Kind, Open, OpenState, open};
pub use root::{Root, RootOutcome, block_on, root};
pub use scope::scope;
pub use send::{SendFn, SendFn2};
pub use stack::{AsyncExitStack, AsyncLent, AsyncStackHandle};
pub use with::{async_with, timeout};
