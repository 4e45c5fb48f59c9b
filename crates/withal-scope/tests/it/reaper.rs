//! The reaper: deadline, limit, report.

use withal_core::TimedOut;
use withal_scope::Reaper;

use crate::support::*;

#[tokio::test(start_paused = true)]
async fn a_teardown_that_hangs_is_given_up_and_its_older_exits_run() {
    let t = Trace::default();
    let r = Reaper::new().with_deadline(ms(200));
    dropped_after(
        50,
        options(&r).scope(async |s| {
            s.enter(step("a", &t)).await?;
            s.enter(Step {
                exit_ms: 0,
                exit: Does::Hang,
                ..step("b", &t)
            })
            .await?;
            Ok(hang().await)
        }),
    )
    .await;
    let report = drain(&r).await;
    assert_eq!(
        (report.finished, report.failed, report.timed_out),
        (1, 0, 2)
    );
    let failures = r.failures();
    assert_eq!(failures[0].first().entry().unwrap().name(), "b");
    assert!(failures[0].is::<TimedOut>());
}

#[tokio::test(start_paused = true)]
async fn what_fails_in_the_background_is_reported() {
    let t = Trace::default();
    let r = Reaper::new();
    for exit in [Does::Ok, Does::Fail, Does::Panic] {
        dropped_after(
            50,
            options(&r).async_with(
                Step {
                    exit,
                    ..step("a", &t)
                },
                async |_| Ok(hang().await),
            ),
        )
        .await;
    }
    let report = drain(&r).await;
    assert_eq!((report.finished, report.failed), (3, 2));
    assert!(!report.is_clean());
    let texts: Vec<String> = r.failures().iter().map(ToString::to_string).collect();
    assert!(texts[0].starts_with("exit of `a` at "), "{texts:?}");
    assert!(texts[1].ends_with("panicked: exit a"), "{texts:?}");
}

#[tokio::test(start_paused = true)]
async fn a_limit_bounds_how_many_run_at_once() {
    let t = Trace::default();
    let r = Reaper::new().with_limit(1);
    for name in ["a", "b", "c"] {
        let slow = Step {
            exit_ms: 100,
            ..step(name, &t)
        };
        dropped_after(20, options(&r).async_with(slow, async |_| Ok(hang().await))).await;
    }
    let begun = tokio::time::Instant::now();
    assert_eq!(drain(&r).await.finished, 3);
    // 300 ms of virtual time, less what passed before the drain.
    assert!(begun.elapsed() >= ms(240), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_at_its_deadline_and_says_what_is_pending() {
    let t = Trace::default();
    let r = Reaper::new();
    let slow = Step {
        exit_ms: 1_000,
        ..step("a", &t)
    };
    dropped_after(20, options(&r).async_with(slow, async |_| Ok(hang().await))).await;
    assert_eq!(r.drain(ms(10)).await.pending, 1);
    assert_eq!(r.drain(ms(2_000)).await.pending, 0);
}
