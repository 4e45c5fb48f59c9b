//! `withal migrate`: every database at its newest version, or at the one it had.

#![allow(unused_results, reason = "the helpers check the status")]

use std::fs::{self, File, Permissions};
use std::io::Read as _;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};

use nix::pty::{Winsize, openpty};
use nix::sys::signal::Signal;
use nix::unistd::Uid;
use withal_core::{BoxError, ContextManager};
use withal_os::FileLock;
use withal_scope::scope;
use withal_sql::{Database, params};
use withal_testkit::servers::{PostgresServer, postgres};

use crate::support::{Ended, Sandbox, Started, WITHAL, wait_until};

fn server() -> &'static PostgresServer {
    static SERVER: OnceLock<PostgresServer> = OnceLock::new();
    SERVER.get_or_init(|| ContextManager::enter(postgres()).unwrap())
}

/// The URL of a new database.
fn new_postgres() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("migrate_{}", COUNT.fetch_add(1, Ordering::Relaxed));
    query(&server().url(), &format!("CREATE DATABASE {name}"));
    let url = server().url();
    format!("{}/{name}", url.strip_suffix("/postgres").unwrap())
}

/// Runs a statement; gives the first column of its rows.
fn query(url: &str, sql: &str) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let rows = scope(async |s| {
        let db = s.enter(Database::open(url)).await?;
        let conn = s.enter(db.acquire()).await?;
        let rows = conn.query(sql, params![]).await?;
        let texts = rows.iter().map(|row| row.get(0).map_err(BoxError::from));
        texts.collect::<Result<Vec<String>, BoxError>>()
    });
    runtime.block_on(rows).unwrap()
}

/// A connection that holds an advisory lock of a Postgres, for a migration to wait for.
struct Gate {
    release: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

const GATE: &str = "SELECT pg_advisory_lock(42)";

impl Gate {
    fn shut(url: &str) -> Gate {
        let (release, released) = tokio::sync::oneshot::channel();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let url = url.to_owned();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            let held = scope(async |s| {
                let db = s.enter(Database::open(url)).await?;
                let conn = s.enter(db.acquire()).await?;
                conn.query(GATE, params![]).await?;
                ready.send(())?;
                Ok(released.await?)
            });
            runtime.block_on(held).unwrap();
        });
        is_ready.recv().unwrap();
        Gate {
            release: Some(release),
            thread: Some(thread),
        }
    }

    fn open(mut self) {
        self.release.take().unwrap().send(()).unwrap();
        self.thread.take().unwrap().join().unwrap();
    }
}

/// A database of `databases.toml`: its name, the line with its URL, its files.
type Named<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)]);

fn databases(sandbox: &Sandbox, named: &[Named<'_>]) {
    let mut text = String::new();
    for (name, url, files) in named {
        text += &format!(
            "[[database]]\nname = \"{name}\"\n{url}\nmigrations = \"migrations/{name}\"\n"
        );
        fs::create_dir_all(sandbox.path("migrations").join(name)).unwrap();
        for (file, sql) in *files {
            write(sandbox, name, file, sql);
        }
    }
    sandbox.write("databases.toml", &text);
}

fn write(sandbox: &Sandbox, database: &str, file: &str, sql: &str) {
    sandbox.write(&format!("migrations/{database}/{file}"), sql);
}

fn url_line(url: &str) -> String {
    format!("url = \"{url}\"")
}

fn start<'s>(sandbox: &'s Sandbox, options: &[&str]) -> Started<'s> {
    let arguments = [&["migrate"], options, &["databases.toml"]].concat();
    sandbox.start(sandbox.command(WITHAL, &arguments))
}

#[track_caller]
fn migrate(sandbox: &Sandbox, options: &[&str], code: i32) -> Ended {
    let ended = start(sandbox, options).finish();
    ended.check_code(code);
    ended
}

/// A second run beside the first, with a stderr of its own.
fn start_beside(sandbox: &Sandbox, stderr: &str) -> Child {
    let mut command = sandbox.command(WITHAL, &["migrate", "databases.toml"]);
    command.stderr(File::create(sandbox.path(stderr)).unwrap());
    command.spawn().unwrap()
}

#[track_caller]
fn check_says(ended: &Ended, parts: &[&str]) {
    for part in parts {
        assert!(ended.stderr.contains(part), "{part:?} in\n{}", ended.stderr);
    }
}

const ENDLESS: &str =
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n";

const APPLIED: &str = "SELECT name FROM withal_migrations ORDER BY version";

const ACCOUNTS: (&str, &str) = (
    "0001_accounts.sql",
    "CREATE TABLE accounts (id bigint, owner text);\nINSERT INTO accounts VALUES (1, 'Ada; Bob');",
);
const ITEMS: (&str, &str) = ("0003_items.sql", "CREATE TABLE items (id bigint);");

