//! S1, S2, S6, S7: every ending runs every exit, in order, in place where somebody waits.

use withal_core::{Error, Panicked, TimedOut};
use withal_scope::{Options, async_with, scope, timeout};

use crate::support::*;

#[tokio::test(start_paused = true)]
async fn a_value_comes_out_after_all_exits_in_reverse_order() {
    let t = Trace::default();
    let value = scope(async |s| {
        s.enter(step("a", &t)).await?;
        s.enter_context(SyncStep("b", t.clone()))?;
        s.enter(step("c", &t)).await?;
        Ok(7)
    })
    .await
    .unwrap();
    assert_eq!(value, 7);
    assert_eq!(t.take(), "+a =a +b +c =c -c ok -b ok -a ok");
}

#[tokio::test(start_paused = true)]
async fn errors_are_listed_in_the_order_they_happened_and_each_exit_sees_them_so_far() {
    let t = Trace::default();
    let error = scope(async |s| {
        s.enter(step("a", &t)).await?;
        s.enter(Step {
            exit: Does::Fail,
            ..step("b", &t)
        })
        .await?;
        s.enter(step("c", &t)).await?;
        Err::<(), _>(oops("body"))?;
        Ok(())
    })
    .await
    .unwrap_err();
    assert_eq!(
        t.take(),
        "+a =a +b =b +c =c -c err(body) -b err(body) -a err(exit b<body)"
    );
    assert_eq!(newest_first(&error), "exit b<body");
    assert_eq!(error.downcast_ref::<Oops>().unwrap().0, "body");
    let exit = error.exits().next().unwrap();
    assert_eq!(exit.entry().unwrap().name(), "b");
    assert!(
        exit.entry()
            .unwrap()
            .location()
            .file()
            .ends_with("endings.rs")
    );
}

