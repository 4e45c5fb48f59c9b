//! What SQLite asks and tells while it works: whether to go on, whether to wait, what it is about
//! to do.

use std::mem;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization, TransactionOperation};

/// How many steps of SQLite's machine lie between two looks at whether to go on: some 10 µs.
const STEPS: i32 = 1_000;
/// The longest wait between two tries to get a lock.
const LONGEST_WAIT: Duration = Duration::from_millis(25);

/// What was done by a statement that was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) transaction: u64,
    /// How many savepoints there were.
    pub(super) depth: usize,
}

/// The fate of one job.
///
/// SQLite's own interrupt is not used: it names a connection, not a statement, and hits whatever
/// runs until no statement is left half-read. Here a job asks for its own ticket, so nobody else's
/// cancellation can reach it, however late it comes.
#[derive(Debug, Default)]
pub(super) struct Ticket(Mutex<Fate>);

#[derive(Debug, Default)]
struct Fate {
    is_given_up: bool,
    wrote: Option<Mark>,
}

impl Ticket {
    /// Nobody waits for the job any more. Gives what it had written until then.
    pub(super) fn give_up(&self) -> Option<Mark> {
        let mut fate = self.fate();
        fate.is_given_up = true;
        fate.wrote
    }

    /// The job has written; tells whether it had been given up until then.
    pub(super) fn wrote(&self, mark: Mark) -> bool {
        let mut fate = self.fate();
        fate.wrote = Some(mark);
        fate.is_given_up
    }

    pub(super) fn is_given_up(&self) -> bool {
        self.fate().is_given_up
    }

    fn fate(&self) -> MutexGuard<'_, Fate> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What statements do besides reading and writing rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Effects(u8);

impl Effects {
    /// It leaves something behind in the session: a setting, a temporary table, another database.
    const TOUCHES: u8 = 1;
    /// It ends a transaction.
    const ENDS: u8 = 2;

    pub(super) fn touches(self) -> bool {
        self.0 & Effects::TOUCHES != 0
    }

    pub(super) fn ends(self) -> bool {
        self.0 & Effects::ENDS != 0
    }

    pub(super) fn is_none(self) -> bool {
        self.0 == 0
    }

    fn of(context: &AuthContext<'_>) -> u8 {
        match context.action {
            AuthAction::Pragma {
                pragma_name,
                pragma_value: Some(_),
            } if !leaves_no_trace(pragma_name) => Effects::TOUCHES,
            AuthAction::Attach { .. } | AuthAction::Detach { .. } => Effects::TOUCHES,
            AuthAction::Transaction { operation } if operation != TransactionOperation::Begin => {
                Effects::ENDS
            }
            AuthAction::Read { .. } | AuthAction::Select | AuthAction::Function { .. } => 0,
            _ if context.database_name == Some("temp") => Effects::TOUCHES,
            _ => 0,
        }
    }
}

/// Whether a pragma's argument is a question, or is kept in the database.
fn leaves_no_trace(pragma: &str) -> bool {
    const ALL: [&str; 16] = [
        "application_id",
        "foreign_key_check",
        "foreign_key_list",
        "incremental_vacuum",
        "index_info",
        "index_list",
        "index_xinfo",
        "integrity_check",
        "optimize",
        "quick_check",
        "table_info",
        "table_list",
        "table_xinfo",
        "user_version",
        "wal_checkpoint",
        "data_version",
    ];
    ALL.iter().any(|name| name.eq_ignore_ascii_case(pragma))
}

/// Looks on while SQLite works.
#[derive(Debug)]
pub(super) struct Watch {
    job: Mutex<Arc<Ticket>>,
    effects: AtomicU8,
    busy_timeout: Duration,
}

impl Watch {
    pub(super) fn new(busy_timeout: Duration, first: Arc<Ticket>) -> Arc<Watch> {
        Arc::new(Watch {
            job: Mutex::new(first),
            effects: AtomicU8::new(0),
            busy_timeout,
        })
    }

    pub(super) fn install(self: &Arc<Watch>, connection: &mut Connection) -> rusqlite::Result<()> {
        let watch = Arc::clone(self);
        connection.progress_handler(STEPS, Some(move || watch.is_given_up()))?;
        let watch = Arc::clone(self);
        let mut since = Instant::now();
        connection.busy_handler(Some(move |tries| {
            if tries == 0 {
                since = Instant::now();
            }
            watch.wait(tries, since)
        }))?;
        let watch = Arc::clone(self);
        connection.authorizer(Some(move |context: AuthContext<'_>| {
            let _ = watch
                .effects
                .fetch_or(Effects::of(&context), Ordering::Relaxed);
            Authorization::Allow
        }))
    }

    /// From now on it works on this job. Gives the one before.
    pub(super) fn turn_to(&self, job: Arc<Ticket>) -> Arc<Ticket> {
        mem::replace(
            &mut *self.job.lock().unwrap_or_else(PoisonError::into_inner),
            job,
        )
    }

    /// What has been prepared since this was last asked.
    pub(super) fn take_effects(&self) -> Effects {
        Effects(self.effects.swap(0, Ordering::Relaxed))
    }

    /// Waits a little for a lock of another connection; tells whether to try again. `since` is
    /// when it was first tried. Whoever gives up the job unparks the thread.
    pub(super) fn wait(&self, tries: i32, since: Instant) -> bool {
        let left = self.busy_timeout.saturating_sub(since.elapsed());
        if left.is_zero() || self.is_given_up() {
            return false;
        }
        let tries = u32::try_from(tries).unwrap_or(0);
        let wait = Duration::from_micros(100) * 2_u32.pow(tries.min(8));
        thread::park_timeout(wait.min(LONGEST_WAIT).min(left));
        !self.is_given_up()
    }

    fn is_given_up(&self) -> bool {
        self.job
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_given_up()
    }
}
