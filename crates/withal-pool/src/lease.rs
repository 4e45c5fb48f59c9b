//! A connection that somebody has.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use withal_core::ExitCase;

use crate::permit::Out;
use crate::shield::Shield;
use crate::{Info, Manager};

/// A connection that somebody has: use it like a `&mut` of one.
///
/// In a block it is what [`Pool::acquire`](crate::Pool::acquire) lends, and the block's exit gives
/// it back. As a value, made by [`Pool::lease`](crate::Pool::lease), it is given back by
/// [`release`](Lease::release), which waits until the connection is clean and its slot free.
///
/// Dropped, it is given back too, as after [`ExitCase::Cancelled`], since nobody can know where its
/// use stopped. The destructor does what is ready at once; the rest goes to the reaper, which works
/// on any thread, with or without a runtime. Forgotten (`mem::forget`), it keeps its slot for ever:
/// the pool reports it after [`Builder::report_after`](crate::Builder::report_after).
#[must_use = "dropped, a lease counts as cancelled: its connection is reset in full"]
pub struct Lease<M: Manager> {
    /// `None` once it was given back.
    out: Option<Out<M>>,
}

const HELD: &str = "a lease has its connection until it is given back";

impl<M: Manager> Lease<M> {
    pub(crate) fn new(out: Out<M>) -> Lease<M> {
        Lease { out: Some(out) }
    }

    /// Gives it back after a use that ended well, and waits until its slot is free.
    ///
    /// What goes wrong is worked around: the connection is ended, the notice hook hears why.
    ///
    /// # Panics
    ///
    /// If the manager, or a hook, panics; the slot is free then.
    ///
    /// # Cancel safety
    ///
    /// Dropped half way, the reaper goes on where it was. Dropped before it was polled, it counts
    /// as a dropped lease.
    ///
    /// # Examples
    ///
    /// ```
    /// # use withal_pool::{Manager, Pool};
    /// # struct Dummy;
    /// # impl Manager for Dummy {
    /// #     type Connection = u32;
    /// #     type Error = std::io::Error;
    /// #     async fn create(&self) -> std::io::Result<u32> { Ok(0) }
    /// #     async fn recycle(&self, _: &mut u32, _: withal_core::ExitCase) -> std::io::Result<()> { Ok(()) }
    /// # }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), withal_core::BoxError> {
    /// # let pool = Pool::builder(Dummy).build()?;
    /// let mut connection = pool.lease().await?;
    /// *connection += 1;
    /// connection.release().await;
    /// assert_eq!(pool.status().idle, 1);
    /// # pool.close(std::time::Duration::from_secs(1)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn release(self) -> impl Future<Output = ()> + Send {
        self.release_after(ExitCase::Succeeded)
    }

    /// Gives it back after a use that ended as `case` says, and waits until its slot is free.
    ///
    /// # Panics
    ///
    /// As [`release`](Lease::release).
    ///
    /// # Cancel safety
    ///
    /// As [`release`](Lease::release).
    pub async fn release_after(mut self, case: ExitCase) {
        let Some(mut out) = self.take() else {
            return;
        };
        match out.is_clean(&case) {
            true => out.land().await,
            false => {
                let shared = Arc::clone(&out.permit.shared);
                Shield::new(shared, out.come_back(case)).await;
            }
        }
    }

    /// From now on its connection is not to be used again: it is ended when it comes back.
    pub fn condemn(&mut self) {
        self.out_mut().is_condemned = true;
    }

    /// What the pool knows of the connection.
    ///
    #[must_use]
    pub fn info(&self) -> Info {
        self.out().permit.info()
    }

    fn out(&self) -> &Out<M> {
        self.out.as_ref().expect(HELD)
    }

    fn out_mut(&mut self) -> &mut Out<M> {
        self.out.as_mut().expect(HELD)
    }

    pub(crate) fn take(&mut self) -> Option<Out<M>> {
        self.out.take()
    }
}

impl<M: Manager> Deref for Lease<M> {
    type Target = M::Connection;

    fn deref(&self) -> &M::Connection {
        &self.out().connection
    }
}

impl<M: Manager> DerefMut for Lease<M> {
    fn deref_mut(&mut self) -> &mut M::Connection {
        &mut self.out_mut().connection
    }
}

impl<M: Manager> Drop for Lease<M> {
    fn drop(&mut self) {
        let Some(mut out) = self.take() else {
            return;
        };
        let case = ExitCase::Cancelled;
        match out.is_clean(&case) {
            true => out.land_in_background(),
            false => {
                let shared = Arc::clone(&out.permit.shared);
                shared.do_in_background(out.come_back(case));
            }
        }
    }
}

impl<M: Manager> fmt::Debug for Lease<M>
where
    M::Connection: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let connection = self.out.as_ref().map(|out| &out.connection);
        f.debug_tuple("Lease").field(&connection).finish()
    }
}
