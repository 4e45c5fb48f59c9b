//! What must not leak on a real Postgres, tried: on withal, and on its peers by the same rows.
//!
//! A [`Row`] runs one kind of work many times, each time cancelled at another point or broken in
//! another way, on a pool that is new. After each run the [`Lab`] looks, by a connection of its
//! own, at what the server still has of it.

#![forbid(unsafe_code)]

mod admin;
mod hole;
mod lab;
mod ours;
#[cfg(feature = "peers")]
mod peers;
mod pool;
mod rows;
mod soak;
mod stop;

pub use lab::{Lab, Limits};
pub use pool::Who;
pub use rows::{ROWS, Row, Tried};
pub use soak::{Amount, Soaked, soak};

use std::pin::Pin;

use withal_core::BoxError;

/// What a fallible thing gives.
pub type Result<T, E = BoxError> = std::result::Result<T, E>;

type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
