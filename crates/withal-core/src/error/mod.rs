//! The list of everything that went wrong in a block.

mod chain;
mod failure;
mod kinds;

use std::collections::HashSet;
use std::error::Error as StdError;
use std::fmt;

pub use failure::{Failure, Stage};
pub use kinds::{Panicked, TimedOut};

use crate::{BoxError, Entry};
use chain::Chain;

/// Everything that went wrong in a block, in the order it happened.
///
/// The body's error comes first, then each failing exit with the name and source location of its
/// entry. Nothing replaces anything: where Python keeps older errors only as a context chain, and
/// [loses them](https://github.com/python/cpython/issues/102201) in an `ExitStack` whose body was
/// clean, this is one list. The first failure is the primary one: `Display` begins with it and
/// `source()` is its source. Blocks inside blocks share one list, however deep they nest.
///
/// An `Error` is one word wide, and cloning it shares the list.
///
/// # Getting the body's own error back
///
/// ```
/// # use withal_core::{with, nullcontext};
/// # use std::fmt;
/// #[derive(Debug, PartialEq)]
/// enum Transfer {
///     InsufficientFunds { missing: u64 },
/// }
/// # impl fmt::Display for Transfer {
/// #     fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str("insufficient funds") }
/// # }
/// # impl std::error::Error for Transfer {}
/// let result = with(nullcontext(()), |()| {
///     Err::<(), _>(Transfer::InsufficientFunds { missing: 7 })?;
///     Ok(())
/// });
/// match result.unwrap_err().downcast::<Transfer>() {
///     Ok(Transfer::InsufficientFunds { missing }) => assert_eq!(missing, 7),
///     Err(other) => panic!("{other}"),
/// }
/// ```
#[derive(Clone)]
pub struct Error {
    chain: Chain,
}

impl Error {
    /// An error that is the body's `error`, or the list it already is.
    #[must_use]
    pub fn new(error: impl Into<BoxError>) -> Error {
        Error::from_failure(Stage::Body, None, error.into())
    }

    /// A `withal` error is taken over with its whole list; a foreign one becomes a list of one.
    pub(crate) fn from_failure(stage: Stage, entry: Option<Entry>, error: BoxError) -> Error {
        match error.downcast::<Error>() {
            Ok(list) => *list,
            Err(error) => Error {
                chain: Chain::new(Failure::new(stage, entry, error)),
            },
        }
    }

    /// Appends, in constant time, without touching clones of this list.
    pub(crate) fn push(&mut self, failure: Failure) {
        self.chain.push(failure);
    }

    /// Appends what is in `newer` and not yet here.
    pub(crate) fn extend(&mut self, newer: &Error) {
        self.chain.extend(&newer.chain);
    }

    /// Whether `self` is `other` or an earlier state of it.
    pub(crate) fn is_prefix_of(&self, other: &Error) -> bool {
        self.chain.is_prefix_of(&other.chain)
    }

    /// What came after `prefix`: all if it is no earlier state of `self`, `None` if nothing did.
    pub(crate) fn since(&self, prefix: &Error) -> Option<Error> {
        let chain = self.chain.since(&prefix.chain)?;
        Some(Error { chain })
    }

    /// What came after `prefix`, if `self` is `prefix` or a later state of it.
    pub(crate) fn grown_from(&self, prefix: &Error) -> Option<Option<Error>> {
        prefix.is_prefix_of(self).then(|| self.since(prefix))
    }

    /// The failures for which `chooses` answers true, and the others, each in their order.
    pub(crate) fn split(
        &self,
        chooses: impl Fn(&Failure) -> bool,
    ) -> (Option<Error>, Option<Error>) {
        let (chosen, others) = self.chain.split(chooses);
        let list = |chain| Error { chain };
        (chosen.map(list), others.map(list))
    }

    /// The failures that are not in `known`, in whatever order the two lists have them.
    pub(crate) fn unknown_to(&self, known: &Error) -> Option<Error> {
        let known: HashSet<*const Failure> = known.newest_first().map(std::ptr::from_ref).collect();
        self.split(|failure| known.contains(&std::ptr::from_ref(failure)))
            .1
    }

