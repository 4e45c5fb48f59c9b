//! The protocol: `enter` and `exit`, sync and async.

use std::borrow::Cow;
use std::panic::Location;
use std::time::Duration;

use crate::{BoxError, ExitCase, Place, Verdict};

/// Where a manager was entered.
#[doc(hidden)]
pub type Site = &'static Location<'static>;

/// A resource's set-up and tear-down as one contract.
///
/// `exit` runs exactly once for each `enter` that succeeded, on every path out of the block:
/// a value, an error, a panic. It takes the resource by value, so it cannot run twice. Use a
/// manager with [`with`](crate::with) or [`ExitStack`](crate::ExitStack).
///
/// A manager that may swallow the body's error implements `ContextManager<Flow>`, and its blocks
/// give an `Option`; see [`Flow`](crate::Flow). Implement one of the two, not both.
///
/// This is Python's [context manager](https://docs.python.org/3/reference/datamodel.html#context-managers),
/// with its run-time rules made types. Managers may be consumed by their use (`impl for Open`),
/// reused (`impl for &Pool`), or entered again while they are open (see
/// [`reentrant`](crate::reentrant)).
///
/// # Examples
///
/// ```
/// use std::{fs::File, io};
/// use withal_core::{ContextManager, ExitCase, with};
///
/// /// A file that is known to be on disk when its block is left.
/// struct Synced(&'static str);
///
/// impl ContextManager for Synced {
///     type Resource = File;
///     type Error = io::Error;
///
///     fn enter(self) -> io::Result<File> {
///         File::open(self.0)
///     }
///
///     fn exit(file: File, _case: ExitCase) -> io::Result<()> {
///         file.sync_all() // `Drop` could not tell you that this failed
///     }
/// }
///
/// # fn main() -> Result<(), withal_core::Error> {
/// let length = with(Synced("/etc/hostname"), |file| Ok(file.metadata()?.len()))?;
/// # let _ = length; Ok(())
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a context manager",
    label = "needs `enter` and `exit`",
    note = "implement `ContextManager` for it, or wrap a value: `closing(value, |v| v.close())`, or `nullcontext(value)` if there is nothing to close",
    note = "an async manager is used with `async_with`, `scope` or `AsyncExitStack`, which await its exit"
)]
pub trait ContextManager<V: Verdict = ()>: Sized {
    /// What the body is lent.
    type Resource;
    /// What can go wrong in `enter` and `exit`.
    type Error: Into<BoxError>;

    /// Acquires the resource.
    ///
    /// # Errors
    ///
    /// The body then never runs and `exit` is not called; outer managers are exited.
    fn enter(self) -> Result<Self::Resource, Self::Error>;

    /// Releases the resource, which ended as `case` says.
    ///
    /// The resource counts as released even if this fails.
    ///
    /// # Errors
    ///
    /// The error joins those that `case` carries; it replaces none.
    fn exit(resource: Self::Resource, case: ExitCase) -> Result<V, Self::Error>;

    /// What errors and reports call this manager; its type's name unless you say otherwise.
    ///
    /// It is shown to people and written to logs: keep secrets out of it.
    fn name(&self) -> Cow<'static, str> {
        Cow::Borrowed(std::any::type_name::<Self>())
    }

    /// Where it is about to be entered, with the names of its members if it is made of managers.
    #[doc(hidden)]
    #[inline]
    fn place(&self, location: Site) -> Place {
        Place::from(location)
    }

    /// `enter` for managers made of managers, whose errors name the members.
    #[doc(hidden)]
    #[inline]
    fn enter_in(self, _place: &Place) -> Result<Self::Resource, Self::Error> {
        self.enter()
    }

    #[doc(hidden)]
    #[inline]
    fn exit_in(resource: Self::Resource, case: ExitCase, _place: &Place) -> Result<V, Self::Error> {
        Self::exit(resource, case)
    }
}

