//! What holds for leases on any server.

use std::process::Command;

use nix::sys::signal::{Signal, kill};
use tokio::runtime::{Builder, Runtime};
use withal_core::ContextManager;
use withal_testkit::servers::{PostgresServer, RedisServer, postgres, redis};

use super::kill_matrix::kill_both;
use super::support::{Sandbox, Started, WITHAL};

/// A server with leases, and how the command asks for one.
pub(crate) struct Leases {
    kind: &'static str,
    variable: &'static str,
    url: String,
    password: String,
    runtime: Runtime,
    server: Server,
}

enum Server {
    Postgres(PostgresServer),
    Redis(RedisServer),
}

impl Leases {
    pub(crate) fn on_postgres() -> Leases {
        let server = ContextManager::enter(postgres()).unwrap();
        Leases {
            kind: "pg-lock",
            variable: "DATABASE_URL",
            url: server.url(),
            password: server.password().to_owned(),
            runtime: runtime(),
            server: Server::Postgres(server),
        }
    }

    pub(crate) fn on_redis() -> Leases {
        let server = ContextManager::enter(redis()).unwrap();
        Leases {
            kind: "redis-lock",
            variable: "REDIS_URL",
            url: server.url(),
            password: server.password().to_owned(),
            runtime: runtime(),
            server: Server::Redis(server),
        }
    }

    fn command(&self, sandbox: &Sandbox, arguments: &[&str]) -> Command {
        let mut command = sandbox.run_command(arguments);
        let _ = command.env(self.variable, &self.url);
        command
    }

