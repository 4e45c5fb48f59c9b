//! `withal watch`: what descriptors a process has, and whether it leaks them.
//!
//! A scanner reads `/proc` (`scan`), a model makes statistics and a verdict of what it saw
//! (`model`), and a view shows them (`view`). The session between them (`session`) sees to it that
//! this costs little.

mod arguments;
mod kind;
mod model;
mod pace;
mod scan;
mod session;
mod subject;
mod view;
mod words;

use nix::libc;

use crate::message::say;
use crate::output::Closed;
use crate::process;
use crate::run::Exit;

pub(crate) use arguments::{AFTER, Arguments, Job, USAGE};

/// It leaks, and `--fail` was given.
const LEAKING: Exit = Exit::Code(1);

/// Wrong usage.
pub(crate) const WRONG_USAGE: Exit = Exit::Code(2);

/// There is no verdict: no such process, no permission, ended too early.
const NO_VERDICT: Exit = Exit::Code(3);

/// Does it. The answer is how this process should end.
pub(crate) fn run(job: Job) -> Exit {
    session::run(job).unwrap_or_else(|error| {
        if error.is::<Closed>() && !process::came_ignored(libc::SIGPIPE) {
            return Exit::Signal(libc::SIGPIPE);
        }
        say(format_args!("watch: {error:#}"));
        Exit::FAILED
    })
}
