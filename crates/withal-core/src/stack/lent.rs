//! Resources that a stack has lent out.

use std::cell::RefCell;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

use super::entries::StackEntry;
use crate::notice::{self, Notice, NoticeKind};
use crate::unwind::Unwind;
use crate::{BoxError, ContextManager, Entry, Error, ExitCase, Place, Verdict};

/// A resource lent out by an [`ExitStack`](crate::ExitStack): use it like a `&mut R`.
///
/// Dropping it gives the resource back; the exit runs when the stack is left. If the stack is left
/// first, that is an error naming the resource, and the exit runs as soon as it is given back.
pub struct Lent<'a, R> {
    /// `None` only inside `close` and `drop`.
    resource: Option<R>,
    home: Rc<dyn TakesBack<R> + 'a>,
}

/// The entry a lent resource goes back to.
trait TakesBack<R> {
    fn take_back(&self, resource: R);
    fn exit_now(&self, resource: R) -> Result<(), Error>;
}

pub(super) struct Home<M: ContextManager<V>, V: Verdict> {
    entry: Entry,
    place: Place,
    state: RefCell<State<M::Resource>>,
    verdict: PhantomData<fn() -> V>,
}

enum State<R> {
    Lent,
    Back(R),
    /// The stack was left while the resource was out, with this case.
    Overdue(ExitCase),
    Exited,
}

impl<M: ContextManager<V>, V: Verdict> Home<M, V> {
    pub(super) fn new(entry: Entry, place: Place) -> Self {
        Home {
            entry,
            place,
            state: RefCell::new(State::Lent),
            verdict: PhantomData,
        }
    }

    /// Notes that there is no stack that could exit it: that is done when it is given back.
    pub(super) fn overdue(&self, case: ExitCase) {
        drop(self.state.replace(State::Overdue(case)));
        notice::emit(&Notice::new(NoticeKind::StackGone, Some(&self.entry), None));
    }

    fn exit_resource(&self, resource: M::Resource, unwind: &mut Unwind) {
        crate::with::exit::<M, V>(resource, &self.entry, &self.place, unwind);
    }
}

impl<M: ContextManager<V>, V: Verdict> StackEntry for Home<M, V> {
    fn entry(&self) -> &Entry {
        &self.entry
    }

    fn exit(&self, unwind: &mut Unwind) {
        match self.state.replace(State::Exited) {
            State::Back(resource) => self.exit_resource(resource, unwind),
            State::Lent => {
                let _ = self.state.replace(State::Overdue(unwind.case()));
                let error: BoxError = "its resource is still lent out; it is exited when that is \
                                       dropped: drop it before the stack is left"
                    .into();
                unwind.exited::<()>(&self.entry, Ok(Err(error)));
            }
            State::Overdue(_) | State::Exited => {}
        }
    }

    fn is_done(&self) -> bool {
        matches!(*self.state.borrow(), State::Exited)
    }
}

impl<M: ContextManager<V>, V: Verdict> TakesBack<M::Resource> for Home<M, V> {
    fn take_back(&self, resource: M::Resource) {
        match self.state.replace(State::Exited) {
            State::Overdue(case) => {
                let mut unwind = Unwind::from_case(case);
                self.exit_resource(resource, &mut unwind);
                let failures = unwind.into_failures();
                notice::emit(&Notice::new(
                    NoticeKind::StillLent,
                    Some(&self.entry),
                    failures.as_ref(),
                ));
            }
            _ => drop(self.state.replace(State::Back(resource))),
        }
    }

    fn exit_now(&self, resource: M::Resource) -> Result<(), Error> {
        let case = match self.state.replace(State::Exited) {
            State::Overdue(case) => case,
            _ => ExitCase::Succeeded,
        };
        let mut unwind = Unwind::from_case(case.clone());
        self.exit_resource(resource, &mut unwind);
        unwind.into_exit::<V>(&case).map(drop)
    }
}

impl<'a, R> Lent<'a, R> {
    pub(super) fn new<M, V>(resource: R, home: Rc<Home<M, V>>) -> Lent<'a, R>
    where
        M: ContextManager<V, Resource = R> + 'a,
        V: Verdict,
    {
        Lent {
            resource: Some(resource),
            home,
        }
    }

    /// Exits it now, ahead of the stack, as after a clean body.
    ///
    /// The stack forgets it: one that lives long may lend any number of resources in turn.
    ///
    /// If the stack was left before, the exit sees what it would have seen then.
    ///
    /// # Errors
    ///
    /// What its exit failed with.
    ///
    /// # Panics
    ///
    /// If its exit panics.
    pub fn close(mut self) -> Result<(), Error> {
        match self.resource.take() {
            Some(resource) => self.home.exit_now(resource),
            None => Ok(()),
        }
    }
}

const HELD: &str = "a `Lent` holds its resource until it is closed or dropped";

impl<R> Deref for Lent<'_, R> {
    type Target = R;

    #[inline]
    fn deref(&self) -> &R {
        self.resource.as_ref().expect(HELD)
    }
}

impl<R> DerefMut for Lent<'_, R> {
    #[inline]
    fn deref_mut(&mut self) -> &mut R {
        self.resource.as_mut().expect(HELD)
    }
}

impl<R> Drop for Lent<'_, R> {
    fn drop(&mut self) {
        if let Some(resource) = self.resource.take() {
            self.home.take_back(resource);
        }
    }
}

impl<R: fmt::Debug> fmt::Debug for Lent<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lent").field(&self.resource).finish()
    }
}
