//! Leases on Redis.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ConnectionAddr, Value, cmd};
use withal_core::BoxError;

use crate::LeaseError;
use crate::error::Holder;
use crate::store::{Store, Taken};
use crate::terms::{Terms, context_manager, settings};

/// A lease on a Redis server: one holder at a time, on any number of machines.
///
/// It is the key `withal:{<key>}:lease`, set if it is not there, which the server removes when its
/// time is over; it holds who has it, and only they renew or remove it. Beside it, and never
/// removed, `withal:{<key>}:token` counts its holders. What is done with the two is done at once,
/// by scripts.
///
/// It is a lease on one server. A replica that takes over without having seen the lease, or a
/// server that forgot it when it was started again, gives it to somebody else while its holder
/// still has it; the holder hears of that when it renews it, and its fencing token is the smaller
/// one even then, as tokens are no less than the server's time in milliseconds. So what is protected
/// has to look at [tokens](crate::Lease::token), or the lease has to be on [Postgres](crate::PgLease).
/// Redis Cluster and Redlock, which many servers have to agree on, are not offered: they take the
/// same token to be right, and more to go wrong.
///
/// `maxmemory-policy` must not be one of `allkeys-…`, which throws leases away.
///
/// # Errors
///
/// To enter fails with [`Busy`](LeaseError::Busy) if somebody has it for longer than one may
/// [`wait`](Self::wait), with [`Server`](LeaseError::Server) if the server cannot be reached or
/// refuses, and with [`Terms`](LeaseError::Terms) if what is asked for makes no sense. A server that
/// goes away while one waits is waited for.
///
/// The exit fails with [`Lost`](LeaseError::Lost) if the lease was lost while the block ran, and
/// with [`Server`](LeaseError::Server) if it could not be given back: then it ends by itself.
///
/// # Cancel safety
///
/// A block that is dropped while it waits is given up at once, and what the server may have given
/// it is given back. Dropped later, it is released as by any other exit.
///
/// # Examples
///
/// ```no_run
/// use withal_lock::RedisLease;
/// use withal_scope::async_with;
///
/// # async fn send_invoices(token: i64) -> Result<(), withal_core::BoxError> { Ok(()) }
/// # async fn f() -> Result<(), withal_core::Error> {
/// let lease = RedisLease::new("redis://cache:6379", "invoices");
/// async_with(lease, async |lease| {
///     // Stopped where it is, 10 s before anybody else can have the lease.
///     lease.while_held(send_invoices(lease.token())).await?
/// })
/// .await
/// # }
/// ```
#[derive(Clone)]
#[must_use = "a context manager does nothing until it is entered"]
pub struct RedisLease {
    url: String,
    terms: Terms,
}

impl RedisLease {
    /// The lease `key` on the server that a URL names: `redis://:password@host:6379/0`,
    /// `redis+unix:///run/redis.sock`, and with the feature `tls` `rediss://host`.
    pub fn new(url: impl Into<String>, key: impl Into<String>) -> RedisLease {
        RedisLease {
            url: url.into(),
            terms: Terms::new(key.into()),
        }
    }

    settings!();

    fn store(&self) -> Result<Redis, LeaseError> {
        // What it says of a bad URL does not contain it.
        let client = Client::open(&*self.url).map_err(|error| {
            let why = format!("not the URL of a Redis server: {error}; write `redis://host:6379`");
            LeaseError::Terms(why.into())
        })?;
        Ok(Redis {
            client,
            connection: None,
        })
    }
}

context_manager!(RedisLease);

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(10);

