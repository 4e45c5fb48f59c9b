//! S2–S5: a dropped future still runs every exit, in order.

use std::future::Future;

use withal_core::{AsyncContextManager, ExitCase};
use withal_scope::{Reaper, Scope, async_with, cancellable, scope};

use crate::support::*;

#[tokio::test(start_paused = true)]
async fn dropped_in_the_body_the_reaper_exits_in_order() {
    let (t, r) = (Trace::default(), Reaper::new());
    dropped_after(
        60,
        options(&r).scope(async |s| {
            let a = s.enter(step("a", &t)).await?;
            s.enter(step("b", &t)).await?;
            s.with(Begin(a), async |_, _| Ok(hang().await)).await?;
            Ok(())
        }),
    )
    .await;
    assert_eq!(t.text(), "+a =a +b =b");
    let report = drain(&r).await;
    assert_eq!((report.finished, report.lost, report.pending), (2, 0, 0));
    assert_eq!(
        t.take(),
        "+a =a +b =b -tx cancelled -b cancelled -a cancelled"
    );
}

#[tokio::test(start_paused = true)]
async fn dropped_in_enter_it_is_finished_then_exited() {
    let (t, r) = (Trace::default(), Reaper::new());
    dropped_after(
        5,
        options(&r).scope(async |s| {
            s.enter(step("a", &t)).await?;
            Ok(())
        }),
    )
    .await;
    dropped_after(5, options(&r).async_with(step("b", &t), async |_| Ok(()))).await;
    drain(&r).await;
    assert_eq!(t.take(), "+a +b =a =b -a cancelled -b cancelled");
}

#[tokio::test(start_paused = true)]
async fn dropped_in_an_exit_the_same_exit_goes_on_with_the_case_it_had() {
    let (t, r) = (Trace::default(), Reaper::new());
    dropped_after(
        25,
        options(&r).scope(async |s| {
            s.enter_context(SyncStep("a", t.clone()))?;
            s.enter(Step {
                exit_ms: 30,
                ..step("b", &t)
            })
            .await?;
            Ok(())
        }),
    )
    .await;
    assert_eq!(t.text(), "+a +b =b");
    drain(&r).await;
    assert_eq!(t.take(), "+a +b =b -b ok -a ok");
}

