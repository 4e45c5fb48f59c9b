//! What an exit says about the failure it was shown.

use std::fmt;

use crate::Error;

/// What an exit that may swallow errors says about the failure it was shown.
///
/// Only a manager whose type says so can answer with a `Flow`: it implements
/// [`ContextManager<Flow>`](crate::ContextManager), and then the block's value is an [`Option`].
/// Python's `__exit__` says the same with a truth value, which a forgotten `await` or a stray
/// `return self` can set by accident.
#[derive(Debug, Default)]
#[non_exhaustive]
pub enum Flow {
    /// The failure, if any, goes on to the outer blocks.
    #[default]
    Propagate,
    /// The whole current failure is swallowed. Without a failure this says nothing.
    ///
    /// The block's value goes with the failure, even if only an exit failed: the block gives
    /// `None`, as nested blocks would.
    Suppress,
    /// Only the failures that match are swallowed; the rest goes on.
    SuppressMatching(Matcher),
    /// The current failure is swallowed and this one takes its place, unlinked.
    ///
    /// Where there is nothing it may take the place of (no failure, a panic, a cancellation), it
    /// joins what there is, as an error of the exit would.
    Replace(crate::BoxError),
    /// The answer of managers made of managers.
    #[doc(hidden)]
    Settled(crate::unwind::Settled),
}

/// Chooses among failures by their error; made by [`Matcher::new`].
pub struct Matcher(Box<MatcherFn>);

type MatcherFn = dyn Fn(&(dyn std::error::Error + 'static)) -> bool + Send + Sync;

impl Matcher {
    /// Matches the errors for which `matches` answers true.
    pub fn new(
        matches: impl Fn(&(dyn std::error::Error + 'static)) -> bool + Send + Sync + 'static,
    ) -> Matcher {
        Matcher(Box::new(matches))
    }

    pub(crate) fn matches(&self, error: &(dyn std::error::Error + 'static)) -> bool {
        (self.0)(error)
    }
}

impl fmt::Debug for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Matcher(..)")
    }
}

/// What a manager's exit may answer: `()` always lets failures through, [`Flow`] may swallow them.
///
/// The answer's type decides the type of the block: with `()` a block of `T` gives `T`, with
/// [`Flow`] it gives `Option<T>`. A tuple of managers may swallow if any of them may.
/// This trait is sealed.
#[diagnostic::on_unimplemented(
    message = "an exit answers with `()` or `Flow`, not with `{Self}`",
    label = "`{Self}` is no verdict",
    note = "answer `Ok(())` to let errors through; to swallow them implement `ContextManager<Flow>` and answer `Ok(Flow::Suppress)`"
)]
pub trait Verdict: sealed::Sealed + fmt::Debug + Send + Sized + 'static {
    /// The type of a block whose body gives `T`.
    type Output<T>;
    /// The verdict of two managers taken together.
    #[doc(hidden)]
    type Or<V: Verdict>: Verdict;
    /// Whether a failure can be swallowed at all.
    #[doc(hidden)]
    const MAY_SUPPRESS: bool;

    #[doc(hidden)]
    fn into_flow(self) -> Flow;
    /// Only a verdict that may suppress is ever given anything but `Propagate`.
    #[doc(hidden)]
    fn from_flow(flow: Flow) -> Self;
    #[doc(hidden)]
    fn output<T>(value: T) -> Self::Output<T>;
    /// The block's value when its failure was swallowed, or `None` where that cannot happen.
    #[doc(hidden)]
    fn suppressed<T>() -> Option<Self::Output<T>>;
}

impl Verdict for () {
    type Output<T> = T;
    type Or<V: Verdict> = V;
    const MAY_SUPPRESS: bool = false;

    #[inline]
    fn into_flow(self) -> Flow {
        Flow::Propagate
    }

    fn from_flow(_flow: Flow) -> Self {}

    #[inline]
    fn output<T>(value: T) -> T {
        value
    }

    fn suppressed<T>() -> Option<T> {
        None
    }
}

