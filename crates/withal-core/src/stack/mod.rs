//! A dynamic set of exits, left in reverse order.

mod entries;
mod lent;

use std::cell::RefCell;
use std::fmt;
use std::marker::PhantomData;
use std::panic::Location;
use std::rc::{Rc, Weak};

pub use entries::CallbackResult;
pub use lent::Lent;

use crate::notice::{self, Notice, NoticeKind};
use crate::unwind::Unwind;
use crate::{BoxError, ContextManager, Entry, Error, ExitCase, Flow, Verdict, Within};
use entries::{ExitFn, StackEntry};
use lent::Home;

/// A dynamic set of context managers and callbacks, exited in reverse order.
///
/// Use it where the number of managers is known only at run time. It equals the same managers in
/// nested blocks: each exit sees what the inner ones left, all run whatever any of them does, and
/// every error is kept. Use it as a manager itself, or on its own with [`close`](ExitStack::close).
///
/// A stack made by [`new`](ExitStack::new) takes managers that never swallow errors. One made by
/// [`suppressing`](ExitStack::suppressing) takes all, and its block gives an `Option`.
///
/// After `contextlib.ExitStack`; unlike there, a stack that is dropped unclosed runs its exits all
/// the same, and says so in a [`Notice`].
///
/// # Examples
///
/// ```
/// use withal_core::{ExitStack, closing, with};
///
/// # fn main() -> Result<(), withal_core::Error> {
/// let total = with(ExitStack::new(), |stack| {
///     let mut shards = Vec::new();
///     for n in 0..3 {
///         shards.push(stack.enter_context(closing(n, |n| {
///             println!("closed shard {n}");
///             Ok::<(), std::io::Error>(())
///         }))?);
///     }
///     Ok(shards.iter().map(|shard| ***shard).sum::<i32>())
/// })?; // closed shard 2, 1, 0
/// assert_eq!(total, 3);
/// # Ok(())
/// # }
/// ```
#[must_use = "a stack dropped at once exits at once"]
pub struct ExitStack<'a, V: Verdict = ()> {
    shared: Rc<Shared<'a>>,
    verdict: PhantomData<fn() -> V>,
}

/// Registers further exits on an [`ExitStack`], also while it is being left.
///
/// What an exit registers runs next, before the older entries. On a stack that is gone, what is
/// registered is exited at once, and a [`Notice`] says so.
pub struct StackHandle<'a, V: Verdict = ()> {
    shared: Weak<Shared<'a>>,
    verdict: PhantomData<fn() -> V>,
}

#[derive(Default)]
struct Shared<'a> {
    /// Oldest first.
    entries: RefCell<Vec<Rc<dyn StackEntry + 'a>>>,
    /// It stands in for a stack that is gone: what is registered is left with the call.
    is_gone: bool,
}

impl<'a> ExitStack<'a> {
    /// An empty stack whose entries never swallow errors.
    pub fn new() -> ExitStack<'a> {
        ExitStack::default()
    }
}

impl<'a> ExitStack<'a, Flow> {
    /// An empty stack whose entries may swallow errors; its block gives an `Option`.
    pub fn suppressing() -> ExitStack<'a, Flow> {
        ExitStack::default()
    }
}

impl<'a, V: Verdict> ExitStack<'a, V> {
    /// Enters `manager` and lends its resource; it is exited with the stack.
    ///
    /// Lent resources may be held side by side, moved and stored. Drop them before the stack is
    /// left: an exit waits for its resource.
    ///
    /// # Errors
    ///
    /// The manager's own error; the stack is then as it was.
    #[track_caller]
    pub fn enter_context<M, W>(&mut self, manager: M) -> Result<Lent<'a, M::Resource>, M::Error>
    where
        M: ContextManager<W> + 'a,
        W: Within<V>,
    {
        self.shared.enter_context(manager, Location::caller())
    }

    /// Registers an exit function: it sees how the stack's block ended, and may fail.
    #[track_caller]
    pub fn push<F, W, E>(&mut self, exit: F)
    where
        F: FnOnce(ExitCase) -> Result<W, E> + 'a,
        W: Within<V>,
        E: Into<BoxError> + 'a,
    {
        self.shared.push("exit function", Location::caller(), exit);
    }

