//! Cancellation, in a process of its own: descriptors are counted.
#![cfg(feature = "tokio")]
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

use withal_log::{Durability, Log};
use withal_scope::async_with;
use withal_testkit::Cancel;

#[test]
fn cancelled_anywhere_in_any_way_the_log_is_closed_and_opens_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    let again = path.clone();
    Cancel::every_way()
        .real_time()
        .everywhere(
            move || {
                let options = Log::open(&path).durability(Durability::Always);
                async move {
                    let done = async_with(withal_log::tokio::open(options), async |log| {
                        let _ = log.append_async(b"record").await?;
                        Ok(())
                    });
                    let _ = done.await;
                }
            },
            move || {
                let opened = Log::open(&again).open().and_then(Log::close);
                opened.map_err(|error| error.to_string())
            },
        )
        .assert_clean();
}
