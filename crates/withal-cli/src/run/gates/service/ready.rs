//! When a service is ready.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderValue};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use regex::bytes::Regex;
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::output::Printing;
use crate::run::gates::helper::{self, Argv, Helper, Owner};
use crate::run::gates::{Attributes, Template, keys};

/// How long it may take, if nothing is said.
const WITHIN: Duration = Duration::from_secs(30);

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(20);

/// How long a try may take.
const TRY: Duration = Duration::from_secs(2);

/// When it is ready; at once, if nothing is said.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(try_from = "Keys")]
pub(super) struct Ready {
    sign: Option<Sign>,
    within: Option<Duration>,
}

#[derive(Clone, Debug)]
enum Sign {
    /// Somebody accepts connections.
    Tcp(Template),
    /// Somebody answers with a status below 500.
    Http(Template),
    /// A line of its output matches.
    Log(Regex),
    /// The command exits with 0.
    Exec(Argv),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    tcp: Option<Template>,
    http: Option<Template>,
    log: Option<String>,
    exec: Option<Argv>,
    #[serde(default, deserialize_with = "keys::duration")]
    within: Option<Duration>,
}

impl TryFrom<Keys> for Ready {
    type Error = String;

    fn try_from(keys: Keys) -> Result<Ready, String> {
        let log = keys.log.map(|log| {
            let read = Regex::new(&log);
            read.map_err(|error| {
                let text = error.to_string();
                let why = text.lines().last().unwrap_or_default();
                format!("`log` is not a regular expression: {why}")
            })
        });
        let signs = [
            keys.tcp.map(Sign::Tcp),
            keys.http.map(Sign::Http),
            log.transpose()?.map(Sign::Log),
            keys.exec.map(Sign::Exec),
        ];
        let mut signs = signs.into_iter().flatten();
        match (signs.next(), signs.next()) {
            (Some(sign), None) => Ok(Ready {
                sign: Some(sign),
                within: keys.within,
            }),
            _ => Err("write one of `tcp`, `http`, `log` and `exec`".to_owned()),
        }
    }
}

impl Ready {
    pub(super) fn watch(self, attributes: &Attributes, directory: &Path) -> anyhow::Result<Watch> {
        let text = |template: &Template| {
            let text = template.resolve(attributes)?;
            let text = text.into_string();
            text.map_err(|_| anyhow::anyhow!("ready: not UTF-8"))
        };
        let what = match self.sign {
            None => What::Started,
            Some(Sign::Tcp(address)) => What::Tcp(text(&address)?),
            Some(Sign::Http(url)) => What::Http(Url::new(&text(&url)?)?),
            Some(Sign::Log(line)) => What::Log(line),
            Some(Sign::Exec(argv)) => What::Exec(argv.resolve(attributes)?),
        };
        Ok(Watch {
            what,
            within: self.within.unwrap_or(WITHIN),
            directory: directory.to_owned(),
        })
    }
}

/// Waits until a service is ready.
#[derive(Debug)]
pub(super) struct Watch {
    what: What,
    within: Duration,
    directory: PathBuf,
}

#[derive(Debug)]
enum What {
    Started,
    Tcp(String),
    Http(Url),
    Log(Regex),
    Exec(Vec<OsString>),
}

#[derive(Debug)]
struct Url {
    uri: Uri,
    /// Host and port.
    authority: String,
}

impl Url {
    fn new(text: &str) -> anyhow::Result<Url> {
        const REMEDY: &str =
            "ready: not a URL that can be asked; write `http://127.0.0.1:8080/health`";
        let uri: Uri = text.parse().ok().context(REMEDY)?;
        anyhow::ensure!(uri.scheme_str() == Some("http"), REMEDY);
        let host = uri.host().context(REMEDY)?;
        let port = uri.port_u16().unwrap_or(80);
        Ok(Url {
            authority: format!("{host}:{port}"),
            uri,
        })
    }
}

impl Watch {
    /// The line to look out for.
    pub(super) fn line(&self) -> Option<Regex> {
        match &self.what {
            What::Log(line) => Some(line.clone()),
            _ => None,
        }
    }

    /// Looks for the program that says whether it is ready, if it is one that the service does not
    /// make.
    pub(super) fn check(&self, directory: &Path) -> anyhow::Result<()> {
        match &self.what {
            What::Exec(argv) if !helper::program(argv).contains('/') => {
                helper::check(argv, directory).context("ready")
            }
            _ => Ok(()),
        }
    }

    /// Another who answers would be taken for the service.
    pub(super) async fn check_nobody_answers(&self) -> anyhow::Result<()> {
        let (What::Tcp(address)
        | What::Http(Url {
            authority: address, ..
        })) = &self.what
        else {
            return Ok(());
        };
        let answers = timeout(TRY, TcpStream::connect(address)).await;
        anyhow::ensure!(
            !matches!(answers, Ok(Ok(_))),
            "somebody listens on {address} already; stop that, or choose another port"
        );
        Ok(())
    }

