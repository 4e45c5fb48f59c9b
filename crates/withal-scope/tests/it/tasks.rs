//! Tasks as resources.

use withal_core::Panicked;
use withal_scope::{Reaper, async_with, scope, stop_requested};

use crate::support::*;

#[tokio::test(start_paused = true)]
async fn a_task_is_asked_to_stop_and_awaited() {
    let t = Trace::default();
    scope(async |s| {
        s.enter(step("a", &t)).await?;
        let trace = t.clone();
        s.spawn(async move {
            stop_requested().await;
            tokio::time::sleep(ms(20)).await;
            trace.note("stopped");
            Ok(())
        });
        tokio::task::yield_now().await;
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(t.take(), "+a =a stopped -a ok");
}

#[tokio::test(start_paused = true)]
async fn a_task_that_does_not_listen_is_aborted_after_the_grace_and_its_blocks_are_left() {
    let t = Trace::default();
    scope(async |s| {
        s.enter(step("a", &t)).await?;
        let trace = t.clone();
        s.spawn(async move {
            async_with(step("in task", &trace), async |_| Ok(hang().await)).await?;
            Ok(())
        });
        tokio::time::sleep(ms(50)).await;
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(t.take(), "+a =a +in task =in task -in task cancelled -a ok");
}

#[tokio::test(start_paused = true)]
async fn a_tasks_output_can_be_joined_and_its_error_is_not_lost() {
    let sum = scope(async |s| {
        let one = s.spawn(async { Ok(1) });
        let two = s.spawn(async { Ok(2) });
        Ok(one.join().await? + two.join().await?)
    })
    .await
    .unwrap();
    assert_eq!(sum, 3);

    let error = scope(async |s| {
        s.spawn(async { Err::<(), _>(oops("in the task").into()) });
        tokio::task::yield_now().await;
        Ok(())
    })
    .await
    .unwrap_err();
    assert_eq!(newest_first(&error), "in the task");

    let error = scope(async |s| {
        s.spawn(async {
            if true {
                panic!("task");
            }
            Ok(())
        });
        Ok(())
    })
    .await
    .unwrap_err();
    assert_eq!(error.downcast_ref::<Panicked>().unwrap().message(), "task");
}

#[tokio::test(start_paused = true)]
async fn a_dropped_scope_still_stops_its_tasks() {
    let (t, r) = (Trace::default(), Reaper::new());
    let trace = t.clone();
    dropped_after(
        20,
        options(&r).scope(async |s| {
            s.enter(step("a", &t)).await?;
            s.spawn(async move {
                stop_requested().await;
                trace.note("stopped");
                Ok(())
            });
            Ok(hang().await)
        }),
    )
    .await;
    assert!(drain(&r).await.is_clean());
    assert_eq!(t.take(), "+a =a stopped -a cancelled");
}
