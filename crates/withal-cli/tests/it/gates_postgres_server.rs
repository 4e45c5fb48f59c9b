//! `--pg-server` and its job-file form, with the PostgreSQL that is installed.

use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::kill_matrix::kill_both;
use super::support::{Sandbox, Started, WITHAL, wait_until};

/// Starts a server, and waits until the command has written where it is and who.
fn start<'s>(sandbox: &'s Sandbox, with: &str) -> (Started<'s>, PathBuf, Pid) {
    let script = "
        psql \"$DATABASE_URL\" -XAtc \"SELECT current_setting('unix_socket_directories')\" > directory
        psql \"$DATABASE_URL\" -XAtc \"SELECT (regexp_match(pg_read_file('postmaster.pid'), '^\\d+'))[1]\" > pid
        touch ready; exec sleep 1000";
    let started = sandbox.start_run(&["-w", with, "--", "sh", "-c", script]);
    started.wait_for("ready");
    let directory = sandbox.read("directory").trim().trim_matches('"').into();
    let pid = sandbox.read("pid").trim().parse().unwrap();
    (started, directory, Pid::from_raw(pid))
}

fn is_alive(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

#[track_caller]
fn check_gone(directory: &Path, server: Pid) {
    assert!(!is_alive(server), "the server is left");
    assert!(!directory.exists(), "{} is left", directory.display());
}

#[test]
fn the_command_has_a_server_of_its_own_which_is_gone_afterwards() {
    let sandbox = Sandbox::new();
    let script = "psql \"$DB\" -XAtc 'CREATE TABLE t AS SELECT 42 AS n; SELECT n FROM t; SHOW fsync; SHOW listen_addresses; SHOW unix_socket_directories'";
    let ended = sandbox.run(&["--pg-server", "DB", "--", "sh", "-c", script]);
    ended.check_code(0);
    let lines: Vec<&str> = ended.stdout.lines().collect();
    let ["SELECT 1", "42", "off", "", directory] = *lines else {
        panic!("{ended:?}");
    };
    assert!(
        !Path::new(directory.trim_matches('"')).exists(),
        "{directory}"
    );
}

#[test]
fn a_server_may_have_a_port_and_be_durable() {
    let sandbox = Sandbox::new();
    let with = "postgres-server:env=DB,port=true,durable=true";
    let script = "echo $DB; psql \"$DB\" -XAtc 'SHOW fsync'";
    let ended = sandbox.run(&["-w", with, "--", "sh", "-c", script]);
    let (url, fsync) = ended.stdout.trim().split_once('\n').unwrap();
    assert!(
        url.starts_with("postgres://postgres:") && url.contains("@127.0.0.1:"),
        "{url}"
    );
    assert_eq!(fsync, "on");
    assert_eq!(ended.stderr, "");
}

#[test]
fn other_gates_can_use_it() {
    let sandbox = Sandbox::new();
    let lock = "pg-lock:key=report,url_from=\"${db.url}\"";
    let database = "postgres:env=DB,url_from=\"${db.url}\"";
    let script = "test -n \"$WITHAL_TOKEN\" && psql \"$DB\" -XAtc 'SELECT current_database()'";
    let gates = ["-w", "postgres-server:id=db", "-w", lock, "-w", database];
    let ended = sandbox.run(&[&gates[..], &["--", "sh", "-c", script]].concat());
    ended.check_code(0);
    assert!(ended.stdout.starts_with("withal_"), "{ended:?}");
}

#[test]
fn other_gates_can_use_it_by_its_port_and_no_journal_has_its_password() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "job.toml",
        r#"
version = 1
shell = """
psql "$DB" -XAtc 'SELECT current_database(), inet_server_port() IS NOT NULL' > database
echo "$WITHAL_TOKEN" > token; echo "$SERVER" > url; touch ready; exec sleep 1000"""
with = [
  { id = "server", kind = "postgres-server", env = "SERVER", port = true },
  { kind = "postgres", env = "DB", url_from = "${server.url}" },
  { kind = "pg-lock", key = "report", url_from = "${server.url}" },
]
"#,
    );
    sandbox.withal(&["check", "job.toml"]).check_code(0);
    let started = sandbox.start_run(&["job.toml"]);
    started.wait_for("ready");
    // By the port, as the command may know no sockets.
    let database = sandbox.read("database");
    assert!(
        database.starts_with("withal_") && database.ends_with("|t\n"),
        "{database}"
    );
    assert_ne!(sandbox.read("token"), "\n");
    let url = sandbox.read("url");
    let (user, _) = url.rsplit_once('@').unwrap();
    let (_, password) = user.rsplit_once(':').unwrap();
    let journal = fs::read_to_string(&sandbox.journals()[0]).unwrap();
    assert!(
        journal.contains(r#""url":"postgres:///postgres?host="#),
        "{journal}"
    );
    assert!(
        !password.is_empty() && !journal.contains(password),
        "{journal}"
    );
    // The server goes with the keeper, and with it what is on it.
    kill_both(started);
    let recovered = sandbox.withal(&["recover", "--all"]);
    recovered.check_code(0);
    sandbox.check_nothing_is_left();
}

