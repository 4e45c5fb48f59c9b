//! Where a Postgres is, and how to get there.

use std::env;
use std::fmt;
use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio_postgres::config::{Host, SslMode};
use url::form_urlencoded;

use super::tls::{Tls, Verify};
use crate::cancelled::Cancelled;
use crate::url::wrong;
use crate::{Error, ErrorKind};

/// What a `postgres:` URL and the `PG*` variables say.
#[derive(Clone)]
pub(crate) struct Config {
    pub(super) postgres: tokio_postgres::Config,
    pub(super) tls: Tls,
    pub(crate) cancelled: Cancelled,
}

/// How long connecting to one address may take, if nothing says so.
const CONNECT: Duration = Duration::from_secs(10);
const PORT: u16 = 5432;
/// After how long without a word the system asks whether somebody is still there.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// For how long what is sent may be unacknowledged.
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);

impl Config {
    /// Reads a URL; what it leaves out, the environment fills in.
    pub(crate) fn parse(url: &str) -> Result<Config, Error> {
        Config::with_variables(url, |name| {
            env::var(name).ok().filter(|value| !value.is_empty())
        })
    }

    fn with_variables(
        url: &str,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Config, Error> {
        check_escaped(url)?;
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        let mut ssl_mode = variable("PGSSLMODE");
        let mut root = variable("PGSSLROOTCERT");
        let mut rest = form_urlencoded::Serializer::new(String::new());
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*key {
                "sslmode" => ssl_mode = Some(value.into_owned()),
                "sslrootcert" => root = Some(value.into_owned()),
                _ => {
                    let _ = rest.append_pair(&key, &value);
                }
            }
        }
        // A space is `%20` to the driver.
        let rest = rest.finish().replace('+', "%20");
        let says = |option: &str| rest.split('&').any(|pair| pair.starts_with(option));
        let (says_idle, says_timeout) = (says("keepalives_idle="), says("tcp_user_timeout="));
        let base = with_port(base, variable("PGPORT").as_deref());
        let mut postgres: tokio_postgres::Config =
            format!("{base}?{rest}").parse().map_err(|error| {
                // What it says names options, and no values; but what is behind an `&` in a
                // password is an option to it.
                if says("password=") {
                    return wrong(
                        "one of its options is none, or has a wrong value; an `&` in a password is `%26`",
                    );
                }
                let error: &dyn std::error::Error = &error;
                wrong(
                    error
                        .source()
                        .map_or_else(|| error.to_string(), ToString::to_string),
                )
            })?;
        let verify = Verify::of(ssl_mode.as_deref(), root.is_some()).ok_or_else(|| {
            wrong("`sslmode` is one of disable, prefer, require, verify-ca, verify-full")
        })?;
        let _ = postgres.ssl_mode(match verify {
            Verify::Off => SslMode::Disable,
            Verify::Nothing { is_required: false } => SslMode::Prefer,
            _ => SslMode::Require,
        });
        if !says_idle {
            let _ = postgres.keepalives_idle(KEEPALIVE);
        }
        if !says_timeout {
            let _ = postgres.tcp_user_timeout(UNACKNOWLEDGED);
        }
        fill_in(&mut postgres, variable)?;
        let tls = Tls::new(verify, root.as_deref())?;
        Ok(Config {
            postgres,
            tls,
            cancelled: Cancelled::default(),
        })
    }

    /// The addresses to try, in order.
    pub(super) fn hosts(&self) -> impl Iterator<Item = (&Host, u16)> {
        let ports = self.postgres.get_ports();
        let hosts = self.postgres.get_hosts().iter().enumerate();
        hosts.map(move |(index, host)| {
            let port = ports.get(index).or(ports.first());
            (host, port.copied().unwrap_or(PORT))
        })
    }