/// A resource's set-up and tear-down as one contract, both of which may wait.
///
/// Use a manager with `async_with`, `scope` or `AsyncExitStack`. They keep the promise of
/// [`ContextManager`] on the paths only async code has: a future dropped at any await point by
/// `select!`, a timeout or an aborted task, and the process being told to stop.
///
/// `enter` and `exit` are owned by the block, not by the future that awaits it: both run to their
/// end once they have begun.
///
/// # Examples
///
/// ```
/// use withal_core::{AsyncContextManager, ExitCase};
/// # struct Connection;
/// # impl Connection {
/// #     async fn execute(&mut self, _: &str) -> Result<(), std::io::Error> { Ok(()) }
/// # }
///
/// struct Begin(Connection);
///
/// impl AsyncContextManager for Begin {
///     type Resource = Connection;
///     type Error = std::io::Error;
///
///     async fn enter(mut self) -> Result<Connection, std::io::Error> {
///         self.0.execute("BEGIN").await?;
///         Ok(self.0)
///     }
///
///     async fn exit(mut connection: Connection, case: ExitCase) -> Result<(), std::io::Error> {
///         let verdict = if case.is_succeeded() { "COMMIT" } else { "ROLLBACK" };
///         connection.execute(verdict).await
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an async context manager",
    label = "needs async `enter` and `exit`",
    note = "implement `AsyncContextManager` for it, or wrap a value: `aclosing(value, async |v| v.close().await)`",
    note = "a sync manager enters a scope or stack with `enter_context`; one that answers with `Flow` may swallow errors and needs `async_with`, `s.with` or a stack made by `suppressing()`"
)]
pub trait AsyncContextManager<V: Verdict = ()>: Sized {
    /// What the body is lent.
    type Resource: Send;
    /// What can go wrong in `enter` and `exit`.
    type Error: Into<BoxError> + Send;

    /// Acquires the resource.
    ///
    /// # Errors
    ///
    /// The body then never runs and `exit` is not called; outer managers are exited.
    ///
    /// # Cancel safety
    ///
    /// Once polled it runs to its end, even if the block's future is dropped; the resource is then
    /// exited with [`ExitCase::Cancelled`]. Parts that may be given up, such as waiting for a free
    /// connection, stand in `cancellable`.
    fn enter(self) -> impl Future<Output = Result<Self::Resource, Self::Error>> + Send;

    /// Releases the resource, which ended as `case` says.
    ///
    /// The resource counts as released even if this fails.
    ///
    /// # Errors
    ///
    /// The error joins those that `case` carries; it replaces none.
    ///
    /// # Cancel safety
    ///
    /// It runs to its end, even if the block's future is dropped half way through it.
    fn exit(
        resource: Self::Resource,
        case: ExitCase,
    ) -> impl Future<Output = Result<V, Self::Error>> + Send;

    /// What errors and reports call this manager; its type's name unless you say otherwise.
    ///
    /// It is shown to people and written to logs: keep secrets out of it.
    fn name(&self) -> Cow<'static, str> {
        Cow::Borrowed(std::any::type_name::<Self>())
    }

    /// How long `exit` may take before it is given up and reported; `None` leaves that to the
    /// scope.
    fn exit_timeout(&self) -> Option<Duration> {
        None
    }

    /// Where it is about to be entered, with the names of its members if it is made of managers.
    #[doc(hidden)]
    #[inline]
    fn place(&self, location: Site) -> Place {
        Place::from(location)
    }

    /// `enter` for managers made of managers, whose errors name the members.
    #[doc(hidden)]
    #[inline]
    fn enter_in(
        self,
        _place: Place,
    ) -> impl Future<Output = Result<Self::Resource, Self::Error>> + Send {
        self.enter()
    }

    #[doc(hidden)]
    #[inline]
    fn exit_in(
        resource: Self::Resource,
        case: ExitCase,
        _place: Place,
    ) -> impl Future<Output = Result<V, Self::Error>> + Send {
        Self::exit(resource, case)
    }

    /// `enter_in` for a block that keeps no more than its location.
    #[doc(hidden)]
    #[inline]
    fn enter_at(
        self,
        location: Site,
    ) -> impl Future<Output = Result<Self::Resource, Self::Error>> + Send {
        let place = self.place(location);
        self.enter_in(place)
    }

    /// `exit_in` for such a block: members are called by their types.
    #[doc(hidden)]
    #[inline]
    fn exit_at(
        resource: Self::Resource,
        case: ExitCase,
        location: Site,
    ) -> impl Future<Output = Result<V, Self::Error>> + Send {
        Self::exit_in(resource, case, Place::from(location))
    }
}