    /// Registers a function that does not care how the block ended and cannot swallow an error.
    ///
    /// It returns `()` or a `Result<(), _>`, whose error is not lost.
    #[track_caller]
    pub fn callback<F, R>(&mut self, callback: F)
    where
        F: FnOnce() -> R + 'a,
        R: CallbackResult + 'a,
    {
        self.shared.callback(Location::caller(), callback);
    }

    /// Moves all entries to a new stack; none is run.
    ///
    /// The last line of a constructor that acquires several things: any failure before it unwinds
    /// all of them, success hands them over.
    pub fn pop_all(&mut self) -> ExitStack<'a, V> {
        let moved = ExitStack::default();
        let _ = moved.shared.entries.replace(self.shared.entries.take());
        moved
    }

    /// Runs all exits now, as after a clean body.
    ///
    /// A second call finds nothing to do. The stack can be used again.
    ///
    /// # Errors
    ///
    /// What the exits failed with and none of them swallowed.
    ///
    /// # Panics
    ///
    /// With the first panic of an exit, once all have run.
    pub fn close(&mut self) -> Result<(), Error> {
        self.close_with(ExitCase::Succeeded)
    }

    /// Runs all exits now; the first of them sees `case`.
    ///
    /// # Errors
    ///
    /// The failures in `case` and those of the exits, unless they were swallowed.
    ///
    /// # Panics
    ///
    /// With the first panic of an exit, once all have run.
    pub fn close_with(&mut self, case: ExitCase) -> Result<(), Error> {
        let mut unwind = Unwind::from_case(case);
        self.shared.unwind(&mut unwind);
        unwind.finish::<Flow, ()>(Some(())).map(drop)
    }

    /// A handle that registers entries, for exits that register further ones.
    #[must_use]
    pub fn handle(&self) -> StackHandle<'a, V> {
        StackHandle {
            shared: Rc::downgrade(&self.shared),
            verdict: PhantomData,
        }
    }

    /// How many exits are due: those registered, without what was [closed](Lent::close) early.
    #[must_use]
    pub fn len(&self) -> usize {
        let entries = self.shared.entries.borrow();
        entries.iter().filter(|entry| !entry.is_done()).count()
    }

    /// Whether no exit is due.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let entries = self.shared.entries.borrow();
        entries.iter().all(|entry| entry.is_done())
    }
}

impl<'a, V: Verdict> StackHandle<'a, V> {
    /// As [`ExitStack::enter_context`]. On a stack that is gone, the manager is exited when its
    /// resource is given back.
    ///
    /// # Errors
    ///
    /// The manager's own error; the stack is then as it was.
    #[track_caller]
    pub fn enter_context<M, W>(&self, manager: M) -> Result<Lent<'a, M::Resource>, M::Error>
    where
        M: ContextManager<W> + 'a,
        W: Within<V>,
    {
        self.shared().enter_context(manager, Location::caller())
    }

    /// As [`ExitStack::push`]. On a stack that is gone, `exit` runs at once.
    #[track_caller]
    pub fn push<F, W, E>(&self, exit: F)
    where
        F: FnOnce(ExitCase) -> Result<W, E> + 'a,
        W: Within<V>,
        E: Into<BoxError> + 'a,
    {
        self.shared()
            .push("exit function", Location::caller(), exit);
    }

    /// As [`ExitStack::callback`]. On a stack that is gone, `callback` runs at once.
    #[track_caller]
    pub fn callback<F, R>(&self, callback: F)
    where
        F: FnOnce() -> R + 'a,
        R: CallbackResult + 'a,
    {
        self.shared().callback(Location::caller(), callback);
    }

    /// The stack, or a new one that is dropped, and so left, as soon as the call is over.
    fn shared(&self) -> Rc<Shared<'a>> {
        let gone = || Shared {
            entries: RefCell::default(),
            is_gone: true,
        };
        self.shared.upgrade().unwrap_or_else(|| Rc::new(gone()))
    }
}

impl<'a> Shared<'a> {
    fn enter_context<M, W>(
        &self,
        manager: M,
        location: &'static Location<'static>,
    ) -> Result<Lent<'a, M::Resource>, M::Error>
    where
        M: ContextManager<W> + 'a,
        W: Verdict,
    {
        let entry = Entry::at(manager.name(), location);
        let place = manager.place(location);
        let resource = manager.enter_in(&place)?;
        let home = Rc::new(Home::<M, W>::new(entry, place));
        if self.is_gone {
            home.overdue(dropped());
        } else {
            self.add(Rc::clone(&home) as _);
        }
        Ok(Lent::new(resource, home))
    }

