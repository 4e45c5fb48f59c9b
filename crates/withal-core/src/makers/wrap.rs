//! A function whose every call is a block.

use std::panic::Location;

use crate::with::with_at;
use crate::{BoxError, ContextManager, Error, Verdict};

/// A function that runs `function` inside a block, with a fresh manager for each call.
///
/// After `contextlib.ContextDecorator`. Use the attribute `#[withal::with(..)]` for named
/// functions and methods; use `wrap_async` and `wrap_stream` for what runs after it returns: a
/// sync wrapper around those would leave its block too early, and does not type-check.
///
/// ```
/// use withal_core::{nullcontext, wrap};
///
/// # fn main() -> Result<(), withal_core::Error> {
/// let mut traced = wrap(|| nullcontext(()), || Ok(42));
/// assert_eq!(traced()?, 42);
/// assert_eq!(traced()?, 42);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn wrap<F, M, V, B, T>(make: F, mut function: B) -> impl FnMut() -> Result<V::Output<T>, Error>
where
    F: Fn() -> M,
    M: ContextManager<V>,
    V: Verdict,
    B: FnMut() -> Result<T, BoxError>,
{
    let location = Location::caller();
    move || with_at(make(), location, |_| function())
}

/// [`wrap`] for a function of one argument; pass a tuple for more.
#[track_caller]
pub fn wrap1<A, F, M, V, B, T>(
    make: F,
    mut function: B,
) -> impl FnMut(A) -> Result<V::Output<T>, Error>
where
    F: Fn() -> M,
    M: ContextManager<V>,
    V: Verdict,
    B: FnMut(A) -> Result<T, BoxError>,
{
    let location = Location::caller();
    move |argument| with_at(make(), location, |_| function(argument))
}
