//! One acquisition for nested uses.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{BoxError, ContextManager, ExitCase};

/// A manager that may be entered again while it is open; made by [`reentrant`].
pub struct Reentrant<F, R> {
    make: F,
    state: Mutex<State<R>>,
}

struct State<R> {
    uses: usize,
    resource: Option<Arc<R>>,
}

/// What a [`Reentrant`] lends: a shared view of the one resource.
pub struct Held<'a, F, R> {
    owner: &'a Reentrant<F, R>,
    resource: Arc<R>,
}

/// A manager that acquires once, however often it is entered, and releases with its last user.
///
/// `make` makes the manager that does the work, each time the count rises from zero. It is entered
/// by reference, from any thread; users share the resource. The exit sees the last user's case.
///
/// ```
/// use withal_core::{closing, reentrant, with};
///
/// # fn main() -> Result<(), withal_core::Error> {
/// let session = reentrant(|| closing("session", |_| Ok::<_, std::io::Error>(println!("closed"))));
/// with(&session, |outer| {
///     with(&session, |inner| Ok(assert_eq!(***inner, ***outer)))?; // nothing is closed here
///     Ok(())
/// })?; // "closed"
/// # Ok(())
/// # }
/// ```
///
/// # Deadlocks
///
/// Entering it inside the enter or exit of its own manager waits for itself.
pub fn reentrant<F, M>(make: F) -> Reentrant<F, M::Resource>
where
    F: Fn() -> M,
    M: ContextManager,
{
    Reentrant {
        make,
        state: Mutex::new(State {
            uses: 0,
            resource: None,
        }),
    }
}

impl<F, R> Reentrant<F, R> {
    /// How many blocks are inside it now.
    #[must_use]
    pub fn uses(&self) -> usize {
        self.lock().uses
    }

    /// A panic in enter or exit leaves the state as it was or released: it is never half changed.
    fn lock(&self) -> MutexGuard<'_, State<R>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'a, F, M> ContextManager for &'a Reentrant<F, M::Resource>
where
    F: Fn() -> M,
    M: ContextManager,
{
    type Resource = Held<'a, F, M::Resource>;
    type Error = BoxError;

    fn enter(self) -> Result<Self::Resource, BoxError> {
        let mut state = self.lock();
        let resource = match &state.resource {
            Some(resource) => Arc::clone(resource),
            None => Arc::new((self.make)().enter().map_err(Into::into)?),
        };
        state.resource = Some(Arc::clone(&resource));
        state.uses += 1;
        Ok(Held {
            owner: self,
            resource,
        })
    }

    fn exit(held: Self::Resource, case: ExitCase) -> Result<(), BoxError> {
        let Held { owner, resource } = held;
        let mut state = owner.lock();
        drop(resource);
        state.uses -= 1;
        if state.uses > 0 {
            return Ok(());
        }
        match state.resource.take().and_then(Arc::into_inner) {
            Some(resource) => M::exit(resource, case).map_err(Into::into),
            // A `Held` is neither cloned nor given away; only `mem::forget` keeps one.
            None => Err("a reentrant resource was leaked by `mem::forget`".into()),
        }
    }

    fn name(&self) -> std::borrow::Cow<'static, str> {
        std::any::type_name::<M>().into()
    }
}

impl<F, R> Deref for Held<'_, F, R> {
    type Target = R;

    fn deref(&self) -> &R {
        &self.resource
    }
}

impl<F, R: fmt::Debug> fmt::Debug for Held<'_, F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Held").field(&self.resource).finish()
    }
}

impl<F, R> fmt::Debug for Reentrant<F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reentrant")
            .field("uses", &self.uses())
            .finish_non_exhaustive()
    }
}