#[test]
fn databases_of_both_kinds_come_to_their_newest_version() {
    let sandbox = Sandbox::new();
    let url = new_postgres();
    let secret = "url_from = \"file:secret\"";
    sandbox.write("secret", &format!("{url}\n"));
    let files = [ACCOUNTS, ITEMS];
    databases(
        &sandbox,
        &[
            ("small", "url = \"sqlite:small.db\"", &files),
            ("large", secret, &files),
        ],
    );
    let ended = migrate(&sandbox, &[], 0);
    assert_eq!(ended.stdout, "");
    check_says(
        &ended,
        &[
            "withal: small: 2 applied, at version 3\n",
            "withal: large: 2 applied, at version 3\n",
            "withal: summary: 2 up to date\n",
        ],
    );
    let small = format!("sqlite:{}", sandbox.path("small.db").display());
    for url in [&small, &url] {
        assert_eq!(query(url, APPLIED), ["0001_accounts.sql", "0003_items.sql"]);
        assert_eq!(query(url, "SELECT owner FROM accounts"), ["Ada; Bob"]);
    }
    let again = migrate(&sandbox, &[], 0);
    check_says(&again, &["withal: small: nothing to do, at version 3\n"]);
    for name in ["small", "large"] {
        write(
            &sandbox,
            name,
            "0004_more.sql",
            "ALTER TABLE items ADD COLUMN name text",
        );
    }
    check_says(
        &migrate(&sandbox, &[], 0),
        &["withal: large: 1 applied, at version 4\n"],
    );
    assert_eq!(migrate(&sandbox, &["--quiet"], 0).stderr, "");
    assert!(!sandbox.has("small.db-migrate"), "the lock file is left");
}

#[test]
fn an_error_in_the_middle_leaves_the_old_version_and_names_its_line() {
    let sandbox = Sandbox::new();
    let url = new_postgres();
    let bad = "-- 'ignored; \n\nCREATE TABLE more (id bigint);\nSELECT 1\n  + missing;\nSELECT 1;";
    let files = [ACCOUNTS, ("0002_bad.sql", bad), ITEMS];
    let sqlite = "url = \"sqlite:a.db?mode=rwc\"";
    databases(
        &sandbox,
        &[
            ("lite", sqlite, &files),
            ("post", &url_line(&url), &files),
            ("good", "url = \"sqlite:good.db\"", &[ACCOUNTS]),
        ],
    );
    let ended = migrate(&sandbox, &[], 1);
    check_says(
        &ended,
        &[
            "withal: lite: migrations/lite/0002_bad.sql:5:5: no such column: missing (SQLITE_ERROR)\n",
            "withal: lite: failed, at no version\n",
            "withal: post: left as it is, at no version\n",
            "withal: good: left as it is, at no version\n",
            "withal: summary: 0 up to date, 1 failed, 2 left as they are\n",
        ],
    );
    assert!(!ended.stderr.contains("post: 0001"), "{}", ended.stderr);

    let ended = migrate(&sandbox, &["--keep-going"], 1);
    check_says(
        &ended,
        &[
            "withal: post: migrations/post/0002_bad.sql:5:5: column \"missing\" does not exist (42703)\n",
            "withal: good: 1 applied, at version 1\n",
            "withal: summary: 1 up to date, 2 failed, 0 left as they are\n",
        ],
    );
    let lite = format!("sqlite:{}", sandbox.path("a.db").display());
    let nothing = "SELECT name FROM sqlite_master WHERE type = 'table'";
    assert!(query(&lite, nothing).is_empty());
    let nothing = "SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace";
    assert!(query(&url, nothing).is_empty());
}

#[test]
fn an_error_that_has_no_place_names_the_line_of_its_statement() {
    let sandbox = Sandbox::new();
    let url = new_postgres();
    let sql = "CREATE TABLE a (id int PRIMARY KEY);\nINSERT INTO a VALUES (1);\n\n  INSERT INTO a\n  VALUES (1);\n";
    databases(
        &sandbox,
        &[
            ("lite", "url = \"sqlite:a.db\"", &[("1_a.sql", sql)]),
            ("post", &url_line(&url), &[("1_a.sql", sql)]),
        ],
    );
    check_says(
        &migrate(&sandbox, &["-k"], 1),
        &[
            "lite/1_a.sql:4:3: UNIQUE constraint failed: a.id (SQLITE_CONSTRAINT_PRIMARYKEY)\n",
            "post/1_a.sql:4:3: duplicate key value violates unique constraint \"a_pkey\" (23505)\n",
        ],
    );
}

