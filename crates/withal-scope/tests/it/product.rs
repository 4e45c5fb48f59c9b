//! The full product: enter, body and exit of two managers × ok, error, panic, hang × every await
//! point × the ways to be cancelled, for each form of block. Virtual time.
//!
//! Checked against the promise itself, not a model: every completed enter has exactly one exit,
//! exits run in reverse order of enters, nothing else runs, and what failed is told to somebody.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;

use withal_core::{AsyncContextManager, BoxError, Error, ExitCase};
use withal_scope::{AsyncExitStack, Options, Reaper, Report};

use crate::support::*;

#[derive(Clone)]
struct Unit {
    name: &'static str,
    trace: Trace,
    enter: Does,
    exit: Does,
}

impl AsyncContextManager for Unit {
    type Resource = Unit;
    type Error = Oops;

    async fn enter(self) -> Result<Unit, Oops> {
        tokio::task::yield_now().await;
        self.enter.run(&format!("enter {}", self.name)).await?;
        tokio::task::yield_now().await;
        self.trace.note(format!("={}", self.name));
        Ok(self)
    }

    async fn exit(unit: Unit, _: ExitCase) -> Result<(), Oops> {
        unit.trace.note(format!("-{}", unit.name));
        tokio::task::yield_now().await;
        unit.exit.run(&format!("exit {}", unit.name)).await?;
        tokio::task::yield_now().await;
        unit.trace.note(format!("~{}", unit.name));
        Ok(())
    }
}

#[derive(Clone, Copy, Debug)]
enum Form {
    Nested,
    Tuple,
    Scope,
    Stack,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    /// Run to its end, or to the block's own deadline where something hangs.
    NotAtAll,
    /// `select!`, a timeout: the future is dropped where it stands.
    Dropped,
    /// On another thread.
    DroppedElsewhere,
    Aborted,
    /// The runtime is dropped while it runs.
    Shutdown,
}

#[derive(Clone, Debug)]
struct Plan {
    enter: [Does; 2],
    exit: [Does; 2],
    body: Does,
    form: Form,
}

type Block = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

fn block(plan: &Plan, trace: &Trace, reaper: &Reaper) -> Block {
    let unit = |n: usize| Unit {
        name: ["a", "b"][n],
        trace: trace.clone(),
        enter: plan.enter[n],
        exit: plan.exit[n],
    };
    let (a, b, body) = (unit(0), unit(1), plan.body);
    let run = async move || -> Result<(), BoxError> {
        tokio::task::yield_now().await;
        Ok(body.run("body").await?)
    };
    let options = Options::new()
        .reaper(reaper)
        .timeout(ms(1_000))
        .exit_timeout(ms(100));
    match plan.form {
        Form::Nested => {
            let inner = Options::new().reaper(reaper).exit_timeout(ms(100));
            Box::pin(async move {
                options
                    .async_with(a, async |_| {
                        inner.async_with(b, async |_| run().await).await?;
                        Ok(())
                    })
                    .await
            })
        }
        Form::Tuple => {
            Box::pin(async move { options.async_with((a, b), async |_| run().await).await })
        }
        Form::Scope => Box::pin(async move {
            options
                .scope(async |s| {
                    s.enter(a).await?;
                    s.enter(b).await?;
                    run().await
                })
                .await
        }),
        Form::Stack => Box::pin(async move {
            options
                .async_with(AsyncExitStack::new(), async |stack| {
                    let _a = stack.enter_async_context(a).await?;
                    let _b = stack.enter_async_context(b).await?;
                    run().await
                })
                .await
        }),
    }
}

/// What came of one run.
struct Ran {
    suspended: usize,
    outcome: Option<Result<Result<(), Error>, String>>,
    report: Report,
    trace: String,
}

/// Runs `plan`, cancelled in `way` when it suspends for the `at`th time.
fn run(plan: &Plan, way: Way, at: usize) -> Ran {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    let (trace, reaper) = (Trace::default(), Reaper::new());
    let future = block(plan, &trace, &reaper);
    let mut suspended = 0;
    let mut outcome = None;
    if matches!(way, Way::Aborted | Way::Shutdown) {
        let (counted, mut polls) = tokio::sync::mpsc::unbounded_channel();
        let mut future = future;
        let counting = poll_fn(move |context| {
            let polled = future.as_mut().poll(context);
            if polled.is_pending() {
                counted.send(()).ok();
            }
            polled
        });
        runtime.block_on(async {
            #[allow(clippy::disallowed_methods)]
            let task = tokio::spawn(counting);
            while suspended < at && polls.recv().await.is_some() {
                suspended += 1;
            }
            if way == Way::Aborted {
                task.abort();
                drop(task.await);
                drain(&reaper).await;
            }
        });
        drop(runtime);
    } else {
        let mut future = Some(future);
        runtime.block_on(async {
            let ended = poll_fn(|context| {
                let running = future.as_mut().unwrap().as_mut();
                let polled = withal_core::unwind::poll_caught(pin!(running).as_mut(), context);
                if polled.is_pending() {
                    suspended += 1;
                    if way != Way::NotAtAll && suspended == at {
                        return Poll::Ready(None);
                    }
                }
                polled.map(Some)
            })
            .await;
            outcome = ended.map(|ended| {
                ended.map_err(|payload| withal_core::Panicked::new(&*payload).message().to_owned())
            });
            let left = future.take();
            match way {
                Way::DroppedElsewhere => std::thread::spawn(move || drop(left)).join().unwrap(),
                _ => drop(left),
            }
            drain(&reaper).await;
        });
    }
    Ran {
        suspended,
        outcome,
        report: reaper.report(),
        trace: trace.take(),
    }
}

