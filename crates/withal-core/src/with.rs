//! The block: `with(manager, |resource| …)`.

use std::panic::{AssertUnwindSafe, Location, catch_unwind};

use crate::manager::Site;
use crate::unwind::Unwind;
use crate::{BoxError, ContextManager, Entry, Error, Place, Verdict};

/// Enters `manager`, runs `body` with its resource, and exits on every path out.
///
/// Several managers make one block as a tuple of up to eight or an array: they are entered from
/// left to right and exited from right to left. The body's `?` takes any error; the block's takes
/// it on to `anyhow`, `Box<dyn Error + Send + Sync>` or your own type with one
/// `#[from] withal::Error`. If the manager may swallow errors ([`Flow`](crate::Flow)), the block
/// gives an `Option`.
///
/// An `anyhow::Error` passes through the body's `?` as well, but its box hides the type inside:
/// [`Error::downcast_ref`] then finds only its causes, and [`suppress`](crate::suppress) nothing.
///
/// # Errors
///
/// Everything that went wrong, in the order it happened: a failed enter, the body's error, failed
/// exits.
///
/// # Panics
///
/// A panic of the body or of an exit goes on once all exits have run.
///
/// # Examples
///
/// ```
/// use withal_core::{nullcontext, with};
///
/// # fn main() -> Result<(), withal_core::Error> {
/// let sum = with((nullcontext(1), nullcontext(2)), |(a, b)| Ok(*a + *b))?;
/// assert_eq!(sum, 3);
/// # Ok(())
/// # }
/// ```
#[inline]
#[track_caller]
pub fn with<M, V, B, T>(manager: M, body: B) -> Result<V::Output<T>, Error>
where
    M: ContextManager<V>,
    V: Verdict,
    B: FnOnce(&mut M::Resource) -> Result<T, BoxError>,
{
    with_at(manager, Location::caller(), body)
}

/// A block that was written at `location`.
#[inline]
pub(crate) fn with_at<M, V, B, T>(
    manager: M,
    location: Site,
    body: B,
) -> Result<V::Output<T>, Error>
where
    M: ContextManager<V>,
    V: Verdict,
    B: FnOnce(&mut M::Resource) -> Result<T, BoxError>,
{
    let mut unwind = Unwind::default();
    let entry = Entry::at(manager.name(), location);
    let place = manager.place(location);
    let value = match manager.enter_in(&place) {
        Ok(mut resource) => {
            let ended = catch_unwind(AssertUnwindSafe(|| body(&mut resource)));
            let value = unwind.body(ended);
            exit::<M, V>(resource, &entry, &place, &mut unwind);
            value
        }
        Err(error) => {
            unwind.enter_failed(entry, error.into());
            None
        }
    };
    unwind.finish::<V, T>(value)
}

/// Runs one exit against the state of its block.
///
/// Everything of the user's stands inside the catch, the error's conversion too: a panic in it
/// must not skip the exits still due.
#[inline]
pub(crate) fn exit<M: ContextManager<V>, V: Verdict>(
    resource: M::Resource,
    entry: &Entry,
    place: &Place,
    unwind: &mut Unwind,
) {
    let case = unwind.case();
    let ended = catch_unwind(AssertUnwindSafe(|| {
        M::exit_in(resource, case, place).map_err(Into::into)
    }));
    unwind.exited(entry, ended);
}