impl Verdict for Flow {
    type Output<T> = Option<T>;
    type Or<V: Verdict> = Flow;
    const MAY_SUPPRESS: bool = true;

    #[inline]
    fn into_flow(self) -> Flow {
        self
    }

    fn from_flow(flow: Flow) -> Self {
        flow
    }

    #[inline]
    fn output<T>(value: T) -> Option<T> {
        Some(value)
    }

    fn suppressed<T>() -> Option<Option<T>> {
        Some(None)
    }
}

macro_rules! tuple_verdict {
    ($first:ident $(, $rest:ident)*) => {
        impl<$first: Verdict $(, $rest: Verdict)*> Verdict for ($first, $($rest,)*) {
            type Output<T> = <tuple_verdict!(@or $first $(, $rest)*) as Verdict>::Output<T>;
            type Or<V: Verdict> = <tuple_verdict!(@or $first $(, $rest)*) as Verdict>::Or<V>;
            const MAY_SUPPRESS: bool = $first::MAY_SUPPRESS $(|| $rest::MAY_SUPPRESS)*;

            /// At most one member says something: the tuple's exit settles them into one.
            #[allow(non_snake_case)]
            fn into_flow(self) -> Flow {
                let ($first, $($rest,)*) = self;
                let flow = $first.into_flow();
                $(let flow = match flow {
                    Flow::Propagate => $rest.into_flow(),
                    settled => settled,
                };)*
                flow
            }

            fn from_flow(flow: Flow) -> Self {
                let mut flow = Some(flow);
                (
                    tuple_verdict!(@member $first, flow),
                    $(tuple_verdict!(@member $rest, flow),)*
                )
            }

            fn output<T>(value: T) -> Self::Output<T> {
                <tuple_verdict!(@or $first $(, $rest)*) as Verdict>::output(value)
            }

            fn suppressed<T>() -> Option<Self::Output<T>> {
                <tuple_verdict!(@or $first $(, $rest)*) as Verdict>::suppressed()
            }
        }

        impl<$first: Verdict $(, $rest: Verdict)*> sealed::Sealed for ($first, $($rest,)*) {}

        impl<S: Verdict, $first: Within<S> $(, $rest: Within<S>)*> Within<S> for ($first, $($rest,)*) {}
    };
    (@or $only:ident) => { $only };
    (@or $first:ident $(, $rest:ident)+) => {
        <$first as Verdict>::Or<tuple_verdict!(@or $($rest),+)>
    };
    (@member $verdict:ident, $flow:ident) => {
        $verdict::from_flow(if $verdict::MAY_SUPPRESS {
            $flow.take().unwrap_or_default()
        } else {
            Flow::Propagate
        })
    };
}

tuple_verdict!(A);
tuple_verdict!(A, B);
tuple_verdict!(A, B, C);
tuple_verdict!(A, B, C, D);
tuple_verdict!(A, B, C, D, E);
tuple_verdict!(A, B, C, D, E, F);
tuple_verdict!(A, B, C, D, E, F, G);
tuple_verdict!(A, B, C, D, E, F, G, H);

/// Verdicts that an exit stack of verdict `S` can hold.
///
/// A stack whose block must not lose its value (`S = ()`) takes only managers that never swallow.
/// This trait is sealed.
#[diagnostic::on_unimplemented(
    message = "an exit that answers with `{Self}` cannot stand in this stack",
    label = "its exit answers with `{Self}`",
    note = "an exit that lets errors through answers with `()`, in any stack: `Ok(())`",
    note = "one that answers with `Flow` may swallow errors: make the stack with `ExitStack::suppressing()`, and its block gives an `Option`"
)]
pub trait Within<S: Verdict>: Verdict {}

impl<S: Verdict> Within<S> for () {}
impl Within<Flow> for Flow {}

mod sealed {
    pub trait Sealed {}
    impl Sealed for () {}
    impl Sealed for super::Flow {}
}

impl From<Error> for Flow {
    /// Replaces the current failure with `error`.
    fn from(error: Error) -> Flow {
        Flow::Replace(Box::new(error))
    }
}
