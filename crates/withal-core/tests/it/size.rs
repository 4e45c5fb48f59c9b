//! Long stacks: linear, and without recursion.

use std::cell::Cell;

use withal_core::{Error, ExitCase, ExitStack, Flow, nullcontext, with};

use crate::support::{Oops, oops, throw};

const SIZES: [usize; 2] = [10_000, 100_000];

/// A stack small enough that one frame per entry would overflow it.
fn on_a_small_stack(program: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new()
        .stack_size(256 * 1024)
        .spawn(program)
        .unwrap();
    thread.join().unwrap();
}

#[test]
fn a_long_stack_exits_every_entry() {
    on_a_small_stack(|| {
        for size in SIZES {
            let left = Cell::new(size);
            with(ExitStack::new(), |stack| {
                for n in 0..size {
                    stack.enter_context(nullcontext(n))?;
                    stack.callback(|| left.set(left.get() - 1));
                }
                Ok(())
            })
            .unwrap();
            assert_eq!(left.get(), 0);
        }
    });
}

#[test]
fn a_long_stack_whose_exits_all_fail_keeps_every_failure() {
    on_a_small_stack(|| {
        for size in SIZES {
            let error = with(ExitStack::new(), |stack| {
                for n in 0..size {
                    stack.push(move |case| -> Result<(), Oops> {
                        // Each sees what the inner ones left, and that costs nothing.
                        assert_eq!(case.error().map_or(0, Error::len), size - n);
                        Err(oops(n.to_string()))
                    });
                }
                Err::<(), _>(oops("body").into())
            })
            .unwrap_err();
            assert_eq!(error.len(), size + 1);
            assert_eq!(error.first().error().to_string(), "body");
            assert_eq!(
                error.newest_first().next().unwrap().error().to_string(),
                "0"
            );
            assert_eq!(error.report().to_string().lines().count(), size + 1);
            let held = error.clone();
            drop(error);
            drop(held);
        }
    });
}

#[test]
fn a_long_stack_whose_exits_all_give_back_what_they_saw_keeps_one_failure() {
    on_a_small_stack(|| {
        let error = with(ExitStack::new(), |stack| {
            for _ in 0..100_000 {
                stack.push(|case: ExitCase| -> Result<(), Error> {
                    Err(case.error().unwrap().clone())
                });
            }
            Err::<(), _>(oops("body").into())
        });
        assert_eq!(error.unwrap_err().len(), 1);
    });
}

#[test]
fn a_long_stack_whose_exits_all_panic_runs_them_all() {
    on_a_small_stack(|| {
        let (left, noticed) = crate::support::noticing(|| {
            let left = Cell::new(10_000);
            let panic = crate::support::caught(|| {
                with(ExitStack::new(), |stack| {
                    for n in 0..10_000 {
                        let left = &left;
                        stack.push(move |_| -> Result<(), Oops> {
                            left.set(left.get() - 1);
                            throw(n.to_string())
                        });
                    }
                    Ok(())
                })
            });
            assert_eq!(panic, "9999");
            left.get()
        });
        assert_eq!(left, 0);
        assert_eq!(noticed[0].texts.len(), 9_999);
    });
}

#[test]
fn a_long_stack_may_swallow_and_fail_in_turns() {
    on_a_small_stack(|| {
        let ((), noticed) = crate::support::noticing(|| {
            let ran = with(ExitStack::suppressing(), |stack| {
                for _ in 0..10_000 {
                    stack.push(|_| Ok::<_, Oops>(Flow::Suppress));
                    stack.push(|_| -> Result<(), Oops> { Err(oops("x")) });
                }
                Ok(())
            });
            assert_eq!(ran.unwrap(), None);
        });
        assert_eq!(noticed.len(), 10_000);
    });
}

#[test]
fn a_long_stack_that_is_dropped_runs_its_exits() {
    on_a_small_stack(|| {
        let left = Cell::new(100_000);
        crate::support::noticing(|| {
            let mut stack = ExitStack::new();
            for _ in 0..100_000 {
                stack.callback(|| left.set(left.get() - 1));
            }
        });
        assert_eq!(left.get(), 0);
    });
}

#[test]
fn an_exit_may_register_the_next_one_a_hundred_thousand_times() {
    on_a_small_stack(|| {
        fn next(handle: withal_core::StackHandle<'_>, left: u32) {
            if left > 0 {
                let again = handle.clone();
                handle.callback(move || next(again, left - 1));
            }
        }
        let mut stack = ExitStack::new();
        next(stack.handle(), 100_000);
        stack.close().unwrap();
    });
}

/// Ten times the entries may take ten times the work, give or take: the failing exits of Python
/// grow with the square, which would be a hundred times.
#[test]
#[cfg_attr(miri, ignore = "measures time")]
fn failing_exits_cost_the_same_in_a_long_stack_as_in_a_short_one() {
    let time = |size: usize| {
        let run = || {
            let begin = std::time::Instant::now();
            let ran = with(ExitStack::new(), |stack| {
                for _ in 0..size {
                    stack.callback(|| Err(std::fmt::Error));
                }
                Ok(())
            });
            assert_eq!(ran.unwrap_err().len(), size);
            begin.elapsed()
        };
        (0..5).map(|_| run()).min().unwrap()
    };
    let (short, long) = (time(4_000), time(40_000));
    assert!(long < short * 40, "{short:?} for 4000, {long:?} for 40000");
}