#[test]
fn what_cannot_be_connected_to_keeps_all_from_running_and_shows_no_password() {
    let sandbox = Sandbox::new();
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let server = server();
    let wrong = server.url().replace(server.password(), "s3cret");
    let refused = format!("postgres://ada:s3cret@127.0.0.1:{port}/orders");
    let unknown = "postgres://ada:s3cret@no-such-host.invalid/orders";
    let no_database = server.url().replace("/postgres?", "/none?");
    let no_database = no_database
        .strip_suffix("/postgres")
        .map(|url| format!("{url}/none"));
    let no_database = no_database.unwrap();
    for (url, message) in [
        (
            wrong.as_str(),
            "password authentication failed for user \"postgres\"",
        ),
        (&refused, "Connection refused"),
        (
            unknown,
            "cannot connect to `postgres://ada@no-such-host.invalid:5432/orders`: ",
        ),
        (&no_database, "database \"none\" does not exist"),
    ] {
        for line in [url_line(url), "url_from = \"env:URL\"".to_owned()] {
            databases(
                &sandbox,
                &[
                    ("first", "url = \"sqlite:first.db\"", &[ACCOUNTS]),
                    ("there", &line, &[ACCOUNTS]),
                ],
            );
            let mut command = sandbox.command(WITHAL, &["migrate", "databases.toml"]);
            command.env("URL", url);
            let ended = sandbox.start(command).finish();
            ended.check_code(1);
            check_says(
                &ended,
                &[
                    "withal: there: ",
                    message,
                    "withal: first: left as it is, at no version\n",
                    "withal: there: failed, its version is not known\n",
                ],
            );
            let said = format!("{}{}", ended.stdout, ended.stderr);
            assert!(
                !said.contains("s3cret") && !said.contains(server.password()),
                "{said}"
            );
        }
    }
}

#[test]
fn a_locked_a_corrupt_and_a_missing_sqlite_file_say_what_they_are() {
    let sandbox = Sandbox::new();
    let check = |url: &str, message: &str| {
        databases(&sandbox, &[("a", &url_line(url), &[ACCOUNTS])]);
        let ended = migrate(&sandbox, &[], 1);
        check_says(&ended, &["withal: a: ", message]);
    };
    sandbox.write("corrupt.db", &"this is no database\n".repeat(100));
    check(
        "sqlite:corrupt.db",
        "sqlite:corrupt.db is no SQLite database",
    );
    assert_eq!(
        sandbox.read("corrupt.db"),
        "this is no database\n".repeat(100)
    );
    check("sqlite:none.db?mode=rw", "there is no such file");
    check("sqlite:none/a.db", "its directory ");

    let locked = rusqlite::Connection::open(sandbox.path("locked.db")).unwrap();
    locked
        .execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE a (id int); BEGIN IMMEDIATE")
        .unwrap();
    let message = "sqlite:locked.db is locked by another connection, and was for 50ms";
    check("sqlite:locked.db?busy_timeout=50ms", message);
    locked.execute_batch("ROLLBACK").unwrap();
    migrate(&sandbox, &[], 0);
}

#[test]
fn a_read_only_sqlite_file_says_so() {
    let sandbox = Sandbox::new();
    databases(
        &sandbox,
        &[("a", "url = \"sqlite:data/a.db\"", &[ACCOUNTS])],
    );
    fs::create_dir(sandbox.path("data")).unwrap();
    migrate(&sandbox, &[], 0);
    write(&sandbox, "a", ITEMS.0, ITEMS.1);
    fs::set_permissions(sandbox.path("data/a.db"), Permissions::from_mode(0o444)).unwrap();
    fs::set_permissions(sandbox.path("data"), Permissions::from_mode(0o555)).unwrap();
    // Without its log it could not be read, whatever the URL says.
    for query in ["", "?mode=ro"] {
        let url = format!("url = \"sqlite:data/a.db{query}\"");
        databases(&sandbox, &[("a", &url, &[])]);
        let mut command = sandbox.command(WITHAL, &["migrate", "databases.toml"]);
        if Uid::effective().is_root() {
            // Nothing is read-only to root.
            command = as_nobody(&sandbox);
        }
        let ended = sandbox.start(command).finish();
        ended.check_code(1);
        check_says(
            &ended,
            &[
                "withal: a: ",
                "read-only",
                "make its directory writable",
                "journal_mode",
            ],
        );
        assert!(!ended.stderr.contains("mode=ro`"), "{}", ended.stderr);
    }
    fs::set_permissions(sandbox.path("data"), Permissions::from_mode(0o755)).unwrap();

    databases(
        &sandbox,
        &[("a", "url = \"sqlite:data/a.db?mode=ro\"", &[])],
    );
    let ended = migrate(&sandbox, &[], 1);
    check_says(&ended, &["withal: a: ", "read-only"]);
}

