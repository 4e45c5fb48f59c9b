//! What is open.
#![cfg(feature = "registry")]

use withal_scope::{AsyncExitStack, Kind, Open, OpenState, Options, async_with, open, scope};

use crate::support::*;

/// What this test opened: others run beside it.
fn named(name: &str) -> Vec<Open> {
    open()
        .into_iter()
        .filter(|open| open.name() == name)
        .collect()
}

#[tokio::test(start_paused = true)]
async fn an_open_resource_is_listed_with_kind_name_place_parent_and_task() {
    let t = Trace::default();
    let trace = t.clone();
    tokio::spawn(async move {
        scope(async |s| {
            let line = line!() + 1;
            s.enter(step("registered", &trace)).await?;
            let [found] = &named("registered")[..] else {
                panic!("{:?}", open());
            };
            assert_eq!(found.kind(), Kind::Resource);
            assert_eq!(found.state(), OpenState::Open);
            assert_eq!(found.location().line(), line);
            assert!(found.location().file().ends_with("registry.rs"));
            assert_eq!(found.task(), tokio::task::try_id());
            let parent = open()
                .into_iter()
                .find(|open| Some(open.id()) == found.parent());
            assert_eq!(parent.unwrap().kind(), Kind::Scope);
            Ok(())
        })
        .await
    })
    .await
    .unwrap()
    .unwrap();
    assert!(named("registered").is_empty());
}

#[tokio::test(start_paused = true)]
async fn states_follow_the_resource() {
    let t = Trace::default();
    let states = || -> Vec<OpenState> { named("watched").iter().map(Open::state).collect() };
    let mut running = Box::pin(async_with(step("watched", &t), async |_| {
        tokio::time::sleep(ms(10)).await;
        Ok(())
    }));
    let mut seen = Vec::new();
    std::future::poll_fn(|context| {
        let polled = running.as_mut().poll(context);
        seen.push(states());
        polled
    })
    .await
    .unwrap();
    assert_eq!(
        seen,
        [
            vec![OpenState::Acquiring],
            vec![OpenState::Open],
            vec![OpenState::Closing],
            vec![]
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn what_was_given_up_stays_listed() {
    let t = Trace::default();
    let hanging = Step {
        exit: Does::Hang,
        ..step("given up", &t)
    };
    let ended = Options::new()
        .exit_timeout(ms(5))
        .async_with(hanging, async |_| Ok(()))
        .await;
    ended.unwrap_err();
    assert_eq!(named("given up")[0].state(), OpenState::Abandoned);
}

#[tokio::test(start_paused = true)]
async fn nested_blocks_name_their_parent_across_functions() {
    let t = Trace::default();
    async fn elsewhere(t: &Trace) -> Result<(), withal_core::Error> {
        async_with(step("child", t), async |_| {
            let child = named("child").remove(0);
            let parent = named("parent").remove(0);
            assert_eq!(child.parent(), Some(parent.id()));
            Ok(())
        })
        .await
    }
    async_with(step("parent", &t), async |_| {
        elsewhere(&t).await?;
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test(start_paused = true)]
async fn stacks_and_callbacks_are_listed() {
    let mut stack = AsyncExitStack::new();
    let line = line!() + 1;
    stack.callback(|| ());
    let mine = |kind| {
        open()
            .into_iter()
            .filter(move |o| o.kind() == kind && o.is_of_this_thread())
            .collect::<Vec<_>>()
    };
    assert_eq!(mine(Kind::Callback)[0].location().line(), line);
    assert_eq!(mine(Kind::Stack).len(), 1);
    stack.close().await.unwrap();
    assert!(mine(Kind::Callback).is_empty());
    assert!(mine(Kind::Stack).is_empty());
}

#[test]
fn others_may_look_at_any_time() {
    let rounds = if cfg!(miri) { 3 } else { 200 };
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|threads| {
        let looking = threads.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                let busy = named("busy");
                assert!(busy.iter().all(|open| open.parent().is_some()));
                std::thread::yield_now();
            }
        });
        let opening: Vec<_> = (0..2)
            .map(|_| {
                threads.spawn(|| {
                    let t = Trace::default();
                    let runtime = tokio::runtime::Builder::new_current_thread()
                        .enable_all()
                        .build()
                        .unwrap();
                    for _ in 0..rounds {
                        runtime.block_on(async {
                            scope(async |s| {
                                s.enter(step("busy", &t)).await?;
                                s.defer(async |_| Ok(()));
                                s.enter(step("busy", &t)).await?;
                                assert!(named("busy").len() >= 2);
                                Ok(())
                            })
                            .await
                            .unwrap();
                        });
                    }
                })
            })
            .collect();
        opening
            .into_iter()
            .for_each(|opening| opening.join().unwrap());
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        looking.join().unwrap();
    });
    assert!(named("busy").is_empty());
}

#[tokio::test]
async fn a_body_that_blocks_its_thread_is_seen_by_others() {
    let t = Trace::default();
    async_with(step("blocking", &t), async |_| {
        let seen = std::thread::spawn(|| named("blocking").len()).join();
        assert_eq!(seen.unwrap(), 1);
        Ok(())
    })
    .await
    .unwrap();
}
