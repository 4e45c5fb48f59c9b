//! The settings of a pool.

use std::any::type_name;
use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use withal_core::ExitCase;
use withal_scope::Reaper;

use crate::hooks::{HookFuture, Hooks};
use crate::table::Upkeep;
use crate::{BuildError, Info, Manager, Pool};

/// The settings of a pool; made by [`Pool::builder`].
///
/// # Examples
///
/// ```
/// # use withal_pool::{Manager, Pool};
/// # struct Dummy;
/// # impl Manager for Dummy {
/// #     type Connection = ();
/// #     type Error = std::io::Error;
/// #     async fn create(&self) -> std::io::Result<()> { Ok(()) }
/// #     async fn recycle(&self, _: &mut (), _: withal_core::ExitCase) -> std::io::Result<()> { Ok(()) }
/// # }
/// use std::time::Duration;
///
/// let pool = Pool::builder(Dummy)
///     .name("orders")
///     .max_size(8)
///     .wait_timeout(Duration::from_secs(5))
///     .max_lifetime(None)
///     .build()?;
/// assert_eq!(pool.status().max_size, 8);
/// # Ok::<(), withal_pool::BuildError>(())
/// ```
#[must_use = "a builder does nothing until `build`, or `Pool::open`"]
pub struct Builder<M: Manager> {
    pub(crate) manager: M,
    pub(crate) hooks: Hooks<M::Connection>,
    pub(crate) settings: Settings,
}

/// How often missing idle connections are made.
const REFILL: Duration = Duration::from_secs(1);

/// All that is set but the hooks.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) name: Cow<'static, str>,
    pub(crate) max_size: usize,
    pub(crate) upkeep: Upkeep,
    pub(crate) wait_timeout: Option<Duration>,
    pub(crate) connect_timeout: Option<Duration>,
    pub(crate) validate_timeout: Option<Duration>,
    pub(crate) reset_timeout: Option<Duration>,
    pub(crate) detach_timeout: Option<Duration>,
    pub(crate) close_timeout: Duration,
    pub(crate) validate_after: Option<Duration>,
    pub(crate) max_lifetime: Option<Duration>,
    pub(crate) report_after: Option<Duration>,
    pub(crate) reaper: Option<Reaper>,
}

impl<M: Manager> Builder<M> {
    pub(crate) fn new(manager: M) -> Builder<M> {
        Builder {
            manager,
            hooks: Hooks::default(),
            settings: Settings {
                name: Cow::Borrowed(type_name::<M>()),
                max_size: 10,
                upkeep: Upkeep {
                    idle_timeout: Some(Duration::from_secs(10 * 60)),
                    keepalive: None,
                    min_idle: 0,
                },
                wait_timeout: Some(Duration::from_secs(30)),
                connect_timeout: Some(Duration::from_secs(10)),
                validate_timeout: Some(Duration::from_secs(2)),
                reset_timeout: Some(Duration::from_secs(2)),
                detach_timeout: Some(Duration::from_secs(2)),
                close_timeout: Duration::from_secs(30),
                validate_after: Some(Duration::from_millis(500)),
                max_lifetime: Some(Duration::from_secs(30 * 60)),
                report_after: Some(Duration::from_secs(10 * 60)),
                reaper: None,
            },
        }
    }

    /// What errors, reports and the registry call this pool; by default the manager's type. It is
    /// shown to people and written to logs: keep secrets out of it.
    pub fn name(mut self, name: impl Into<Cow<'static, str>>) -> Builder<M> {
        self.settings.name = name.into();
        self
    }

    /// How many connections there may be, those being made and being ended included. 10 by
    /// default.
    pub fn max_size(mut self, max_size: usize) -> Builder<M> {
        self.settings.max_size = max_size;
        self
    }

    /// How many idle connections are kept ready. None by default.
    ///
    /// [`Pool::open`] makes them before it lends the pool, and fails if that fails. Later they are
    /// made in the background.
    pub fn min_idle(mut self, min_idle: usize) -> Builder<M> {
        self.settings.upkeep.min_idle = min_idle;
        self
    }

    /// How long an acquire waits for a free slot. 30 s by default; `None` waits for ever.
    pub fn wait_timeout(mut self, limit: impl Into<Option<Duration>>) -> Builder<M> {
        self.settings.wait_timeout = limit.into();
        self
    }

    /// How long making a connection may take. 10 s by default.
    pub fn connect_timeout(mut self, limit: impl Into<Option<Duration>>) -> Builder<M> {
        self.settings.connect_timeout = limit.into();
        self
    }

    /// How long a validation may take, and a [`pre_acquire`](Builder::pre_acquire) hook. 2 s by
    /// default.
    pub fn validate_timeout(mut self, limit: impl Into<Option<Duration>>) -> Builder<M> {
        self.settings.validate_timeout = limit.into();
        self
    }

    /// How long making a connection clean may take, hooks included. 2 s by default.
    pub fn reset_timeout(mut self, limit: impl Into<Option<Duration>>) -> Builder<M> {
        self.settings.reset_timeout = limit.into();
        self
    }

    /// How long ending a connection may take. 2 s by default.
    pub fn detach_timeout(mut self, limit: impl Into<Option<Duration>>) -> Builder<M> {
        self.settings.detach_timeout = limit.into();
        self
    }