#[test]
fn it_is_ended_when_the_run_is_asked_to_stop() {
    let sandbox = Sandbox::new();
    let (started, directory, server) = start(&sandbox, "postgres-server");
    started.send(Signal::SIGTERM);
    started.finish().check_code(143);
    check_gone(&directory, server);
}

#[test]
fn it_is_ended_if_the_keeper_is_killed() {
    let sandbox = Sandbox::new();
    let (started, directory, server) = start(&sandbox, "postgres-server");
    kill(started.keeper(), Signal::SIGKILL).unwrap();
    let _ = started.finish();
    wait_until("its end", || !is_alive(server) && !directory.exists());
}

#[test]
fn it_is_ended_if_the_front_is_killed() {
    let sandbox = Sandbox::new();
    let (started, directory, server) = start(&sandbox, "postgres-server");
    let keeper = started.keeper();
    kill(started.pid(), Signal::SIGKILL).unwrap();
    let _ = started.finish_unchecked();
    wait_until("the keeper's end", || !is_alive(keeper));
    wait_until("its end", || !is_alive(server) && !directory.exists());
}

#[test]
fn what_is_left_if_everybody_is_killed_is_removed_by_recover() {
    let sandbox = Sandbox::new();
    let (started, directory, server) = start(&sandbox, "postgres-server");
    // The shell that watches over the server.
    let stat = fs::read_to_string(format!("/proc/{server}/stat")).unwrap();
    let shell = stat.rsplit_once(") ").unwrap().1.split(' ').nth(1).unwrap();
    let shell = Pid::from_raw(shell.parse().unwrap());
    kill(shell, Signal::SIGSTOP).unwrap();
    kill_both(started);
    kill(shell, Signal::SIGKILL).unwrap();
    wait_until("the end of the server", || !is_alive(server));
    assert!(directory.exists());
    let recover = sandbox.command(WITHAL, &["recover"]);
    sandbox.start(recover).finish().check_code(0);
    check_gone(&directory, server);
}

#[test]
fn a_version_that_is_not_installed_is_told() {
    let sandbox = Sandbox::new();
    let ended = sandbox.run(&["-w", "postgres-server:version=7", "--", "touch", "ran"]);
    ended.check_code(125);
    assert!(
        ended.stderr.contains("apt-get install postgresql"),
        "{ended:?}"
    );
    assert!(!sandbox.has("ran"));
}

#[test]
fn what_was_on_a_server_of_the_run_goes_with_it_whoever_is_killed() {
    for kills_both in [false, true] {
        let sandbox = Sandbox::new();
        sandbox.write(
            "job.toml",
            r#"
version = 1
command = ["sh", "-c", "touch ready; exec sleep 1000"]
with = [
  { id = "server", kind = "postgres-server" },
  { kind = "postgres", env = "DB", url_from = "${server.url}" },
  { kind = "pg-lock", key = "a", url_from = "${server.url}" },
]
"#,
        );
        let started = sandbox.start_run(&["job.toml"]);
        started.wait_for("ready");
        match kills_both {
            true => {
                kill_both(started);
                let recover = sandbox.command(WITHAL, &["recover"]);
                sandbox.start(recover).finish().check_code(0);
            }
            false => {
                kill(started.keeper(), Signal::SIGKILL).unwrap();
                started.finish().check_code(125);
            }
        }
    }
}
