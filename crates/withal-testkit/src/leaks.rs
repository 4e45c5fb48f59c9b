//! What is left over.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::time::Duration;

use tokio::runtime::Handle;
use withal_scope::{Open, OpenState, Reaper, open};

use crate::descriptors::{Descriptor, descriptors};

/// How long a settled runtime is given to end what was asked to end.
const TURN: Duration = Duration::from_millis(1);

/// Panics, with a list, if the calling thread has something open.
///
/// Call it at the end of a test, once its runtime is gone or drained. Other tests of the process
/// run on other threads and do not count. For descriptors and tasks as well, see [`LeakCheck`].
///
/// # Panics
///
/// If something is open.
///
/// # Examples
///
/// ```
/// use withal_testkit::assert_no_open;
///
/// // … what the test does …
/// assert_no_open();
/// ```
#[track_caller]
pub fn assert_no_open() {
    let open: Vec<Open> = open().into_iter().filter(Open::is_of_this_thread).collect();
    let lines: Vec<String> = open.iter().map(|open| format!("\n  {open}")).collect();
    assert!(
        open.is_empty(),
        "{} still open:{}",
        open.len(),
        lines.concat()
    );
}

/// How many tasks are alive on the current runtime; `None` outside of one.
///
/// A task is alive until it has ended or, once aborted, until the runtime has dropped it. What
/// `block_on` or `#[tokio::test]` runs is no task.
///
/// # Examples
///
/// ```standalone_crate
/// use withal_testkit::alive_tasks;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// assert_eq!(alive_tasks(), Some(0));
/// let task = tokio::spawn(std::future::pending::<()>());
/// assert_eq!(alive_tasks(), Some(1));
/// task.abort();
/// assert!(task.await.is_err());
/// assert_eq!(alive_tasks(), Some(0));
/// # }
/// ```
#[must_use]
pub fn alive_tasks() -> Option<usize> {
    Some(Handle::try_current().ok()?.metrics().num_alive_tasks())
}

/// What was open when a test began, to tell what it left behind.
///
/// It compares the registry of what is open, the runtime's tasks and the process's descriptors
/// with what they were. Descriptors belong to the whole process: a test beside it that opens files
/// disturbs this.
///
/// # Examples
///
/// ```standalone_crate
/// use withal_core::nullcontext;
/// use withal_scope::async_with;
/// use withal_testkit::LeakCheck;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), withal_core::Error> {
/// let check = LeakCheck::of_this_thread();
/// async_with(nullcontext(()), async |()| {
///     let leaks = check.leaks().to_string();
///     assert!(leaks.contains("resource `Nullcontext` at"), "{leaks}");
///     Ok(())
/// })
/// .await?;
/// check.settled().await.assert_none();
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "ask it for `leaks` once the test is over"]
pub struct LeakCheck {
    known: HashSet<u64>,
    descriptors: Option<BTreeSet<Descriptor>>,
    tasks: Option<usize>,
    all_threads: bool,
}

impl LeakCheck {
    /// Watches what the calling thread opens, so that tests on other threads do not count.
    pub fn of_this_thread() -> LeakCheck {
        LeakCheck {
            known: open().iter().map(Open::id).collect(),
            descriptors: descriptors(),
            tasks: alive_tasks(),
            all_threads: false,
        }
    }

    /// Watches what any thread opens: for multi-threaded runtimes, in a test that runs alone.
    pub fn of_process() -> LeakCheck {
        LeakCheck {
            all_threads: true,
            ..LeakCheck::of_this_thread()
        }
    }

    /// What has been opened since and is not closed now.
    ///
    /// Teardowns that run in the background count as open; see [`settled`](LeakCheck::settled).
    pub fn leaks(&self) -> Leaks {
        let known = self.descriptors.as_ref();
        let opened = known.zip(descriptors()).map(|(known, now)| {
            let new = now.difference(known).cloned();
            new.collect()
        });
        Leaks {
            open: self.opened(),
            descriptors: opened.unwrap_or_default(),
            tasks: alive_tasks()
                .unwrap_or(0)
                .saturating_sub(self.tasks.unwrap_or(0)),
            teardowns: 0,
        }
    }

    /// What is left once the [global reaper](Reaper::global) has finished, and every task that was
    /// asked to end has had its turn.
    ///
    /// # Panics
    ///
    /// If the runtime's timer is not enabled.
    ///
    /// # Cancel safety
    ///
    /// Dropping it loses nothing: teardowns go on.
    pub async fn settled(&self) -> Leaks {
        let teardowns = settle(Duration::from_secs(60)).await;
        Leaks {
            teardowns,
            ..self.leaks()
        }
    }

    /// The registry's part of it.
    pub(crate) fn opened(&self) -> Vec<Open> {
        let mut opened = open();
        opened.retain(|open| !self.known.contains(&open.id()));
        opened.retain(|open| self.all_threads || open.is_of_this_thread());
        opened
    }
}

/// Lets everything that is on its way out end; gives how many teardowns do not.
pub(crate) async fn settle(patience: Duration) -> usize {
    let pending = Reaper::global().drain(patience).await.pending;
    tokio::time::sleep(TURN).await;
    pending
}

/// What a test left behind, each thing with what it is and where it was opened.
#[derive(Clone, Debug, Default)]
#[must_use = "call `assert_none` on it"]
pub struct Leaks {
    pub(crate) open: Vec<Open>,
    pub(crate) descriptors: Vec<Descriptor>,
    pub(crate) tasks: usize,
    pub(crate) teardowns: usize,
}

impl Leaks {
    /// Whether nothing was left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines().is_empty()
    }

    /// What is still open, by the registry: kind, name, place.
    #[must_use]
    pub fn open(&self) -> &[Open] {
        &self.open
    }

    /// The descriptors that were opened and not closed.
    #[must_use]
    pub fn descriptors(&self) -> &[Descriptor] {
        &self.descriptors
    }

    /// How many tasks more are alive.
    #[must_use]
    pub fn tasks(&self) -> usize {
        self.tasks
    }

    /// How many teardowns never ended.
    #[must_use]
    pub fn teardowns(&self) -> usize {
        self.teardowns
    }

    /// Panics, with the list, if anything was left.
    ///
    /// # Panics
    ///
    /// If anything was left.
    #[track_caller]
    pub fn assert_none(&self) {
        assert!(self.is_empty(), "left behind:\n{self}");
    }

    /// Forgets what was given up at a deadline or lost with its runtime: withal has said so.
    pub(crate) fn without_abandoned(mut self) -> Leaks {
        self.open
            .retain(|open| open.state() != OpenState::Abandoned);
        self
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        let open = self.open.iter().map(Open::to_string);
        let descriptors = self.descriptors.iter();
        let descriptors = descriptors.map(|descriptor| format!("{descriptor} is still open"));
        open.chain(descriptors)
            .chain(counted(self.tasks, "task is", "tasks are").map(|it| it + " still alive"))
            .chain(counted(self.teardowns, "teardown", "teardowns").map(|it| it + " without end"))
            .collect()
    }
}

impl fmt::Display for Leaks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines().join("\n"))
    }
}

fn counted(count: usize, one: &str, many: &str) -> Option<String> {
    match count {
        0 => None,
        1 => Some(format!("1 {one}")),
        _ => Some(format!("{count} {many}")),
    }
}
