//! The handle of a pool.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use withal_scope::integration::{Inventory, add_inventory};

use crate::deadline::{Trouble, attempt};
use crate::shared::Shared;
use crate::table::User;
use crate::{
    Acquire, AcquireError, Builder, CloseError, Counters, Holder, Lease, Manager, OpenPool, Status,
};

/// A pool of connections; clones share it.
///
/// Who waits gets a connection in the order of asking. A slot is free only once its connection is
/// known to be clean: whatever the last user left is undone before it is idle, not when the next
/// one comes. A connection of which that cannot be known is ended.
///
/// Close it with [`close`](Pool::close), or let a block do it: `s.enter(Pool::open(builder))`. When
/// the last clone is dropped, it closes in the background, and says so.
///
/// # Examples
///
/// ```
/// # use withal_core::{BoxError, ExitCase};
/// # #[derive(Debug)] struct Connection;
/// # impl Connection { async fn ping(&mut self) -> std::io::Result<()> { Ok(()) } }
/// # struct Database;
/// use withal_pool::{Manager, Pool};
/// use withal_scope::scope;
///
/// impl Manager for Database {
///     type Connection = Connection;
///     type Error = std::io::Error;
///
///     async fn create(&self) -> std::io::Result<Connection> {
///         Ok(Connection)
///     }
///
///     async fn recycle(&self, _: &mut Connection, case: ExitCase) -> std::io::Result<()> {
///         println!("undoing what is left of a use that {case:?}");
///         Ok(())
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), withal_core::Error> {
/// scope(async |s| {
///     let pool = s.enter(Pool::open(Pool::builder(Database).max_size(4))).await?;
///     let connection = s.enter(pool.acquire()).await?;
///     connection.ping().await?;
///     Ok(())
/// })
/// .await // the connection is reset and put back, then the pool is closed
/// # }
/// ```
pub struct Pool<M: Manager>(Arc<Handle<M>>);

/// What all clones share; its destructor closes the pool.
struct Handle<M: Manager>(Arc<Shared<M>>);

impl<M: Manager> Pool<M> {
    /// A pool of what `manager` makes.
    pub fn builder(manager: M) -> Builder<M> {
        Builder::new(manager)
    }

    /// A context manager that builds the pool, makes [`min_idle`](Builder::min_idle) connections,
    /// lends it, and closes it.
    pub fn open(builder: Builder<M>) -> OpenPool<M> {
        OpenPool::new(builder)
    }

    #[track_caller]
    pub(crate) fn new(builder: Builder<M>) -> Pool<M> {
        let shared = Arc::new(Shared::new(builder, Location::caller()));
        let inventory: Arc<dyn Inventory> = Arc::clone(&shared) as Arc<dyn Inventory>;
        add_inventory(Arc::downgrade(&inventory));
        Pool(Arc::new(Handle(shared)))
    }

    pub(crate) fn shared(&self) -> &Arc<Shared<M>> {
        &self.0.0
    }

    /// A connection, as a context manager.
    ///
    /// # Examples
    ///
    /// See [`Pool`].
    #[track_caller]
    pub fn acquire(&self) -> Acquire<M> {
        Acquire {
            shared: Arc::clone(self.shared()),
            location: Location::caller(),
        }
    }

    /// A connection, as a value: for those who have no block to give it back.
    ///
    /// # Errors
    ///
    /// As [`AcquireError`] says: no slot was free in time, the pool is closed, or no connection
    /// could be made.
    ///
    /// # Panics
    ///
    /// If it has to make a connection or to wait, and the runtime's timer is not enabled; or if the
    /// manager, or a hook, panics.
    ///
    /// # Cancel safety
    ///
    /// Dropping it loses the place in the queue, and nothing else. A connection that was being made
    /// is made, and lands idle. One that was being validated is ended.
    #[track_caller]
    pub fn lease(
        &self,
    ) -> impl Future<Output = Result<Lease<M>, AcquireError<M::Error>>> + Send + use<M> {
        let shared = Arc::clone(self.shared());
        let location = Location::caller();
        async move {
            let user = User::at(location, false);
            Ok(Lease::new(shared.check_out(user).await?))
        }
    }

    /// Closes the pool, and waits until every connection has been ended.
    ///
    /// Nothing is handed out any more, and those who wait hear that it is closed. What is idle is
    /// ended; what is out is ended when it comes back.
    ///
    /// # Errors
    ///
    /// Not all has come back within `limit`; the error names who has it. It is ended all the same
    /// when it comes back, and `close` may be called again to wait for it.
    ///
    /// # Panics
    ///
    /// If it has to wait and the runtime's timer is not enabled.
    ///
    /// # Cancel safety
    ///
    /// Dropping it loses nothing: the pool is closed with the first poll, and can be waited for
    /// again.
    pub async fn close(&self, limit: Duration) -> Result<(), CloseError> {
        let shared = self.shared();
        shared.close();
        let closed = async {
            shared.wait_empty().await;
            shared.keeper.wait_ended().await;
            Ok::<(), std::convert::Infallible>(())
        };
        let ended = attempt(Some(limit), closed, || ()).await;
        match ended {
            // The keeper alone may be late: its runtime need not be running.
            Err(Trouble::TimedOut(limit)) if shared.status().size > 0 => {
                Err(shared.close_error(limit))
            }
            _ => Ok(()),
        }
    }

    /// From now on, no connection that exists is handed out any more: what is idle is ended, what
    /// is out is ended when it comes back. For a server that was replaced by another.
    pub fn expire(&self) {
        self.shared().expire();
    }

    /// The pool as it is now.
    #[must_use]
    pub fn status(&self) -> Status {
        self.shared().status()
    }

    /// What the pool has done since it was built.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.shared().table().counters.clone()
    }

    /// Who keeps slots busy now, the longest first.
    #[must_use]
    pub fn holders(&self) -> Vec<Holder> {
        self.shared().holders()
    }

    /// The manager it was built with.
    #[must_use]
    pub fn manager(&self) -> &M {
        &self.shared().manager
    }

    /// Whether it is closed, or being closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared().table().is_closed
    }
}

impl<M: Manager> Clone for Pool<M> {
    fn clone(&self) -> Pool<M> {
        Pool(Arc::clone(&self.0))
    }
}

impl<M: Manager> fmt::Debug for Pool<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared().fmt(f)
    }
}

impl<M: Manager> Drop for Handle<M> {
    fn drop(&mut self) {
        let shared = &self.0;
        let table = shared.table();
        let (is_closed, is_empty) = (table.is_closed, table.size() == 0);
        drop(table);
        if is_closed {
            return;
        }
        if !is_empty {
            shared.note_not_closed();
        }
        shared.close();
    }
}
