//! S7: ten thousand entries, failing ones included: linear, and no stack overflow.

use withal_scope::{AsyncExitStack, Reaper, async_with, scope};

use crate::support::*;

const MANY: usize = if cfg!(miri) { 100 } else { 10_000 };

fn ready(exit: Does) -> Step {
    Step {
        enter_ms: 0,
        exit_ms: 0,
        exit,
        ..step("n", &Trace::default())
    }
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_entries_of_a_scope_all_failing() {
    let error = scope(async |s| {
        for _ in 0..MANY {
            s.enter(ready(Does::Fail)).await?;
        }
        Ok(())
    })
    .await
    .unwrap_err();
    assert_eq!(error.len(), MANY);
    let other = error.clone();
    drop(error);
    assert_eq!(other.newest_first().count(), MANY);
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_entries_of_a_stack_all_failing() {
    let mut stack = AsyncExitStack::new();
    for n in 0..MANY {
        match n % 2 {
            0 => drop(stack.enter_async_context(ready(Does::Fail)).await.unwrap()),
            _ => stack.push(|_| Err::<(), _>(oops("pushed"))),
        }
    }
    assert_eq!(stack.close().await.unwrap_err().len(), MANY);
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_entries_handed_over() {
    let r = Reaper::new();
    let t = Trace::default();
    dropped_after(
        5,
        options(&r).scope(async |s| {
            for _ in 0..MANY {
                s.enter(Step {
                    trace: t.clone(),
                    ..ready(Does::Ok)
                })
                .await?;
            }
            Ok(hang().await)
        }),
    )
    .await;
    assert!(drain(&r).await.is_clean());
    assert_eq!(t.take().matches("-n cancelled").count(), MANY);
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_entries_lost_are_dropped_without_overflow() {
    let mut running = Box::pin(scope(async |s| {
        for _ in 0..MANY {
            s.enter(ready(Does::Ok)).await?;
        }
        Ok(hang().await)
    }));
    // Polled on a thread without a runtime: there is nobody to hand over to.
    std::thread::scope(|threads| {
        threads.spawn(|| {
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            assert!(running.as_mut().poll(&mut context).is_pending());
        });
    });
    drop(running);
}

#[tokio::test(start_paused = true)]
async fn an_array_of_managers_is_one_block() {
    let t = Trace::default();
    async_with([step("a", &t), step("b", &t)], async |[a, b]| {
        a.uses += b.uses;
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(t.take(), "+a =a +b =b -b ok -a ok");
}