/// Runs a copy of withal that everybody may run.
fn as_nobody(sandbox: &Sandbox) -> Command {
    const NOBODY: u32 = 65534;
    let root = sandbox.path("");
    let root = root.parent().unwrap().parent().unwrap();
    fs::set_permissions(root, Permissions::from_mode(0o755)).unwrap();
    let copy = sandbox.path("withal");
    fs::copy(WITHAL, &copy).unwrap();
    let mut command = sandbox.command(copy.to_str().unwrap(), &["migrate", "databases.toml"]);
    command.uid(NOBODY).gid(NOBODY);
    command
}

#[test]
fn two_runs_at_once_apply_each_migration_once() {
    let sandbox = Sandbox::new();
    let url = new_postgres();
    let gate = Gate::shut(&url);
    databases(
        &sandbox,
        &[(
            "a",
            &url_line(&url),
            &[ACCOUNTS, ("2_gate.sql", GATE), ITEMS],
        )],
    );
    let first = start(&sandbox, &[]);
    first.wait_for_message("a: 0001_accounts.sql ran");
    let mut second = start_beside(&sandbox, "second");
    wait_until("the second run waits", || {
        sandbox.read("second").contains("a: waiting for session ")
    });
    assert!(
        sandbox
            .read("second")
            .contains(" of postgres (withal, at 127.0.0.1), which migrates it")
    );
    gate.open();
    assert!(second.wait().unwrap().success());
    first.finish().check_code(0);
    assert!(
        sandbox
            .read("second")
            .contains("withal: a: nothing to do, at version 3\n")
    );
    assert_eq!(query(&url, "SELECT count(*)::text FROM accounts"), ["1"]);
    assert_eq!(query(&url, APPLIED).len(), 3);
}

#[test]
fn many_runs_at_once_apply_each_migration_once() {
    let sandbox = Sandbox::new();
    let url = new_postgres();
    let files = [
        ACCOUNTS,
        ITEMS,
        ("4_more.sql", "INSERT INTO items VALUES (1)"),
    ];
    databases(
        &sandbox,
        &[
            ("lite", "url = \"sqlite:a.db\"", &files),
            ("post", &url_line(&url), &files),
        ],
    );
    let runs: Vec<Child> = (0..6)
        .map(|run| start_beside(&sandbox, &format!("run{run}")))
        .collect();
    for (number, mut run) in runs.into_iter().enumerate() {
        let status = run.wait().unwrap();
        assert!(
            status.success(),
            "{}",
            sandbox.read(&format!("run{number}"))
        );
    }
    let lite = format!("sqlite:{}", sandbox.path("a.db").display());
    for url in [lite, url] {
        assert_eq!(query(&url, "SELECT owner FROM accounts").len(), 1);
        assert_eq!(query(&url, APPLIED).len(), 3);
    }
}

#[test]
fn a_run_waits_for_the_lock_of_a_sqlite_file_and_says_whose_it_is() {
    let sandbox = Sandbox::new();
    databases(&sandbox, &[("a", "url = \"sqlite:a.db\"", &[ACCOUNTS])]);
    let held = FileLock::exclusive(sandbox.path("a.db-migrate"))
        .try_lock()
        .unwrap();
    let holder = format!("process {} (", std::process::id());
    let busy = migrate(&sandbox, &["--lock-wait", "10ms"], 75);
    check_says(
        &busy,
        &[&holder, " migrates this database, still after 10ms\n"],
    );
    let waiting = start(&sandbox, &[]);
    waiting.wait_for_message(&format!("a: waiting for {holder}"));
    held.release().unwrap();
    check_says(&waiting.finish(), &["withal: a: 1 applied, at version 1\n"]);
}

#[test]
fn killed_in_the_middle_the_next_run_begins_where_it_was() {
    let sandbox = Sandbox::new();
    let url = new_postgres();
    let gate = Gate::shut(&url);
    let lite = "url = \"sqlite:a.db\"";
    let post = url_line(&url);
    databases(
        &sandbox,
        &[("post", &post, &[ACCOUNTS, ("0002_x.sql", GATE)])],
    );
    let run = start(&sandbox, &[]);
    run.wait_for_message("post: 0001_accounts.sql ran");
    run.send(Signal::SIGKILL);
    assert_eq!(run.finish().signal(), Some(Signal::SIGKILL as i32));
    gate.open();
    migrate(&sandbox, &[], 0);
    assert_eq!(query(&url, "SELECT count(*)::text FROM accounts"), ["1"]);

    databases(
        &sandbox,
        &[("lite", lite, &[ACCOUNTS, ("0002_x.sql", ENDLESS)])],
    );
    let run = start(&sandbox, &[]);
    run.wait_for_message("lite: 0001_accounts.sql ran");
    run.send(Signal::SIGKILL);
    assert_eq!(run.finish().signal(), Some(Signal::SIGKILL as i32));
    write(&sandbox, "lite", "0002_x.sql", "SELECT 1");
    check_says(
        &migrate(&sandbox, &[], 0),
        &["lite: 2 applied, at version 2\n"],
    );
}

