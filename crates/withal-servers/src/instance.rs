//! A server in its directory: started, stopped, started again.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::error::ServerError;
use super::home::Home;
use super::supervised::{EndBy, Supervised};
use crate::port::free_port;

/// How long a server may take until it answers.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(2);

/// How often another port is tried if somebody was faster.
const PORTS: usize = 16;

/// The command that starts a server in this directory at this port.
type Command = dyn Fn(&Home, u16) -> Vec<OsString> + Send;

/// Whether the server in this directory, at this port, with this process id, answers.
type IsReady = dyn Fn(&Home, u16, u32) -> bool + Send;

/// How one kind of server is run.
pub(super) struct Recipe {
    pub(super) name: &'static str,
    pub(super) command: Box<Command>,
    pub(super) is_ready: Box<IsReady>,
    /// What its log says if the port is taken.
    pub(super) port_taken: &'static str,
    pub(super) graceful: EndBy,
    pub(super) forceful: EndBy,
}

pub(super) struct Instance {
    // Fields are dropped in this order: the server ends before its directory goes.
    running: Option<Supervised>,
    recipe: Recipe,
    port: u16,
    home: Home,
}

impl Instance {
    /// Starts a server in `home`, at a port that is free.
    pub(super) fn start(home: Home, recipe: Recipe) -> Result<Instance, ServerError> {
        let mut instance = Instance {
            running: None,
            port: 0,
            recipe,
            home,
        };
        for _ in 1..PORTS {
            let failed = ServerError::doing("find a free port");
            instance.port = free_port().map_err(failed)?;
            match instance.launch() {
                Err(_) if instance.log().contains(instance.recipe.port_taken) => {}
                launched => return launched.map(|()| instance),
            }
            let _truncated = File::create(instance.log_path());
        }
        instance.launch().map(|()| instance)
    }

    pub(super) fn home(&self) -> &Home {
        &self.home
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn pid(&self) -> Option<u32> {
        self.running.as_ref().map(Supervised::pid)
    }

    pub(super) fn supervisor(&self) -> Option<u32> {
        self.running.as_ref().map(Supervised::supervisor)
    }

    /// Starts it where it is stopped, and waits until it answers.
    pub(super) fn launch(&mut self) -> Result<(), ServerError> {
        let name = self.recipe.name;
        let directory = self.home.path().display().to_string();
        let failed = || ServerError::doing(format!("start {name} in `{directory}`"));
        if let Some(running) = self.running.take() {
            if !running.wait_ended(Duration::ZERO).map_err(failed())? {
                self.running = Some(running);
                return Ok(());
            }
            // It ended by itself.
            drop(running);
        }
        let command = (self.recipe.command)(&self.home, self.port);
        let mut log = OpenOptions::new();
        let log = log.create(true).append(true).mode(0o600);
        let log = log.open(self.log_path()).map_err(failed())?;
        let running = Supervised::start(&self.home, &command, log, self.recipe.forceful);
        let running = running.map_err(failed())?;
        let deadline = Instant::now() + PATIENCE;
        while !(self.recipe.is_ready)(&self.home, self.port, running.pid()) {
            let ended = running.wait_ended(PAUSE).map_err(failed())?;
            if ended || Instant::now() > deadline {
                let why = if ended {
                    "it ended"
                } else {
                    "it does not answer"
                };
                drop(running);
                return Err(ServerError::ended(
                    format!("start {name}: {why}"),
                    self.last_words(),
                ));
            }
        }
        self.running = Some(running);
        Ok(())
    }

    /// Ends it in order: it may write what it has to write.
    pub(super) fn stop(&mut self) -> Result<(), ServerError> {
        self.end(self.recipe.graceful)
    }

    /// Ends it as a crash would.
    pub(super) fn crash(&mut self) -> Result<(), ServerError> {
        self.end(self.recipe.forceful)
    }

    /// Ends it in order and starts it again.
    pub(super) fn restart(&mut self) -> Result<(), ServerError> {
        self.stop()?;
        self.launch()
    }

    fn end(&mut self, by: EndBy) -> Result<(), ServerError> {
        let Some(running) = self.running.take() else {
            return Ok(());
        };
        let failed = ServerError::doing(format!("stop {}", self.recipe.name));
        running.end(by).map_err(failed)
    }

    /// Ends it and removes its directory, which goes in any case.
    pub(super) fn close(mut self) -> Result<(), ServerError> {
        let ended = self.crash();
        ended.and(self.home.remove())
    }

    pub(super) fn log_path(&self) -> PathBuf {
        self.home.join("log")
    }

    fn log(&self) -> String {
        let bytes = fs::read(self.log_path()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn last_words(&self) -> String {
        last_lines(&self.log())
    }
}

/// The end of what a program wrote.
pub(super) fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().rev().take(20).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instance")
            .field("running", &self.running)
            .field("port", &self.port)
            .field("home", &self.home)
            .finish_non_exhaustive()
    }
}
