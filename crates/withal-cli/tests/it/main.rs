//! withal as its users see it: real commands, real signals, real terminals.
#![allow(clippy::unwrap_used, reason = "a test")]

mod atomic;
mod gates;
mod gates_pg_lock;
mod gates_postgres;
mod gates_postgres_server;
mod gates_redis_lock;
mod jobs;
mod kill_matrix;
mod leases;
mod log;
mod log_crash;
mod migrate;
mod processes;
mod recover;
mod signals;
mod status;
mod support;
mod terminal;
mod usage;
