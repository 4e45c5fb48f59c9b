//! S8, S10, S11: exit stacks.

use withal_core::{Error, ExitCase, Flow, NoticeKind, suppress};
use withal_scope::{AsyncExitStack, Reaper, async_with};

use crate::support::*;

#[tokio::test(start_paused = true)]
async fn sync_and_async_entries_share_one_order() {
    let t = Trace::default();
    let mut stack = AsyncExitStack::new();
    let a = stack.enter_async_context(step("a", &t)).await.unwrap();
    let b = stack.enter_context(SyncStep("b", t.clone())).unwrap();
    let trace = t.clone();
    stack.push(move |case| {
        trace.note(format!("push {}", word(&case)));
        Ok::<_, Oops>(())
    });
    let trace = t.clone();
    stack.push_async(async move |case| {
        tokio::task::yield_now().await;
        trace.note(format!("push_async {}", word(&case)));
        Ok::<_, Oops>(())
    });
    let trace = t.clone();
    stack.callback(move || trace.note("callback"));
    drop((a, b));
    stack.close().await.unwrap();
    assert_eq!(
        t.take(),
        "+a =a +b callback push_async ok push ok -b ok -a ok"
    );
    stack.close().await.unwrap();
    assert_eq!(t.take(), "");
}

#[tokio::test(start_paused = true)]
async fn pop_all_moves_the_entries_and_runs_none() {
    let t = Trace::default();
    let mut moved = async_with(AsyncExitStack::new(), async |stack| {
        drop(stack.enter_async_context(step("a", &t)).await?);
        Ok(stack.pop_all())
    })
    .await
    .unwrap();
    assert_eq!(t.take(), "+a =a");
    moved.close().await.unwrap();
    assert_eq!(t.take(), "-a ok");
}

#[tokio::test(start_paused = true)]
async fn a_suppressing_stack_gives_none_where_an_error_was_swallowed() {
    let t = Trace::default();
    let block = async |inner: &'static str| {
        async_with(AsyncExitStack::suppressing(), async |stack| {
            drop(stack.enter_async_context(step("a", &t)).await?);
            drop(stack.enter_async_context(suppress::<Oops>()).await?);
            drop(stack.enter_async_context(step("b", &t)).await?);
            match inner {
                "ok" => Ok(1),
                text => Err(oops(text))?,
            }
        })
        .await
    };
    assert_eq!(block("ok").await.unwrap(), Some(1));
    assert_eq!(t.take(), "+a =a +b =b -b ok -a ok");
    assert_eq!(block("boom").await.unwrap(), None);
    assert_eq!(t.take(), "+a =a +b =b -b err(boom) -a ok");
}

#[tokio::test(start_paused = true)]
async fn cancellation_is_never_suppressed() {
    let (t, r) = (Trace::default(), Reaper::new());
    dropped_after(
        30,
        options(&r).async_with(AsyncExitStack::suppressing(), async |stack| {
            drop(stack.enter_async_context(step("a", &t)).await?);
            stack.push(|_| Ok::<_, Oops>(Flow::Suppress));
            Ok(hang().await)
        }),
    )
    .await;
    drain(&r).await;
    assert_eq!(t.take(), "+a =a -a cancelled");
}

#[tokio::test(start_paused = true)]
async fn an_exit_may_register_further_exits_which_run_next() {
    let t = Trace::default();
    let mut stack = AsyncExitStack::new();
    let handle = stack.handle();
    let trace = t.clone();
    stack.callback({
        let trace = trace.clone();
        move || trace.note("oldest")
    });
    stack.push_async(async move |_| {
        trace.note("first");
        let inner = trace.clone();
        handle.callback(move || inner.note("registered"));
        Ok::<_, Oops>(())
    });
    stack.close().await.unwrap();
    assert_eq!(t.take(), "first registered oldest");
}

#[tokio::test(start_paused = true)]
async fn what_is_registered_too_late_is_exited_at_once() {
    let said = |name| notices(NoticeKind::StackGone, name);
    let before = (said("exit function"), said("callback"));
    let t = Trace::default();
    let mut stack = AsyncExitStack::new();
    let handle = stack.handle();
    stack.close().await.unwrap();
    let trace = t.clone();
    handle.push(move |case| {
        trace.note(format!("late {}", word(&case)));
        Ok::<_, Oops>(())
    });
    drop(stack);
    let trace = t.clone();
    handle.callback(move || trace.note("later"));
    tokio::time::sleep(ms(100)).await;
    assert_eq!(t.take(), "late cancelled later");
    let after = (said("exit function"), said("callback"));
    assert_eq!(after, (before.0 + 1, before.1 + 1));
}

