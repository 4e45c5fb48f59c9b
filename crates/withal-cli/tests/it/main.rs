//! withal as its users see it: real commands, real signals, real terminals.
#![allow(clippy::unwrap_used, reason = "a test")]

mod atomic;
mod gates;
mod gates_docs;
mod gates_env_file;
mod gates_hook;
mod gates_killed;
mod gates_log;
mod gates_mock;
mod gates_service;
mod gates_sqlite;
mod jobs;
mod kill_matrix;
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
