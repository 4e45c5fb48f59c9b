//! The log in async code.

use tokio::task::JoinSet;
use withal_log::{Durability, Log, Reader};
use withal_scope::async_with;

#[tokio::test]
async fn many_tasks_share_syncs_and_each_acknowledgement_is_durable() {
    let folder = tempfile::tempdir().unwrap();
    let options = Log::open(folder.path()).durability(Durability::Always);
    async_with(withal_log::tokio::open(options), async |log| {
        let mut tasks = JoinSet::new();
        for task in 0..16 {
            let log = log.clone();
            tasks.spawn(async move {
                for number in 0..50 {
                    let record = format!("{task} {number}");
                    let line = log.append_async(record.as_bytes()).await.unwrap();
                    assert!(log.progress().durable >= line);
                }
            });
        }
        tasks.join_all().await;
        Ok(())
    })
    .await
    .unwrap();
    let mut reader = Reader::open(folder.path()).unwrap();
    let mut lines = 0;
    while let Some(chunk) = reader.next_chunk().unwrap() {
        lines += chunk.iter().filter(|byte| **byte == b'\n').count();
    }
    assert_eq!(lines, 800);
}

#[tokio::test]
async fn every_mode_acknowledges() {
    for mode in crate::basics::MODES {
        let folder = tempfile::tempdir().unwrap();
        let options = Log::open(folder.path()).durability(mode);
        let done = async_with(withal_log::tokio::open(options), async |log| {
            for number in 1..=20_u64 {
                assert_eq!(log.append_async(b"record").await?, number);
            }
            Ok(())
        });
        done.await.unwrap();
    }
}