/// Every completed enter has exactly one exit, in reverse order; an exit that can end has ended.
fn check(plan: &Plan, way: Way, at: usize, ran: &Ran) {
    let events: Vec<&str> = ran.trace.split_whitespace().collect();
    let context = format!(
        "{plan:?} {way:?} at {at}: {events:?} {:?} {}",
        ran.outcome, ran.report
    );
    let only = |mark: char| -> Vec<&str> {
        events
            .iter()
            .filter_map(|event| event.strip_prefix(mark))
            .collect()
    };
    let (entered, mut exited, ended) = (only('='), only('-'), only('~'));
    if way == Way::Shutdown {
        // A destroyed runtime runs nothing more: what it lost is counted.
        assert!(exited.len() <= entered.len(), "{context}");
        if exited.len() < entered.len() {
            assert!(ran.report.lost > 0, "{context}");
        }
        return;
    }
    exited.reverse();
    assert_eq!(entered, exited, "{context}");
    for name in &exited {
        let n = ["a", "b"].iter().position(|known| known == name).unwrap();
        assert_eq!(plan.exit[n] == Does::Ok, ended.contains(name), "{context}");
    }
    assert_eq!((ran.report.lost, ran.report.pending), (0, 0), "{context}");
    if let Some(outcome) = &ran.outcome {
        // What a dropped inner block fails with, its reaper hears.
        let elsewhere = ran.report.failed + ran.report.timed_out;
        told(plan, outcome, &entered, elsewhere, &context);
    }
}

/// Whoever awaits the block hears of everything that failed in it.
fn told(
    plan: &Plan,
    outcome: &Result<Result<(), Error>, String>,
    entered: &[&str],
    elsewhere: usize,
    context: &str,
) {
    let steps = [
        plan.enter[0],
        if entered.contains(&"a") {
            plan.enter[1]
        } else {
            Does::Ok
        },
        if entered.contains(&"b") {
            plan.body
        } else {
            Does::Ok
        },
        if entered.contains(&"b") {
            plan.exit[1]
        } else {
            Does::Ok
        },
        if entered.contains(&"a") {
            plan.exit[0]
        } else {
            Does::Ok
        },
    ];
    let panics = steps.iter().filter(|does| **does == Does::Panic).count();
    let enters = &steps[..2];
    // An enter that hangs ends its body by the block's deadline, and is itself given up.
    let failures = steps.iter().filter(|does| **does != Does::Ok).count()
        + enters.iter().filter(|does| **does == Does::Hang).count();
    match outcome {
        Err(_) => assert!(panics > 0, "{context}"),
        Ok(Ok(())) => assert_eq!(failures, 0, "{context}"),
        Ok(Err(error)) => {
            assert!(panics == 0 || elsewhere > 0, "{context}");
            assert_eq!(error.len() + elsewhere, failures, "{context}");
        }
    }
}

fn product(form: Form) {
    // What fails beside a panic, and given-up teardowns, are noticed; not on the test's output.
    notices(withal_core::NoticeKind::BesidePanic, "");
    // The planned panics say nothing; a failed check does.
    static QUIET: std::sync::Once = std::sync::Once::new();
    QUIET.call_once(|| {
        let default = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !info
                .location()
                .is_some_and(|at| at.file().ends_with("support.rs"))
            {
                default(info);
            }
        }));
    });
    let mut runs = 0;
    for code in 0..4_usize.pow(5) {
        let does = |place: u32| Does::ALL[code / 4_usize.pow(place) % 4];
        let plan = Plan {
            enter: [does(0), does(1)],
            exit: [does(2), does(3)],
            body: does(4),
            form,
        };
        // An enter or tuple exit that hangs has no deadline of its own.
        let hangs = plan.enter.contains(&Does::Hang)
            || (matches!(form, Form::Tuple | Form::Stack) && plan.exit.contains(&Does::Hang));
        if hangs && !matches!(form, Form::Scope) {
            continue;
        }
        if cfg!(miri) && code % 97 != 0 {
            continue;
        }
        let whole = run(&plan, Way::NotAtAll, usize::MAX);
        check(&plan, Way::NotAtAll, 0, &whole);
        runs += 1;
        let ways = [
            Way::Dropped,
            Way::DroppedElsewhere,
            Way::Aborted,
            Way::Shutdown,
        ];
        for at in 1..=whole.suspended {
            for way in ways {
                // A thread and a task for each run are slow: every point, but not every plan.
                if way != Way::Dropped && (code + at) % 8 != 0 {
                    continue;
                }
                let ran = run(&plan, way, at);
                check(&plan, way, at, &ran);
                runs += 1;
            }
        }
    }
    assert!(
        runs > if cfg!(miri) { 10 } else { 1_000 },
        "only {runs} runs"
    );
}

#[test]
fn nested_blocks_keep_the_promise_at_every_await_point() {
    product(Form::Nested);
}

#[test]
fn tuples_keep_the_promise_at_every_await_point() {
    product(Form::Tuple);
}

#[test]
fn scopes_keep_the_promise_at_every_await_point() {
    product(Form::Scope);
}

#[test]
fn stacks_keep_the_promise_at_every_await_point() {
    product(Form::Stack);
}
