//! The async half of the behaviours of `contextlib`, by number; see `docs/contextlib.md`.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::task::{Context, Poll};

use futures_core::Stream;
use withal_core::{AsyncContextManager, Error, ExitCase, Flow, nullcontext, with};
use withal_scope::{
    AsyncExitStack, aclosing, async_with, asynccontextmanager, scope, wrap_async, wrap_stream,
};

use crate::support::*;

#[tokio::test(start_paused = true)]
async fn c086_enter_lends_what_the_manager_gives() {
    let lent = async_with(nullcontext(42), async |n| Ok(*n)).await.unwrap();
    assert_eq!(lent, 42);
}

/// An async generator suspended inside a block, abandoned, then closed.
#[tokio::test(start_paused = true)]
async fn c088_an_abandoned_stream_is_torn_down_by_an_awaited_close() {
    let t = Trace::default();
    let mut stream = wrap_stream(step("a", &t), Items(3));
    let first = std::future::poll_fn(|context| Pin::new(&mut stream).poll_next(context)).await;
    assert_eq!(first.unwrap().unwrap(), 3);
    stream.close().await.unwrap();
    assert_eq!(t.take(), "+a =a -a ok");
}

#[tokio::test(start_paused = true)]
async fn c091_plain() {
    let t = Trace::default();
    let trace = t.clone();
    let generator = asynccontextmanager(async move |y| {
        trace.note("set-up");
        let (n, case, done) = y.give(42).await;
        trace.note(format!("clean-up {n} {}", word(&case)));
        Ok::<_, Oops>(done)
    });
    async_with(generator, async |n| {
        t.note(format!("body {}", **n));
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(t.take(), "set-up body 42 clean-up 42 ok");
}

#[tokio::test(start_paused = true)]
async fn c092_finally_c093_the_bodys_error_comes_out_unchanged() {
    let t = Trace::default();
    let error = async_with(step("a", &t), async |_| Ok(Err::<(), _>(oops("body"))?))
        .await
        .unwrap_err();
    assert_eq!(t.take(), "+a =a -a err(body)");
    assert_eq!(error.downcast::<Oops>().unwrap().0, "body");
}

#[tokio::test(start_paused = true)]
async fn c094_an_exit_answers_propagate_and_reraises_nothing() {
    let t = Trace::default();
    let resource = step("a", &t).enter().await.unwrap();
    let case = ExitCase::Errored(Error::new(oops("seen")));
    Step::exit(resource, case).await.unwrap();
    assert_eq!(t.take(), "+a =a -a err(seen)");
}

/// Swallows whatever it is shown.
struct Swallow;

impl AsyncContextManager<Flow> for Swallow {
    type Resource = ();
    type Error = Oops;
    async fn enter(self) -> Result<(), Oops> {
        Ok(())
    }
    async fn exit((): (), _: ExitCase) -> Result<Flow, Oops> {
        tokio::task::yield_now().await;
        Ok(Flow::Suppress)
    }
}

#[tokio::test(start_paused = true)]
async fn c099_a_manager_whose_type_says_so_swallows_and_the_code_goes_on() {
    let value = async_with(Swallow, async |()| Ok(Err::<u8, _>(oops("body"))?)).await;
    assert_eq!(value.unwrap(), None);
    let value = async_with(Swallow, async |()| Ok(1)).await;
    assert_eq!(value.unwrap(), Some(1));
}

#[tokio::test(start_paused = true)]
async fn c100_errors_of_our_own_types_raised_by_the_body_pass_unchanged() {
    let error = async_with(nullcontext(()), async |()| {
        Ok(Err::<(), _>(withal_core::TimedOut::new(ms(3)))?)
    })
    .await
    .unwrap_err();
    assert_eq!(
        error.downcast::<withal_core::TimedOut>().unwrap().limit(),
        ms(3)
    );
}

#[tokio::test(start_paused = true)]
async fn c101_an_exit_may_wrap_the_bodys_error_in_its_own() {
    let wrapping = asynccontextmanager(async |y| {
        let ((), case, _done) = y.give(()).await;
        Err(oops(format!("wrapped {}", word(&case))))
    });
    let error = async_with(wrapping, async |_| Ok(Err::<(), _>(oops("body"))?))
        .await
        .unwrap_err();
    assert_eq!(newest_first(&error), "wrapped err(body)<body");
}

#[tokio::test(start_paused = true)]
async fn c106_a_decorated_function_may_recurse() {
    let (t, depth) = (Trace::default(), Arc::new(AtomicU32::new(0)));
    async fn recurse(t: Trace, depth: Arc<AtomicU32>, n: u32) -> Result<(), withal_core::BoxError> {
        let counting = aclosing(Arc::clone(&depth), async |depth: Arc<AtomicU32>| {
            depth.fetch_sub(1, SeqCst);
            Ok::<_, Oops>(())
        });
        async_with(counting, async |depth| {
            depth.fetch_add(1, SeqCst);
            t.note(depth.load(SeqCst).to_string());
            if n > 1 {
                Box::pin(recurse(t.clone(), Arc::clone(depth), n - 1)).await?;
            }
            Ok(())
        })
        .await?;
        Ok(())
    }
    recurse(t.clone(), Arc::clone(&depth), 10).await.unwrap();
    assert_eq!(t.take(), "1 2 3 4 5 6 7 8 9 10");
    assert_eq!(depth.load(SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn c107_a_decorated_async_function_is_lazy_and_inside_for_its_whole_run() {
    let t = Trace::default();
    let wrapped = wrap_async(
        || step("a", &t),
        async |text: &'static str| {
            tokio::task::yield_now().await;
            t.note(text);
            Ok(text.len())
        },
    );
    let call = wrapped("body");
    assert_eq!(t.text(), "");
    assert_eq!(call.await.unwrap(), 4);
    assert_eq!(t.take(), "+a =a body -a ok");
    wrapped("again").await.unwrap();
    assert_eq!(t.take(), "+a =a again -a ok");
}

#[tokio::test(start_paused = true)]
async fn c108_a_decorated_functions_error_leaves_after_the_clean_up() {
    let t = Trace::default();
    let wrapped = wrap_async(|| step("a", &t), async |()| Ok(Err::<(), _>(oops("body"))?));
    assert_eq!(newest_first(&wrapped(()).await.unwrap_err()), "body");
    assert_eq!(t.take(), "+a =a -a err(body)");
}

#[tokio::test(start_paused = true)]
async fn c111_aclosing_closes_once_at_the_end_c112_also_after_an_error() {
    for fails in [false, true] {
        let t = Trace::default();
        let closing = aclosing(t.clone(), async |t: Trace| {
            tokio::task::yield_now().await;
            t.note("closed");
            Ok::<_, Oops>(())
        });
        let ended = async_with(closing, async |thing| {
            thing.note("body");
            if fails {
                Err(oops("body"))?;
            }
            Ok(())
        })
        .await;
        assert_eq!(ended.is_err(), fails);
        assert_eq!(t.take(), "body closed");
    }
}

#[tokio::test(start_paused = true)]
async fn c113_a_stream_suspended_inside_a_sync_block_is_closed_with_its_body() {
    let t = Trace::default();
    let ended = with(SyncStep("sync", t.clone()), |_| {
        let mut stream = Items(2);
        let mut context = Context::from_waker(std::task::Waker::noop());
        assert!(Pin::new(&mut stream).poll_next(&mut context).is_ready());
        Ok(Err::<(), _>(oops("body"))?)
    });
    assert_eq!(newest_first(&ended.unwrap_err()), "body");
    assert_eq!(t.take(), "+sync -sync err(body)");
}

#[tokio::test(start_paused = true)]
async fn c114_async_callbacks_run_in_reverse_order() {
    let t = Trace::default();
    let mut stack = AsyncExitStack::new();
    for n in 0..7 {
        let trace = t.clone();
        stack.push_async(async move |_| {
            tokio::task::yield_now().await;
            trace.note(n.to_string());
            Ok::<_, Oops>(())
        });
    }
    stack.close().await.unwrap();
    assert_eq!(t.take(), "6 5 4 3 2 1 0");
}

#[tokio::test(start_paused = true)]
async fn c115_inner_exits_see_the_error_and_those_outside_a_swallowing_one_do_not() {
    let t = Trace::default();
    let ended = async_with(AsyncExitStack::suppressing(), async |stack| {
        for name in ["outermost", "outer"] {
            let trace = t.clone();
            stack.push_async(async move |case| {
                trace.note(format!("{name} {}", word(&case)));
                Ok::<_, Oops>(())
            });
        }
        drop(stack.enter_async_context(Swallow).await?);
        for name in ["inner", "innermost"] {
            let trace = t.clone();
            stack.push(move |case| {
                trace.note(format!("{name} {}", word(&case)));
                Ok::<_, Oops>(())
            });
        }
        Ok(Err::<(), _>(oops("body"))?)
    })
    .await;
    assert_eq!(ended.unwrap(), None);
    assert_eq!(
        t.take(),
        "innermost err(body) inner err(body) outer ok outermost ok"
    );
}

#[tokio::test(start_paused = true)]
async fn c116_enter_async_context_keeps_the_order() {
    let t = Trace::default();
    async_with(AsyncExitStack::new(), async |stack| {
        let trace = t.clone();
        stack.callback(move || trace.note("callback"));
        let a = stack.enter_async_context(step("a", &t)).await?;
        t.note("body");
        drop(a);
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(t.take(), "+a =a body -a ok callback");
}

#[tokio::test(start_paused = true)]
async fn c117_a_failed_enter_leaves_the_stack_as_it_was() {
    let t = Trace::default();
    let mut stack = AsyncExitStack::new();
    let failing = Step {
        enter: Does::Fail,
        ..step("a", &t)
    };
    assert!(stack.enter_async_context(failing).await.is_err());
    stack.close().await.unwrap();
    assert_eq!(t.take(), "+a");
}

#[tokio::test(start_paused = true)]
async fn c118_errors_chain_as_in_nested_blocks() {
    let t = Trace::default();
    let failing = |name| Step {
        exit: Does::Fail,
        ..step(name, &t)
    };
    let stacked = async_with(AsyncExitStack::new(), async |stack| {
        for name in ["a", "b", "c"] {
            drop(stack.enter_async_context(failing(name)).await?);
        }
        Ok(Err::<(), _>(oops("body"))?)
    })
    .await
    .unwrap_err();
    let stacked_trace = t.take();
    let nested = scope(async |s| {
        s.with(failing("a"), async |s, _| {
            s.with(failing("b"), async |s, _| {
                s.with(failing("c"), async |_, _| Ok(Err::<(), _>(oops("body"))?))
                    .await?;
                Ok(())
            })
            .await?;
            Ok(())
        })
        .await?;
        Ok(())
    })
    .await
    .unwrap_err();
    assert_eq!(newest_first(&stacked), "exit a<exit b<exit c<body");
    assert_eq!(newest_first(&stacked), newest_first(&nested));
    assert_eq!(stacked_trace, t.take());
}

#[tokio::test(start_paused = true)]
async fn c119_an_exit_may_replace_the_error_unlinked() {
    struct Replace;
    impl AsyncContextManager<Flow> for Replace {
        type Resource = ();
        type Error = Oops;
        async fn enter(self) -> Result<(), Oops> {
            Ok(())
        }
        async fn exit((): (), _: ExitCase) -> Result<Flow, Oops> {
            Ok(Flow::Replace(oops("instead").into()))
        }
    }
    let error = async_with(Replace, async |()| Ok(Err::<(), _>(oops("body"))?))
        .await
        .unwrap_err();
    assert_eq!(newest_first(&error), "instead");
}

#[tokio::test(start_paused = true)]
async fn c121_nullcontext_lends_the_very_thing() {
    let thing = Arc::new(());
    let kept = Arc::clone(&thing);
    async_with(nullcontext(thing), async |lent| {
        assert!(Arc::ptr_eq(lent, &kept));
        Ok(())
    })
    .await
    .unwrap();
}

/// Gives n, n - 1 … 1.
struct Items(u32);

impl Stream for Items {
    type Item = Result<u32, Error>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let n = self.0;
        self.0 = n.saturating_sub(1);
        Poll::Ready((n > 0).then_some(Ok(n)))
    }
}

async fn collect<S: Stream + Unpin>(stream: &mut S) -> Vec<S::Item> {
    let mut items = Vec::new();
    while let Some(item) =
        std::future::poll_fn(|context| Pin::new(&mut *stream).poll_next(context)).await
    {
        items.push(item);
    }
    items
}

#[tokio::test(start_paused = true)]
async fn c122_a_decorated_stream_is_inside_its_block_for_its_whole_run() {
    let t = Trace::default();
    let mut stream = wrap_stream(step("a", &t), Items(3));
    assert_eq!(t.text(), "");
    let items = collect(&mut stream).await;
    let items: Vec<u32> = items.into_iter().map(Result::unwrap).collect();
    assert_eq!(items, [3, 2, 1]);
    assert_eq!(t.take(), "+a =a -a ok");
}

#[tokio::test(start_paused = true)]
async fn c124_a_decorated_streams_failed_exit_is_its_last_item() {
    let t = Trace::default();
    let failing = Step {
        exit: Does::Fail,
        ..step("a", &t)
    };
    let items = collect(&mut wrap_stream(failing, Items(1))).await;
    assert_eq!(items.len(), 2);
    assert_eq!(newest_first(items[1].as_ref().unwrap_err()), "exit a");
}

#[tokio::test(start_paused = true)]
async fn c123_a_stream_stopped_early_is_closed_inside_its_block() {
    let t = Trace::default();
    async_with(step("outer", &t), async |_| {
        let mut stream = wrap_stream(step("a", &t), Items(3));
        std::future::poll_fn(|context| Pin::new(&mut stream).poll_next(context)).await;
        Ok(()) // dropped here: the outer block waits for it
    })
    .await
    .unwrap();
    assert_eq!(t.take(), "+outer =outer +a =a -a cancelled -outer ok");
}
