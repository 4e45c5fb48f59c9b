//! What users have done at certain moments of a connection's life.

use std::fmt;
use std::pin::Pin;

use withal_core::{BoxError, ExitCase};

use crate::Info;

/// What a hook returns; `Box::pin(async move { … })` makes one.
pub type HookFuture<'a> = Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send + 'a>>;

type Hook<C> = dyn for<'a> Fn(&'a mut C, &'a Info) -> HookFuture<'a> + Send + Sync;
type CaseHook<C> =
    dyn for<'a> Fn(&'a mut C, &'a Info, &'a ExitCase) -> HookFuture<'a> + Send + Sync;

/// The hooks of a pool; see [`Builder`](crate::Builder).
pub(crate) struct Hooks<C> {
    pub(crate) post_create: Option<Box<Hook<C>>>,
    pub(crate) pre_acquire: Option<Box<Hook<C>>>,
    pub(crate) pre_recycle: Option<Box<CaseHook<C>>>,
    pub(crate) post_recycle: Option<Box<Hook<C>>>,
}

impl<C> Hooks<C> {
    /// Whether there is any for connections that come back.
    pub(crate) fn has_recycle(&self) -> bool {
        self.pre_recycle.is_some() || self.post_recycle.is_some()
    }
}

impl<C> Default for Hooks<C> {
    fn default() -> Hooks<C> {
        Hooks {
            post_create: None,
            pre_acquire: None,
            pre_recycle: None,
            post_recycle: None,
        }
    }
}

impl<C> fmt::Debug for Hooks<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks")
            .field("post_create", &self.post_create.is_some())
            .field("pre_acquire", &self.pre_acquire.is_some())
            .field("pre_recycle", &self.pre_recycle.is_some())
            .field("post_recycle", &self.post_recycle.is_some())
            .finish()
    }
}