#[tokio::test(start_paused = true)]
async fn an_outer_scope_waits_for_a_dropped_inner_block_of_any_form() {
    let (t, r) = (Trace::default(), Reaper::new());
    let slow = |name| Step {
        exit_ms: 80,
        ..step(name, &t)
    };
    async_with(step("outer", &t), async |_| {
        dropped_after(
            15,
            options(&r).scope(async |s| {
                s.enter(slow("b")).await?;
                Ok(hang().await)
            }),
        )
        .await;
        dropped_after(15, async_with(slow("c"), async |_| Ok(hang().await))).await;
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(
        t.take(),
        "+outer =outer +b =b +c =c -b cancelled -c cancelled -outer ok"
    );
}

#[tokio::test(start_paused = true)]
async fn a_whole_tree_dropped_keeps_the_order() {
    let (t, r) = (Trace::default(), Reaper::new());
    dropped_after(
        60,
        options(&r).scope(async |s| {
            s.enter(step("outer", &t)).await?;
            let inner = Step {
                exit_ms: 80,
                ..step("inner", &t)
            };
            async_with(inner, async |_| {
                async_with(step("innermost", &t), async |_| Ok(hang().await)).await?;
                Ok(())
            })
            .await?;
            Ok(())
        }),
    )
    .await;
    drain(&r).await;
    assert_eq!(
        t.take(),
        "+outer =outer +inner =inner +innermost =innermost -innermost cancelled \
         -inner cancelled -outer cancelled"
    );
}

#[tokio::test(start_paused = true)]
async fn an_aborted_task_is_a_dropped_future() {
    let (t, r) = (Trace::default(), Reaper::new());
    let (trace, reaper) = (t.clone(), r.clone());
    let task = tokio::spawn(async move {
        options(&reaper)
            .scope(async |s| {
                s.enter(step("a", &trace)).await?;
                Ok(hang().await)
            })
            .await
    });
    tokio::time::sleep(ms(30)).await;
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    assert_eq!(drain(&r).await.finished, 1);
    assert_eq!(t.take(), "+a =a -a cancelled");
}

#[test]
fn a_runtime_dropped_undrained_counts_what_it_lost() {
    for drained in [false, true] {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let (t, r) = (Trace::default(), Reaper::new());
        let (trace, reaper) = (t.clone(), r.clone());
        runtime.block_on(async {
            let (ready, is_ready) = tokio::sync::oneshot::channel();
            let task = tokio::spawn(async move {
                options(&reaper)
                    .scope(async |s| {
                        s.enter(step("a", &trace)).await?;
                        ready.send(()).unwrap();
                        Ok(hang().await)
                    })
                    .await
            });
            is_ready.await.unwrap();
            if drained {
                task.abort();
                assert!(task.await.unwrap_err().is_cancelled());
                drain(&r).await;
            }
        });
        drop(runtime);
        let report = r.report();
        if drained {
            assert_eq!((report.finished, report.lost), (1, 0));
            assert_eq!(t.take(), "+a =a -a cancelled");
        } else {
            assert_eq!((report.finished, report.lost), (0, 1));
            assert_eq!(t.take(), "+a =a");
        }
    }
}

#[test]
fn dropped_outside_the_runtime_or_on_another_thread_it_uses_the_one_it_ran_on() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let (t, r) = (Trace::default(), Reaper::new());
    let (trace, reaper) = (t.clone(), r.clone());
    let mut future = Box::pin(async move {
        options(&reaper)
            .scope(async |s| {
                s.enter(step("a", &trace)).await?;
                Ok(hang().await)
            })
            .await
    });
    runtime.block_on(async {
        assert!(tokio::time::timeout(ms(60), future.as_mut()).await.is_err());
    });
    std::thread::spawn(move || drop(future)).join().unwrap();
    assert_eq!(runtime.block_on(drain(&r)).finished, 1);
    assert_eq!(t.take(), "+a =a -a cancelled");
}

#[tokio::test(start_paused = true)]
async fn a_panic_while_the_body_is_dropped_still_hands_over() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("bomb");
        }
    }
    let (t, r) = (Trace::default(), Reaper::new());
    let (trace, reaper) = (t.clone(), r.clone());
    let task = tokio::spawn(async move {
        let running = options(&reaper).scope(async |s| {
            s.enter(step("a", &trace)).await?;
            let _bomb = Bomb;
            Ok(hang().await)
        });
        drop(tokio::time::timeout(ms(30), running).await);
    });
    assert!(task.await.unwrap_err().is_panic());
    assert_eq!(drain(&r).await.finished, 1);
    assert_eq!(t.take(), "+a =a -a cancelled");
}

#[tokio::test(start_paused = true)]
async fn an_enter_dropped_by_select_in_a_living_body_is_finished_and_exited() {
    let t = Trace::default();
    scope(async |s| {
        let slow = Step {
            enter_ms: 50,
            ..step("slow", &t)
        };
        tokio::select! {
            entered = s.enter(slow) => { entered?; }
            () = tokio::time::sleep(ms(5)) => {}
        }
        t.note("body");
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(t.take(), "+slow body =slow -slow cancelled");
}

/// A resource of an inner level whose exit enters something on an outer scope.
#[tokio::test(start_paused = true)]
async fn an_exit_may_enter_on_an_outer_scope_even_after_the_handover() {
    struct Late<'s>(Scope<'s>, Trace);
    struct MakeLate<'s>(Scope<'s>, Trace);
    impl<'s> AsyncContextManager for MakeLate<'s> {
        type Resource = Late<'s>;
        type Error = Oops;
        async fn enter(self) -> Result<Late<'s>, Oops> {
            Ok(Late(self.0, self.1))
        }
        async fn exit(late: Late<'s>, case: ExitCase) -> Result<(), Oops> {
            let entered = late.0.enter(step("late", &late.1)).await?;
            entered.uses += 1;
            late.1.note(format!("-make {}", word(&case)));
            Ok(())
        }
    }
    let (t, r) = (Trace::default(), Reaper::new());
    dropped_after(
        30,
        options(&r).scope(async |s| {
            s.enter(step("a", &t)).await?;
            s.with(MakeLate(s, t.clone()), async |_, _| Ok(hang().await))
                .await?;
            Ok(())
        }),
    )
    .await;
    drain(&r).await;
    assert_eq!(
        t.take(),
        "+a =a +late =late -make cancelled -late cancelled -a cancelled"
    );
}