    /// Has the system notice that nobody is there any more.
    pub(super) fn watch(&self, stream: &TcpStream) -> io::Result<()> {
        let socket = SockRef::from(stream);
        if self.postgres.get_keepalives() {
            let mut keepalive = TcpKeepalive::new().with_time(self.postgres.get_keepalives_idle());
            if let Some(interval) = self.postgres.get_keepalives_interval() {
                keepalive = keepalive.with_interval(interval);
            }
            if let Some(retries) = self.postgres.get_keepalives_retries() {
                keepalive = keepalive.with_retries(retries);
            }
            socket.set_tcp_keepalive(&keepalive)?;
        }
        #[cfg(any(target_os = "android", target_os = "linux"))]
        socket.set_tcp_user_timeout(self.postgres.get_tcp_user_timeout().copied())?;
        Ok(())
    }

    pub(super) fn connect_timeout(&self) -> Duration {
        self.postgres
            .get_connect_timeout()
            .copied()
            .unwrap_or(CONNECT)
    }
}

/// What is not escaped in a password would be taken for a host, a database or an option, and be
/// shown as such: there is one `@` at most, and nothing before it that ends a user.
fn check_escaped(url: &str) -> Result<(), Error> {
    let (_, rest) = url.split_once(':').unwrap_or_default();
    let Some(rest) = rest.strip_prefix("//") else {
        return Err(wrong("there is no `//` behind `postgres:`"));
    };
    match rest.split_once('@') {
        Some((user, rest)) if user.contains(['/', '?', '#']) || rest.contains('@') => Err(wrong(
            "an `@`, `/`, `?` or `#` in its user, its password or an option is not escaped: there \
             it is `%40`, `%2F`, `%3F` or `%23`",
        )),
        _ => Ok(()),
    }
}

/// The driver takes 5432 for the port of a host without one.
fn with_port(base: &str, port: Option<&str>) -> String {
    let Some((scheme, rest)) = base.split_once("://") else {
        return base.to_owned();
    };
    let (place, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = place.rsplit_once('@').map_or(place, |(_, host)| host);
    let has_port = host
        .rsplit_once(']')
        .map_or(host, |(_, after)| after)
        .contains(':');
    match port {
        Some(port) if !host.is_empty() && !has_port && !host.contains(',') => {
            format!("{scheme}://{place}:{port}{path}")
        }
        _ => base.to_owned(),
    }
}

fn fill_in(
    postgres: &mut tokio_postgres::Config,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<(), Error> {
    if postgres.get_hosts().is_empty() {
        let host = variable("PGHOST").unwrap_or_else(|| "localhost".to_owned());
        let _ = postgres.host(host);
    }
    if postgres.get_ports().is_empty()
        && let Some(port) = variable("PGPORT")
    {
        let port = port.parse();
        let _ = postgres.port(port.map_err(|_| wrong("PGPORT is no port"))?);
    }
    if postgres.get_user().is_none() {
        let user = variable("PGUSER").or_else(|| variable("USER"));
        let _ = postgres.user(user.unwrap_or_else(|| "postgres".to_owned()));
    }
    if postgres.get_password().is_none()
        && let Some(password) = variable("PGPASSWORD")
    {
        let _ = postgres.password(password);
    }
    if postgres.get_dbname().is_none()
        && let Some(name) = variable("PGDATABASE")
    {
        let _ = postgres.dbname(name);
    }
    if postgres.get_application_name().is_none() {
        let name = variable("PGAPPNAME").unwrap_or_else(|| "withal".to_owned());
        let _ = postgres.application_name(name);
    }
    // A killed client's statements end soon, as the server looks for it (since version 14).
    let options = postgres.get_options().map(str::to_owned);
    let options = options
        .or_else(|| variable("PGOPTIONS"))
        .unwrap_or_default();
    if !options.contains("client_connection_check_interval") {
        let check = "-c client_connection_check_interval=100ms";
        let _ = postgres.options(format!("{check} {options}").trim());
    }
    Ok(())
}

impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "postgres://{}@",
            self.postgres.get_user().unwrap_or_default()
        )?;
        for (number, (host, port)) in self.hosts().enumerate() {
            let comma = if number == 0 { "" } else { "," };
            match host {
                Host::Tcp(name) => write!(f, "{comma}{name}:{port}")?,
                Host::Unix(path) => write!(f, "{comma}{}:{port}", path.display())?,
            }
        }
        let user = self.postgres.get_user().unwrap_or_default();
        write!(f, "/{}", self.postgres.get_dbname().unwrap_or(user))
    }
}

