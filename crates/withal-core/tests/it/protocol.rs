//! Rows 1–4: the protocol itself. The rows about missing methods are in `tests/ui`.

use std::convert::Infallible;

use withal_core::{AsyncContextManager, ContextManager, ExitCase, nullcontext, with};

use crate::support::{check, log, step};

/// Python's default enter gives the manager itself. Rust's has no default: `Resource = Self` and
/// `Ok(self)` say the same.
#[test]
fn c001_enter() {
    #[derive(Debug, PartialEq)]
    struct OnlyExit(u32);

    impl ContextManager for OnlyExit {
        type Resource = OnlyExit;
        type Error = Infallible;

        fn enter(self) -> Result<OnlyExit, Infallible> {
            Ok(self)
        }

        fn exit(manager: OnlyExit, _case: ExitCase) -> Result<(), Infallible> {
            log(format!("exit {manager:?}"));
            Ok(())
        }
    }

    let lent = check(
        || with(OnlyExit(5), |lent| Ok(lent.0)),
        &["exit OnlyExit(5)"],
    );
    assert_eq!(lent.unwrap(), 5);
}

/// Python's abstract base class accepts any class with the two methods; Rust's trait is asked by
/// name. `tests/ui/duck_typing.rs` is the other half.
#[test]
fn c004_structural_subclassing() {
    fn is_manager<M: ContextManager>(_: &M) {}
    fn is_async_manager<M: AsyncContextManager>(_: &M) {}
    is_manager(&nullcontext(1));
    is_async_manager(&nullcontext(1));
    is_manager(&[step("a")]);
}

/// Managers may live behind any type: the protocol is asked of types, not of objects.
#[test]
fn c128_managers_of_every_kind_enter_a_stack() {
    struct Unit;
    #[repr(transparent)]
    struct Slot<T>(T);
    enum Either {
        Left,
    }
    macro_rules! manager {
        ($type:ty $(, $parameter:ident)?) => {
            impl $(<$parameter>)? ContextManager for $type {
                type Resource = ();
                type Error = Infallible;
                fn enter(self) -> Result<(), Infallible> {
                    log("enter");
                    Ok(())
                }
                fn exit(_: (), _: ExitCase) -> Result<(), Infallible> {
                    log("exit");
                    Ok(())
                }
            }
        };
    }
    manager!(Unit);
    manager!(Slot<T>, T);
    manager!(Either);
    manager!(&'static Unit);
    manager!(Box<Unit>);

    let program = || {
        with(withal_core::ExitStack::new(), |stack| {
            let (_unit, _slot) = (stack.enter_context(Unit)?, stack.enter_context(Slot(1))?);
            let _either = stack.enter_context(Either::Left)?;
            let _reference = stack.enter_context(&Unit)?;
            let _boxed = stack.enter_context(Box::new(Unit))?;
            Ok(())
        })
    };
    let want = [["enter"; 5], ["exit"; 5]].concat();
    check(program, &want).unwrap();
}
