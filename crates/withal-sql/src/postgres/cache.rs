//! Statements that are prepared already.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio_postgres::Statement;

/// How many are kept: each takes memory on the server, too.
const MOST: usize = 256;

/// The statements of one session, by their text.
#[derive(Default)]
pub(super) struct Cache(Mutex<Known>);

#[derive(Default)]
struct Known {
    statements: HashMap<Box<str>, Used>,
    clock: u64,
}

struct Used {
    statement: Statement,
    last: u64,
    /// Whether it was prepared for an earlier use.
    is_reused: bool,
}

impl Cache {
    pub(super) fn get(&self, sql: &str) -> Option<Statement> {
        let mut known = self.lock();
        known.clock += 1;
        let now = known.clock;
        let used = known.statements.get_mut(sql)?;
        used.last = now;
        used.is_reused = true;
        Some(used.statement.clone())
    }

    pub(super) fn put(&self, sql: &str, statement: Statement) {
        let mut known = self.lock();
        if known.statements.len() >= MOST {
            let oldest = known.statements.iter().min_by_key(|(_, used)| used.last);
            if let Some(oldest) = oldest.map(|(sql, _)| sql.clone()) {
                let _ = known.statements.remove(&oldest);
            }
        }
        let last = known.clock;
        let used = Used {
            statement,
            last,
            is_reused: false,
        };
        let _ = known.statements.insert(sql.into(), used);
    }

    /// Gives it if it was prepared for an earlier use.
    pub(super) fn forget(&self, sql: &str) -> Option<Statement> {
        let forgotten = self.lock().statements.remove(sql)?;
        forgotten.is_reused.then_some(forgotten.statement)
    }

    pub(super) fn clear(&self) {
        self.lock().statements.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.lock().statements.len()
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