#[test]
fn a_signal_rolls_back_what_runs_and_gives_the_locks_back() {
    let sandbox = Sandbox::new();
    let url = new_postgres();
    let gate = Gate::shut(&url);
    databases(
        &sandbox,
        &[("a", &url_line(&url), &[ACCOUNTS, ("0002_gate.sql", GATE)])],
    );
    for (signal, code) in [
        (Signal::SIGTERM, 143),
        (Signal::SIGHUP, 129),
        (Signal::SIGINT, 130),
    ] {
        let run = start(&sandbox, &[]);
        run.wait_for_message("a: 0001_accounts.sql ran");
        run.send(signal);
        let ended = run.finish();
        ended.check_code(code);
        check_says(
            &ended,
            &[": what ran is rolled back; `withal migrate status` shows the versions\n"],
        );
        let others = "SELECT count(*)::text FROM pg_stat_activity \
            WHERE datname = current_database() AND query LIKE '%withal_mig%' AND pid <> pg_backend_pid()";
        wait_until("the server to be rid of it", || {
            query(&url, others) == ["0"]
        });
        assert_eq!(
            query(&url, "SELECT coalesce(to_regclass('accounts')::text, '')"),
            [""]
        );
    }
    gate.open();
    migrate(&sandbox, &["--lock-wait", "0s"], 0);
}

#[test]
fn a_signal_stops_an_endless_statement_of_sqlite() {
    let sandbox = Sandbox::new();
    let files = [ACCOUNTS, ("0002_x.sql", ENDLESS)];
    databases(&sandbox, &[("a", "url = \"sqlite:a.db\"", &files)]);
    let run = start(&sandbox, &[]);
    run.wait_for_message("a: 0001_accounts.sql ran");
    run.send(Signal::SIGTERM);
    run.finish().check_code(143);
    assert!(!sandbox.has("a.db-migrate"), "the lock file is left");
    write(&sandbox, "a", "0002_x.sql", "SELECT 1");
    check_says(
        &migrate(&sandbox, &[], 0),
        &["a: 2 applied, at version 2\n"],
    );
}

#[test]
fn history_that_was_rewritten_is_told_before_anything_runs() {
    let sandbox = Sandbox::new();
    let url = new_postgres();
    let line = url_line(&url);
    let files = [ACCOUNTS, ITEMS];
    databases(
        &sandbox,
        &[
            ("new", "url = \"sqlite:new.db\"", &[]),
            ("a", &line, &files),
        ],
    );
    migrate(&sandbox, &[], 0);
    write(&sandbox, "new", ACCOUNTS.0, ACCOUNTS.1);
    let check = |message: &str| {
        let ended = migrate(&sandbox, &[], 1);
        check_says(
            &ended,
            &[
                message,
                "withal: a: failed, at version 3\n",
                "withal: new: left as it is, at no version\n",
            ],
        );
        let status = sandbox.command(WITHAL, &["migrate", "status", "databases.toml"]);
        let ended = sandbox.start(status).finish();
        ended.check_code(1);
        assert!(
            ended.stdout.contains(message.trim_end()),
            "{}",
            ended.stdout
        );
    };
    write(&sandbox, "a", ACCOUNTS.0, "CREATE TABLE other (id int)");
    check("migrations/a/0001_accounts.sql: not what was applied on ");
    fs::remove_file(sandbox.path("migrations/a/0001_accounts.sql")).unwrap();
    check("`0001_accounts.sql` was applied on ");
    write(&sandbox, "a", ACCOUNTS.0, &ACCOUNTS.1.replace('\n', "\r\n"));
    write(&sandbox, "a", "0002_late.sql", "SELECT 1");
    check(
        "migrations/a/0002_late.sql: not applied, but `0003_items.sql` is; give it a higher number\n",
    );
    fs::rename(
        sandbox.path("migrations/a/0002_late.sql"),
        sandbox.path("migrations/a/4_late.sql"),
    )
    .unwrap();
    migrate(&sandbox, &[], 0);
    assert_eq!(query(&url, APPLIED).len(), 3);
}

