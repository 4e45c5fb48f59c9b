//! Closes a value that has a closing method.

use std::fmt;
use std::ops::{Deref, DerefMut};

use crate::{BoxError, ContextManager, ExitCase};

/// Lends a value and closes it at the end; made by [`closing`].
#[must_use = "a manager does nothing until it is entered"]
pub struct Closing<T, C> {
    value: T,
    close: C,
}

/// A manager that lends `value` and calls `close` with it at the end, on every path.
///
/// After `contextlib.closing`. The method is named because Rust's types agree on no name for it.
///
/// ```
/// use std::io::{self, Write};
/// use withal_core::{closing, with};
///
/// # fn main() -> Result<(), withal_core::Error> {
/// let buffered = io::BufWriter::new(Vec::new());
/// with(closing(buffered, |mut w| w.flush()), |w| Ok(write!(w, "whole")?))?;
/// # Ok(())
/// # }
/// ```
pub fn closing<T, C, E>(value: T, close: C) -> Closing<T, C>
where
    C: FnOnce(T) -> Result<(), E>,
    E: Into<BoxError>,
{
    Closing { value, close }
}

impl<T, C, E> ContextManager for Closing<T, C>
where
    C: FnOnce(T) -> Result<(), E>,
    E: Into<BoxError>,
{
    type Resource = Closing<T, C>;
    type Error = E;

    #[inline]
    fn enter(self) -> Result<Closing<T, C>, E> {
        Ok(self)
    }

    #[inline]
    fn exit(resource: Closing<T, C>, _case: ExitCase) -> Result<(), E> {
        (resource.close)(resource.value)
    }

    fn name(&self) -> std::borrow::Cow<'static, str> {
        std::any::type_name::<T>().into()
    }
}

impl<T, C> Deref for Closing<T, C> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T, C> DerefMut for Closing<T, C> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

impl<T: fmt::Debug, C> fmt::Debug for Closing<T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Closing").field(&self.value).finish()
    }
}
