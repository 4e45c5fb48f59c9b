//! Connecting, and asking a server to cancel what a session does.

use std::future::poll_fn;
use std::io;
use std::path::PathBuf;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_postgres::config::Host;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{CancelToken, Client, Connection};
use tokio_util::either::Either;
use withal_scope::integration::spawn_on;

use super::config::Config;
use super::remedy::remedy;
use crate::{Error, ErrorKind};

/// The way to one server, as it was taken.
#[derive(Clone, Debug)]
enum Address {
    Tcp(std::net::SocketAddr, String),
    Unix(PathBuf),
}

type Stream = Either<TcpStream, UnixStream>;

/// A session that has just begun.
pub(super) struct Connected {
    pub(super) client: Client,
    pub(super) canceller: Canceller,
    pub(super) pump: Pump,
}

/// The task that carries the messages; it ends once the client is dropped, or the server is gone.
///
/// Dropped, it is ended, and the connection with it: a server that does not answer would keep both
/// for ever.
pub(super) struct Pump(JoinHandle<()>);

impl Pump {
    /// Waits until it has ended by itself.
    pub(super) async fn wait_ended(&mut self) -> Result<(), Error> {
        (&mut self.0).await.map_err(|error| {
            let message = "the connection did not end in order";
            Error::new(ErrorKind::ConnectionLost, message).with_source(error)
        })
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// How to cancel what a session does.
#[derive(Clone)]
pub(super) struct Canceller {
    token: CancelToken,
    address: Address,
    config: Config,
}

/// Tries the hosts in order, and each of their addresses.
pub(super) async fn connect(config: &Config) -> Result<Connected, Error> {
    let mut failed = None;
    for (host, port) in config.hosts() {
        let addresses = match resolve(host, port).await {
            Ok(addresses) => addresses,
            Err(error) => {
                let why = format_args!("{error}; check the name of the host");
                failed = Some(config.cannot_connect(why).with_source(error));
                continue;
            }
        };
        for address in addresses {
            match begin_in_time(config, (host, port), address).await {
                Ok(connected) => return Ok(connected),
                // The server knows us, and does not want us.
                Err(error) if is_authentication(&error) => return Err(error),
                Err(error) => failed = Some(error),
            }
        }
    }
    Err(failed.unwrap_or_else(|| config.cannot_connect("it has no address")))
}

fn is_authentication(error: &Error) -> bool {
    error.code().is_some_and(|code| code.starts_with("28"))
}

async fn resolve(host: &Host, port: u16) -> io::Result<Vec<Address>> {
    match host {
        Host::Unix(directory) => {
            let socket = directory.join(format!(".s.PGSQL.{port}"));
            Ok(vec![Address::Unix(socket)])
        }
        Host::Tcp(name) => {
            let found = lookup_host((&**name, port)).await?;
            Ok(found
                .map(|found| Address::Tcp(found, name.clone()))
                .collect())
        }
    }
}

/// Begins a session; once more, if the server does not know what we have asked it for of ourselves.
async fn begin_in_time(
    config: &Config,
    (host, port): (&Host, u16),
    address: Address,
) -> Result<Connected, Error> {
    let limit = config.connect_timeout();
    loop {
        let checks = config.checks();
        let postgres = config.for_host(host, port, checks);
        let began = begin(config, &postgres, address.clone());
        match tokio::time::timeout(limit, began).await {
            Ok(Err(error)) if checks && config.gives_up_checks(&error) => {}
            Ok(began) => return began,
            Err(_) => return Err(config.cannot_connect(format_args!("no answer in {limit:?}"))),
        }
    }
}

async fn begin(
    config: &Config,
    postgres: &tokio_postgres::Config,
    address: Address,
) -> Result<Connected, Error> {
    let cannot = |error: &(dyn std::error::Error + 'static), code: Option<&str>| {
        let reason = innermost(error);
        match remedy(reason, code) {
            Some(remedy) => config.cannot_connect(format_args!("{reason}; {remedy}")),
            None => config.cannot_connect(reason),
        }
    };
    let stream = open(config, &address)
        .await
        .map_err(|error| cannot(&error, None))?;
    let tls = connector(config, &address).map_err(|error| cannot(&error, None))?;
    let (client, connection) = postgres.connect_raw(stream, tls).await.map_err(|error| {
        let code = error.code().map(|code| code.code().to_owned());
        let failed = cannot(&error, code.as_deref());
        match code {
            Some(code) => failed.with_code(code),
            None => failed,
        }
    })?;
    let canceller = Canceller {
        token: client.cancel_token(),
        address,
        config: config.clone(),
    };
    let pump = Pump(spawn_on(&Handle::current(), pump(connection)));
    Ok(Connected {
        client,
        canceller,
        pump,
    })
}

async fn open(config: &Config, address: &Address) -> io::Result<Stream> {
    Ok(match address {
        Address::Tcp(address, _) => {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            config.watch(&stream)?;
            Either::Left(stream)
        }
        Address::Unix(path) => Either::Right(UnixStream::connect(path).await?),
    })
}

type Connector = <tokio_postgres_rustls::MakeRustlsConnect as MakeTlsConnect<Stream>>::TlsConnect;

fn connector(config: &Config, address: &Address) -> io::Result<Connector> {
    let name = match address {
        Address::Tcp(_, name) => name,
        Address::Unix(_) => "localhost",
    };
    let mut tls = config.tls.0.clone();
    MakeTlsConnect::<Stream>::make_tls_connect(&mut tls, name).map_err(io::Error::other)
}

/// Why, without what is said around it.
fn innermost<'e>(
    error: &'e (dyn std::error::Error + 'static),
) -> &'e (dyn std::error::Error + 'static) {
    error.source().map_or(error, innermost)
}

/// Carries messages until the session ends. How it ended is told to whoever uses it.
async fn pump<S, T>(mut connection: Connection<S, T>)
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    // Notices and notifications have nobody to hear them here.
    while let Some(Ok(_)) = poll_fn(|context| connection.poll_message(context)).await {}
}

impl Canceller {
    /// Asks the server to cancel what the session does, and waits until it has been told.
    ///
    /// The server closes that connection once it has signalled the session: a request that is over
    /// earlier may hit the next statement.
    pub(super) async fn cancel(&self) -> io::Result<()> {
        self.config.cancelled.count();
        let (stream, mut end) = twice(open(&self.config, &self.address).await?)?;
        let tls = connector(&self.config, &self.address)?;
        let asked = self.token.cancel_query_raw(stream, tls).await;
        asked.map_err(io::Error::other)?;
        // What there is to read is about TLS; a connection reset is an end, too.
        let mut unread = [0; 256];
        while let Ok(1..) = end.read(&mut unread).await {}
        Ok(())
    }
}

/// The same connection, once to be given away and once to see its end.
fn twice(stream: Stream) -> io::Result<(Stream, Stream)> {
    Ok(match stream {
        Either::Left(stream) => {
            let stream = stream.into_std()?;
            let other = TcpStream::from_std(stream.try_clone()?)?;
            (
                Either::Left(TcpStream::from_std(stream)?),
                Either::Left(other),
            )
        }
        Either::Right(stream) => {
            let stream = stream.into_std()?;
            let other = UnixStream::from_std(stream.try_clone()?)?;
            (
                Either::Right(UnixStream::from_std(stream)?),
                Either::Right(other),
            )
        }
    })
}
