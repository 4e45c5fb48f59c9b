//! withal as its users see it: real commands, real signals, real terminals.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test")]

mod atomic;
mod gates;
mod gates_docs;
mod gates_env;
mod gates_env_file;
mod gates_hook;
mod gates_killed;
mod gates_log;
mod gates_mock;
mod gates_pg_lock;
mod gates_postgres;
mod gates_postgres_server;
mod gates_redis_lock;
mod gates_service;
mod gates_sqlite;
mod job_files;
mod jobs;
mod kernel;
mod kill_matrix;
mod leases;
mod log;
mod log_crash;
mod migrate;
mod plan;
mod processes;
mod recover;
mod report;
mod signals;
mod status;
mod support;
mod terminal;
mod usage;
mod watch;
