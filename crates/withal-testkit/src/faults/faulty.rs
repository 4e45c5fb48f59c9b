//! The manager that fails as planned.

use std::borrow::Cow;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use withal_core::{AsyncContextManager, BoxError, ContextManager, ExitCase, Verdict};

use super::Step;
use super::plan::{Beside, Event, Plan};

/// A context manager, sync and async, that fails as its [`Plan`] says; made by [`Plan::manager`]
/// and [`Plan::wrap`].
///
/// The fault of its enter comes before the enter of what it wraps, which then never begins; the
/// fault of its exit comes after a successful exit of what it wraps. So what it wraps stays whole.
#[derive(Debug)]
#[must_use = "a manager does nothing until it is entered"]
pub struct Faulty<M = Beside> {
    plan: Plan,
    number: usize,
    manager: M,
    name: Option<String>,
}

/// What a [`Faulty`] lends: the resource of what it wraps.
#[derive(Debug)]
pub struct FaultyResource<R> {
    plan: Plan,
    number: usize,
    resource: R,
}

impl<M> Faulty<M> {
    pub(super) fn new(plan: Plan, number: usize, manager: M, name: Option<String>) -> Faulty<M> {
        Faulty {
            plan,
            number,
            manager,
            name,
        }
    }

    fn entered<R>(plan: Plan, number: usize, resource: R) -> FaultyResource<R> {
        plan.note(Event::Entered(number));
        FaultyResource {
            plan,
            number,
            resource,
        }
    }
}

impl<M: ContextManager<V>, V: Verdict> ContextManager<V> for Faulty<M> {
    type Resource = FaultyResource<M::Resource>;
    type Error = BoxError;

    fn enter(self) -> Result<FaultyResource<M::Resource>, BoxError> {
        self.plan.step_sync(Step::Enter(self.number))?;
        let resource = self.manager.enter().map_err(Into::into)?;
        Ok(Faulty::<M>::entered(self.plan, self.number, resource))
    }

    fn exit(held: FaultyResource<M::Resource>, case: ExitCase) -> Result<V, BoxError> {
        held.plan.note(Event::Exited(held.number));
        let verdict = M::exit(held.resource, case).map_err(Into::into)?;
        held.plan.step_sync(Step::Exit(held.number))?;
        Ok(verdict)
    }

    fn name(&self) -> Cow<'static, str> {
        self.name
            .clone()
            .map_or_else(|| self.manager.name(), Cow::Owned)
    }
}

impl<M: AsyncContextManager<V> + Send, V: Verdict> AsyncContextManager<V> for Faulty<M> {
    type Resource = FaultyResource<M::Resource>;
    type Error = BoxError;

    async fn enter(self) -> Result<FaultyResource<M::Resource>, BoxError> {
        self.plan.step(Step::Enter(self.number)).await?;
        let resource = self.manager.enter().await.map_err(Into::into)?;
        Ok(Faulty::<M>::entered(self.plan, self.number, resource))
    }

    async fn exit(held: FaultyResource<M::Resource>, case: ExitCase) -> Result<V, BoxError> {
        let FaultyResource {
            plan,
            number,
            resource,
        } = held;
        plan.note(Event::Exited(number));
        let verdict = M::exit(resource, case).await.map_err(Into::into)?;
        plan.step(Step::Exit(number)).await?;
        Ok(verdict)
    }

    fn name(&self) -> Cow<'static, str> {
        self.name
            .clone()
            .map_or_else(|| self.manager.name(), Cow::Owned)
    }

    fn exit_timeout(&self) -> Option<Duration> {
        self.manager.exit_timeout()
    }
}

impl<R> Deref for FaultyResource<R> {
    type Target = R;

    fn deref(&self) -> &R {
        &self.resource
    }
}

impl<R> DerefMut for FaultyResource<R> {
    fn deref_mut(&mut self) -> &mut R {
        &mut self.resource
    }
}
