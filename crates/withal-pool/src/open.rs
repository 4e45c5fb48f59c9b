//! A pool as a resource.

use std::borrow::Cow;
use std::fmt;

use withal_core::{AsyncContextManager, BoxError, ExitCase};

use crate::{Builder, Manager, Pool};

/// A pool as a resource; made by [`Pool::open`].
#[must_use = "a context manager does nothing until it is entered"]
pub struct OpenPool<M: Manager> {
    builder: Builder<M>,
}

impl<M: Manager> OpenPool<M> {
    pub(crate) fn new(builder: Builder<M>) -> OpenPool<M> {
        OpenPool { builder }
    }
}

impl<M: Manager> AsyncContextManager for OpenPool<M> {
    type Resource = Pool<M>;
    type Error = BoxError;

    async fn enter(self) -> Result<Pool<M>, BoxError> {
        let pool = self.builder.build()?;
        let limit = pool.shared().settings.close_timeout;
        if let Err(error) = pool.shared().fill().await {
            pool.close(limit).await?;
            return Err(error.into());
        }
        Ok(pool)
    }

    /// Fails with [`CloseError`](crate::CloseError) if not all came back in time.
    async fn exit(pool: Pool<M>, _: ExitCase) -> Result<(), BoxError> {
        let limit = pool.shared().settings.close_timeout;
        Ok(pool.close(limit).await?)
    }

    fn name(&self) -> Cow<'static, str> {
        self.builder.settings.name.clone()
    }
}

impl<M: Manager> fmt::Debug for OpenPool<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OpenPool").field(&self.builder).finish()
    }
}
