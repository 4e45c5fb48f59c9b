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
}

impl Cache {
    pub(super) fn get(&self, sql: &str) -> Option<Statement> {
        let mut known = self.lock();
        known.clock += 1;
        let now = known.clock;
        let used = known.statements.get_mut(sql)?;
        used.last = now;
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
        let _ = known
            .statements
            .insert(sql.into(), Used { statement, last });
    }

    pub(super) fn forget(&self, sql: &str) {
        let _ = self.lock().statements.remove(sql);
    }

    pub(super) fn len(&self) -> usize {
        self.lock().statements.len()
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