/// The password stays out of it.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Config {
    /// A failure to connect, which names the place.
    pub(super) fn cannot_connect(&self, why: impl fmt::Display) -> Error {
        Error::new(
            ErrorKind::Connect,
            format!("cannot connect to `{self}`: {why}"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Config, Error> {
        Config::with_variables(url, |_| None)
    }

    #[test]
    fn urls_are_shown_without_their_password() {
        let config =
            parse("postgresql://ada:s3cret@db.example:6543/orders?application_name=a%20b").unwrap();
        assert_eq!(config.to_string(), "postgres://ada@db.example:6543/orders");
        assert!(!format!("{config:?}").contains("s3cret"));
        assert_eq!(config.postgres.get_application_name(), Some("a b"));
        let socket = parse("postgres:///orders?host=/run/pg&port=1234&user=bob").unwrap();
        assert_eq!(socket.to_string(), "postgres://bob@/run/pg:1234/orders");
    }

    #[test]
    fn variables_fill_in_what_is_left_out() {
        let variable = |name: &str| {
            let value = match name {
                "PGHOST" => "db",
                "PGPORT" => "1",
                "PGUSER" => "ada",
                "PGDATABASE" => "orders",
                _ => return None,
            };
            Some(value.to_owned())
        };
        let config = Config::with_variables("postgres:", variable);
        let config = config
            .or_else(|_| Config::with_variables("postgres://", variable))
            .unwrap();
        assert_eq!(config.to_string(), "postgres://ada@db:1/orders");
        let config = Config::with_variables("postgres://bob@host/db", variable).unwrap();
        assert_eq!(config.to_string(), "postgres://bob@host:1/db");
    }

    #[test]
    fn bad_urls_say_why_and_never_the_password() {
        for url in [
            "postgres://ada:s3cret@host:port/db",
            "postgres://ada:s3cret@host/db?sslmode=maybe",
            "postgres://ada:s3cret@host/db?nonsense=s3cret",
            "postgres://ada:s3cret@host/db?sslmode=verify-full&sslrootcert=/no/such/file",
        ] {
            let error = parse(url).unwrap_err();
            let text = format!("{error} {error:?}");
            assert!(!text.contains("s3cret"), "{text}");
        }
    }

    #[test]
    fn a_password_that_is_not_escaped_is_refused_and_not_shown() {
        for url in [
            "postgres://u:p@s3cret@127.0.0.1:1/x",
            "postgres://u:12?s3cret@127.0.0.1:1/x",
            "postgres://u:12?user=s3cret@127.0.0.1:1/x",
            "postgres://u:12/s3cret@127.0.0.1:1/x",
            "postgres://u:12#s3cret@127.0.0.1:1/x",
            "postgres://u:1@2/3?s3cret@127.0.0.1:1/x",
            "postgres://127.0.0.1:1/x?user=u&password=p@s3cret",
        ] {
            let text = match parse(url) {
                Ok(config) => panic!("{config}"),
                Err(error) => format!("{error} {error:?}"),
            };
            assert!(!text.contains("s3cret") && text.contains("%40"), "{text}");
        }
        let error = parse("postgres://127.0.0.1/x?password=a&s3cret=b").unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(!text.contains("s3cret") && text.contains("%26"), "{text}");
        let error = parse("postgres:password='a's3cret").unwrap_err();
        assert!(error.to_string().contains("no `//`"), "{error}");
        let error = parse("postgres://127.0.0.1/x?aplication_name=a").unwrap_err();
        assert!(error.to_string().contains("`aplication_name`"), "{error}");
    }

    #[test]
    fn an_escaped_password_is_read() {
        let config = parse("postgres://u%40corp:p%40%2F%3F%23:%26@127.0.0.1:1/x").unwrap();
        assert_eq!(config.postgres.get_password(), Some(&b"p@/?#:&"[..]));
        assert_eq!(config.to_string(), "postgres://u@corp@127.0.0.1:1/x");
    }
}