#[tokio::test(start_paused = true)]
async fn a_stack_dropped_unclosed_is_exited_in_the_background() {
    let t = Trace::default();
    let mut stack = AsyncExitStack::new();
    drop(stack.enter_async_context(step("a", &t)).await.unwrap());
    drop(stack.enter_async_context(step("b", &t)).await.unwrap());
    drop(stack);
    assert_eq!(t.take(), "+a =a +b =b");
    tokio::time::sleep(ms(100)).await;
    assert_eq!(t.take(), "-b cancelled -a cancelled");
}

#[tokio::test(start_paused = true)]
async fn a_close_dropped_half_way_goes_on_in_the_background() {
    let t = Trace::default();
    let mut stack = AsyncExitStack::new();
    drop(stack.enter_async_context(step("a", &t)).await.unwrap());
    dropped_after(5, stack.close_with(ExitCase::Succeeded)).await;
    assert!(stack.is_empty());
    tokio::time::sleep(ms(100)).await;
    assert_eq!(t.take(), "+a =a -a ok");
}

#[tokio::test(start_paused = true)]
async fn a_resource_still_lent_out_is_exited_when_it_comes_back() {
    assert_eq!(notices(NoticeKind::StillLent, "lent too long"), 0);
    let t = Trace::default();
    let mut stack = AsyncExitStack::new();
    let lent = stack.enter_async_context(step("lent too long", &t));
    let lent = lent.await.unwrap();
    let error = stack.close().await.unwrap_err();
    assert!(error.to_string().contains("still lent out"), "{error}");
    assert_eq!(error.first().entry().unwrap().name(), "lent too long");
    assert_eq!(t.take(), "+lent too long =lent too long");
    drop(lent);
    tokio::time::sleep(ms(100)).await;
    assert_eq!(t.take(), "-lent too long ok");
    assert_eq!(notices(NoticeKind::StillLent, "lent too long"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_lent_resource_can_be_closed_early() {
    let t = Trace::default();
    let mut stack = AsyncExitStack::new();
    let a = stack.enter_async_context(step("a", &t)).await.unwrap();
    let b = stack.enter_async_context(step("b", &t)).await.unwrap();
    a.close().await.unwrap();
    drop(b);
    stack.close().await.unwrap();
    assert_eq!(t.take(), "+a =a +b =b -a ok -b ok");
}

/// Enter consumes the managers, and their names with them; the stack has taken those down before.
#[tokio::test(start_paused = true)]
async fn an_exit_inside_a_tuple_or_array_on_a_stack_is_named_as_its_manager_was() {
    let t = Trace::default();
    let bad = |name| Step {
        exit: Does::Fail,
        ..step(name, &t)
    };
    let mut stack = AsyncExitStack::new();
    let line = line!() + 1;
    let early = stack.enter_async_context((bad("a"), [step("b", &t), bad("c")]));
    let early = early.await.unwrap();
    let late = stack.enter_async_context((step("d", &t), bad("e")));
    drop(late.await.unwrap());
    assert_eq!(
        names_and_lines(&early.close().await.unwrap_err()),
        [("c".to_owned(), line), ("a".to_owned(), line)]
    );
    let error = stack.close().await.unwrap_err();
    assert_eq!(names_and_lines(&error), [("e".to_owned(), line + 2)]);
}

#[tokio::test(start_paused = true)]
async fn members_of_a_tuple_that_failed_to_enter_on_a_stack_keep_their_names() {
    let t = Trace::default();
    let a = Step {
        exit: Does::Fail,
        ..step("a", &t)
    };
    let b = Step {
        enter: Does::Fail,
        ..step("b", &t)
    };
    let mut stack = AsyncExitStack::new();
    let error = stack
        .enter_async_context((a, b))
        .await
        .map(drop)
        .unwrap_err();
    let error = error.downcast::<Error>().unwrap();
    let names: Vec<_> = error.iter().map(|f| f.entry().unwrap().name()).collect();
    assert_eq!(names, ["b", "a"]);
    stack.close().await.unwrap();
}

/// The names and lines of the exits that failed, in that order.
fn names_and_lines(error: &Error) -> Vec<(String, u32)> {
    let entries = error.exits().map(|failure| failure.entry().unwrap());
    entries
        .map(|entry| (entry.name().to_owned(), entry.location().line()))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn an_enter_dropped_half_way_is_finished_by_close() {
    let t = Trace::default();
    let mut stack = AsyncExitStack::new();
    dropped_after(5, stack.enter_async_context(step("a", &t))).await;
    stack.close().await.unwrap();
    assert_eq!(t.take(), "+a =a -a cancelled");
}
