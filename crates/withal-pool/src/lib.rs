#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod acquire;
mod builder;
mod cause;
mod clock;
mod deadline;
mod error;
mod hooks;
mod info;
mod keeper;
mod lease;
mod manager;
mod open;
mod permit;
mod pool;
mod queue;
mod shared;
mod shield;
mod status;
mod table;

pub use acquire::Acquire;
pub use builder::Builder;
pub use cause::Cause;
pub use error::{AcquireError, BuildError, CloseError, WaitTimedOut};
pub use hooks::HookFuture;
pub use info::Info;
pub use lease::Lease;
pub use manager::Manager;
pub use open::OpenPool;
pub use pool::Pool;
pub use status::{Counters, Holder, Phase, Status};
