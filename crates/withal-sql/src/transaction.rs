//! Transactions, and savepoints in them.

use std::borrow::Cow;
use std::fmt;
use std::ops::{Deref, DerefMut};

use withal_core::{AsyncContextManager, ExitCase};
use withal_scope::RefContextManager;

use crate::options::{Isolation, TransactionOptions};
use crate::session::{UNKNOWN, savepoint};
use crate::{Error, ErrorKind, Session};

/// How to begin a transaction; a context manager that lends a [`Transaction`].
///
/// Made by [`Session::begin`]. If the body succeeds, the exit commits; in every other case it rolls
/// back, after cancelling on the server what the body has left running.
///
/// # Cancel safety
///
/// A transaction whose future is dropped anywhere is rolled back before anything else is done on
/// its connection; a `COMMIT` that has been sent is finished, and its result reported.
#[must_use = "a context manager does nothing until it is entered"]
pub struct Begin<'s> {
    session: &'s mut Session,
    options: TransactionOptions,
}

impl<'s> Begin<'s> {
    pub(crate) fn new(session: &'s mut Session) -> Begin<'s> {
        Begin {
            session,
            options: TransactionOptions::default(),
        }
    }

    /// What it may see of other transactions. By default what the database does by default.
    pub fn isolation(mut self, isolation: Isolation) -> Begin<'s> {
        self.options.isolation = Some(isolation);
        self
    }

    /// It changes nothing: a statement that would is refused. In SQLite it does not wait for
    /// writers, nor they for it.
    pub fn read_only(mut self) -> Begin<'s> {
        self.options.read_only = true;
        self
    }

    /// If it is serializable and read-only, it waits at its begin for a moment at which it can
    /// never collide. SQLite's never do.
    pub fn deferrable(mut self) -> Begin<'s> {
        self.options.deferrable = true;
        self
    }
}

impl fmt::Debug for Begin<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Begin")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// A transaction or a savepoint that is open; it derefs to the [`Session`].
pub struct Transaction<'s>(Level<&'s mut Session>);

/// One more transaction or savepoint on a session. Dropped, it is rolled back before anything else
/// is done there.
pub(crate) struct Level<S: Deref<Target = Session>> {
    session: S,
    /// 1 for a transaction, more for a savepoint in one.
    depth: u32,
    /// Whether its end has been seen to.
    is_ended: bool,
}

impl<S: Deref<Target = Session>> Level<S> {
    pub(crate) async fn begin(session: S, options: &TransactionOptions) -> Result<Self, Error> {
        // Dropped from here on, it is rolled back: also if it has not begun yet.
        let depth = session.deepen();
        let level = Level {
            session,
            depth,
            is_ended: false,
        };
        let driver = level.session.driver();
        match depth {
            1 => driver.begin(options).await?,
            depth => driver.savepoint(&savepoint(depth)).await?,
        }
        Ok(level)
    }

    pub(crate) async fn commit(mut self) -> Result<(), Error> {
        if let Err(error) = self.check().await {
            self.rollback().await?;
            return Err(error);
        }
        let committed = match self.depth {
            1 => self.session.driver().commit().await,
            depth => {
                // Cut off in it, it is unknown whether the savepoint is gone.
                let mut unknown = Unknown(Some((&self.session, depth - 1)));
                let released = self.session.driver().release(&savepoint(depth)).await;
                unknown.0 = match &released {
                    // It was undone to the savepoint, as was asked for.
                    Err(error) if error.kind() != ErrorKind::Poisoned => unknown.0,
                    _ => None,
                };
                released
            }
        };
        self.end();
        committed
    }

    /// Whether it can be committed.
    async fn check(&self) -> Result<(), Error> {
        self.session.ready().await?;
        match self.session.depth() == self.depth {
            true => Ok(()),
            false => Err(Error::new(
                ErrorKind::Poisoned,
                "a transaction inside of this one has not ended",
            )),
        }
    }

    pub(crate) async fn rollback(mut self) -> Result<(), Error> {
        // Those inside that were dropped go with it.
        let driver = self.session.driver();
        let rolled_back = match self.depth {
            1 => driver.rollback().await,
            depth => driver.rollback_to(&savepoint(depth)).await,
        };
        if rolled_back.is_err() {
            self.session.poison(self.depth - 1, UNKNOWN);
        }
        if rolled_back.is_ok() || self.depth > 1 {
            self.end();
        }
        rolled_back
    }

    fn end(&mut self) {
        self.is_ended = true;
        self.session.ended(self.depth);
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
        if !self.is_ended {
            self.session.dropped(self.depth);
        }
    }
}

impl Deref for Transaction<'_> {
    type Target = Session;

    fn deref(&self) -> &Session {
        self.0.session
    }
}

impl DerefMut for Transaction<'_> {
    fn deref_mut(&mut self) -> &mut Session {
        self.0.session
    }
}

impl fmt::Debug for Transaction<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction")
            .field("depth", &self.0.depth)
            .finish_non_exhaustive()
    }
}

impl<'s> AsyncContextManager for Begin<'s> {
    type Resource = Transaction<'s>;
    type Error = Error;

    async fn enter(self) -> Result<Transaction<'s>, Error> {
        let Begin { session, options } = self;
        session.ready().await?;
        Level::begin(session, &options).await.map(Transaction)
    }

    async fn exit(Transaction(level): Transaction<'s>, case: ExitCase) -> Result<(), Error> {
        match case {
            ExitCase::Succeeded => level.commit().await,
            _ => level.rollback().await,
        }
    }

    fn name(&self) -> Cow<'static, str> {
        match self.session.depth() {
            0 => Cow::Borrowed("transaction"),
            _ => Cow::Borrowed("savepoint"),
        }
    }
}

/// Dropped in its body it is rolled back by whatever is done next on its connection, and if that is
/// nothing, when the connection is given back.
impl<'s> RefContextManager for Begin<'s> {
    fn abandon(transaction: Transaction<'s>) {
        drop(transaction);
    }
}
