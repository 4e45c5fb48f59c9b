//! A folder to run withal in, and proof that nothing is left of a run.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its scene fails")]

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// How long anything may take before a test gives up on it.
const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) const WITHAL: &str = env!("CARGO_BIN_EXE_withal");

/// A folder with a `TMPDIR` of its own; commands run in it.
pub(crate) struct Sandbox {
    /// Holds `work`, where commands run, `tmp`, their `TMPDIR`, and what they print.
    folder: TempDir,
}

/// A run that goes on.
pub(crate) struct Started<'a> {
    sandbox: &'a Sandbox,
    child: Child,
}

/// A run that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// What the shell's `$?` would be.
    pub(crate) fn code(&self) -> i32 {
        let signal = self.status.signal().map(|signal| 128 + signal);
        self.status.code().or(signal).unwrap()
    }

    pub(crate) fn signal(&self) -> Option<i32> {
        self.status.signal()
    }

    #[track_caller]
    pub(crate) fn check_code(&self, expected: i32) {
        assert_eq!(self.code(), expected, "{self:?}");
    }
}

impl Sandbox {
    pub(crate) fn new() -> Sandbox {
        let folder = TempDir::new().unwrap();
        fs::create_dir(folder.path().join("work")).unwrap();
        fs::create_dir(folder.path().join("tmp")).unwrap();
        Sandbox { folder }
    }

