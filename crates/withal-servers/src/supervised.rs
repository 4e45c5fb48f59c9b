//! A server that ends when we do, however we end.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::home::Home;

/// How long a server may take to end before it is killed.
const PATIENCE: Duration = Duration::from_secs(60);

/// Starts the server, then reads its standard input, whose other end only we have: a line is the
/// signal to end the server with; the end of the file is our death, and then the server's directory
/// goes with it. Should the supervisor itself be killed, the kernel signals the server.
///
/// Signals are repeated: a server that has just been started may not listen to them yet.
const SUPERVISOR: &str = r#"
home=$1 forceful=$2
shift 2
end() {
    while kill -s "$1" "$server"; do sleep 0.1; done 2>/dev/null &
    again=$!
    wait "$server"
    kill "$again"
    wait "$again"
}
setpriv --pdeathsig "$forceful" -- "$@" </dev/null >&2 &
server=$!
echo "$server"
exec >&-
if read -r signal; then
    end "$signal"
else
    end "$forceful"
    rm -rf -- "$home"
fi
exit 0
"#;

/// A running server, and the shell that watches over it.
///
/// It would be simpler to have the kernel signal the server when its parent dies. But to the kernel
/// the parent is the thread that started it, and a test's threads end long before the test.
#[derive(Debug)]
pub(super) struct Supervised {
    supervisor: Child,
    tell: Option<ChildStdin>,
    server: OwnedFd,
    pid: u32,
    forceful: EndBy,
}

/// A signal that ends a server.
#[derive(Clone, Copy, Debug)]
pub(super) struct EndBy(pub(super) &'static str);

impl Supervised {
    /// Starts `command` in `home`, whose user it runs as; `log` takes what it writes.
    pub(super) fn start(
        home: &Home,
        command: &[OsString],
        log: File,
        forceful: EndBy,
    ) -> io::Result<Supervised> {
        let mut shell = Command::new("/bin/sh");
        let _ = shell.args(["-c", SUPERVISOR, "withal-supervisor"]);
        let _ = shell.arg(home.path()).arg(forceful.0).args(command);
        let _ = shell.current_dir(home.path());
        let _ = shell.env_clear().env("PATH", "/usr/bin:/bin");
        let _ = shell.stdin(Stdio::piped()).stdout(Stdio::piped());
        // A group of its own: Ctrl-C is for the test, which then ends the server in its own order.
        let _ = shell.stderr(log).process_group(0);
        let mut supervisor = home.account().run(&mut shell).spawn()?;
        let tell = supervisor.stdin.take();
        match watch(&mut supervisor) {
            Ok((server, pid)) => Ok(Supervised {
                supervisor,
                tell,
                server,
                pid,
                forceful,
            }),
            Err(error) => {
                drop(tell);
                let _status = reap(&mut supervisor)?;
                Err(error)
            }
        }
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    pub(super) fn supervisor(&self) -> u32 {
        self.supervisor.id()
    }

    /// Waits for the server to end, no longer than `limit`; whether it has ended.
    pub(super) fn wait_ended(&self, limit: Duration) -> io::Result<bool> {
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
            match poll(
                &mut [PollFd::new(&self.server, PollFlags::IN)],
                Some(&timeout),
            ) {
                Ok(ready) => return Ok(ready > 0),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Ends the server and waits until it, and who watched over it, are gone.
    pub(super) fn end(mut self, by: EndBy) -> io::Result<()> {
        self.end_by(by)
    }

    fn end_by(&mut self, by: EndBy) -> io::Result<()> {
        let Some(mut tell) = self.tell.take() else {
            return Ok(());
        };
        // If nobody reads this the supervisor was killed, and the kernel has ended the server.
        let told = tell.write_all(format!("{}\n", by.0).as_bytes());
        let ended = self.wait_ended(PATIENCE)?;
        if !ended {
            pidfd_send_signal(&self.server, Signal::KILL)?;
        }
        drop(tell);
        let _status = reap(&mut self.supervisor)?;
        match (ended, told) {
            (false, _) => Err(io::Error::other(
                "it did not end when told to, and was killed",
            )),
            (true, Err(error)) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
            (true, _) => Ok(()),
        }
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        if let Err(error) = self.end_by(self.forceful) {
            super::error::teardown_failed("server", error);
        }
    }
}

/// Waits for the end of a child. `None` if somebody else has done so: whoever reaps all children of
/// the process comes across it, too.
pub(super) fn reap(child: &mut Child) -> io::Result<Option<ExitStatus>> {
    match child.wait() {
        Err(error) if error.raw_os_error() == Some(Errno::CHILD.raw_os_error()) => Ok(None),
        status => status.map(Some),
    }
}

/// What the supervisor has started.
fn watch(supervisor: &mut Child) -> io::Result<(OwnedFd, u32)> {
    let said = supervisor.stdout.take().map(BufReader::new);
    let mut line = String::new();
    if let Some(mut said) = said {
        let _length = said.read_line(&mut line)?;
    }
    let number: i32 = line
        .trim()
        .parse()
        .map_err(|_| io::Error::other("the shell that watches over it did not start"))?;
    let pid = Pid::from_raw(number).ok_or(io::ErrorKind::InvalidData)?;
    // The shell does not wait for it before we say so: the number is still its own.
    let server = pidfd_open(pid, PidfdFlags::empty()).map_err(|error| {
        let why = "no handle of its process can be had (`pidfd_open`, Linux 5.3)";
        io::Error::new(error.kind(), format!("{why}: {error}"))
    })?;
    Ok((server, number.unsigned_abs()))
}