    fn start<'s>(&self, sandbox: &'s Sandbox, arguments: &[&str]) -> Started<'s> {
        sandbox.start(self.command(sandbox, arguments))
    }

    fn option(&self) -> String {
        format!("--{}", self.kind)
    }

    /// `--with` this.
    fn with(&self, keys: &str) -> String {
        format!("{}:{keys}", self.kind)
    }

    fn stop(&self) {
        let stopped = match &self.server {
            Server::Postgres(server) => self.runtime.block_on(server.stop()),
            Server::Redis(server) => self.runtime.block_on(server.stop()),
        };
        stopped.unwrap();
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

pub(crate) fn the_command_has_a_token_and_each_is_greater(leases: &Leases) {
    let sandbox = Sandbox::new();
    let arguments = [
        &leases.option(),
        "report",
        "--",
        "sh",
        "-c",
        "echo $WITHAL_TOKEN",
    ];
    let token = || {
        let ended = leases.start(&sandbox, &arguments).finish();
        ended.check_code(0);
        assert_eq!(ended.stderr, "");
        ended.stdout.trim().parse::<i64>().unwrap()
    };
    let (first, second) = (token(), token());
    assert!(second > first, "{second} after {first}");
    let with = leases.with("key=report,env=FENCE");
    let other = ["-w", &with, "--", "sh", "-c", "echo $FENCE$WITHAL_TOKEN"];
    let third = leases.start(&sandbox, &other).finish().stdout;
    assert!(third.trim().parse::<i64>().unwrap() > second);
}

pub(crate) fn a_lease_that_somebody_has_is_busy(leases: &Leases) {
    let (one, other) = (Sandbox::new(), Sandbox::new());
    let option = leases.option();
    let script = "echo > held; while [ ! -e end ]; do sleep 0.01; done";
    let holds = leases.start(&one, &[&option, "report", "--", "sh", "-c", script]);
    holds.wait_for("held");
    let with = leases.with("key=report,wait=0");
    let busy = leases
        .start(&other, &["-w", &with, "--", "touch", "ran"])
        .finish();
    busy.check_code(75);
    let who = format!("lease `report` is held by {}", hostname());
    assert!(busy.stderr.contains(&who), "{}", busy.stderr);
    assert!(busy.stderr.contains("(withal run "), "{}", busy.stderr);
    assert!(!other.has("ran"));
    let waits = leases.start(&other, &["-v", &option, "report", "--", "touch", "ran"]);
    waits.wait_for_message("acquiring");
    one.write("end", "");
    holds.finish().check_code(0);
    waits.finish().check_code(0);
    assert!(other.has("ran"));
}

fn hostname() -> String {
    nix::sys::utsname::uname()
        .unwrap()
        .nodename()
        .to_str()
        .unwrap()
        .to_owned()
}

pub(crate) fn a_lease_that_is_lost_stops_the_command(leases: &Leases) {
    let sandbox = Sandbox::new();
    let script = "trap 'echo > stopped; exit 9' TERM; echo > held; while :; do sleep 0.01; done";
    let option = leases.option();
    let arguments = [
        "--lease", "900ms", &option, "report", "--", "sh", "-c", script,
    ];
    let holds = leases.start(&sandbox, &arguments);
    holds.wait_for("held");
    leases.stop();
    let ended = holds.finish();
    ended.check_code(123);
    assert!(sandbox.has("stopped"));
    let why = "lease `report` is lost: it could not be renewed in time: stopping the command";
    assert!(ended.stderr.contains(why), "{}", ended.stderr);
    assert!(!ended.stderr.contains(&leases.password), "{}", ended.stderr);
}

pub(crate) fn a_lease_that_is_lost_may_be_a_warning(leases: &Leases) {
    let sandbox = Sandbox::new();
    let script = "echo > held; while [ ! -e end ]; do sleep 0.01; done";
    let with = leases.with("key=report,lease=900ms,on_lost=warn");
    let holds = leases.start(&sandbox, &["-w", &with, "--", "sh", "-c", script]);
    holds.wait_for("held");
    leases.stop();
    holds.wait_for_message("lease `report` is lost");
    sandbox.write("end", "");
    holds.finish().check_code(0);
}

/// Withal is stopped for longer than its lease lasts; somebody else has it meanwhile.
pub(crate) fn a_run_that_was_stopped_looks_at_its_lease_first(leases: &Leases) {
    let (one, other) = (Sandbox::new(), Sandbox::new());
    let option = leases.option();
    let script = "trap 'echo > stopped; exit 0' TERM; echo > held; while :; do sleep 0.01; done";
    let arguments = [
        "--lease", "900ms", &option, "report", "--", "sh", "-c", script,
    ];
    let holds = leases.start(&one, &arguments);
    holds.wait_for("held");
    let keeper = holds.keeper();
    kill(keeper, Signal::SIGSTOP).unwrap();
    leases
        .start(&other, &[&option, "report", "--", "true"])
        .finish()
        .check_code(0);
    assert!(!one.has("stopped"));
    kill(keeper, Signal::SIGCONT).unwrap();
    let ended = holds.finish();
    ended.check_code(123);
    assert!(one.has("stopped"));
    assert!(
        ended.stderr.contains("lease `report` is lost"),
        "{}",
        ended.stderr
    );
}

pub(crate) fn a_signal_ends_the_wait(leases: &Leases) {
    let (one, other) = (Sandbox::new(), Sandbox::new());
    let option = leases.option();
    let script = "echo > held; while [ ! -e end ]; do sleep 0.01; done";
    let holds = leases.start(&one, &[&option, "report", "--", "sh", "-c", script]);
    holds.wait_for("held");
    let waits = leases.start(&other, &["-v", &option, "report", "--", "touch", "ran"]);
    waits.wait_for_message("acquiring");
    waits.send(Signal::SIGTERM);
    waits.finish().check_code(143);
    assert!(!other.has("ran"));
    one.write("end", "");
    holds.finish().check_code(0);
}

pub(crate) fn where_the_server_is_stands_in_a_variable_or_a_file(leases: &Leases) {
    let sandbox = Sandbox::new();
    let check = |command: &mut Command, code: i32, words: &str| {
        let ended = sandbox
            .start(std::mem::replace(command, Command::new("true")))
            .finish();
        ended.check_code(code);
        assert!(ended.stderr.contains(words), "{}", ended.stderr);
        assert!(!ended.stderr.contains(&leases.password), "{}", ended.stderr);
    };
    let run = |from: &str| {
        let with = leases.with(&format!("key=report,url_from={from}"));
        sandbox.run_command(&["-w", &with, "--", "true"])
    };
    sandbox.write("url", &format!("{}\n", leases.url));
    check(&mut run("file:url"), 0, "");
    check(run("env:OTHER_URL").env("OTHER_URL", &leases.url), 0, "");
    check(
        &mut run("env:OTHER_URL"),
        125,
        "no URL in the variable `OTHER_URL`",
    );
    check(&mut run("file:nothing"), 125, "nothing");
    check(run("env:OTHER_URL").env("OTHER_URL", "s3cret"), 125, "URL");
    check(&mut run(&leases.url), 125, "URL with a password");
    let twice = [&*leases.option(), "a", &*leases.option(), "a", "--", "true"];
    check(&mut leases.command(&sandbox, &twice), 125, "leases `a`, as");
}

pub(crate) fn what_a_killed_run_has_left_is_released_by_recover(leases: &Leases) {
    let (one, other) = (Sandbox::new(), Sandbox::new());
    let script = "echo > held; exec sleep 1000";
    let option = leases.option();
    let holds = leases.start(&one, &[&option, "report", "--", "sh", "-c", script]);
    holds.wait_for("held");
    kill_both(holds);
    let with = leases.with("key=report,wait=0");
    let next = || {
        leases
            .start(&other, &["-w", &with, "--", "true"])
            .finish()
            .code()
    };
    assert_eq!(next(), 75);
    let [journal] = one.journals().try_into().unwrap();
    let journal = std::fs::read_to_string(journal).unwrap();
    assert!(
        journal.contains(leases.variable) && !journal.contains(&leases.password),
        "{journal}"
    );

    let pending = one
        .start(one.command(WITHAL, &["recover"]))
        .finish_unchecked();
    pending.check_code(1);
    let why = format!("no URL in the variable `{}`", leases.variable);
    assert!(pending.stderr.contains(&why), "{}", pending.stderr);
    assert_eq!(next(), 75);

    let mut recover = one.command(WITHAL, &["recover"]);
    let _ = recover.env(leases.variable, &leases.url);
    one.start(recover).finish().check_code(0);
    assert_eq!(next(), 0);
}