#[test]
fn a_dry_run_and_status_show_all_and_change_nothing() {
    let sandbox = Sandbox::new();
    let url = new_postgres();
    let vacuum = ("0002_vacuum.sql", "-- withal: no-transaction\nVACUUM");
    databases(
        &sandbox,
        &[
            ("lite", "url = \"sqlite:a.db\"", &[ACCOUNTS, vacuum]),
            ("post", &url_line(&url), &[ACCOUNTS]),
        ],
    );
    let names = || {
        let entries = fs::read_dir(sandbox.path("")).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    let before = names();
    let dry_run = migrate(&sandbox, &["--dry-run"], 0);
    assert_eq!(
        dry_run.stdout,
        "lite: at no version, 2 to apply\n  migrations/lite/0001_accounts.sql\n  \
         migrations/lite/0002_vacuum.sql (outside of a transaction)\n\
         post: at no version, 1 to apply\n  migrations/post/0001_accounts.sql\n"
    );
    let status = |code: i32, arguments: &[&str]| {
        let arguments = [&["migrate", "status"], arguments, &["databases.toml"]].concat();
        let ended = sandbox.start(sandbox.command(WITHAL, &arguments)).finish();
        ended.check_code(code);
        assert_eq!(ended.stderr, "");
        ended.stdout
    };
    let table = "DATABASE  VERSION  PENDING  PROBLEMS\n";
    assert_eq!(
        status(2, &[]),
        format!("{table}lite            -        2  -\npost            -        1  -\n")
    );
    assert_eq!(names(), before);
    assert_eq!(
        query(
            &url,
            "SELECT coalesce(to_regclass('withal_migrations')::text, '')"
        ),
        [""]
    );

    migrate(&sandbox, &[], 0);
    write(&sandbox, "post", "0007_more.sql", "SELECT 1");
    let content = fs::read(sandbox.path("a.db")).unwrap();
    let before = names();
    assert_eq!(
        status(2, &[]),
        format!("{table}lite            2        0  -\npost            1        1  -\n")
    );
    assert_eq!(
        status(2, &["--json"]),
        "[{\"name\":\"lite\",\"pending\":[],\"problems\":[],\"version\":2},\
         {\"name\":\"post\",\"pending\":[\"0007_more.sql\"],\"problems\":[],\"version\":1}]\n"
    );
    migrate(&sandbox, &["-n"], 0);
    assert_eq!(fs::read(sandbox.path("a.db")).unwrap(), content);
    assert_eq!(names(), before);
    assert_eq!(query(&url, APPLIED), ["0001_accounts.sql"]);
    migrate(&sandbox, &[], 0);
    status(0, &[]);
}

#[test]
fn what_no_transaction_can_hold_is_run_outside_of_it_if_the_file_says_so() {
    let sandbox = Sandbox::new();
    let url = new_postgres();
    let index = "CREATE INDEX CONCURRENTLY owners ON accounts (owner);";
    databases(
        &sandbox,
        &[(
            "a",
            &url_line(&url),
            &[ACCOUNTS, ("2_index.sql", index), ITEMS],
        )],
    );
    check_says(
        &migrate(&sandbox, &[], 1),
        &[
            "a/2_index.sql:1:1: CREATE INDEX CONCURRENTLY cannot run inside a transaction block (25001); \
         put it into a file of its own, with `-- withal: no-transaction` in the first line\n",
            "withal: a: failed, at no version\n",
        ],
    );
    let index = "-- withal: no-transaction\nDROP INDEX CONCURRENTLY IF EXISTS owners;\n\
        CREATE INDEX CONCURRENTLY owners ON accounts (owner);\nSELECT nothing;";
    write(&sandbox, "a", "2_index.sql", index);
    check_says(
        &migrate(&sandbox, &[], 1),
        &[
            "a/2_index.sql:4:8: column \"nothing\" does not exist (42703)\n",
            "withal: a: failed, at version 1\n",
        ],
    );
    write(
        &sandbox,
        "a",
        "2_index.sql",
        &index.replace("SELECT nothing;", ""),
    );
    check_says(
        &migrate(&sandbox, &[], 0),
        &["withal: a: 2 applied, at version 3\n"],
    );
    assert_eq!(
        query(&url, "SELECT to_regclass('owners')::text"),
        ["owners"]
    );
}

#[test]
fn a_file_may_not_end_the_transaction_nor_speak_to_psql() {
    let sandbox = Sandbox::new();
    let url = new_postgres();
    let check = |sql: &str, message: &str| {
        databases(
            &sandbox,
            &[("a", &url_line(&url), &[ACCOUNTS, ("2_x.sql", sql)])],
        );
        check_says(
            &migrate(&sandbox, &[], 1),
            &[message, "withal: a: failed, its version"],
        );
        assert_eq!(
            query(&url, "SELECT coalesce(to_regclass('accounts')::text, '')"),
            [""]
        );
    };
    check(
        "SELECT 1;\n COMMIT;",
        "a/2_x.sql:2:2: COMMIT: all files are applied in one transaction",
    );
    check("\\connect other", "a/2_x.sql:1:1: a command of psql");
    check(
        "COPY accounts FROM stdin;\n1\tAda\n\\.\n",
        "a/2_x.sql:1:1: COPY: a migration has no stdin",
    );
    check("SELECT 'open", "a/2_x.sql:1:8: `'` is not ended");
}

#[test]
fn what_a_file_sets_is_gone_in_the_next() {
    let sandbox = Sandbox::new();
    let url = new_postgres();
    let dump = "SELECT pg_catalog.set_config('search_path', '', false);\nCREATE ROLE limited;\n\
        SET ROLE limited;\nSET statement_timeout = 1;";
    let files = [
        ("1_dump.sql", dump),
        ACCOUNTS2,
        ("3_drop.sql", "DROP ROLE limited"),
    ];
    databases(&sandbox, &[("a", &url_line(&url), &files)]);
    migrate(&sandbox, &[], 0);
    assert_eq!(
        query(&url, "SELECT owner FROM public.accounts"),
        ["Ada; Bob"]
    );
    // The schema of the user comes first in the path, and does not hide what was noted.
    write(&sandbox, "a", "4_schema.sql", "CREATE SCHEMA postgres");
    migrate(&sandbox, &[], 0);
    check_says(
        &migrate(&sandbox, &[], 0),
        &["withal: a: nothing to do, at version 4\n"],
    );
}

const ACCOUNTS2: (&str, &str) = ("2_accounts.sql", ACCOUNTS.1);

#[test]
fn what_a_file_sets_in_sqlite_is_gone_in_the_next() {
    let sandbox = Sandbox::new();
    let orphan = |child: &str| {
        format!(
            "-- withal: no-transaction\nCREATE TABLE parent (id INTEGER PRIMARY KEY);\n\
             CREATE TABLE {child} (id bigint REFERENCES parent);\nPRAGMA foreign_keys = OFF;\n\
             INSERT INTO {child} VALUES (1);"
        )
    };
    let set = "CREATE TEMP TABLE scratch (id bigint);\nCREATE TEMP VIEW \"a\"\"b\" AS SELECT 1;\n\
        PRAGMA case_sensitive_like = ON;\nPRAGMA ignore_check_constraints = ON;";
    let see = "CREATE TABLE seen AS SELECT 'a' LIKE 'A' AS v UNION ALL \
        SELECT count(*) FROM temp.sqlite_master;";
    let files = [
        ("1_orphan.sql", orphan("child").as_str()),
        ("2_set.sql", set),
        ("3_see.sql", see),
        ("4_orphan.sql", "INSERT INTO child VALUES (2);"),
    ]
    .map(|(name, sql)| (name, sql.to_owned()));
    let files = files.each_ref().map(|(name, sql)| (*name, &**sql));
    databases(&sandbox, &[("a", "url = \"sqlite:a.db\"", &files)]);
    check_says(
        &migrate(&sandbox, &[], 1),
        &[
            "4_orphan.sql:1:1: FOREIGN KEY constraint failed",
            "withal: a: failed, at version 1\n",
        ],
    );
    write(&sandbox, "a", "4_orphan.sql", "SELECT 1;");
    migrate(&sandbox, &[], 0);
    let url = format!("sqlite:{}", sandbox.path("a.db").display());
    assert_eq!(query(&url, "SELECT v || '' FROM seen"), ["1", "0"]);
}

#[test]
fn temporary_tables_of_a_file_are_gone_in_the_next_and_hide_nothing() {
    let sandbox = Sandbox::new();
    let url = new_postgres();
    let hide = "CREATE TEMP TABLE withal_migrations (version bigint);\nCREATE TEMP TABLE scratch (id bigint);";
    let see = "CREATE TABLE seen AS SELECT coalesce(to_regclass('scratch')::text, '') AS v;";
    let files = [("1_hide.sql", hide), ("2_see.sql", see)];
    databases(&sandbox, &[("a", &url_line(&url), &files)]);
    check_says(
        &migrate(&sandbox, &[], 0),
        &["withal: a: 2 applied, at version 2\n"],
    );
    assert_eq!(query(&url, "SELECT v FROM seen"), [""]);
    assert_eq!(query(&url, APPLIED), ["1_hide.sql", "2_see.sql"]);
}

#[test]
fn a_transaction_of_a_file_that_fails_is_rolled_back() {
    let sandbox = Sandbox::new();
    let postgres = new_postgres();
    let alone = "-- withal: no-transaction\nBEGIN;\nCREATE TABLE half (id bigint);\n\
        SELECT nothing;\nCOMMIT;";
    for url in [url_line(&postgres), "url = \"sqlite:a.db\"".to_owned()] {
        let files = [ACCOUNTS, ("0002_half.sql", alone)];
        databases(&sandbox, &[("a", &url, &files)]);
        let ended = migrate(&sandbox, &[], 1);
        check_says(
            &ended,
            &["0002_half.sql:4:8: ", "withal: a: failed, at version 1\n"],
        );
        for said in ["aborted", "advisory", "ROLLBACK"] {
            assert!(!ended.stderr.contains(said), "{}", ended.stderr);
        }
    }
    let half = "SELECT coalesce(to_regclass('half')::text, '')";
    assert_eq!(query(&postgres, half), [""]);
}

#[test]
fn a_wrong_file_is_told_with_its_line_and_nothing_is_connected() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("m")).unwrap();
    let good = "[[database]]\nname = \"a\"\nurl = \"sqlite:a.db\"\nmigrations = \"m\"\n";
    let check = |text: &str, expected: &str| {
        sandbox.write("databases.toml", text);
        let ended = migrate(&sandbox, &[], 125);
        assert_eq!(ended.stderr, format!("withal: {expected}\n"), "{text}");
        assert!(!sandbox.has("a.db"));
    };
    let at = |place: &str, why: &str, line: &str, carets: &str| {
        let number = place.split(':').next().unwrap();
        format!("databases.toml:{place}: {why}\n {number} | {line}\n   | {carets}")
    };
    check(
        "",
        "databases.toml: no database; write `[[database]]`, `name`, `url` and `migrations`",
    );
    check(
        &good.replace("name", "nme"),
        &at(
            "2:1",
            "there is no key `nme` here; did you mean `name`?",
            "nme = \"a\"",
            "^^^",
        ),
    );
    check(
        &good.replace("\"a\"", "3"),
        &at(
            "2:8",
            "a number, not a text; write it in quotes",
            "name = 3",
            "       ^",
        ),
    );
    check(
        &good.replace("migrations = \"m\"\n", ""),
        &at(
            "1:1",
            "no `migrations`; write `migrations = \"DIRECTORY\"`",
            "[[database]]",
            "^^^^^^^^^^^^",
        ),
    );
    check(
        &good.replace("\"m\"", "\"none\""),
        &at(
            "4:14",
            "`none`: no directory of migrations: No such file or directory (os error 2)",
            "migrations = \"none\"",
            "             ^^^^^^",
        ),
    );
    check(
        &format!("{good}{good}"),
        &at(
            "6:8",
            "database 1 has this name, too; give one of them another",
            "name = \"a\"",
            "       ^^^",
        ),
    );
    check(
        &good.replace("url = \"sqlite:a.db\"", "url_from = \"env:WITHAL_NONE\""),
        &at(
            "3:12",
            "the variable `WITHAL_NONE` is not set; set it to the URL",
            "url_from = \"env:WITHAL_NONE\"",
            "           ^^^^^^^^^^^^^^^^^",
        ),
    );
    check(
        &good.replace("url = \"sqlite:a.db\"", "url_from = \"file:none\""),
        &at(
            "3:12",
            "`none` cannot be read: No such file or directory (os error 2)",
            "url_from = \"file:none\"",
            "           ^^^^^^^^^^^",
        ),
    );
    check(
        &good.replace("sqlite:a.db", "postgres://ada:s3cret@host:port/db"),
        &at(
            "3:7",
            "not the URL of a database: invalid value for option `port`; write `sqlite:orders.db` or \
             `postgres://user@host/orders`",
            "url = \"postgres://ada:***@host:port/db\"",
            "      ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^",
        ),
    );
    sandbox.write("m/first.sql", "SELECT 1");
    check(
        good,
        "m/first.sql: not the name of a migration; write a number, `_` and a name, as `0001_accounts.sql`",
    );
    fs::rename(sandbox.path("m/first.sql"), sandbox.path("m/01_first.sql")).unwrap();
    sandbox.write("m/1_second.sql", "SELECT 1");
    check(
        good,
        "m/1_second.sql: it has the number of `01_first.sql`; give one of them another",
    );
}

