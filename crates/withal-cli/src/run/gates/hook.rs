//! `--with hook`: a program that acquires something, and one that gives it back.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use tokio::net::unix::pipe;
use withal_core::{AsyncContextManager, ExitCase};
use withal_scope::cancellable;

use super::helper::{self, Argv, Ended, Helper, Owner};
use super::keys::Bytes;
use super::reference::has_password;
use super::template::Recorded;
use super::{Attributes, Equip, Kind, OnlyKeys, Recovery, Resource, Setting, Template, Undo};
use crate::message::say;

/// How long `acquire` may take to end when nobody wants it any more.
const GRACE: Duration = Duration::from_secs(1);

/// How much `acquire` may print.
const MOST_PRINTED: usize = 64 * 1024;

const BLOCK: usize = 4096;

/// What `acquire` printed.
const STDOUT: &str = "stdout";

/// A program that acquires something, and one that gives it back.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Keys")]
pub(super) struct Hook(Keys);

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    acquire: Option<Argv>,
    release: Option<Argv>,
}

impl TryFrom<Keys> for Hook {
    type Error = &'static str;

    fn try_from(keys: Keys) -> Result<Hook, &'static str> {
        match (&keys.acquire, &keys.release) {
            (None, None) => Err("neither `acquire` nor `release`; write one of them, or both"),
            _ => Ok(Hook(keys)),
        }
    }
}

impl Kind for Hook {
    const NAME: &'static str = "hook";
    const ATTRIBUTES: &'static [&'static str] = &["stdout"];
    type Options = OnlyKeys<Hook>;
    type Gate = Run;
    type Undo = Release;

    fn gate(self, setting: &Setting<'_>) -> anyhow::Result<Run> {
        let Hook(Keys { acquire, release }) = self;
        let acquire = acquire.map(|argv| argv.resolve(setting.attributes));
        let release = release.map(|argv| Releasing::new(argv, setting));
        // Whoever recovers may be elsewhere.
        let here = std::env::current_dir().context("no current directory")?;
        Ok(Run {
            acquire: acquire.transpose()?,
            release: release.transpose()?,
            directory: here.join(setting.directory),
            owner: setting.ties.into(),
        })
    }

    fn runs_programs(run: &Run) -> bool {
        run.acquire.is_some()
    }

    fn check(run: &Run) -> anyhow::Result<()> {
        let acquire = run.acquire.as_deref().unwrap_or_default();
        helper::check(acquire, &run.directory)
    }

    /// What `acquire` may make is not looked for, and a name in its `PATH` it hardly does.
    fn check_undoing(run: &Run) -> anyhow::Result<()> {
        let release = run.release.as_ref().and_then(Releasing::program);
        let may_be_made = |program: &OsString| {
            run.acquire.is_some() && program.as_encoded_bytes().contains(&b'/')
        };
        let release = release.filter(|program| !may_be_made(program));
        helper::check(release.as_slice(), &run.directory)
    }

    fn intent(run: &Run) -> Option<Release> {
        match &run.release {
            Some(Releasing::Known(argv)) => Some(Release::new(argv, &run.directory)),
            _ => None,
        }
    }

    fn acquired(held: &Resource<Hook>) -> Option<Release> {
        let argv = held.release.as_ref()?;
        Some(Release::new(argv, &held.directory))
    }
}

/// What gives it back. Variables in it are read when it runs: until then it stands in the journal.
enum Releasing {
    Known(Argv),
    /// It needs what `acquire` prints.
    Awaiting {
        argv: Argv,
        id: String,
        attributes: Attributes,
    },
}

impl Releasing {
    /// The program, if that does not depend on what gates have.
    fn program(&self) -> Option<OsString> {
        let (Releasing::Known(argv) | Releasing::Awaiting { argv, .. }) = self;
        argv.words().first()?.resolve(&Attributes::new()).ok()
    }

    fn new(argv: Argv, setting: &Setting<'_>) -> anyhow::Result<Releasing> {
        let releasing = match setting.id.filter(|id| argv.refers_to(id)) {
            None => Releasing::Known(argv.filled(setting.attributes)?),
            Some(id) => Releasing::Awaiting {
                argv,
                id: id.to_owned(),
                attributes: setting.attributes.clone(),
            },
        };
        // Whatever else it refers to must be there now.
        let argv = releasing.argv(OsStr::new(""))?;
        let _words = argv.resolve(&Attributes::new())?;
        let mut literals = argv.words().iter().flat_map(Template::literals);
        anyhow::ensure!(
            !literals.any(|literal| has_password(&literal.to_string_lossy())),
            "`release` has a URL with a password, which the journal would keep; write `${{env.NAME}}` for it"
        );
        Ok(releasing)
    }

    /// It, once `acquire` has printed that.
    fn argv(&self, printed: &OsStr) -> anyhow::Result<Argv> {
        match self {
            Releasing::Known(argv) => Ok(argv.clone()),
            Releasing::Awaiting {
                argv,
                id,
                attributes,
            } => {
                let mut attributes = attributes.clone();
                let own = vec![(STDOUT, printed.to_owned())];
                let _ = attributes.insert(id.clone(), own);
                argv.filled(&attributes)
            }
        }
    }
}

pub(super) struct Run {
    acquire: Option<Vec<OsString>>,
    release: Option<Releasing>,
    directory: PathBuf,
    owner: Owner,
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.acquire, &self.release) {
            (Some(argv), _) => write!(f, "hook {}", helper::program(argv)),
            (None, Some(Releasing::Known(argv))) => match argv.words() {
                [program, ..] => write!(f, "hook {program}"),
                [] => f.write_str("hook"),
            },
            _ => f.write_str("hook"),
        }
    }
}

