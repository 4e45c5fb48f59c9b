//! Transactions, and savepoints in them.

use std::borrow::Cow;
use std::fmt;
use std::ops::{Deref, DerefMut};

use withal_core::{AsyncContextManager, ExitCase};
use withal_pool::Acquire;
use withal_scope::RefContextManager;

use crate::options::{Isolation, Then, TransactionOptions};
use crate::session::{UNKNOWN, savepoint};
use crate::{Connection, Error, ErrorKind, Session, Sessions};

/// How to begin a transaction; a context manager that lends a [`Transaction`].
///
/// Made by [`Session::begin`], and by [`Database::begin`](crate::Database::begin) for one that has a
/// connection of its own. If the body succeeds, the exit commits; in every other case it rolls back,
/// after cancelling on the server what the body has left running.
///
/// # Cancel safety
///
/// A transaction whose future is dropped anywhere is rolled back before anything else is done on
/// its connection. A `COMMIT` that has been sent is finished: by the reaper, or in
/// [`with_ref`](withal_scope::with_ref) by whatever is done next on its connection. If it fails, or
/// on Postgres is not answered within 2 s, that is noticed.
#[must_use = "a context manager does nothing until it is entered"]
pub struct Begin<On> {
    on: On,
    options: TransactionOptions,
}

impl<On> Begin<On> {
    pub(crate) fn new(on: On) -> Begin<On> {
        Begin {
            on,
            options: TransactionOptions::default(),
        }
    }

    /// What it may see of other transactions. By default what the database does by default.
    pub fn isolation(mut self, isolation: Isolation) -> Begin<On> {
        self.options.isolation = Some(isolation);
        self
    }

    /// It changes nothing: a statement that would is refused. In SQLite it does not wait for
    /// writers, nor they for it.
    pub fn read_only(mut self) -> Begin<On> {
        self.options.read_only = true;
        self
    }

    /// If it is serializable and read-only, it waits at its begin for a moment at which it can
    /// never collide. SQLite's never do.
    pub fn deferrable(mut self) -> Begin<On> {
        self.options.deferrable = true;
        self
    }
}

impl<On> fmt::Debug for Begin<On> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Begin")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// A transaction or a savepoint that is open; it derefs to the [`Session`], which it has for itself:
/// a `&mut Session`, or a [`Connection`] of its own.
///
/// A function that works in any of them takes a `&Session`, or a `&mut Session` if it needs
/// savepoints.
pub struct Transaction<S: Deref<Target = Session>>(Level<S>);

/// One more transaction or savepoint on a session. Dropped, it is rolled back before anything else
/// is done there.
pub(crate) struct Level<S: Deref<Target = Session>> {
    /// `None` once it was taken out.
    session: Option<S>,
    /// 1 for a transaction, more for a savepoint in one.
    depth: u32,
    /// Whether its end has been seen to.
    is_ended: bool,
}

const HELD: &str = "a transaction has its session until it has ended";

impl<S: Deref<Target = Session>> Level<S> {
    pub(crate) async fn begin(session: S, options: &TransactionOptions) -> Result<Self, Error> {
        // Dropped from here on, it is rolled back: also if it has not begun yet.
        let depth = session.deepen();
        let level = Level {
            session: Some(session),
            depth,
            is_ended: false,
        };
        let driver = level.session().driver();
        match depth {
            1 => driver.begin(options).await?,
            depth => driver.savepoint(&savepoint(depth)).await?,
        }
        Ok(level)
    }

    fn session(&self) -> &S {
        self.session.as_ref().expect(HELD)
    }

    fn session_mut(&mut self) -> &mut S {
        self.session.as_mut().expect(HELD)
    }

    /// Commits or rolls back, as the case may be.
    async fn end(&mut self, case: &ExitCase, then: Then) -> Result<(), Error> {
        match case {
            ExitCase::Succeeded => self.commit(then).await,
            _ => self.rollback().await,
        }
    }

