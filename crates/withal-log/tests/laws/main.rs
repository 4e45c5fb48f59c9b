//! The managers keep the laws of the protocol, and leave nothing wherever they are cancelled.
//!
//! One at a time, in a process of their own: descriptors are counted for the whole process.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use withal_log::{Checkpoint, Log};
use withal_testkit::laws::Laws;

fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether nobody writes the log.
fn is_free(path: &Path) -> bool {
    Log::open(path).open().is_ok_and(|log| log.close().is_ok())
}

#[test]
fn the_log_keeps_the_laws() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let laws = Laws::new().exclusive().observe(|| is_free(&path));
    laws.check_sync(|| Log::open(&path)).assert_held();
}

#[test]
fn the_checkpoint_keeps_the_laws() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("done");
    let laws = Laws::new().exclusive().observe(|| is_free(&path));
    laws.check_sync(|| Checkpoint::open(&path)).assert_held();
}

#[cfg(feature = "tokio")]
mod asynchronous {
    use withal_log::Durability;
    use withal_scope::scope;
    use withal_testkit::Cancel;

    use super::*;

    #[test]
    fn the_async_log_keeps_the_laws() {
        let _alone = alone();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let laws = Laws::new().exclusive().observe(|| is_free(&path));
        let open = || withal_log::tokio::open(Log::open(&path));
        laws.real_time().check(open).assert_held();
    }

    #[test]
    fn cancelled_anywhere_in_any_way_the_log_is_free_again() {
        let _alone = alone();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let scenario = || {
            let options = Log::open(&path).durability(Durability::Always);
            scope(async move |s| {
                let log = s.enter(withal_log::tokio::open(options)).await?;
                for record in ["first", "second"] {
                    let _line = log.append_async(record).await?;
                }
                Ok(())
            })
        };
        let check = || match is_free(&path) {
            true => Ok(()),
            false => Err("the log is locked".to_owned()),
        };
        let report = Cancel::every_way().real_time().everywhere(scenario, check);
        report.assert_clean();
        assert!(report.points() >= 3, "{report}");
    }
}