    /// The first failure: the body's error, or the first exit that failed after a clean body.
    #[must_use]
    pub fn first(&self) -> &Failure {
        self.chain.first()
    }

    /// The failures in the order they happened. Never empty.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Failure> + ExactSizeIterator {
        let mut failures: Vec<&Failure> = self.chain.newest_first().collect();
        failures.reverse();
        failures.into_iter()
    }

    /// The failures in Python's order: what `__context__` would lead through.
    pub fn newest_first(&self) -> impl Iterator<Item = &Failure> {
        self.chain.newest_first()
    }

    /// How many failures the list holds: at least one.
    #[allow(
        clippy::len_without_is_empty,
        reason = "a list of failures is never empty"
    )]
    #[must_use]
    pub fn len(&self) -> usize {
        self.chain.len()
    }

    /// The body's own error, if it was the body that failed.
    #[must_use]
    pub fn body(&self) -> Option<&(dyn StdError + Send + Sync + 'static)> {
        Some(self.first())
            .filter(|first| first.stage() == Stage::Body)
            .map(Failure::error)
    }

    /// The failures of exits.
    pub fn exits(&self) -> impl Iterator<Item = &Failure> {
        self.iter().filter(|failure| failure.stage() == Stage::Exit)
    }

    /// Whether any failure is, or was caused by, an `E`.
    #[must_use]
    pub fn is<E: StdError + 'static>(&self) -> bool {
        self.downcast_ref::<E>().is_some()
    }

    /// The oldest `E` among the failures and their causes.
    #[must_use]
    pub fn downcast_ref<E: StdError + 'static>(&self) -> Option<&E> {
        self.iter().find_map(Failure::downcast_ref)
    }

    /// The body's own error by value.
    ///
    /// # Errors
    ///
    /// Gives `self` back if the first failure is no `E`, if exits failed as well (nothing is lost:
    /// use [`downcast_ref`](Error::downcast_ref)), or if a clone of the list is still held.
    pub fn downcast<E: StdError + 'static>(self) -> Result<E, Error> {
        self.chain.take_only::<E>().map_err(|chain| Error { chain })
    }

    /// The body's own error where it is an `E` and all there is, and `E::from(self)` otherwise.
    ///
    /// This is for a function whose error type has one `#[from] withal::Error`: its own errors come
    /// out of a block as they went in.
    ///
    /// ```
    /// # use withal_core::{with, nullcontext};
    /// # #[derive(Debug, thiserror::Error)]
    /// #[derive(PartialEq)]
    /// # #[error("{self:?}")]
    /// enum AppError {
    ///     NotFound,
    ///     Block(String),
    /// }
    /// impl From<withal_core::Error> for AppError {
    ///     fn from(error: withal_core::Error) -> AppError {
    ///         AppError::Block(error.to_string())
    ///     }
    /// }
    ///
    /// fn find() -> Result<(), AppError> {
    ///     with(nullcontext(()), |()| Ok(Err(AppError::NotFound)?)).map_err(|error| error.restore())
    /// }
    /// assert_eq!(find(), Err(AppError::NotFound));
    /// ```
    #[must_use]
    pub fn restore<E: StdError + From<Error> + 'static>(self) -> E {
        self.downcast::<E>().unwrap_or_else(E::from)
    }

    /// A view that prints every failure on a line of its own, with its causes.
    #[must_use]
    pub fn report(&self) -> Report<'_> {
        Report(self)
    }
}

impl fmt::Display for Error {
    /// The first failure in full, then the others in one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, failure) in self.iter().enumerate() {
            match position {
                0 => write!(f, "{failure}")?,
                _ => write!(f, "; then {failure}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    /// What `fn main() -> Result<(), withal::Error>` prints: the [`report`](Error::report).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if f.alternate() {
            return f.debug_list().entries(self.iter()).finish();
        }
        write!(f, "{}", self.report())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.first().error().source()
    }
}

/// Prints every failure of an [`Error`] on a line of its own, with its causes below it.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a>(&'a Error);

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, failure) in self.0.iter().enumerate() {
            if position > 0 {
                writeln!(f)?;
            }
            write!(f, "{failure}")?;
            let mut source = failure.error().source();
            while let Some(cause) = source {
                write!(f, "\n    caused by: {cause}")?;
                source = cause.source();
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
