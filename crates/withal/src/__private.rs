//! How `#[with(..)]` gives a function its own errors back.

use std::error::Error as StdError;
use std::marker::PhantomData;

use crate::Error;

/// Stands for the error type of a decorated function.
#[derive(Debug)]
pub struct Restore<E>(PhantomData<E>);

impl<E> Restore<E> {
    /// Of a function that fails with `E`.
    #[allow(clippy::new_without_default, reason = "not for people")]
    pub fn new() -> Restore<E> {
        Restore(PhantomData)
    }
}

/// What a `Result` fails with.
pub trait ErrorOf {
    /// The error type.
    type Error;
}

impl<T, E> ErrorOf for Result<T, E> {
    type Error = E;
}

impl<E: StdError + From<Error> + 'static> Restore<E> {
    /// The body's own error as it went in, where that is all there is.
    pub fn restore(&self, error: Error) -> E {
        error.restore()
    }
}

/// For error types that are no `std::error::Error`, such as `anyhow::Error`.
pub trait FromError<E> {
    /// The block's error as an `E`.
    fn restore(&self, error: Error) -> E;
}

impl<E: From<Error>> FromError<E> for &Restore<E> {
    fn restore(&self, error: Error) -> E {
        E::from(error)
    }
}
