//! What a lease is asked for with.

use std::sync::Arc;
use std::time::Duration;

use crate::LeaseError;
use crate::moment::Moment;

const TTL: Duration = Duration::from_secs(30);
/// With less than this a late packet would cost the lease.
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub(crate) key: Arc<str>,
    pub(crate) owner: String,
    pub(crate) holder: String,
    pub(crate) ttl: Duration,
    /// A third of `ttl` if nothing is said.
    pub(crate) margin: Option<Duration>,
    /// How long to wait for others; for ever if nothing is said.
    pub(crate) wait: Option<Duration>,
}

impl Terms {
    pub(crate) fn new(key: String) -> Terms {
        Terms {
            key: key.into(),
            owner: format!("{:032x}", fastrand::u128(..)),
            holder: this_process(),
            ttl: TTL,
            margin: None,
            wait: None,
        }
    }

    pub(crate) fn check(&self) -> Result<(), LeaseError> {
        let wrong = |why: &str| Err(LeaseError::Terms(why.into()));
        let says = |text: &str| !text.is_empty() && !text.contains('\0');
        if !says(&self.key) {
            return wrong("the key of a lease is neither empty nor has zero bytes");
        }
        // The stores keep it as one word before others.
        if !says(&self.owner) || self.owner.contains(char::is_whitespace) {
            return wrong("the owner of a lease is one word");
        }
        if self.holder.contains('\0') {
            return wrong("the name of a lease's holder has no zero bytes");
        }
        if self.ttl < SHORTEST || self.ttl > LONGEST {
            return wrong("a lease is for 100ms at least, and a year at most");
        }
        if self.margin() >= self.ttl - self.ttl / 3 {
            return wrong("the margin of a lease is less than two thirds of its time");
        }
        Ok(())
    }

    pub(crate) fn margin(&self) -> Duration {
        self.margin.unwrap_or(self.ttl / 3)
    }

    /// For how long after the request was sent nobody else can have it, with the margin.
    pub(crate) fn usable(&self) -> Duration {
        self.ttl.saturating_sub(self.margin())
    }

    /// Until when what was asked for at `sent` can be used.
    pub(crate) fn good_until(&self, sent: Moment) -> Moment {
        sent.after(self.usable())
    }

    pub(crate) fn millis(&self) -> i64 {
        i64::try_from(self.ttl.as_millis()).unwrap_or(i64::MAX)
    }
}

/// Who we are, for those who wait for us.
fn this_process() -> String {
    let host = rustix::system::uname();
    let host = host.nodename().to_string_lossy();
    let program = std::env::args_os().next().unwrap_or_default();
    let program = std::path::Path::new(&program).file_name();
    let program = program.unwrap_or_default().to_string_lossy();
    format!("{host}, process {} ({program})", std::process::id())
}

/// The settings that leases on any server have.
macro_rules! settings {
    () => {
        /// How long it is held without being renewed; 30 s unless said otherwise. It is renewed
        /// after a third of it, again and again.
        ///
        /// It is how long others wait if the holder's machine dies.
        pub fn ttl(mut self, ttl: Duration) -> Self {
            self.terms.ttl = ttl;
            self
        }

        /// How long before somebody else can have it the holder hears that it is lost; a third of
        /// the [`ttl`](Self::ttl) unless said otherwise.
        ///
        /// It is the time to stop in. Renewing has until then.
        pub fn margin(mut self, margin: Duration) -> Self {
            self.terms.margin = Some(margin);
            self
        }

        /// How long to wait if somebody else has it; for ever unless said otherwise. Zero asks
        /// once.
        pub fn wait(mut self, limit: impl Into<Option<Duration>>) -> Self {
            self.terms.wait = limit.into();
            self
        }

        /// What others are told about who has it; the name of the machine, the process id and the
        /// program unless said otherwise. They can read it, so no secrets.
        pub fn holder(mut self, holder: impl Into<String>) -> Self {
            self.terms.holder = holder.into();
            self
        }

        /// Who it is, as one word that nobody else has; a random one unless said otherwise.
        ///
        /// For who must be able to [`clear`](Self::clear) what it has left when it died. Two
        /// blocks at once of the same owner count as one.
        pub fn owner(mut self, owner: impl Into<String>) -> Self {
            self.terms.owner = owner.into();
            self
        }

        /// Releases the lease if its [`owner`](Self::owner) still has it; whether that was so.
        ///
        /// For what a holder that was killed has left. Somebody else's lease is not touched.
        ///
        /// # Errors
        ///
        /// [`Server`](LeaseError::Server) if the server cannot be reached or refuses.
        ///
        /// # Cancel safety
        ///
        /// Dropped, it may be released or not; to ask again does no harm.
        pub async fn clear(self) -> Result<bool, LeaseError> {
            self.terms.check()?;
            crate::acquire::clear(self.store()?, &self.terms).await
        }
    };
}

/// What makes a lease on any server, with a `url`, `terms` and a `store`, a context manager.
macro_rules! context_manager {
    ($lease:ident) => {
        /// The URL stays out of it: there may be a password in it.
        impl std::fmt::Debug for $lease {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($lease))
                    .field("terms", &self.terms)
                    .finish_non_exhaustive()
            }
        }

        impl withal_core::AsyncContextManager for $lease {
            type Resource = crate::Lease;
            type Error = LeaseError;

            async fn enter(self) -> Result<crate::Lease, LeaseError> {
                crate::acquire::acquire(self.store()?, self.terms).await
            }

            async fn exit(lease: crate::Lease, _: withal_core::ExitCase) -> Result<(), LeaseError> {
                lease.release().await
            }

            fn name(&self) -> std::borrow::Cow<'static, str> {
                format!("lease `{}`", self.terms.key).into()
            }
        }
    };
}

pub(crate) use {context_manager, settings};
