//! Swallows the errors you name, and nothing else.

use std::convert::Infallible;
use std::error::Error as StdError;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use crate::{AsyncContextManager, ContextManager, ExitCase, Flow, Matcher};

/// Swallows failures that are an `E`; made by [`suppress`].
#[must_use = "a manager does nothing until it is entered"]
pub struct Suppress<E>(PhantomData<fn() -> E>);

/// A manager that swallows failures that are an `E`, and only those: the block then gives `None`.
///
/// Of several failures the matching ones are removed and the rest goes on, as Python's `suppress`
/// treats exception groups. Errors that merely have an `E` as their cause do not match. What is
/// swallowed is noticed at WARN with a count per place. Panics and cancellation cannot be
/// swallowed.
///
/// After `contextlib.suppress`; for several types use a tuple of these, for a condition
/// [`suppress_if`].
///
/// ```
/// use std::{fs, io};
/// use withal_core::{suppress, with};
///
/// # fn main() -> Result<(), withal_core::Error> {
/// let text = with(suppress::<io::Error>(), |_| Ok(fs::read_to_string("/no/such/file")?))?;
/// assert_eq!(text.unwrap_or("default".into()), "default");
/// # Ok(())
/// # }
/// ```
pub fn suppress<E: StdError + 'static>() -> Suppress<E> {
    Suppress(PhantomData)
}

/// Swallows failures that are an `E` and meet a condition; made by [`suppress_if`].
#[must_use = "a manager does nothing until it is entered"]
pub struct SuppressIf<E> {
    condition: Arc<dyn Fn(&E) -> bool + Send + Sync>,
}

/// A manager that swallows failures that are an `E` for which `condition` answers true.
///
/// ```
/// use std::{fs, io};
/// use withal_core::{suppress_if, with};
///
/// # fn main() -> Result<(), withal_core::Error> {
/// let missing = suppress_if(|error: &io::Error| error.kind() == io::ErrorKind::NotFound);
/// let removed = with(missing, |_| Ok(fs::remove_file("/no/such/file")?))?;
/// assert_eq!(removed, None);
/// # Ok(())
/// # }
/// ```
pub fn suppress_if<E: StdError + 'static>(
    condition: impl Fn(&E) -> bool + Send + Sync + 'static,
) -> SuppressIf<E> {
    SuppressIf {
        condition: Arc::new(condition),
    }
}

macro_rules! suppressor {
    ($manager:ident) => {
        impl<E: StdError + 'static> ContextManager<Flow> for $manager<E> {
            type Resource = $manager<E>;
            type Error = Infallible;

            fn enter(self) -> Result<$manager<E>, Infallible> {
                Ok(self)
            }

            fn exit(resource: $manager<E>, _case: ExitCase) -> Result<Flow, Infallible> {
                Ok(resource.flow())
            }
        }

        impl<E: StdError + 'static> AsyncContextManager<Flow> for $manager<E> {
            type Resource = $manager<E>;
            type Error = Infallible;

            async fn enter(self) -> Result<$manager<E>, Infallible> {
                Ok(self)
            }

            async fn exit(resource: $manager<E>, _case: ExitCase) -> Result<Flow, Infallible> {
                Ok(resource.flow())
            }
        }
    };
}

suppressor!(Suppress);
suppressor!(SuppressIf);

impl<E: StdError + 'static> Suppress<E> {
    fn flow(self) -> Flow {
        Flow::SuppressMatching(Matcher::new(|error| error.is::<E>()))
    }
}

impl<E: StdError + 'static> SuppressIf<E> {
    fn flow(self) -> Flow {
        Flow::SuppressMatching(Matcher::new(move |error| {
            error
                .downcast_ref()
                .is_some_and(|error| (self.condition)(error))
        }))
    }
}

impl<E> Clone for Suppress<E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<E> Copy for Suppress<E> {}

impl<E> fmt::Debug for Suppress<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Suppress<{}>", std::any::type_name::<E>())
    }
}

impl<E> Clone for SuppressIf<E> {
    fn clone(&self) -> Self {
        SuppressIf {
            condition: Arc::clone(&self.condition),
        }
    }
}

impl<E> fmt::Debug for SuppressIf<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SuppressIf<{}>", std::any::type_name::<E>())
    }
}