    /// Where journals are.
    pub(crate) fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// The journals that are there.
    pub(crate) fn journals(&self) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.state()) else {
            return Vec::new();
        };
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("work").join(name)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.path(name).exists()
    }

    /// The file's text, or nothing.
    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// `program` in this folder, marked so that its descendants can be found.
    pub(crate) fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        let root = self.folder.path();
        let _ = command
            .args(arguments)
            .current_dir(root.join("work"))
            .env("TMPDIR", root.join("tmp"))
            .env("WITHAL_TEST", root)
            .env("WITHAL_STATE_DIR", self.state())
            .stdin(Stdio::null())
            .stdout(File::create(root.join("stdout")).unwrap())
            .stderr(File::create(root.join("stderr")).unwrap());
        command
    }

    /// `withal ARGUMENTS` with `input` as its stdin, to its end.
    pub(crate) fn feed(&self, arguments: &[&str], input: &[u8]) -> Output {
        let mut child = self.pipe(arguments);
        let mut stdin = child.stdin.take().unwrap();
        std::thread::scope(|scope| {
            // It may end before it has read everything.
            let feeding = scope.spawn(move || drop(stdin.write_all(input)));
            let output = child.wait_with_output().unwrap();
            feeding.join().unwrap();
            output
        })
    }

    /// `withal ARGUMENTS`, its three streams pipes.
    pub(crate) fn pipe(&self, arguments: &[&str]) -> Child {
        let mut command = self.command(WITHAL, arguments);
        let _ = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    pub(crate) fn start(&self, mut command: Command) -> Started<'_> {
        Started {
            sandbox: self,
            child: command.spawn().unwrap(),
        }
    }

    /// `withal run ARGUMENTS`, to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        self.start_run(arguments).finish()
    }

    pub(crate) fn start_run(&self, arguments: &[&str]) -> Started<'_> {
        self.start(self.run_command(arguments))
    }

    pub(crate) fn run_command(&self, arguments: &[&str]) -> Command {
        self.command(WITHAL, &[&["run"], arguments].concat())
    }

    /// `withal ARGUMENTS`, to its end; what others have left may be there still.
    #[track_caller]
    pub(crate) fn withal(&self, arguments: &[&str]) -> Ended {
        let output = self
            .command(WITHAL, arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        Ended {
            status: output.status,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The same, where what it prints is one JSON value.
    #[track_caller]
    pub(crate) fn withal_json(&self, arguments: &[&str]) -> serde_json::Value {
        let ended = self.withal(arguments);
        serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"))
    }

    /// `sh -c SCRIPT`, in which `$W` is withal; to its end.
    pub(crate) fn shell(&self, script: &str) -> Ended {
        self.start_shell(script).finish()
    }

    pub(crate) fn start_shell(&self, script: &str) -> Started<'_> {
        let mut command = self.command("sh", &["-c", script]);
        let _ = command.env("W", WITHAL);
        self.start(command)
    }

    pub(crate) fn stderr(&self) -> String {
        fs::read_to_string(self.folder.path().join("stderr")).unwrap()
    }

    /// The processes that were started here and are still there.
    pub(crate) fn processes(&self) -> Vec<Pid> {
        let mark = format!("WITHAL_TEST={}", self.folder.path().display());
        let found = fs::read_dir("/proc").unwrap().filter_map(|process| {
            let process = process.unwrap();
            let pid = process.file_name().to_str()?.parse().ok()?;
            let environment = fs::read(process.path().join("environ")).ok()?;
            let mut variables = environment.split(|byte| *byte == 0);
            variables
                .any(|variable| variable == mark.as_bytes())
                .then(|| Pid::from_raw(pid))
        });
        found.collect()
    }

    /// No process, no temporary directory, no temporary file, no journal is left.
    #[track_caller]
    pub(crate) fn check_nothing_is_left(&self) {
        assert_eq!(self.processes(), [], "processes are left");
        let tmp = self.folder.path().join("tmp");
        let left: Vec<_> = fs::read_dir(tmp)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        assert!(left.is_empty(), "temporary directories are left: {left:?}");
        let work = fs::read_dir(self.folder.path().join("work")).unwrap();
        let names = work.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let left: Vec<_> = names.filter(|name| name.ends_with(".withal-tmp")).collect();
        assert!(left.is_empty(), "temporary files are left: {left:?}");
        let left = self.journals();
        assert!(left.is_empty(), "journals are left: {left:?}");
    }
}

impl Started<'_> {
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().try_into().unwrap())
    }

    /// The process that holds the gates.
    #[track_caller]
    pub(crate) fn keeper(&self) -> Pid {
        let mut keeper = None;
        wait_until("the keeper", || {
            keeper = self.try_keeper();
            keeper.is_some()
        });
        keeper.unwrap()
    }

    /// The same, if there is one now.
    pub(crate) fn try_keeper(&self) -> Option<Pid> {
        let pid = self.pid();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let children = children.unwrap_or_default();
        let keeper = children.split_whitespace().next_back()?;
        keeper.parse().ok().map(Pid::from_raw)
    }

    pub(crate) fn send(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// Waits for a file that the command makes.
    #[track_caller]
    pub(crate) fn wait_for(&self, name: &str) {
        wait_until(name, || self.sandbox.has(name));
    }

    /// Waits for a record in the journal of the one run there is.
    #[track_caller]
    pub(crate) fn wait_for_record(&self, kind: &str) {
        let record = format!("\"record\":\"{kind}\"");
        wait_until(kind, || {
            let [journal] = self.sandbox.journals().try_into().unwrap();
            fs::read_to_string(journal).unwrap().contains(&record)
        });
    }

    /// Waits for withal to say something.
    #[track_caller]
    pub(crate) fn wait_for_message(&self, text: &str) {
        wait_until(text, || self.sandbox.stderr().contains(text));
    }

    /// Waits for the end, and checks that nothing is left.
    #[track_caller]
    pub(crate) fn finish(self) -> Ended {
        let sandbox = self.sandbox;
        let ended = self.finish_unchecked();
        sandbox.check_nothing_is_left();
        ended
    }

    #[track_caller]
    pub(crate) fn finish_unchecked(mut self) -> Ended {
        let mut status = None;
        wait_until("the end of withal", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        let root = self.sandbox.folder.path();
        let text = |name| String::from_utf8_lossy(&fs::read(root.join(name)).unwrap()).into_owned();
        Ended {
            status: status.unwrap(),
            stdout: text("stdout"),
            stderr: text("stderr"),
        }
    }
}

impl Drop for Sandbox {
    /// A failed test must not leave its processes behind.
    fn drop(&mut self) {
        for pid in self.processes() {
            let _ = kill(pid, Signal::SIGKILL);
        }
    }
}

/// Polls for a condition.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < DEADLINE, "waited in vain: {what}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}