pub(super) struct Held {
    /// What `acquire` printed.
    printed: OsString,
    release: Option<Argv>,
    directory: PathBuf,
    owner: Owner,
}

impl AsyncContextManager for Run {
    type Resource = Held;
    type Error = anyhow::Error;

    async fn enter(self) -> anyhow::Result<Held> {
        let printed = match &self.acquire {
            Some(argv) => self.acquire(argv).await?,
            None => OsString::new(),
        };
        let release = self.release.as_ref();
        let release = release.map(|release| release.argv(&printed));
        Ok(Held {
            printed,
            release: release.transpose()?,
            directory: self.directory,
            owner: self.owner,
        })
    }

    async fn exit(held: Held, _case: ExitCase) -> anyhow::Result<()> {
        match held.release {
            Some(argv) => release(&argv, &held.directory, &held.owner).await,
            None => Ok(()),
        }
    }
}

impl Run {
    /// Runs `acquire` to its end; gives what it printed.
    ///
    /// If it fails, it has acquired nothing. If it is stopped, it may have: then `release` runs.
    async fn acquire(&self, argv: &[OsString]) -> anyhow::Result<OsString> {
        let mut command = helper::command(argv, &self.directory)?;
        let _ = command.stdout(Stdio::piped());
        let mut acquiring = Helper::start(command, &self.owner)?;
        let stdout = acquiring.take_stdout().context("no stdout")?;
        let stdout = pipe::Receiver::from_owned_fd(stdout).context("cannot read a pipe")?;
        let Some(ended) = cancellable(finish(&acquiring, &stdout)).await else {
            let stopped = acquiring.stop(Signal::SIGTERM, GRACE).await;
            self.give_up().await;
            stopped?;
            anyhow::bail!("cancelled");
        };
        let (ended, printed) = ended?;
        let program = helper::program(argv);
        if !ended.is_success() {
            // What it has started and left.
            acquiring.send(Signal::SIGKILL);
            anyhow::bail!("`{program}` {ended}");
        }
        match printed {
            Some(printed) => Ok(printed),
            None => {
                self.give_up().await;
                anyhow::bail!(
                    "`{program}` printed more than {MOST_PRINTED} bytes; redirect its stdout"
                )
            }
        }
    }

    /// Runs `release` for an acquisition that nobody wants.
    async fn give_up(&self) {
        let Some(Releasing::Known(argv)) = &self.release else {
            return;
        };
        if let Err(error) = release(argv, &self.directory, &self.owner).await {
            // Nobody waits for this gate any more.
            say(format_args!("hook: {error:#}"));
        }
    }
}

/// Waits for the end of a process; gives what it printed, without the newlines at the end, unless
/// that is too much. What it started may hold the pipe open and is not waited for.
async fn finish(
    helper: &Helper,
    stdout: &pipe::Receiver,
) -> anyhow::Result<(Ended, Option<OsString>)> {
    let mut printed = Vec::new();
    let ended = tokio::select! {
        biased;
        read = read_all(stdout, &mut printed) => {
            read?;
            helper.ended().await?
        }
        ended = helper.ended() => ended?,
    };
    // The runtime may not have heard yet that there is something.
    let mut part = [0; BLOCK];
    while let Ok(read @ 1..) = rustix::io::read(stdout, &mut part) {
        keep(&part, read, &mut printed);
    }
    if printed.len() > MOST_PRINTED {
        return Ok((ended, None));
    }
    while printed.last() == Some(&b'\n') {
        let _ = printed.pop();
    }
    Ok((ended, Some(OsString::from_vec(printed))))
}

/// Reads to the end.
async fn read_all(stdout: &pipe::Receiver, printed: &mut Vec<u8>) -> anyhow::Result<()> {
    let mut part = [0; BLOCK];
    loop {
        stdout.readable().await.context("cannot read a pipe")?;
        match stdout.try_read(&mut part) {
            Ok(0) => return Ok(()),
            Ok(read) => keep(&part, read, printed),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error).context("cannot read a pipe"),
        }
    }
}

/// Keeps what was read; of what is too much only that it is.
fn keep(part: &[u8], read: usize, printed: &mut Vec<u8>) {
    let room = (MOST_PRINTED + 1).saturating_sub(printed.len());
    printed.extend(part.iter().take(read.min(room)));
}

async fn release(argv: &Argv, directory: &Path, owner: &Owner) -> anyhow::Result<()> {
    let argv = argv.resolve(&Attributes::new())?;
    let mut command = helper::command(&argv, directory)?;
    // stdout is the command's.
    let _ = command.stdout(helper::stderr()?);
    let ended = Helper::start(command, owner)?.ended().await?;
    let program = helper::program(&argv);
    anyhow::ensure!(ended.is_success(), "`{program}` {ended}");
    Ok(())
}

impl Equip for Held {
    /// The command has nothing of it but what it refers to.
    fn equip(&mut self, _command: &mut Command) -> anyhow::Result<()> {
        Ok(())
    }

    fn attributes(&self) -> Vec<(&'static str, OsString)> {
        vec![(STDOUT, self.printed.clone())]
    }
}

/// Runs `release`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Release {
    argv: Vec<Recorded>,
    directory: Bytes,
}

impl Release {
    fn new(argv: &Argv, directory: &Path) -> Release {
        Release {
            argv: argv.words().iter().map(Recorded::from).collect(),
            directory: directory.into(),
        }
    }
}

impl Undo for Release {
    async fn undo(self, recovery: &Recovery) -> anyhow::Result<()> {
        let words: Vec<Template> = self.argv.into_iter().map(Template::from).collect();
        let argv = Argv::try_from(words).map_err(anyhow::Error::msg)?;
        let directory = PathBuf::from(self.directory);
        release(&argv, &directory, &recovery.into()).await
    }
}
