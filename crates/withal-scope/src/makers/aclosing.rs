//! Closes a value that has an async closing method.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use withal_core::{AsyncContextManager, BoxError, ExitCase};

use crate::send::SendFn;

/// Lends a value and closes it at the end; made by [`aclosing`].
#[must_use = "a manager does nothing until it is entered"]
pub struct Aclosing<T, C, E> {
    value: T,
    close: C,
    error: PhantomData<fn() -> E>,
}

/// A manager that lends `value` and awaits `close` with it at the end, on every path.
///
/// After `contextlib.aclosing`. The method is named because Rust's types agree on no name for it.
///
/// ```
/// use withal_scope::{aclosing, async_with};
///
/// struct Session;
/// impl Session {
///     async fn close(self) -> Result<(), std::io::Error> {
///         Ok(println!("said goodbye"))
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), withal_core::Error> {
/// async_with(aclosing(Session, Session::close), async |_session| Ok(())).await
/// # }
/// ```
pub fn aclosing<T, C, E>(value: T, close: C) -> Aclosing<T, C, E>
where
    C: AsyncFnOnce(T) -> Result<(), E> + SendFn<T, Result<(), E>>,
    E: Into<BoxError>,
{
    Aclosing {
        value,
        close,
        error: PhantomData,
    }
}

impl<T, C, E> AsyncContextManager for Aclosing<T, C, E>
where
    T: Send,
    C: SendFn<T, Result<(), E>> + Send,
    E: Into<BoxError> + Send,
{
    type Resource = Aclosing<T, C, E>;
    type Error = E;

    async fn enter(self) -> Result<Self, E> {
        Ok(self)
    }

    async fn exit(resource: Self, _case: ExitCase) -> Result<(), E> {
        resource.close.call(resource.value).await
    }

    fn name(&self) -> Cow<'static, str> {
        std::any::type_name::<T>().into()
    }
}

impl<T, C, E> Deref for Aclosing<T, C, E> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T, C, E> DerefMut for Aclosing<T, C, E> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

impl<T: fmt::Debug, C, E> fmt::Debug for Aclosing<T, C, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Aclosing").field(&self.value).finish()
    }
}
