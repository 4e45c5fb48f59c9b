#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

mod account;
#[cfg(feature = "tls")]
mod certificate;
mod error;
mod home;
mod instance;
mod port;
mod postgres;
mod random;
mod redis;
mod shared;
mod supervised;

pub use error::ServerError;
pub use postgres::{Postgres, PostgresServer, postgres};
pub use redis::{Redis, RedisServer, redis};

/// For the proxy of the testkit. Not for applications.
#[doc(hidden)]
pub use port::free_port;
