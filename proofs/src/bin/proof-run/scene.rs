//! One run that is killed, and all that may be left of it.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::park_timeout;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use withal_core::ContextManager;
use withal_proofs::dice::Dice;
use withal_servers::{PostgresServer, RedisServer, postgres, redis};

/// Who is killed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Victim {
    Front,
    Keeper,
    Group,
    Both,
}

impl Victim {
    pub(crate) const ALL: [Victim; 4] =
        [Victim::Front, Victim::Keeper, Victim::Group, Victim::Both];
}

/// Every kind of gate.
const GATES: &[&str] = &[
    "--tempdir",
    "--tempdir=SECOND",
    "--lock=lock",
    "--sqlite=DB",
    "--env=A=1",
    "--env-file=settings",
    "--pg-lock=proof",
    "--with=redis-lock:key=proof,env=SECOND_TOKEN",
    "--pg=OWN_URL",
    "--pg-server=SERVER_URL",
    "--with=hook:acquire=['mkdir', '-p', 'held'],release=['rm', '-rf', 'held']",
    "--with=service:command=['sleep', '1000']",
    "--mock=API=mock.toml",
    "--output=out",
    "--log=log",
];

/// What may be there afterwards.
const KEPT: &[&str] = &["lock", "log", "mock.toml", "out", "settings"];

/// What takes both leases, if nobody has them.
const LEASES: &[&str] = &[
    "run",
    "--with=pg-lock:key=proof,wait=0",
    "--with=redis-lock:key=proof,wait=0,env=SECOND_TOKEN",
    "--",
    "true",
];

/// The databases of runs.
const DATABASES: &str = "SELECT datname FROM pg_database WHERE datname LIKE 'withal%'";

/// Writes its number many times, with a daemon that has left its session, and takes a while to end.
const COMMAND: &str = "
    trap 'exit 3' TERM
    setsid sh -c 'setsid sleep 1000 &'
    sleep 1000 &
    echo \"$TMPDIR\" > \"$SECOND/file\"
    echo \"$NUMBER $DB $API $OWN_URL $SERVER_URL $A $B\" >&2
    i=0
    while [ $i -lt 200 ]; do echo $NUMBER; i=$((i + 1)); done
    sleep 0.00$((NUMBER % 10))
    echo end";

/// How many lines an output has.
const LINES: usize = 201;

/// How long all may take to be gone: the grace of a run, and more.
const DEADLINE: Duration = Duration::from_secs(30);

const MARK: &str = "WITHAL_PROOF";

pub(crate) struct Scene {
    withal: PathBuf,
    scratch: PathBuf,
    folder: PathBuf,
    servers: Servers,
    /// How long a run takes that nobody kills.
    length: Duration,
}

/// Those that leases and databases are on.
struct Servers {
    postgres: PostgresServer,
    redis: RedisServer,
}

impl Servers {
    fn start() -> Result<Servers> {
        Ok(Servers {
            postgres: ContextManager::enter(postgres()).context("no PostgreSQL server")?,
            redis: ContextManager::enter(redis()).context("no Redis server")?,
        })
    }
}

impl Scene {
    pub(crate) fn new(withal: &Path, scratch: &Path) -> Result<Scene> {
        Scene::with(withal, scratch, Servers::start()?)
    }

    fn with(withal: &Path, scratch: &Path, servers: Servers) -> Result<Scene> {
        let folder = scratch.join("run");
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        for name in ["work", "tmp"] {
            fs::create_dir_all(folder.join(name))?;
        }
        fs::write(folder.join("work/out"), content(0))?;
        fs::write(folder.join("work/mock.toml"), "[[route]]\npath = '/'\n")?;
        fs::write(folder.join("work/settings"), "B=2\n")?;
        let mut scene = Scene {
            withal: fs::canonicalize(withal).context("no withal to prove")?,
            scratch: scratch.to_owned(),
            folder: fs::canonicalize(folder)?,
            servers,
            length: Duration::ZERO,
        };
        // The first one makes what others find.
        for _ in 0..2 {
            let start = Instant::now();
            let ended = scene.gates(0).stderr(Stdio::piped()).output()?;
            scene.length = start.elapsed();
            let said = String::from_utf8_lossy(&ended.stderr);
            ensure!(ended.status.success(), "left alone, a run fails: {said}");
            scene.check(0)?;
        }
        Ok(scene)
    }

    /// A run with all gates.
    fn gates(&self, number: u64) -> Command {
        let mut run = self.command(&["run", "--grace=2s"]);
        let _ = run
            .args(GATES)
            .args(["--", "sh", "-c", COMMAND])
            .env("NUMBER", number.to_string())
            .process_group(0);
        run
    }

    /// Keeps what is there, and begins anew.
    pub(crate) fn leave_as_evidence(self) -> Result<Scene> {
        let mut number = 0;
        let kept = loop {
            number += 1;
            let kept = self.scratch.join(format!("bad-{number}"));
            if !kept.exists() {
                break kept;
            }
        };
        for pid in self.processes()? {
            let _gone = kill_process(pid, Signal::KILL);
        }
        fs::rename(&self.folder, &kept)?;
        println!("kept in {}", kept.display());
        Scene::with(&self.withal, &self.scratch, self.servers)
    }

    pub(crate) fn remove(self) -> Result<()> {
        Ok(fs::remove_dir_all(self.folder)?)
    }

