//! A private server of each kind, and leases on it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use withal_core::{AsyncContextManager, BoxError, Error, ExitCase};
use withal_lock::{Lease, LeaseError, PgLease, RedisLease};
use withal_scope::{Scope, async_with, scope};
use withal_testkit::proxy::ProxyHandle;
use withal_testkit::servers::{
    Postgres, PostgresServer, Redis, RedisServer, ServerError, postgres, redis,
};

pub(crate) const MINUTE: Duration = Duration::from_secs(60);

/// Which server a test runs with: once with each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Postgres,
    Redis,
}

pub(crate) enum Server<'s> {
    Postgres(&'s PostgresServer),
    Redis(&'s RedisServer),
}

impl Server<'_> {
    pub(crate) fn addr(&self) -> SocketAddr {
        match self {
            Server::Postgres(server) => server.addr(),
            Server::Redis(server) => server.addr(),
        }
    }

    /// A place for leases, and the way there.
    pub(crate) fn place(&self) -> Place {
        self.place_at(self.addr())
    }

    pub(crate) fn place_at(&self, addr: SocketAddr) -> Place {
        match self {
            Server::Postgres(server) => Place {
                kind: Kind::Postgres,
                url: server.url_at(addr),
                password: server.password().to_owned(),
            },
            Server::Redis(server) => Place {
                kind: Kind::Redis,
                url: server.url_at(addr),
                password: server.password().to_owned(),
            },
        }
    }

    pub(crate) async fn stop(&self) -> Result<(), ServerError> {
        match self {
            Server::Postgres(server) => server.stop().await,
            Server::Redis(server) => server.stop().await,
        }
    }

    pub(crate) async fn start(&self) -> Result<(), ServerError> {
        match self {
            Server::Postgres(server) => server.start().await,
            Server::Redis(server) => server.start().await,
        }
    }
}

/// Where leases are.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) kind: Kind,
    pub(crate) url: String,
    pub(crate) password: String,
}

impl Place {
    pub(crate) fn lease(&self, key: &str) -> AnyLease {
        match self.kind {
            Kind::Postgres => AnyLease::Postgres(PgLease::new(&self.url, key)),
            Kind::Redis => AnyLease::Redis(RedisLease::new(&self.url, key)),
        }
    }
}

/// A lease on either.
#[derive(Clone, Debug)]
pub(crate) enum AnyLease {
    Postgres(PgLease),
    Redis(RedisLease),
}

macro_rules! either {
    ($self:ident, $lease:ident => $does:expr) => {
        match $self {
            AnyLease::Postgres($lease) => AnyLease::Postgres($does),
            AnyLease::Redis($lease) => AnyLease::Redis($does),
        }
    };
}

impl AnyLease {
    pub(crate) fn ttl(self, ttl: Duration) -> AnyLease {
        either!(self, lease => lease.ttl(ttl))
    }

    pub(crate) fn wait(self, limit: Duration) -> AnyLease {
        either!(self, lease => lease.wait(limit))
    }

    pub(crate) fn owner(self, owner: &str) -> AnyLease {
        either!(self, lease => lease.owner(owner))
    }

    pub(crate) fn holder(self, holder: &str) -> AnyLease {
        either!(self, lease => lease.holder(holder))
    }

    pub(crate) async fn clear(self) -> Result<bool, LeaseError> {
        match self {
            AnyLease::Postgres(lease) => lease.clear().await,
            AnyLease::Redis(lease) => lease.clear().await,
        }
    }
}

impl AsyncContextManager for AnyLease {
    type Resource = Lease;
    type Error = LeaseError;

    async fn enter(self) -> Result<Lease, LeaseError> {
        match self {
            AnyLease::Postgres(lease) => lease.enter().await,
            AnyLease::Redis(lease) => lease.enter().await,
        }
    }

    async fn exit(lease: Lease, case: ExitCase) -> Result<(), LeaseError> {
        PgLease::exit(lease, case).await
    }
}

/// Runs the test with a new server of each kind.
pub(crate) fn each(test: impl for<'s> AsyncFn(Scope<'s>, Server<'s>) -> Result<(), BoxError>) {
    each_with(postgres(), redis(), test);
}

pub(crate) fn each_with(
    postgres: Postgres,
    redis: Redis,
    test: impl for<'s> AsyncFn(Scope<'s>, Server<'s>) -> Result<(), BoxError>,
) {
    for kind in [Kind::Postgres, Kind::Redis] {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let (postgres, redis) = (postgres.clone(), redis.clone());
        let tested: Result<(), Error> = runtime.block_on(scope(async |s| match kind {
            Kind::Postgres => test(s, Server::Postgres(s.enter(postgres).await?)).await,
            Kind::Redis => test(s, Server::Redis(s.enter(redis).await?)).await,
        }));
        if let Err(error) = tested {
            panic!("{kind:?}: {error:?}");
        }
    }
}

/// The token of a lease, which is given back at once.
pub(crate) async fn token_of(lease: AnyLease) -> Result<i64, BoxError> {
    Ok(async_with(lease, async |lease| Ok(lease.token())).await?)
}

/// What goes through a proxy until somebody was told that a lease is busy.
pub(crate) struct Asked {
    proxy: ProxyHandle,
    until: u64,
}

impl Asked {
    /// Of who asks next by way of `far`, where somebody has the lease `report`.
    pub(crate) async fn by(proxy: &ProxyHandle, far: &Place) -> Asked {
        let before = proxy.status().bytes_to_client;
        let busy = far.lease("report").wait(Duration::ZERO).enter().await;
        assert!(busy.unwrap_err().is_busy());
        let after = proxy.status().bytes_to_client;
        // Numbers in it may have some digits more.
        let until = after + (after - before) + 16;
        let proxy = proxy.clone();
        Asked { proxy, until }
    }

    /// Waits until they are being told again.
    pub(crate) async fn wait(self) {
        let until = self.until;
        self.proxy
            .wait_for(|status| status.bytes_to_client > until)
            .await;
    }
}

/// What happened, in this order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trace(Arc<Mutex<Vec<String>>>);

impl Trace {
    pub(crate) fn note(&self, what: impl Into<String>) {
        self.0.lock().unwrap().push(what.into());
    }

    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}
