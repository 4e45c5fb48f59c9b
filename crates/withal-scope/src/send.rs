//! Async closures whose futures are `Send`, which stable `AsyncFnOnce` bounds cannot say.
//!
//! An async closure is also an `FnOnce` that returns a future, and that future can be named in a
//! helper trait. The bound on `AsyncFnOnce` beside it lets the compiler infer the closure's
//! arguments; this one proves `Send`.

/// An async closure of one argument whose future is `Send` and gives `O`.
///
/// You meet it only when you pass a body on from a generic function; repeat the bound there.
#[diagnostic::on_unimplemented(
    message = "the future of this async closure is not `Send`, or does not give `{O}`",
    label = "must be an async closure whose future can move between threads",
    note = "something that is not `Send` (an `Rc`, a `MutexGuard`) is held across an `.await`",
    note = "a generic function that passes the closure on repeats the bound beside its `AsyncFnOnce`: `SendFn<A, O>`; one that lends it a reference says so for every lifetime: `for<'a> …`"
)]
pub trait SendFn<A, O>: FnOnce(A) -> Self::Future {
    /// What the closure returns.
    type Future: Future<Output = O> + Send;

    /// Calls it.
    fn call(self, argument: A) -> Self::Future;
}

// No `do_not_recommend`: it would hide which value is not `Send`, and where it is held.
impl<F, A, O, Fut> SendFn<A, O> for F
where
    F: FnOnce(A) -> Fut,
    Fut: Future<Output = O> + Send,
{
    type Future = Fut;

    fn call(self, argument: A) -> Fut {
        self(argument)
    }
}

/// [`SendFn`] for a closure of two arguments: the body of [`Scope::with`](crate::Scope::with).
#[diagnostic::on_unimplemented(
    message = "the future of this async closure is not `Send`, or does not give `{O}`",
    label = "must be an async closure whose future can move between threads",
    note = "something that is not `Send` (an `Rc`, a `MutexGuard`) is held across an `.await`",
    note = "a generic function that passes the closure on repeats the bound beside its `AsyncFnOnce`: `SendFn2<A, B, O>`; one that lends it a reference says so for every lifetime: `for<'a> …`"
)]
pub trait SendFn2<A, B, O>: FnOnce(A, B) -> Self::Future {
    /// What the closure returns.
    type Future: Future<Output = O> + Send;

    /// Calls it.
    fn call(self, first: A, second: B) -> Self::Future;
}

impl<F, A, B, O, Fut> SendFn2<A, B, O> for F
where
    F: FnOnce(A, B) -> Fut,
    Fut: Future<Output = O> + Send,
{
    type Future = Fut;

    fn call(self, first: A, second: B) -> Fut {
        self(first, second)
    }
}
