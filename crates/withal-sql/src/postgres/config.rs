//! Where a Postgres is, and how to get there.

use std::env;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio_postgres::config::{Host, SslMode};
use url::form_urlencoded;

use super::environment::Environment;
use super::passfile::Passfile;
use super::tls::{Files, Tls, Verify};
use crate::cancelled::Cancelled;
use crate::url::wrong;
use crate::{Error, ErrorKind};

/// What a `postgres:` URL and the `PG*` variables say.
#[derive(Clone)]
pub(crate) struct Config {
    pub(super) postgres: tokio_postgres::Config,
    /// For those hosts that have one of their own.
    passwords: Arc<Passfile>,
    /// Whether servers are asked for [`CHECK`]: unless the user has, or one of them does not know it.
    checks: Arc<AtomicBool>,
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

/// How often a server looks whether its client is gone: a killed one's statements end soon. Servers
/// before version 14 do not know it, and some systems cannot do it.
const CHECK: &str = "client_connection_check_interval";

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
        let mut options: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes())
            .into_owned()
            .collect();
        let mut take = |option: &str| take(&mut options, option);
        let environment = Environment::new(take("service"), take("servicefile"), variable)?;
        let mut option = |option: &str| take(option).or_else(|| environment.option(option));
        let ssl_mode = option("sslmode");
        let files = Files {
            root: option("sslrootcert"),
            certificate: option("sslcert"),
            key: option("sslkey"),
        };
        let passfile = option("passfile").map(PathBuf::from);
        for (option, value) in environment.others() {
            if options.iter().all(|(known, _)| known != option) {
                options.push((option.to_owned(), value.to_owned()));
            }
        }
        let mut rest = form_urlencoded::Serializer::new(String::new());
        let _ = rest.extend_pairs(&options);
        // A space is `%20` to the driver.
        let rest = rest.finish().replace('+', "%20");
        let says = |option: &str| rest.split('&').any(|pair| pair.starts_with(option));
        let (says_idle, says_timeout) = (says("keepalives_idle="), says("tcp_user_timeout="));
        let base = with_port(base, environment.option("port").as_deref());
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
        let verify = Verify::of(ssl_mode.as_deref(), files.root.is_some()).ok_or_else(|| {
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
        let says_limit = says("connect_timeout=");
        fill_in(&mut postgres, says_limit, &environment)?;
        let options = postgres.get_options().unwrap_or_default();
        let checks = !options.contains(CHECK);
        let passwords = match postgres.get_password() {
            Some(_) => Passfile::default(),
            None => passfile
                .or_else(|| environment.home(".pgpass"))
                .map_or_else(Passfile::default, |file| Passfile::read(&file)),
        };
        let tls = Tls::new(verify, &files)?;
        Ok(Config {
            postgres,
            passwords: Arc::new(passwords),
            checks: Arc::new(AtomicBool::new(checks)),
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

    /// Whether servers are asked to look whether we are gone.
    pub(super) fn checks(&self) -> bool {
        self.checks.load(Ordering::Relaxed)
    }

    /// Whether a server has refused that. If so, none is asked any more.
    pub(super) fn gives_up_checks(&self, error: &Error) -> bool {
        let is_refused = error.code().is_some() && error.message().contains(CHECK);
        if is_refused {
            self.checks.store(false, Ordering::Relaxed);
        }
        is_refused
    }

    /// What to say to one of the hosts.
    pub(super) fn for_host(&self, host: &Host, port: u16, checks: bool) -> tokio_postgres::Config {
        let mut postgres = self.postgres.clone();
        if checks {
            let options = postgres.get_options().unwrap_or_default();
            let options = format!("-c {CHECK}=100ms {options}");
            let _ = postgres.options(options.trim());
        }
        let user = postgres.get_user().unwrap_or_default();
        let database = postgres.get_dbname().unwrap_or(user);
        if let Some(password) = self.passwords.password(host, port, database, user) {
            let _ = postgres.password(password);
        }
        postgres
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

/// Takes an option out of those of a URL; the last one counts.
fn take(options: &mut Vec<(String, String)>, option: &str) -> Option<String> {
    let taken = options.extract_if(.., |(name, _)| name == option);
    taken.last().map(|(_, value)| value)
}

fn fill_in(
    postgres: &mut tokio_postgres::Config,
    says_limit: bool,
    environment: &Environment<impl Fn(&str) -> Option<String>>,
) -> Result<(), Error> {
    let option = |option| environment.option(option);
    if postgres.get_hosts().is_empty() {
        let hosts = option("host").unwrap_or_else(|| "localhost".to_owned());
        for host in hosts.split(',') {
            let _ = postgres.host(host);
        }
    }
    if postgres.get_ports().is_empty()
        && let Some(ports) = option("port")
    {
        for port in ports.split(',') {
            let _ = postgres.port(port.parse().map_err(|_| wrong("PGPORT is no port"))?);
        }
    }
    if postgres.get_user().is_none() {
        let user = option("user").or_else(|| environment.variable("USER"));
        let _ = postgres.user(user.unwrap_or_else(|| "postgres".to_owned()));
    }
    if postgres.get_password().is_none()
        && let Some(password) = option("password")
    {
        let _ = postgres.password(password);
    }
    if postgres.get_dbname().is_none()
        && let Some(name) = option("dbname")
    {
        let _ = postgres.dbname(name);
    }
    if postgres.get_application_name().is_none() {
        let name = option("application_name").unwrap_or_else(|| "withal".to_owned());
        let _ = postgres.application_name(name);
    }
    if !says_limit && let Some(limit) = option("connect_timeout") {
        let seconds: i64 = limit
            .parse()
            .map_err(|_| wrong("PGCONNECT_TIMEOUT is no number of seconds"))?;
        // As in a URL, zero and less are no limit of theirs.
        if let Ok(seconds @ 1..) = u64::try_from(seconds) {
            let _ = postgres.connect_timeout(Duration::from_secs(seconds));
        }
    }
    if postgres.get_options().is_none()
        && let Some(options) = option("options")
    {
        let _ = postgres.options(options);
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
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;

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

    #[cfg(target_os = "linux")]
    #[test]
    fn sockets_are_watched_as_the_url_says() {
        let watched = |url: &str| {
            let config = parse(url).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_io()
                .build()
                .unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                let stream = TcpStream::connect(listener.local_addr().unwrap())
                    .await
                    .unwrap();
                config.watch(&stream).unwrap();
                let socket = SockRef::from(&stream);
                let keepalive = socket.keepalive().unwrap();
                let idle = keepalive.then(|| socket.tcp_keepalive_time().unwrap());
                (idle, socket.tcp_user_timeout().unwrap())
            })
        };
        let thirty = Some(Duration::from_secs(30));
        assert_eq!(watched("postgres://h/d"), (thirty, thirty));
        let url = "postgres://h/d?keepalives_idle=7&tcp_user_timeout=9";
        let [seven, nine] = [7, 9].map(|seconds| Some(Duration::from_secs(seconds)));
        assert_eq!(watched(url), (seven, nine));
        assert_eq!(watched("postgres://h/d?keepalives=0"), (None, thirty));
    }

    /// What the environment of a process with this home says.
    fn at_home(home: &Path, variables: &[(&str, &str)], url: &str) -> Result<Config, Error> {
        Config::with_variables(url, |name| match name {
            "HOME" => Some(home.display().to_string()),
            "PGSYSCONFDIR" => Some("/nowhere".to_owned()),
            _ => {
                let mut all = variables.iter();
                all.find_map(|(known, value)| (*known == name).then(|| (*value).to_owned()))
            }
        })
    }

    #[test]
    fn a_service_counts_for_more_than_variables_and_for_less_than_the_url() {
        let home = tempfile::tempdir().unwrap();
        let service = "[orders]\nhost=a,b\nport=1,2\nuser=ada\npassword=s3cret\nkeepalives_idle=7\n\
            sslmode=require\nconnect_timeout=3\n[wrong]\nnonsense=s3cret\n[other]\nhost=c\n";
        fs::write(home.path().join(".pg_service.conf"), service).unwrap();
        let variables = [
            ("PGSERVICE", "orders"),
            ("PGHOST", "no"),
            ("PGPORT", "9"),
            ("PGUSER", "bob"),
            ("PGDATABASE", "d"),
            ("PGCONNECT_TIMEOUT", "5"),
        ];
        let config = at_home(home.path(), &variables, "postgres://").unwrap();
        assert_eq!(config.to_string(), "postgres://ada@a:1,b:2/d");
        assert_eq!(config.postgres.get_password(), Some(&b"s3cret"[..]));
        assert_eq!(
            config.postgres.get_keepalives_idle(),
            Duration::from_secs(7)
        );
        assert_eq!(config.postgres.get_ssl_mode(), SslMode::Require);
        assert_eq!(config.connect_timeout(), Duration::from_secs(3));
        let url = "postgres://eve@h:7/x?keepalives_idle=8&connect_timeout=4";
        let config = at_home(home.path(), &variables, url).unwrap();
        assert_eq!(config.to_string(), "postgres://eve@h:7/x");
        assert_eq!(
            config.postgres.get_keepalives_idle(),
            Duration::from_secs(8)
        );
        assert_eq!(config.connect_timeout(), Duration::from_secs(4));
        let other = "postgres://?service=other";
        let config = at_home(home.path(), &variables, other).unwrap();
        assert_eq!(config.to_string(), "postgres://bob@c:9/d");
        for (service, says) in [("wrong", "`nonsense`"), ("none", "no service `none`")] {
            let url = format!("postgres://?service={service}");
            let error = at_home(home.path(), &[], &url).unwrap_err();
            let text = format!("{error} {error:?}");
            assert!(text.contains(says) && !text.contains("s3cret"), "{text}");
        }
    }

    #[test]
    fn connecting_may_take_as_long_as_a_variable_says() {
        let limit = |value: &str| {
            let home = Path::new("/nowhere");
            let config = at_home(home, &[("PGCONNECT_TIMEOUT", value)], "postgres://");
            config.map(|config| config.connect_timeout())
        };
        assert_eq!(limit("2").unwrap(), Duration::from_secs(2));
        assert_eq!(limit("0").unwrap(), CONNECT);
        assert_eq!(limit("-1").unwrap(), CONNECT);
        let error = limit("soon").unwrap_err().to_string();
        assert!(error.contains("PGCONNECT_TIMEOUT"), "{error}");
    }

    #[test]
    fn each_host_gets_its_own_password_from_a_file_that_others_cannot_read() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join(".pgpass");
        fs::write(&file, "a:*:*:ada:s3cret-a\nb:2:d:*:s3cret-b\n").unwrap();
        let passwords = |mode: u32, url: &str| {
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            let config = at_home(home.path(), &[], url).unwrap();
            assert!(!format!("{config} {config:?}").contains("s3cret"));
            let password = |(host, port): (&Host, u16)| {
                let config = config.for_host(host, port, false);
                config.get_password().map(<[u8]>::to_vec)
            };
            config.hosts().map(password).collect::<Vec<_>>()
        };
        let url = "postgres://ada@a:1,b:2,b:3/d";
        let [a, b] = [b"s3cret-a", b"s3cret-b"].map(|password| Some(password.to_vec()));
        assert_eq!(passwords(0o600, url), [a, b, None]);
        for mode in [0o640, 0o604, 0o620] {
            assert_eq!(passwords(mode, url), [None, None, None]);
        }
        let given = Some(b"given".to_vec());
        assert_eq!(passwords(0o600, "postgres://ada:given@a:1/d"), [given]);
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