    pub(crate) async fn commit(&mut self, then: Then) -> Result<(), Error> {
        if let Err(error) = self.check().await {
            self.rollback().await?;
            return Err(error);
        }
        let session: &Session = self.session();
        let committed = match self.depth {
            1 => session.commit(then).await,
            depth => {
                // Cut off in it, it is unknown whether the savepoint is gone.
                let mut unknown = Unknown(Some((session, depth - 1)));
                let released = session.driver().release(&savepoint(depth)).await;
                unknown.0 = match &released {
                    // It was undone to the savepoint, as was asked for.
                    Err(error) if error.kind() != ErrorKind::Poisoned => unknown.0,
                    _ => None,
                };
                released
            }
        };
        self.ended();
        committed
    }

    /// Whether it can be committed.
    async fn check(&self) -> Result<(), Error> {
        let session = self.session();
        session.ready().await?;
        match session.depth() == self.depth {
            true => Ok(()),
            false => Err(Error::new(
                ErrorKind::Poisoned,
                "a transaction inside of this one has not ended",
            )),
        }
    }

    pub(crate) async fn rollback(&mut self) -> Result<(), Error> {
        // Those inside that were dropped go with it.
        let session = self.session();
        let driver = session.driver();
        let rolled_back = match self.depth {
            1 => driver.rollback().await,
            depth => driver.rollback_to(&savepoint(depth)).await,
        };
        if rolled_back.is_err() {
            session.poison(self.depth - 1, UNKNOWN);
        }
        if rolled_back.is_ok() || self.depth > 1 {
            self.ended();
        }
        rolled_back
    }

    fn ended(&mut self) {
        self.is_ended = true;
        self.session().ended(self.depth);
    }

    /// If it has not ended, it is rolled back before anything else is done on the session.
    fn into_session(mut self) -> S {
        self.leave();
        self.session.take().expect(HELD)
    }

    fn leave(&self) {
        if let Some(session) = &self.session
            && !self.is_ended
        {
            session.dropped(self.depth);
        }
    }
}

/// Dropped, it poisons the transaction around a savepoint.
struct Unknown<'s>(Option<(&'s Session, u32)>);

impl Drop for Unknown<'_> {
    fn drop(&mut self) {
        if let Some((session, depth)) = self.0 {
            session.poison(depth, UNKNOWN);
        }
    }
}

impl<S: Deref<Target = Session>> Drop for Level<S> {
    fn drop(&mut self) {
        self.leave();
    }
}

impl<S: Deref<Target = Session>> Deref for Transaction<S> {
    type Target = Session;

    fn deref(&self) -> &Session {
        self.0.session()
    }
}

impl<S: DerefMut<Target = Session>> DerefMut for Transaction<S> {
    fn deref_mut(&mut self) -> &mut Session {
        self.0.session_mut()
    }
}

impl<S: Deref<Target = Session>> fmt::Debug for Transaction<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction")
            .field("depth", &self.0.depth)
            .finish_non_exhaustive()
    }
}

impl<'s> AsyncContextManager for Begin<&'s mut Session> {
    type Resource = Transaction<&'s mut Session>;
    type Error = Error;

    async fn enter(self) -> Result<Self::Resource, Error> {
        let Begin { on, options } = self;
        on.ready().await?;
        Level::begin(on, &options).await.map(Transaction)
    }

    async fn exit(Transaction(mut level): Self::Resource, case: ExitCase) -> Result<(), Error> {
        level.end(&case, Then::GoOn).await
    }

    fn name(&self) -> Cow<'static, str> {
        match self.on.depth() {
            0 => Cow::Borrowed("transaction"),
            _ => Cow::Borrowed("savepoint"),
        }
    }
}

impl AsyncContextManager for Begin<Acquire<Sessions>> {
    type Resource = Transaction<Connection>;
    type Error = Error;

    async fn enter(self) -> Result<Self::Resource, Error> {
        let Begin { on, options } = self;
        let connection = on.enter().await?;
        Level::begin(connection, &options).await.map(Transaction)
    }

    async fn exit(Transaction(mut level): Self::Resource, case: ExitCase) -> Result<(), Error> {
        let ended = level.end(&case, Then::Renew).await;
        level.into_session().release_after(case).await;
        ended
    }

    fn name(&self) -> Cow<'static, str> {
        Cow::Borrowed("transaction")
    }
}

/// Dropped in its body it is rolled back by whatever is done next on its connection, and if that is
/// nothing, when the connection is given back.
impl<'s> RefContextManager for Begin<&'s mut Session> {
    fn abandon(transaction: Transaction<&'s mut Session>) {
        drop(transaction);
    }
}
