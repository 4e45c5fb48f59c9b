//! A manager that does nothing.

use std::convert::Infallible;

use crate::{AsyncContextManager, ContextManager, ExitCase};

/// Lends a value and does nothing at either end; made by [`nullcontext`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Nullcontext<T>(T);

/// A manager that lends `value` and does nothing else, sync or async: for a block whose manager is
/// optional.
///
/// After `contextlib.nullcontext`.
///
/// ```
/// use withal_core::{nullcontext, with};
///
/// # fn main() -> Result<(), withal_core::Error> {
/// let text = with(nullcontext("given"), |text| Ok(text.to_uppercase()))?;
/// assert_eq!(text, "GIVEN");
/// # Ok(())
/// # }
/// ```
pub fn nullcontext<T>(value: T) -> Nullcontext<T> {
    Nullcontext(value)
}

impl<T> ContextManager for Nullcontext<T> {
    type Resource = T;
    type Error = Infallible;

    #[inline]
    fn enter(self) -> Result<T, Infallible> {
        Ok(self.0)
    }

    #[inline]
    fn exit(_resource: T, _case: ExitCase) -> Result<(), Infallible> {
        Ok(())
    }
}

impl<T: Send> AsyncContextManager for Nullcontext<T> {
    type Resource = T;
    type Error = Infallible;

    #[inline]
    async fn enter(self) -> Result<T, Infallible> {
        Ok(self.0)
    }

    #[inline]
    async fn exit(_resource: T, _case: ExitCase) -> Result<(), Infallible> {
        Ok(())
    }
}
