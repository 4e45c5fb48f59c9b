//! A sync manager among async ones.

use std::borrow::Cow;

use withal_core::{AsyncContextManager, ContextManager, ExitCase, Place, Site, Verdict};

/// Enters and exits a sync manager from async code; neither waits.
pub(crate) struct FromSync<M>(M);

impl<M> FromSync<M> {
    pub(crate) fn new(manager: M) -> FromSync<M> {
        FromSync(manager)
    }
}

impl<M, V> AsyncContextManager<V> for FromSync<M>
where
    M: ContextManager<V> + Send,
    M::Resource: Send,
    M::Error: Send,
    V: Verdict,
{
    type Resource = M::Resource;
    type Error = M::Error;

    async fn enter(self) -> Result<M::Resource, M::Error> {
        self.0.enter()
    }

    async fn exit(resource: M::Resource, case: ExitCase) -> Result<V, M::Error> {
        M::exit(resource, case)
    }

    fn name(&self) -> Cow<'static, str> {
        self.0.name()
    }

    fn place(&self, site: Site) -> Place {
        self.0.place(site)
    }

    async fn enter_in(self, place: Place) -> Result<M::Resource, M::Error> {
        self.0.enter_in(&place)
    }

    async fn exit_in(resource: M::Resource, case: ExitCase, place: Place) -> Result<V, M::Error> {
        M::exit_in(resource, case, &place)
    }
}
