//! What is tried.

mod broken;
mod cancelled;
mod server;
mod slow;

use std::fmt;

use crate::{Boxed, Lab, Result};

/// What came of a row.
#[derive(Clone, Debug, Default)]
pub struct Tried {
    /// How many runs there were.
    pub runs: u64,
    /// What was wrong, a line for each run that was.
    pub bad: Vec<String>,
}

impl Tried {
    pub(crate) fn count(&mut self, case: impl fmt::Display, wrong: Vec<String>) {
        self.runs += 1;
        if !wrong.is_empty() {
            self.bad.push(format!("{case}: {}", wrong.join("; ")));
        }
    }

    /// Counts what another has counted.
    pub fn add(&mut self, other: Tried) {
        self.runs += other.runs;
        self.bad.extend(other.bad);
    }
}

/// One kind of work that goes wrong.
#[derive(Clone, Copy)]
pub struct Row {
    /// What goes wrong.
    pub name: &'static str,
    /// Whether it asks for what only our pool has.
    pub is_ours_only: bool,
    run: for<'l> fn(&'l Lab) -> Boxed<'l, Result<Tried>>,
}

impl Row {
    /// Tries it.
    ///
    /// # Errors
    ///
    /// It could not be tried: the server is not there, a pool cannot be made.
    pub async fn run(&self, lab: &Lab) -> Result<Tried> {
        (self.run)(lab).await
    }
}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Row").field(&self.name).finish()
    }
}

macro_rules! rows {
    ($($name:literal, $only:literal, $run:path;)*) => {
        &[$(Row {
            name: $name,
            is_ours_only: $only,
            run: |lab| Box::pin($run(lab)),
        }),*]
    };
}

/// All of them.
pub const ROWS: &[Row] = rows![
    "transaction guard, cancelled everywhere", false, cancelled::guard;
    "the same by `with_ref`", true, cancelled::borrowed;
    "every message of the server in two pieces", false, cancelled::split;
    "cold pool", false, cancelled::cold;
    "BEGIN and COMMIT as SQL", false, cancelled::manual;
    "nested savepoint, all dropped", false, cancelled::savepoint;
    "nested savepoint alone dropped, outer goes on", false, cancelled::nested_alone;
    "cancelled again in the cleanup", false, cancelled::twice;
    "stream abandoned, other statements may run", false, cancelled::abandoned;
    "stream abandoned, exclusive", false, cancelled::abandoned_exclusive;
    "panic", false, broken::panic;
    "statement refused, user's error", false, broken::error;
    "BEGIN as SQL, then an early return", false, broken::manual_error;
    "timeout at any moment", false, broken::timeouts;
    "six kinds of session state, seen by the next", false, broken::state;
    "dropped on a thread without a runtime", false, broken::off_runtime;
    "lease forgotten: reported, the other slots work", true, broken::forgotten;
    "slow statement dropped", false, slow::dropped;
    "slow statement, pool dropped", false, slow::pool_dropped;
    "line silent in a statement", false, slow::silent_in_use;
    "line silent while idle", false, slow::silent_idle;
    "pool closed with work out", true, server::closed;
    "server restarted under load", true, server::restarted;
    "max_connections of the server reached", true, server::full;
];
