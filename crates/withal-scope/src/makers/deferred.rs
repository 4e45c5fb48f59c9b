//! An exit without a resource.

use std::borrow::Cow;
use std::marker::PhantomData;

use withal_core::{AsyncContextManager, BoxError, ExitCase, Verdict};

use crate::send::SendFn;

/// A manager that is an exit function alone, which answers with `V` or fails with `E`.
pub(crate) struct Deferred<X, V, E> {
    exit: X,
    answer: PhantomData<fn() -> (V, E)>,
}

impl<X, V, E> Deferred<X, V, E> {
    pub(crate) fn new(exit: X) -> Self {
        Deferred {
            exit,
            answer: PhantomData,
        }
    }
}

impl<X, V, E> AsyncContextManager<V> for Deferred<X, V, E>
where
    X: SendFn<ExitCase, Result<V, E>> + Send,
    V: Verdict,
    E: Into<BoxError> + Send,
{
    type Resource = X;
    type Error = E;

    async fn enter(self) -> Result<X, E> {
        Ok(self.exit)
    }

    async fn exit(exit: X, case: ExitCase) -> Result<V, E> {
        exit.call(case).await
    }

    fn name(&self) -> Cow<'static, str> {
        Cow::Borrowed("deferred exit")
    }
}
