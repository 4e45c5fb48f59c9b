//! What decorated functions are made of, and how `#[with(..)]` gives them their own errors back.

use std::error::Error as StdError;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;

use crate::{BoxError, Error};

/// Stands for the error type of a decorated function.
#[derive(Debug)]
pub struct Restore<E>(PhantomData<fn() -> E>);

impl<E> Clone for Restore<E> {
    fn clone(&self) -> Restore<E> {
        *self
    }
}

impl<E> Copy for Restore<E> {}

impl<E> Restore<E> {
    /// Of a function that fails with `E`.
    #[allow(clippy::new_without_default, reason = "not for people")]
    pub fn new() -> Restore<E> {
        Restore(PhantomData)
    }
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

/// What functions that can fail return.
#[diagnostic::on_unimplemented(
    message = "a function inside a block returns a `Result`, not `{Self}`",
    label = "enter and exit can fail, so this must be a `Result`",
    note = "a future or stream that the function returns would run after its block: write an `async fn`, or return `impl Stream<Item = Result<T, E>>`"
)]
pub trait Fallible {
    /// `T` of `Result<T, E>`.
    type Value;
    /// `E` of `Result<T, E>`.
    type Error;

    /// The `Result` itself.
    fn into_result(self) -> Result<Self::Value, Self::Error>;
}

impl<T, E> Fallible for Result<T, E> {
    type Value = T;
    type Error = E;

    fn into_result(self) -> Result<T, E> {
        self
    }
}

/// What functions inside a block may fail with.
#[diagnostic::on_unimplemented(
    message = "a function inside a block fails with an error that can hold those of enter and exit: `{Self}` cannot",
    label = "no `From<withal::Error>`",
    note = "give your enum a variant `Block(#[from] withal::Error)`, or return `anyhow::Result<T>`, `Result<T, Box<dyn Error + Send + Sync>>` or `Result<T, withal::Error>`"
)]
pub trait FromBlock: From<Error> + Into<BoxError> {}

#[diagnostic::do_not_recommend]
impl<E: From<Error> + Into<BoxError>> FromBlock for E {}

/// The result of a decorated function as that of a block's body.
///
/// # Errors
///
/// The function's own.
pub fn boxed<R, E>(_restore: Restore<E>, result: R) -> Result<R::Value, BoxError>
where
    R: Fallible<Error = E>,
    E: FromBlock,
{
    result.into_result().map_err(Into::into)
}

/// Calls a function once: its closure may give away what it captured.
pub fn call<R>(function: impl FnOnce() -> R) -> R {
    function()
}

/// Says what a block returns where there is no place for its type.
pub fn never<R>() -> R {
    unreachable!("it stands behind `if false`")
}

/// A stream that is made when it is first polled.
#[derive(Debug)]
pub struct Deferred<F, S> {
    make: Option<F>,
    stream: Option<Pin<Box<S>>>,
}

/// The stream that `make` returns, made inside its block.
pub fn deferred<F: FnOnce() -> S, S: Stream>(make: F) -> Deferred<F, S> {
    Deferred {
        make: Some(make),
        stream: None,
    }
}

/// What must stay in place is boxed.
impl<F, S> Unpin for Deferred<F, S> {}

impl<F: FnOnce() -> S, S: Stream> Stream for Deferred<F, S> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<S::Item>> {
        if let Some(make) = self.make.take() {
            self.stream = Some(Box::pin(make()));
        }
        match &mut self.stream {
            Some(stream) => stream.as_mut().poll_next(context),
            None => Poll::Ready(None),
        }
    }
}