#[test]
fn dependants_die_before_what_they_borrow_when_a_runtime_shuts_down() {
    for _ in 0..if cfg!(miri) { 2 } else { 50 } {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let (t, r) = (Trace::default(), Reaper::new());
        let (ready, mut is_ready) = tokio::sync::mpsc::unbounded_channel();
        for _ in 0..4 {
            let (trace, reaper, ready) = (t.clone(), r.clone(), ready.clone());
            runtime.spawn(async move {
                options(&reaper)
                    .scope(async |s| {
                        let a = s.enter(step("a", &trace)).await?;
                        s.with(Begin(a), async |s, tx| {
                            let b = s.enter(step("b", &trace)).await?;
                            s.with(Begin(b), async |_, inner| {
                                inner.0.uses += tx.0.uses;
                                ready.send(()).unwrap();
                                Ok(hang().await)
                            })
                            .await?;
                            Ok(())
                        })
                        .await?;
                        Ok(())
                    })
                    .await
            });
        }
        runtime.block_on(async {
            for _ in 0..4 {
                is_ready.recv().await.unwrap();
            }
        });
        // Some workers may not have returned to the scheduler yet: a shutdown drops what suspends.
        drop(runtime);
        let report = r.report();
        assert_eq!(report.finished, 0);
        assert_eq!(report.pending, 0);
        assert!(report.lost <= 12, "{report}");
    }
}

struct Pooled(u64, Trace);

impl AsyncContextManager for Pooled {
    type Resource = Trace;
    type Error = Oops;

    async fn enter(self) -> Result<Trace, Oops> {
        if cancellable(tokio::time::sleep(ms(self.0))).await.is_none() {
            self.1.note("gave-up");
            return Err(oops("cancelled"));
        }
        self.1.note("begin");
        tokio::time::sleep(ms(20)).await;
        Ok(self.1)
    }

    async fn exit(trace: Trace, case: ExitCase) -> Result<(), Oops> {
        trace.note(format!("end {}", word(&case)));
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn the_cancellable_part_of_an_enter_is_given_up_and_the_rest_is_not() {
    for (wait, want) in [(999_999, "gave-up"), (1, "begin end cancelled")] {
        let (t, r) = (Trace::default(), Reaper::new());
        dropped_after(
            10,
            options(&r).async_with(Pooled(wait, t.clone()), async |_| Ok(())),
        )
        .await;
        let report = drain(&r).await;
        assert_eq!((report.finished, t.take()), (1, want.to_owned()));
        assert!(report.is_clean(), "{report}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_future_never_polled_has_entered_nothing() {
    let t = Trace::default();
    drop(async_with(step("a", &t), async |_| Ok(())));
    drop(scope(async |s| {
        s.enter(step("b", &t)).await?;
        Ok(())
    }));
    assert_eq!(t.take(), "");
}

/// Never boxed by us: a block's future stays `Send` where its parts are.
#[test]
fn futures_are_send_where_their_bodies_are() {
    fn send<F: Future + Send>(_: F) {}
    let t = Trace::default();
    send(scope(async |s| {
        let a = s.enter(step("a", &t)).await?;
        s.with(Begin(a), async |_, tx| {
            tokio::task::yield_now().await;
            Ok(tx.0.uses)
        })
        .await?;
        Ok(())
    }));
    send(async_with(step("a", &t), async |_| Ok(())));
}