    fn push<F, W, E>(&self, name: &'static str, location: &'static Location<'static>, exit: F)
    where
        F: FnOnce(ExitCase) -> Result<W, E> + 'a,
        W: Verdict,
        E: Into<BoxError> + 'a,
    {
        let exit = ExitFn::new(Entry::at(name, location), exit);
        self.add(Rc::new(exit));
    }

    fn callback<F, R>(&self, location: &'static Location<'static>, callback: F)
    where
        F: FnOnce() -> R + 'a,
        R: CallbackResult + 'a,
    {
        self.push("callback", location, |_case| callback().into_result());
    }

    fn add(&self, entry: Rc<dyn StackEntry + 'a>) {
        let mut entries = self.entries.borrow_mut();
        if entries.len() == entries.capacity() {
            make_room(&mut entries);
        }
        entries.push(entry);
    }

    /// Runs the exits, newest first; those registered meanwhile run next.
    fn unwind(&self, unwind: &mut Unwind) {
        loop {
            let Some(newest) = self.entries.borrow_mut().pop() else {
                return;
            };
            newest.exit(unwind);
        }
    }
}

/// Forgets the entries that are done, and grows if most are not: a call makes room for as many as
/// it looks at, and the stack is never longer than four times what was due at once.
#[cold]
fn make_room(entries: &mut Vec<Rc<dyn StackEntry + '_>>) {
    entries.retain(|entry| !entry.is_done());
    if entries.len() > entries.capacity() / 2 {
        entries.reserve(entries.capacity());
    }
}

impl Drop for Shared<'_> {
    fn drop(&mut self) {
        let entries = self.entries.get_mut().iter().rev();
        let mut due = entries.filter(|entry| !entry.is_done());
        let Some(entry) = due.next().map(|newest| newest.entry().clone()) else {
            return;
        };
        let case = dropped();
        let mut unwind = Unwind::from_case(case.clone());
        self.unwind(&mut unwind);
        let failures = unwind.into_failures();
        let failed = match (&failures, case.error()) {
            (Some(failures), Some(known)) => failures.since(known),
            _ => failures,
        };
        let kind = match self.is_gone {
            true => NoticeKind::StackGone,
            false => NoticeKind::NotClosed,
        };
        notice::emit(&Notice::new(kind, Some(&entry), failed.as_ref()));
    }
}

/// What the exits of a stack see that nobody closes.
fn dropped() -> ExitCase {
    match std::thread::panicking() {
        true => ExitCase::Panicked(Error::new("the thread is panicking")),
        false => ExitCase::Cancelled,
    }
}

impl<'a, V: Verdict> ContextManager<V> for ExitStack<'a, V> {
    type Resource = ExitStack<'a, V>;
    type Error = Error;

    fn enter(self) -> Result<ExitStack<'a, V>, Error> {
        Ok(self)
    }

    fn exit(stack: ExitStack<'a, V>, case: ExitCase) -> Result<V, Error> {
        let mut unwind = Unwind::from_case(case.clone());
        stack.shared.unwind(&mut unwind);
        unwind.into_exit(&case)
    }
}

impl<V: Verdict> Default for ExitStack<'_, V> {
    fn default() -> Self {
        ExitStack {
            shared: Rc::default(),
            verdict: PhantomData,
        }
    }
}

impl<V: Verdict> Clone for StackHandle<'_, V> {
    fn clone(&self) -> Self {
        StackHandle {
            shared: Weak::clone(&self.shared),
            verdict: PhantomData,
        }
    }
}

impl<V: Verdict> fmt::Debug for ExitStack<'_, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = self.shared.entries.borrow();
        f.debug_list()
            .entries(entries.iter().map(|entry| entry.entry().to_string()))
            .finish()
    }
}

impl<V: Verdict> fmt::Debug for StackHandle<'_, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StackHandle").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nullcontext;

    #[test]
    fn a_stack_that_lives_long_forgets_what_was_closed_early() {
        let mut stack = ExitStack::new();
        let _base = stack.enter_context(nullcontext(0)).unwrap();
        for _ in 0..10_000 {
            let first = stack.enter_context(nullcontext(1)).unwrap();
            let second = stack.enter_context(nullcontext(2)).unwrap();
            first.close().unwrap();
            second.close().unwrap();
            assert_eq!(stack.len(), 1);
        }
        assert!(stack.shared.entries.borrow().capacity() <= 16);
    }
}