    /// Runs withal, kills it, has the rest recovered, and checks that nothing is left. Whether there
    /// was a rest.
    pub(crate) fn run_and_kill(
        &mut self,
        number: u64,
        victim: Victim,
        dice: &mut Dice,
    ) -> Result<bool> {
        let mut front = self
            .gates(number)
            .spawn()
            .context("withal does not start")?;
        // Some are killed while they begin, some while they end.
        let length = u64::try_from(self.length.as_micros())?;
        let micros = match dice.roll(4) {
            0 => dice.roll(length / 10),
            1 => length / 2 + dice.roll(length * 3 / 4),
            _ => dice.roll(length),
        };
        let at = Instant::now() + Duration::from_micros(micros);
        while let Some(left) = at.checked_duration_since(Instant::now()) {
            park_timeout(left);
        }
        strike(&front, victim)?;
        let _status = front.wait()?;
        let was_needed = self.recover()?;
        self.check(number)?;
        Ok(was_needed)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.withal);
        let _ = command
            .args(arguments)
            .current_dir(self.folder.join("work"))
            .env("TMPDIR", self.folder.join("tmp"))
            .env("WITHAL_STATE_DIR", self.folder.join("state"))
            .env(MARK, &self.folder)
            .env("DATABASE_URL", self.servers.postgres.url())
            .env("REDIS_URL", self.servers.redis.url())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    /// Waits until whoever is left has done its work, and has `recover` do the rest.
    fn recover(&self) -> Result<bool> {
        let start = Instant::now();
        let mut was_needed = false;
        loop {
            let mut recover = self.command(&["recover"]);
            let recovered = recover.stderr(Stdio::piped()).output()?;
            let said = String::from_utf8_lossy(&recovered.stderr);
            was_needed |= said.contains("recovered run");
            let left = self.processes()?;
            if recovered.status.success() && left.is_empty() && self.journals()?.is_empty() {
                return Ok(was_needed);
            }
            if start.elapsed() > DEADLINE {
                let journals = self.journals()?;
                bail!(
                    "processes {left:?} and journals {journals:?} are left; recover said: {said}"
                );
            }
            park_timeout(Duration::from_millis(5));
        }
    }

    /// Processes that were started here, and are still there.
    fn processes(&self) -> Result<Vec<Pid>> {
        let mark = format!("{MARK}={}", self.folder.display());
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
            let mut variables = environment.split(|byte| *byte == 0);
            if variables.any(|variable| variable == mark.as_bytes()) {
                found.extend(Pid::from_raw(pid));
            }
        }
        Ok(found)
    }

    fn journals(&self) -> Result<Vec<PathBuf>> {
        match fs::read_dir(self.folder.join("state")) {
            Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }

    fn check(&self, number: u64) -> Result<()> {
        let names = |folder: &str| -> Result<Vec<String>> {
            let entries = fs::read_dir(self.folder.join(folder))?;
            let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
            names.collect()
        };
        let directories = names("tmp")?;
        ensure!(
            directories.is_empty(),
            "directories are left: {directories:?}"
        );
        let mut work = names("work")?;
        work.retain(|name| !KEPT.contains(&name.as_str()));
        ensure!(work.is_empty(), "files are left: {work:?}");
        let lock = self.folder.join("work/lock");
        if lock.exists() {
            let lock = File::open(lock)?;
            let start = Instant::now();
            // A process that ends loses its environment, by which it is found, before its files.
            while lock.try_lock().is_err() {
                ensure!(start.elapsed() < DEADLINE, "the lock is held");
                park_timeout(Duration::from_millis(1));
            }
        }
        let leases = self.command(LEASES).stderr(Stdio::piped()).output()?;
        let said = String::from_utf8_lossy(&leases.stderr);
        ensure!(leases.status.success(), "a lease is held: {said}");
        let databases = Command::new("psql")
            .args([&*self.servers.postgres.url(), "-XAtc", DATABASES])
            .output()
            .context("no psql")?;
        let left = String::from_utf8_lossy(&databases.stdout);
        ensure!(
            databases.status.success() && left.is_empty(),
            "databases are left: {left}"
        );
        if self.folder.join("work/log").exists() {
            let read = self
                .command(&["log", "cat", "log"])
                .stdout(Stdio::piped())
                .output()?;
            let ends_well = read.stdout.last().is_none_or(|last| *last == b'\n');
            ensure!(
                read.status.success() && ends_well,
                "the log is not whole: {read:?}"
            );
        }
        let output = fs::read_to_string(self.folder.join("work/out"))?;
        let of: u64 = output.lines().next().unwrap_or_default().parse()?;
        ensure!(
            of <= number && output == content(of),
            "the output is not whole: {output}"
        );
        Ok(())
    }
}

/// The whole output of a run.
fn content(number: u64) -> String {
    let mut lines = vec![number.to_string(); LINES - 1];
    lines.push("end\n".to_owned());
    lines.join("\n")
}

fn strike(front: &Child, victim: Victim) -> Result<()> {
    let front = i32::try_from(front.id()).ok().and_then(Pid::from_raw);
    let front = front.context("a process id")?;
    // It has been waited for by nobody, so its id is its own; the keeper's is while it lives, for its
    // parent waits for it only at its end. Nobody is there where a run is over already.
    let _over = match victim {
        Victim::Front => kill_process(front, Signal::KILL),
        Victim::Group => kill_process_group(front, Signal::KILL),
        Victim::Keeper => keeper(front).map_or(Ok(()), |keeper| kill_process(keeper, Signal::KILL)),
        Victim::Both => {
            let keeper = keeper(front);
            let killed = kill_process(front, Signal::KILL);
            keeper.map_or(killed, |keeper| kill_process(keeper, Signal::KILL))
        }
    };
    Ok(())
}

/// The front's only child, if there is one by now.
fn keeper(front: Pid) -> Option<Pid> {
    let pid = front.as_raw_nonzero();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    let child = children.split_whitespace().next()?.parse().ok()?;
    Pid::from_raw(child)
}