#[test]
fn on_a_terminal_a_bar_shows_how_far_it_is() {
    let sandbox = Sandbox::new();
    let url = new_postgres();
    let gate = Gate::shut(&url);
    databases(
        &sandbox,
        &[("a", &url_line(&url), &[ACCOUNTS, ("0002_gate.sql", GATE)])],
    );
    let size = Winsize {
        ws_row: 24,
        ws_col: 80,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    let pty = openpty(Some(&size), None).unwrap();
    let mut command = sandbox.command(WITHAL, &["migrate", "databases.toml"]);
    command
        .stderr(pty.slave)
        .stdout(Stdio::null())
        .env("TERM", "xterm");
    let run = sandbox.start(command);
    let mut terminal = File::from(pty.master);
    let shown = Mutex::new(Vec::new());
    let is_shown = |text: &str| String::from_utf8_lossy(&shown.lock().unwrap()).contains(text);
    std::thread::scope(|scope| {
        // It ends with an error when the last process has closed its end.
        let read = || {
            let mut buffer = [0; 1024];
            while let Ok(length @ 1..) = terminal.read(&mut buffer) {
                shown.lock().unwrap().extend_from_slice(&buffer[..length]);
            }
        };
        scope.spawn(read);
        wait_until("the bar", || is_shown("1 of 2"));
        gate.open();
        run.finish().check_code(0);
    });
    assert!(is_shown("withal: a: 0001_accounts.sql ran in "));
    assert!(is_shown("withal: a: 2 applied, at version 2"));
}