/// The value of a lease is its owner, its token and who that is, with a space between. The owner
/// has none, so what begins with it and a space is its own.
const TAKE: &str = "
local held = redis.call('GET', KEYS[1])
if held and string.sub(held, 1, #ARGV[1] + 1) ~= ARGV[1] .. ' ' then
  return {held, redis.call('PTTL', KEYS[1])}
end
if held then
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
  return {held}
end
local token = redis.call('INCR', KEYS[2])
local time = redis.call('TIME')
local least = time[1] * 1000 + math.floor(time[2] / 1000)
if token < least then
  token = least
  redis.call('SET', KEYS[2], string.format('%.0f', token))
end
held = ARGV[1] .. ' ' .. string.format('%.0f', token) .. ' ' .. ARGV[2]
redis.call('SET', KEYS[1], held, 'NX', 'PX', ARGV[3])
return {held}";

const RENEW: &str = "
local held = redis.call('GET', KEYS[1])
if held and string.sub(held, 1, #ARGV[1] + 1) == ARGV[1] .. ' ' then
  return redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 0";

const RELEASE: &str = "
local held = redis.call('GET', KEYS[1])
if held and string.sub(held, 1, #ARGV[1] + 1) == ARGV[1] .. ' ' then
  return redis.call('DEL', KEYS[1])
end
return 0";

/// A server, and a connection to it.
struct Redis {
    client: Client,
    connection: Option<MultiplexedConnection>,
}

impl Redis {
    fn connection(&mut self) -> Result<&mut MultiplexedConnection, BoxError> {
        Ok(self.connection.as_mut().ok_or("not connected")?)
    }

    /// Where it is, without a password.
    fn place(&self) -> String {
        match self.client.get_connection_info().addr() {
            ConnectionAddr::Tcp(host, port) => format!("redis://{host}:{port}"),
            ConnectionAddr::TcpTls { host, port, .. } => format!("rediss://{host}:{port}"),
            ConnectionAddr::Unix(path) => format!("redis+unix://{}", path.display()),
            _ => "Redis".to_owned(),
        }
    }
}

impl Store for Redis {
    async fn connect(&mut self) -> Result<(), BoxError> {
        if self.connection.is_some() {
            return Ok(());
        }
        #[cfg(feature = "tls")]
        choose_cryptography();
        // Each request has a limit of ours.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(None);
        let connecting = self
            .client
            .get_multiplexed_async_connection_with_config(&config);
        let connected = connecting.await;
        let place = self.place();
        let connected =
            connected.map_err(|error| format!("cannot connect to `{place}`: {error}"))?;
        self.connection = Some(connected);
        Ok(())
    }

    fn disconnect(&mut self) {
        self.connection = None;
    }

    async fn take(&mut self, terms: &Terms) -> Result<Taken, BoxError> {
        let (lease, token) = keys(terms);
        let mut take = cmd("EVAL");
        let _ = take.arg(TAKE).arg(2).arg(lease).arg(token);
        let _ = take
            .arg(&terms.owner)
            .arg(&terms.holder)
            .arg(terms.millis());
        let answer: Vec<Value> = take.query_async(self.connection()?).await?;
        let (held, left) = match &*answer {
            [held] => (held, None),
            [held, Value::Int(left)] => (held, Some(*left)),
            _ => return Err("not an answer to a script of ours".into()),
        };
        let held: String = redis::from_redis_value_ref(held)?;
        // Somebody else may have put something else there.
        let mut words = held.splitn(3, ' ').skip(1);
        let token = words.next().and_then(|token| token.parse().ok());
        let name = words.next().unwrap_or("somebody").to_owned();
        match (left, token) {
            (None, Some(token)) => Ok(Taken::Ours(token)),
            (None, None) => Err("there is no token in a lease of ours".into()),
            (Some(left), token) => Ok(Taken::Busy(Holder {
                name,
                token,
                left: Duration::from_millis(u64::try_from(left).unwrap_or(0)),
            })),
        }
    }

    async fn renew(&mut self, terms: &Terms) -> Result<bool, BoxError> {
        let mut renew = cmd("EVAL");
        let _ = renew.arg(RENEW).arg(1).arg(keys(terms).0);
        let _ = renew.arg(&terms.owner).arg(terms.millis());
        Ok(renew.query_async(self.connection()?).await?)
    }

    async fn release(&mut self, terms: &Terms) -> Result<bool, BoxError> {
        let mut release = cmd("EVAL");
        let _ = release.arg(RELEASE).arg(1).arg(keys(terms).0);
        let _ = release.arg(&terms.owner);
        Ok(release.query_async(self.connection()?).await?)
    }

    /// There is nothing to be said to the server.
    async fn close(self) -> Result<(), BoxError> {
        Ok(())
    }
}

/// The braces keep the two on one server wherever keys are spread.
fn keys(terms: &Terms) -> (String, String) {
    let key = &terms.key;
    (
        format!("withal:{{{key}}}:lease"),
        format!("withal:{{{key}}}:token"),
    )
}

/// rustls asks for a choice where several are built in, and panics without one.
#[cfg(feature = "tls")]
fn choose_cryptography() {
    use rustls::crypto::{CryptoProvider, ring::default_provider};
    if CryptoProvider::get_default().is_none() {
        // Somebody may have been faster: then theirs counts.
        let _theirs = default_provider().install_default();
    }
}