    /// How long the exit of [`Pool::open`] waits for what is out. 30 s by default.
    pub fn close_timeout(mut self, limit: Duration) -> Builder<M> {
        self.settings.close_timeout = limit;
        self
    }

    /// For how long an idle connection is believed to be alive; one that has been idle for longer
    /// is validated before it is handed out. 500 ms by default; `None` never asks.
    pub fn validate_after(mut self, idle: impl Into<Option<Duration>>) -> Builder<M> {
        self.settings.validate_after = idle.into();
        self
    }

    /// How long a connection above [`min_idle`](Builder::min_idle) may be idle. 10 min by default.
    pub fn idle_timeout(mut self, limit: impl Into<Option<Duration>>) -> Builder<M> {
        self.settings.upkeep.idle_timeout = limit.into();
        self
    }

    /// How old a connection may become. 30 min by default, up to a tenth less for each, so that
    /// those made together do not end together.
    ///
    /// It is ended when it comes back, or while it is idle; never while it is used.
    pub fn max_lifetime(mut self, limit: impl Into<Option<Duration>>) -> Builder<M> {
        self.settings.max_lifetime = limit.into();
        self
    }

    /// After how long an idle connection is validated to keep it alive. Never by default.
    pub fn keepalive(mut self, interval: impl Into<Option<Duration>>) -> Builder<M> {
        self.settings.upkeep.keepalive = interval.into();
        self
    }

    /// After how long a connection that is still held is reported, once, to the notice hook, with
    /// the place where it was acquired; and again if it comes back after all. 10 min by default.
    pub fn report_after(mut self, held: impl Into<Option<Duration>>) -> Builder<M> {
        self.settings.report_after = held.into();
        self
    }

    /// Who finishes what nobody awaits; the global reaper by default.
    pub fn reaper(mut self, reaper: &Reaper) -> Builder<M> {
        self.settings.reaper = Some(reaper.clone());
        self
    }

    /// Called with each new connection, before anybody sees it: to set it up. If it fails, so does
    /// the acquire. It may take as long as connecting may.
    pub fn post_create(
        mut self,
        hook: impl for<'a> Fn(&'a mut M::Connection, &'a Info) -> HookFuture<'a> + Send + Sync + 'static,
    ) -> Builder<M> {
        self.hooks.post_create = Some(Box::new(hook));
        self
    }

    /// Called with each idle connection before it is handed out, after its validation if it needs
    /// one. If it fails, the connection is ended and another one taken.
    pub fn pre_acquire(
        mut self,
        hook: impl for<'a> Fn(&'a mut M::Connection, &'a Info) -> HookFuture<'a> + Send + Sync + 'static,
    ) -> Builder<M> {
        self.hooks.pre_acquire = Some(Box::new(hook));
        self
    }

    /// Called with each connection that comes back, before it is made clean. If it fails, the
    /// connection is ended. It may be in any state.
    pub fn pre_recycle(
        mut self,
        hook: impl for<'a> Fn(&'a mut M::Connection, &'a Info, &'a ExitCase) -> HookFuture<'a>
        + Send
        + Sync
        + 'static,
    ) -> Builder<M> {
        self.hooks.pre_recycle = Some(Box::new(hook));
        self
    }

    /// Called with each connection that was made clean, before its slot is free. If it fails, the
    /// connection is ended.
    pub fn post_recycle(
        mut self,
        hook: impl for<'a> Fn(&'a mut M::Connection, &'a Info) -> HookFuture<'a> + Send + Sync + 'static,
    ) -> Builder<M> {
        self.hooks.post_recycle = Some(Box::new(hook));
        self
    }

    /// The pool. It makes its connections when they are needed, on the runtime that needs them.
    ///
    /// [`Pool::open`] closes it by itself.
    ///
    /// # Errors
    ///
    /// The settings make no pool.
    #[track_caller]
    pub fn build(self) -> Result<Pool<M>, BuildError> {
        self.settings.check()?;
        Ok(Pool::new(self))
    }
}

impl Settings {
    fn check(&self) -> Result<(), BuildError> {
        let Upkeep {
            idle_timeout,
            keepalive,
            min_idle,
        } = self.upkeep;
        let periods = [
            idle_timeout,
            keepalive,
            self.max_lifetime,
            self.report_after,
        ];
        if self.max_size == 0 {
            return Err(BuildError::NoSlots);
        }
        if min_idle > self.max_size {
            return Err(BuildError::MinIdleAboveMaxSize);
        }
        if periods.contains(&Some(Duration::ZERO)) {
            return Err(BuildError::ZeroDuration);
        }
        Ok(())
    }

    /// How often the keeper looks by itself: often enough to be late by a quarter.
    pub(crate) fn tick(&self) -> Duration {
        let Upkeep {
            idle_timeout,
            keepalive,
            min_idle,
        } = self.upkeep;
        let refill = (min_idle > 0).then_some(REFILL * 4);
        let periods = [
            idle_timeout,
            keepalive,
            self.max_lifetime,
            self.report_after,
            refill,
        ];
        let shortest = periods.into_iter().flatten().min();
        let shortest = shortest.unwrap_or(Duration::MAX);
        (shortest / 4).clamp(Duration::from_millis(10), Duration::from_secs(30))
    }
}

impl<M: Manager> fmt::Debug for Builder<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("settings", &self.settings)
            .field("hooks", &self.hooks)
            .finish_non_exhaustive()
    }
}