#[tokio::test(start_paused = true)]
async fn after_a_clean_body_outer_exits_see_what_inner_ones_failed_with() {
    let t = Trace::default();
    let error = scope(async |s| {
        s.enter(step("a", &t)).await?;
        s.enter(Step {
            exit: Does::Fail,
            ..step("b", &t)
        })
        .await?;
        Ok(())
    })
    .await
    .unwrap_err();
    assert_eq!(t.take(), "+a =a +b =b -b ok -a err(exit b)");
    assert_eq!(newest_first(&error), "exit b");
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_the_body_goes_on_after_the_exits() {
    let t = Trace::default();
    let trace = t.clone();
    let panic = tokio::spawn(async move {
        scope(async |s| {
            s.enter(step("a", &trace)).await?;
            if !trace.text().is_empty() {
                panic!("body");
            }
            Ok(())
        })
        .await
    })
    .await
    .unwrap_err();
    assert_eq!(Panicked::new(&*panic.into_panic()).message(), "body");
    assert_eq!(t.take(), "+a =a -a panicked");
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_an_exit_stops_no_other_and_goes_on_at_the_end() {
    let t = Trace::default();
    let trace = t.clone();
    let panic = tokio::spawn(async move {
        scope(async |s| {
            s.enter(step("a", &trace)).await?;
            s.enter(Step {
                exit: Does::Panic,
                ..step("b", &trace)
            })
            .await?;
            Ok(())
        })
        .await
    })
    .await
    .unwrap_err();
    assert_eq!(Panicked::new(&*panic.into_panic()).message(), "exit b");
    assert_eq!(t.take(), "+a =a +b =b -b ok -a panicked");
}

#[tokio::test(start_paused = true)]
async fn a_failed_enter_runs_no_body_and_exits_the_outer_ones() {
    let t = Trace::default();
    let error = async_with(
        (
            step("a", &t),
            Step {
                enter: Does::Fail,
                ..step("b", &t)
            },
        ),
        async |_| {
            t.note("body");
            Ok(())
        },
    )
    .await
    .unwrap_err();
    assert_eq!(t.take(), "+a =a +b -a err(enter b)");
    assert_eq!(error.first().stage(), withal_core::Stage::Enter);
}

#[tokio::test(start_paused = true)]
async fn a_dependant_is_exited_before_what_it_borrows() {
    let t = Trace::default();
    scope(async |s| {
        let a = s.enter(step("a", &t)).await?;
        s.with(Begin(a), async |s, tx| {
            tx.0.uses += 1;
            s.enter(step("b", &t)).await?;
            Ok(())
        })
        .await?;
        t.note("body");
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(t.take(), "+a =a +b =b -b ok -tx ok body -a ok");
}

#[tokio::test(start_paused = true)]
async fn nested_blocks_share_one_list_of_errors() {
    let t = Trace::default();
    let failing = |name| Step {
        exit: Does::Fail,
        ..step(name, &t)
    };
    let error: Error = async_with(failing("a"), async |_| {
        async_with(failing("b"), async |_| Ok(Err::<(), _>(oops("body"))?)).await?;
        Ok(())
    })
    .await
    .unwrap_err();
    assert_eq!(newest_first(&error), "exit a<exit b<body");
    assert_eq!(t.take(), "+a =a +b =b -b err(body) -a err(exit b<body)");
}

#[tokio::test(start_paused = true)]
async fn own_timeout_drops_the_body_and_awaits_the_exits_in_place() {
    let t = Trace::default();
    let error = timeout(ms(25), async |s| {
        s.enter(step("a", &t)).await?;
        async_with(step("b", &t), async |_| Ok(hang().await)).await?;
        Ok(())
    })
    .await
    .unwrap_err();
    assert!(error.is::<TimedOut>());
    // `b` was dropped in the body, and told why; `a`'s exit waited for its.
    assert_eq!(t.take(), "+a =a +b =b -b timedout -a timedout");
}

#[tokio::test(start_paused = true)]
async fn a_hanging_exit_is_given_up_and_named_and_the_older_ones_run() {
    let t = Trace::default();
    let error = Options::new()
        .exit_timeout(ms(30))
        .scope(async |s| {
            s.enter(step("a", &t)).await?;
            s.enter(Step {
                exit: Does::Hang,
                ..step("b", &t)
            })
            .await?;
            Ok(())
        })
        .await
        .unwrap_err();
    assert_eq!(t.take(), "+a =a +b =b -b ok -a err(not done after 30ms)");
    assert_eq!(error.first().entry().unwrap().name(), "b");
}

#[tokio::test(start_paused = true)]
async fn the_whole_teardown_has_a_deadline_after_which_exits_are_polled_once() {
    let t = Trace::default();
    let error = Options::new()
        .teardown_timeout(ms(15))
        .scope(async |s| {
            s.enter_context(SyncStep("a", t.clone()))?;
            s.enter(step("b", &t)).await?;
            s.enter(step("c", &t)).await?;
            Ok(())
        })
        .await
        .unwrap_err();
    // `c` was done in time, `b` was not, `a` does not wait.
    assert_eq!(t.take(), "+a +b =b +c =c -c ok -a err(not done after 15ms)");
    assert_eq!(error.first().entry().unwrap().name(), "b");
}

#[tokio::test(start_paused = true)]
async fn an_exit_timeout_of_the_manager_itself_is_kept() {
    struct Stubborn;
    impl withal_core::AsyncContextManager for Stubborn {
        type Resource = ();
        type Error = Oops;
        async fn enter(self) -> Result<(), Oops> {
            Ok(())
        }
        async fn exit(_: (), _: withal_core::ExitCase) -> Result<(), Oops> {
            Does::Hang.run("never").await
        }
        fn exit_timeout(&self) -> Option<std::time::Duration> {
            Some(ms(3))
        }
    }
    let error = async_with(Stubborn, async |_| Ok(())).await.unwrap_err();
    assert_eq!(error.downcast_ref::<TimedOut>().unwrap().limit(), ms(3));
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_closed_once_ahead_of_the_scope() {
    let t = Trace::default();
    scope(async |s| {
        let mut a = s.lease(step("a", &t)).await?;
        let b = s.lease(step("b", &t)).await?;
        a.uses += 1;
        a.close().await?;
        t.note("body");
        b.into_mut().uses += 1;
        let c = s
            .lease(Step {
                exit_ms: 50,
                ..step("c", &t)
            })
            .await?;
        dropped_after(5, c.close()).await; // half done: the scope finishes it
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(t.take(), "+a =a +b =b -a ok body +c =c -c ok -b ok");
}

#[tokio::test(start_paused = true)]
async fn deferred_exits_run_in_order_with_resources() {
    let t = Trace::default();
    let error = scope(async |s| {
        s.enter(step("a", &t)).await?;
        let trace = t.clone();
        s.defer(async move |case| {
            trace.note(format!("deferred {}", word(&case)));
            Err(oops("deferred"))?;
            Ok(())
        });
        s.enter(step("b", &t)).await?;
        Ok(())
    })
    .await
    .unwrap_err();
    assert_eq!(t.take(), "+a =a +b =b -b ok deferred ok -a err(deferred)");
    assert_eq!(error.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_destructor_of_the_body_is_a_panic_of_the_body() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("bomb");
        }
    }
    let t = Trace::default();
    let trace = t.clone();
    let panic = tokio::spawn(async move {
        timeout(ms(15), async |s| {
            s.enter(step("a", &trace)).await?;
            let _bomb = Bomb;
            Ok(hang().await)
        })
        .await
    })
    .await
    .unwrap_err();
    assert_eq!(Panicked::new(&*panic.into_panic()).message(), "bomb");
    assert_eq!(t.take(), "+a =a -a timedout");
}
