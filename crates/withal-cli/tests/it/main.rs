//! `withal run` as its users see it: real commands, real signals, real terminals.
#![allow(clippy::unwrap_used, reason = "a test")]

mod gates;
mod jobs;
mod processes;
mod signals;
mod status;
mod support;
mod terminal;
mod usage;
