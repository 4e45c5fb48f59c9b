//! `--pg` and its job-file form, with a private server.

use std::fs;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use withal_core::ContextManager;
use withal_testkit::servers::{PostgresServer, postgres};

use super::kill_matrix::kill_both;
use super::support::{Ended, Sandbox, Started, WITHAL, wait_until};

struct Server(PostgresServer);

impl Server {
    fn new() -> Server {
        Server(ContextManager::enter(postgres()).unwrap())
    }

    fn url(&self) -> String {
        self.0.url()
    }

    fn start<'s>(&self, sandbox: &'s Sandbox, arguments: &[&str]) -> Started<'s> {
        let mut command = sandbox.run_command(arguments);
        let _ = command.env("DATABASE_URL", self.url());
        sandbox.start(command)
    }

    fn run(&self, sandbox: &Sandbox, arguments: &[&str]) -> Ended {
        let ended = self.start(sandbox, arguments).finish();
        assert!(!ended.stderr.contains(self.0.password()), "{ended:?}");
        ended
    }

    /// What it answers, line by line.
    fn ask(&self, sql: &str) -> Vec<String> {
        let mut psql = Command::new("psql");
        let _ = psql.args([&*self.url(), "-XAtc", sql]);
        let output = psql.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    /// Databases of runs.
    fn databases(&self) -> Vec<String> {
        self.ask("SELECT datname FROM pg_database WHERE datname LIKE 'withal%'")
    }
}

const LOOK: &str =
    "psql \"$DB\" -XAtc 'SELECT current_database(), shobj_description(oid, $$pg_database$$)
    FROM pg_database WHERE datname = current_database()'";

#[test]
fn the_command_has_a_database_of_its_own_which_is_gone_afterwards() {
    let (server, sandbox) = (Server::new(), Sandbox::new());
    let ended = server.run(&sandbox, &["--pg", "DB", "--", "sh", "-c", LOOK]);
    ended.check_code(0);
    let (name, comment) = ended.stdout.trim().split_once('|').unwrap();
    let digits = name.strip_prefix("withal_").unwrap();
    assert!(
        digits.len() == 16 && digits.bytes().all(|it| it.is_ascii_hexdigit()),
        "{name}"
    );
    let comment = comment.strip_prefix("withal run ").unwrap();
    assert!(
        comment.starts_with(digits) && comment.contains(", expires 2"),
        "{comment}"
    );
    assert!(server.databases().is_empty());
}

#[test]
fn a_database_may_be_elsewhere_and_there_may_be_several() {
    let (server, sandbox) = (Server::new(), Sandbox::new());
    sandbox.write("url", &server.url());
    let with = "postgres:env=OTHER,url_from=file:url";
    let script =
        "for url in \"$DB\" \"$OTHER\"; do psql \"$url\" -XAtc 'SELECT current_database()'; done";
    let arguments = ["--pg", "DB=file:url", "-w", with, "--", "sh", "-c", script];
    let ended = server.run(&sandbox, &arguments);
    let names: Vec<&str> = ended.stdout.lines().collect();
    let [one, other] = *names else {
        panic!("{ended:?}");
    };
    assert_eq!(other, format!("{one}_2"));
    assert!(server.databases().is_empty());
}

#[test]
fn a_template_is_copied_and_extensions_are_made() {
    let (server, sandbox) = (Server::new(), Sandbox::new());
    let _ = server.ask("CREATE DATABASE app");
    let mut psql = Command::new("psql");
    let app = format!("{}/app", server.url().rsplit_once('/').unwrap().0);
    let made = psql
        .args([&*app, "-XAtc", "CREATE TABLE t AS SELECT 42 AS n"])
        .status();
    assert!(made.unwrap().success());
    let with = "postgres:env=DB,template=app,extensions=[\"pg_trgm\"]";
    let script = "psql \"$DB\" -XAtc \"SELECT n, similarity('a', 'a') FROM t\"";
    let ended = server.run(&sandbox, &["-w", with, "--", "sh", "-c", script]);
    assert_eq!(ended.stdout.trim(), "42|1", "{ended:?}");
    assert!(server.databases().is_empty());
}

#[test]
fn what_cannot_be_made_is_told_and_nothing_is_left() {
    let (server, sandbox) = (Server::new(), Sandbox::new());
    let check = |with: &str, words: &str| {
        let ended = server.run(&sandbox, &["-w", with, "--", "touch", "ran"]);
        ended.check_code(125);
        assert!(ended.stderr.contains(words), "{}", ended.stderr);
        assert!(!sandbox.has("ran"));
        assert!(server.databases().is_empty());
    };
    check("postgres:extensions=[\"nothing_of_it\"]", "nothing_of_it");
    check("postgres:template=nothing_of_it", "nothing_of_it");
    check(
        "postgres:url_from=env:NOTHING_OF_IT",
        "no URL in the variable `NOTHING_OF_IT`",
    );
    check(
        "postgres:url_from=postgres://127.0.0.1:1/x",
        "cannot connect to `postgres://",
    );
}

