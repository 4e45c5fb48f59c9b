//! Why a body is being dropped, told to the scopes inside it.

use std::cell::Cell;

use withal_core::ExitCase;

/// A reason to drop a body that its inner scopes' exits should see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interruption {
    TimedOut,
    Signalled(i32),
}

thread_local! {
    static CURRENT: Cell<Option<Interruption>> = const { Cell::new(None) };
}

/// Runs `drop_body`, in which every dropped scope takes `interruption` for its exit case.
pub(crate) fn during<T>(interruption: Interruption, drop_body: impl FnOnce() -> T) -> T {
    struct Restore(Option<Interruption>);
    impl Drop for Restore {
        fn drop(&mut self) {
            CURRENT.set(self.0);
        }
    }
    let _restore = Restore(CURRENT.replace(Some(interruption)));
    drop_body()
}

/// The case of a scope that is being dropped right now.
pub(crate) fn case_of_drop() -> ExitCase {
    match CURRENT.get() {
        None => ExitCase::Cancelled,
        Some(Interruption::TimedOut) => ExitCase::TimedOut,
        Some(Interruption::Signalled(signal)) => ExitCase::Signalled(signal),
    }
}
