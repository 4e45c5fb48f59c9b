//! Where scenarios run: each on a runtime and a clock of its own, one at a time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use crate::leaks::{LeakCheck, Leaks, settle};

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lab {
    pub(crate) real_time: bool,
}

impl Lab {
    /// After how long something counts as never ending.
    pub(crate) fn patience(self) -> Duration {
        match self.real_time {
            true => Duration::from_secs(60),
            // Longer than the reaper gives a teardown; virtual.
            false => Duration::from_secs(3_600),
        }
    }

    /// What `drive` gives, and what it left behind once everything has come to rest.
    pub(crate) fn run<T>(self, drive: impl FnOnce(&Runtime, &Arc<LeakCheck>) -> T) -> (T, Leaks) {
        let _alone = alone();
        let check = self.check();
        let runtime = self.runtime();
        let value = drive(&runtime, &check);
        let teardowns = runtime.block_on(settle(self.patience()));
        let tasks = runtime.metrics().num_alive_tasks();
        drop(runtime);
        let leaks = Leaks {
            tasks,
            teardowns,
            ..check.leaks()
        };
        (value, leaks)
    }

    /// The same, if the runtime goes as soon as `drive` is done. The second thing `drive` gives
    /// outlives it.
    pub(crate) fn shut_down<T, K>(
        self,
        drive: impl FnOnce(&Runtime, &Arc<LeakCheck>) -> (T, K),
    ) -> (T, Leaks) {
        let _alone = alone();
        let check = self.check();
        let runtime = self.runtime();
        let (value, kept) = drive(&runtime, &check);
        drop(runtime);
        drop(kept);
        (value, check.leaks().without_abandoned())
    }

    fn check(self) -> Arc<LeakCheck> {
        // The first runtime of a process opens what all later ones share.
        drop(self.runtime());
        Arc::new(LeakCheck::of_this_thread())
    }

    fn runtime(self) -> Runtime {
        Builder::new_current_thread()
            .enable_all()
            .start_paused(!self.real_time)
            .build()
            .expect("a current-thread runtime can be started")
    }
}

/// Descriptors are counted for the whole process, so runs of the kit on several threads take turns.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}