#[test]
fn who_is_connected_keeps_no_database_alive() {
    let (server, sandbox) = (Server::new(), Sandbox::new());
    let script = "echo $DB > url; echo > ready; while [ ! -e end ]; do sleep 0.01; done";
    let started = server.start(&sandbox, &["--pg", "DB", "--", "sh", "-c", script]);
    started.wait_for("ready");
    let mut psql = Command::new("psql");
    let url = sandbox.read("url");
    let mut connected = psql
        .args([url.trim(), "-Xc", "SELECT pg_sleep(1000)"])
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let sleeps = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(1000)'";
    super::support::wait_until("a session", || !server.ask(sleeps).is_empty());
    sandbox.write("end", "");
    started.finish().check_code(0);
    assert!(server.databases().is_empty());
    assert!(!connected.wait().unwrap().success());
}

#[test]
fn what_a_killed_run_has_left_is_dropped_by_recover_if_it_is_its_own() {
    let (server, sandbox) = (Server::new(), Sandbox::new());
    let script = "echo > ready; exec sleep 1000";
    let started = server.start(&sandbox, &["--pg", "DB", "--", "sh", "-c", script]);
    started.wait_for("ready");
    kill_both(started);
    let [name] = server.databases().try_into().unwrap();
    let [journal] = sandbox.journals().try_into().unwrap();
    let journal = fs::read_to_string(journal).unwrap();
    assert!(
        journal.contains(&name) && !journal.contains(server.0.password()),
        "{journal}"
    );

    let recover = |url: Option<&str>| {
        let mut recover = sandbox.command(WITHAL, &["recover"]);
        if let Some(url) = url {
            let _ = recover.env("DATABASE_URL", url);
        }
        sandbox.start(recover).finish_unchecked()
    };
    let pending = recover(None);
    pending.check_code(1);
    assert!(
        pending
            .stderr
            .contains("no URL in the variable `DATABASE_URL`"),
        "{pending:?}"
    );

    let comment = format!(
        "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = '{name}'"
    );
    let [comment] = server.ask(&comment).try_into().unwrap();
    let _ = server.ask(&format!("COMMENT ON DATABASE {name} IS 'mine'"));
    let refused = recover(Some(&server.url()));
    refused.check_code(1);
    assert!(refused.stderr.contains("not this run's"), "{refused:?}");
    assert!(server.databases().contains(&name));

    let _ = server.ask(&format!("COMMENT ON DATABASE {name} IS '{comment}'"));
    recover(Some(&server.url())).check_code(0);
    assert!(server.databases().is_empty());
    sandbox.check_nothing_is_left();
}

#[test]
fn a_database_that_is_not_made_in_time_is_dropped_at_once() {
    let (server, sandbox) = (Server::new(), Sandbox::new());
    // In a copy of it every extension takes a minute.
    let _ = server.ask("CREATE DATABASE slow");
    let slow = format!("{}/slow", server.url().strip_suffix("/postgres").unwrap());
    let trigger = "CREATE FUNCTION wait() RETURNS event_trigger LANGUAGE plpgsql AS \
                   $$BEGIN PERFORM pg_sleep(60); END$$;
                   CREATE EVENT TRIGGER wait ON ddl_command_start EXECUTE FUNCTION wait()";
    let made = Command::new("psql")
        .args([&*slow, "-XAtc", trigger])
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let with = "postgres:env=DB,template=slow,extensions=['plpgsql','pg_trgm'],timeout='2s'";
    let ended = server.run(&sandbox, &["-t", "-w", with, "--", "touch", "started"]);
    ended.check_code(125);
    assert!(ended.stderr.contains("not acquired within 2s"), "{ended:?}");
    assert!(!sandbox.has("started"));
    assert!(server.databases().is_empty());
}

#[test]
fn a_database_that_the_server_still_makes_when_the_keeper_is_killed_is_not_left() {
    let (server, sandbox) = (Server::new(), Sandbox::new());
    let _ = server.ask("CREATE DATABASE busy");
    let busy = format!("{}/busy", server.url().strip_suffix("/postgres").unwrap());
    let mut holder = Command::new("psql")
        .args([&*busy, "-XAtc", "SELECT pg_sleep(1000)"])
        .spawn()
        .unwrap();
    let making = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'CREATE DATABASE \"withal%'
                  AND state = 'active'";
    let held = "SELECT pid FROM pg_stat_activity WHERE datname = 'busy'";
    wait_until("a session", || !server.ask(held).is_empty());
    // It waits for the session to end.
    let with = "postgres:env=DB,template=busy";
    let started = server.start(&sandbox, &["-w", with, "--", "touch", "started"]);
    wait_until("the making", || !server.ask(making).is_empty());
    kill(started.keeper(), Signal::SIGKILL).unwrap();
    started.finish().check_code(125);
    assert!(server.ask(making).is_empty() && server.databases().is_empty());
    holder.kill().unwrap();
    let _status = holder.wait().unwrap();
}
