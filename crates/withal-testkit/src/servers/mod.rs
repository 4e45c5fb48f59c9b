#![doc = include_str!("servers.md")]

mod account;
#[cfg(feature = "tls")]
mod certificate;
mod error;
mod home;
mod instance;
mod postgres;
mod random;
mod redis;
mod shared;
mod supervised;

pub use error::ServerError;
pub use postgres::{Postgres, PostgresServer, postgres};
pub use redis::{Redis, RedisServer, redis};
