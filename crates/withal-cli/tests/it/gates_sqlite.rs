//! A database of the command's own.

use std::fs;

use nix::sys::signal::Signal;
use rusqlite::Connection;

use crate::gates::ENDINGS;
use crate::support::Sandbox;

fn rows(database: &Connection) -> i64 {
    let counted = database.query_one("SELECT count(*) FROM t", [], |row| row.get(0));
    counted.unwrap()
}

/// A database with so many rows, its write-ahead log not yet taken over.
fn seed(sandbox: &Sandbox, mode: &str, count: i64) -> Connection {
    let database = Connection::open(sandbox.path("seed.db")).unwrap();
    let script = format!(
        "PRAGMA journal_mode = {mode}; PRAGMA wal_autocheckpoint = 0; CREATE TABLE t (x);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})
         INSERT INTO t SELECT i FROM n"
    );
    database.execute_batch(&script).unwrap();
    database
}

#[test]
fn an_empty_database_is_private_and_goes_on_every_path() {
    for (options, script, code) in ENDINGS {
        let sandbox = Sandbox::new();
        let script = format!(
            "[ -f \"$DB\" ] && ! [ -s \"$DB\" ] && stat -c %a \"$(dirname \"$DB\")\" > mode
             mv mode seen; echo more > \"$DB-wal\"; {script}"
        );
        let arguments = [*options, &["--sqlite", "DB", "--", "sh", "-c", &script]].concat();
        sandbox.run(&arguments).check_code(*code);
        // A timeout may come before anything is looked at.
        assert!(*code == 124 || sandbox.read("seen") == "700\n", "{script}");
    }
}

#[test]
fn a_seed_that_is_being_written_is_copied_as_it_was_at_one_moment() {
    for mode in ["WAL", "DELETE"] {
        let sandbox = Sandbox::new();
        let mut writer = seed(&sandbox, mode, 20_000);
        let transaction = writer.transaction().unwrap();
        let _rows = transaction.execute("INSERT INTO t VALUES (0)", []).unwrap();
        let script = "cp \"$DB\" copy.db";
        let ended = sandbox.run(&["--sqlite", "DB=seed.db", "--", "sh", "-c", script]);
        ended.check_code(0);
        let copy = Connection::open(sandbox.path("copy.db")).unwrap();
        assert_eq!(rows(&copy), 20_000);
        transaction.commit().unwrap();
        assert_eq!(rows(&writer), 20_001);
    }
}

#[test]
fn a_seed_is_left_as_it_was() {
    let sandbox = Sandbox::new();
    drop(seed(&sandbox, "WAL", 10));
    let before = fs::read(sandbox.path("seed.db")).unwrap();
    // It can be written to, and that does not reach the seed.
    let script = "printf x >> \"$DB\"";
    sandbox
        .run(&["--sqlite", "DB=seed.db", "--", "sh", "-c", script])
        .check_code(0);
    assert_eq!(fs::read(sandbox.path("seed.db")).unwrap(), before);
    assert!(!sandbox.has("seed.db-wal") && !sandbox.has("seed.db-shm"));
}

#[test]
fn path_and_url_can_be_referred_to() {
    let sandbox = Sandbox::new();
    drop(seed(&sandbox, "DELETE", 3));
    let gates = [
        "-w",
        "sqlite:id=db,seed=seed.db",
        "-w",
        "env:name=DB,value='${db.path}'",
        "-w",
        "env:name=URL,value='${db.url}'",
    ];
    let script = "cp \"$DB\" copy.db; [ \"$URL\" = \"sqlite:///$DB\" ]";
    let ended = sandbox.run(&[&gates[..], &["--", "sh", "-c", script]].concat());
    ended.check_code(0);
    let copy = Connection::open(sandbox.path("copy.db")).unwrap();
    assert_eq!(rows(&copy), 3);
}

#[test]
fn what_is_no_seed_is_refused() {
    let sandbox = Sandbox::new();
    sandbox.write("text", &"no database ".repeat(1000));
    let check = |gate: &[&str], expected: &str| {
        let ended = sandbox.run(&[&["-v"], gate, &["--", "touch", "started"]].concat());
        ended.check_code(125);
        let said = ended.stderr.lines().find(|line| line.contains(expected));
        assert!(said.is_some(), "{expected}: {ended:?}");
        assert!(!sandbox.has("started"));
    };
    check(
        &["--sqlite", "DB=none"],
        "--sqlite: the seed `none`: No such file",
    );
    check(
        &["--sqlite", "DB=."],
        "--sqlite: the seed `.` is not a file",
    );
    check(
        &["--sqlite", "DB=text"],
        "--sqlite: cannot copy the seed `text`: file is not a database",
    );
    check(
        &["--sqlite", "=x"],
        "--sqlite: ``: not a variable's name; write `--sqlite VAR`",
    );
    check(&["-w", "sqlite:seed=none"], "sqlite: the seed `none`");
    check(
        &["-w", "sqlite:file=a"],
        "--with sqlite: a gate `sqlite` has no key `file`",
    );
}

#[test]
fn a_seed_that_somebody_has_for_himself_is_waited_for_until_a_signal_comes() {
    let sandbox = Sandbox::new();
    let owner = seed(&sandbox, "DELETE", 3);
    owner.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let arguments = ["-v", "--sqlite", "DB=seed.db", "--", "touch", "started"];
    let started = sandbox.start_run(&arguments);
    started.wait_for_message("acquiring sqlite");
    started.send(Signal::SIGTERM);
    started.finish().check_code(143);
    let started = sandbox.start_run(&arguments);
    started.wait_for_message("acquiring sqlite");
    assert!(!sandbox.has("started"));
    owner.execute_batch("ROLLBACK").unwrap();
    started.finish().check_code(0);
    assert!(sandbox.has("started"));
}