    /// # Errors
    ///
    /// It has ended, or is not ready in time.
    pub(super) async fn wait(
        &self,
        program: &str,
        helper: &Helper,
        owner: &Owner,
        printing: &Printing,
    ) -> anyhow::Result<()> {
        let mut last = None;
        let tried = tokio::select! {
            biased;
            ready = timeout(self.within, self.tries(owner, printing, &mut last)) => ready,
            ended = helper.ended() => {
                let ended = ended?;
                anyhow::bail!("`{program}` {ended} before it was ready")
            }
        };
        let within = humantime::format_duration(self.within);
        tried.map_err(|_late| {
            let why = match last {
                Some(last) => format!("{last:#}"),
                None => self.awaited(),
            };
            anyhow::anyhow!("`{program}` is not ready within {within}: {why}")
        })
    }

    fn awaited(&self) -> String {
        match &self.what {
            What::Started => "not started".to_owned(),
            What::Tcp(address) => format!("no connection to {address}"),
            What::Http(url) => format!("no answer from {}", url.authority),
            What::Log(line) => format!("no line of its output matches `{line}`"),
            What::Exec(argv) => format!("`{}` has not ended", helper::program(argv)),
        }
    }

    /// Tries until it is ready; `last` is why it was not.
    async fn tries(&self, owner: &Owner, printing: &Printing, last: &mut Option<anyhow::Error>) {
        loop {
            let tried = async {
                match &self.what {
                    What::Started => Ok(()),
                    What::Tcp(address) => connect(address).await.map(drop),
                    What::Http(url) => ask(url).await,
                    What::Log(_) => {
                        printing.seen().await;
                        Ok(())
                    }
                    What::Exec(argv) => exec(argv, &self.directory, owner).await,
                }
            };
            match tried.await {
                Ok(()) => return,
                Err(error) => *last = Some(error),
            }
            sleep(PAUSE).await;
        }
    }
}

async fn connect(address: &str) -> anyhow::Result<TcpStream> {
    let stream = timeout(TRY, TcpStream::connect(address)).await;
    let stream = stream
        .map_err(anyhow::Error::from)
        .and_then(|stream| Ok(stream?));
    stream.with_context(|| format!("no connection to {address}"))
}

async fn ask(url: &Url) -> anyhow::Result<()> {
    let stream = connect(&url.authority).await?;
    let status = timeout(TRY, status(stream, url)).await;
    let status = status.map_err(anyhow::Error::from).flatten();
    let status = status.with_context(|| format!("no answer from {}", url.authority))?;
    anyhow::ensure!(
        !status.is_server_error(),
        "{} answers with {status}",
        url.authority
    );
    Ok(())
}

async fn status(stream: TcpStream, url: &Url) -> anyhow::Result<StatusCode> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let mut request = Request::new(Empty::<Bytes>::new());
    let path = url.uri.path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = path.parse()?;
    let host = HeaderValue::from_str(&url.authority)?;
    let _ = request.headers_mut().insert(HOST, host);
    tokio::select! {
        response = sender.send_request(request) => Ok(response?.status()),
        closed = connection => {
            closed?;
            anyhow::bail!("the connection was closed")
        }
    }
}

async fn exec(argv: &[OsString], directory: &Path, owner: &Owner) -> anyhow::Result<()> {
    let mut command = helper::command(argv, directory)?;
    // What it says until all is well is no news.
    let _ = command.stdout(Stdio::null()).stderr(Stdio::null());
    let ended = Helper::start(command, owner)?.ended().await?;
    anyhow::ensure!(ended.is_success(), "`{}` {ended}", helper::program(argv));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Keys, Ready, Url};

    #[test]
    fn one_sign_is_awaited() {
        let check = |text: &str, expected: Result<(), &str>| {
            let keys: Keys = toml::from_str(text).unwrap();
            let read = Ready::try_from(keys).map(drop);
            assert_eq!(
                read.as_ref().map_err(String::as_str),
                expected.as_ref().map_err(|why| *why)
            );
        };
        let one = Err("write one of `tcp`, `http`, `log` and `exec`");
        check("tcp = '127.0.0.1:1'", Ok(()));
        check("exec = ['true']\nwithin = '1s'", Ok(()));
        check("", one);
        check("within = '1s'", one);
        check("tcp = 'a:1'\nlog = 'x'", one);
        check(
            "log = '('",
            Err("`log` is not a regular expression: error: unclosed group"),
        );
    }

    #[test]
    fn what_is_asked_is_plain_http() {
        assert_eq!(Url::new("http://a/b").unwrap().authority, "a:80");
        assert_eq!(Url::new("http://[::1]:8").unwrap().authority, "[::1]:8");
        for wrong in ["", "a:1", "https://a", "http://", "/health"] {
            assert!(Url::new(wrong).is_err(), "{wrong}");
        }
    }
}
