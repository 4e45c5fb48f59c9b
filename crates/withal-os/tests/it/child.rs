//! This binary, run again as another process.
//!
//! [`command`] starts it with one test only, [`entry`], which runs what it is told to and leaves.

use std::env;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, exit};

use withal_os::{AtomicDir, AtomicWriter, Durability, FileLock, Symlinks, WriteError};

const NAME: &str = "WITHAL_OS_TEST_CHILD";
const PATH: &str = "WITHAL_OS_TEST_PATH";

/// What a child's exit status says of its commit.
pub(crate) const COMMITTED: i32 = 0;
pub(crate) const NOT_COMMITTED: i32 = 10;
pub(crate) const COMMITTED_WITH_ERROR: i32 = 11;

/// How often [`burn`] makes each system call: more often than the main thread does.
const BURNT: usize = 64;

/// The child that does `name` with `path`.
pub(crate) fn command(name: &str, path: &Path) -> Command {
    prepare(Command::new(env::current_exe().unwrap()), name, path)
}

/// The same, run by the program and arguments that `runner` has.
pub(crate) fn command_under(mut runner: Command, name: &str, path: &Path) -> Command {
    let _runner = runner.arg(env::current_exe().unwrap());
    prepare(runner, name, path)
}

fn prepare(mut command: Command, name: &str, path: &Path) -> Command {
    let _command = command
        .args(["child::entry", "--exact", "--nocapture", "--test-threads=1"])
        .env(NAME, name)
        .env(PATH, path);
    command
}

#[test]
fn entry() {
    let Ok(name) = env::var(NAME) else {
        return;
    };
    let path = PathBuf::from(env::var_os(PATH).unwrap());
    exit(match name.as_str() {
        "replace" => replace(AtomicWriter::create(&path)),
        "replace-and-keep" => replace(AtomicWriter::create(&path).backup_suffix("~")),
        "replace-link-and-keep" => replace(
            AtomicWriter::create(&path)
                .symlinks(Symlinks::Replace)
                .backup_suffix("~"),
        ),
        "make" => replace(AtomicWriter::create_new(&path)),
        "make-atomic" => replace(AtomicWriter::create_new(&path).durability(Durability::Atomic)),
        "long" => replace_by_long(AtomicWriter::create(&path)),
        "long-atomic" => {
            replace_by_long(AtomicWriter::create(&path).durability(Durability::Atomic))
        }
        "exchange" => exchange(&path),
        "write-for-ever" => write_for_ever(&path),
        "open-and-wait" => open_and_wait(&path),
        "hold-exclusive" => hold(FileLock::exclusive(&path)),
        "hold-shared" => hold(FileLock::shared(&path)),
        "count" => count(&path),
        "attributes" => crate::attributes::as_nobody(&path),
        "attributes-not-written" => crate::attributes::as_owner(&path),
        "read-only" => crate::refused::as_nobody(&path),
        "tempdir" => crate::tempdir::as_nobody(&path),
        "tempdir-strict" => crate::tempdir::under_strict_umask(&path),
        other => match other.split_once(':') {
            Some(("redirect", test)) => crate::redirect::in_child(test, &path),
            Some(("chdir", test)) => crate::chdir::in_child(test, &path),
            _ => panic!("no child is called `{other}`"),
        },
    });
}

/// What [`replace`] writes, in two pieces of this.
pub(crate) const PIECE: &str = "the new content\n";

/// Replaces the file by two pieces.
fn replace(writer: AtomicWriter) -> i32 {
    marked(|| write_pieces(writer))
}

/// Replaces the file by [`LONG`] bytes at once.
fn replace_by_long(writer: AtomicWriter) -> i32 {
    marked(|| {
        let mut file = writer.open()?;
        let _ = file.write_all(&vec![b'x'; LONG]);
        file.commit()
    })
}

/// Does it between two marks that a tracer can see.
fn marked(replace: impl FnOnce() -> Result<(), WriteError>) -> i32 {
    burn();
    mark("begin");
    let replaced = replace();
    mark("end");
    report(replaced)
}

fn report(replaced: Result<(), WriteError>) -> i32 {
    match replaced {
        Ok(()) => COMMITTED,
        Err(error) => {
            eprintln!("{}", crate::support::chain(&error));
            match error.is_committed() {
                true => COMMITTED_WITH_ERROR,
                false => NOT_COMMITTED,
            }
        }
    }
}

fn write_pieces(writer: AtomicWriter) -> Result<(), WriteError> {
    let mut file = writer.open()?;
    for _ in 0..2 {
        // Swallowed here: the commit must fail all the same.
        let _ = file.write_all(PIECE.as_bytes());
    }
    file.commit()
}

/// Makes the calls of this thread count on from a number the main thread does not reach.
fn burn() {
    for _ in 0..BURNT {
        let mut null = std::fs::File::options()
            .write(true)
            .open("/dev/null")
            .unwrap();
        null.write_all(b"x").unwrap();
        let _ = null.metadata().unwrap();
        let _ = std::fs::read("/proc/thread-self/comm").unwrap();
        let _ = rustix::fs::fstat(&null).unwrap();
        let _ = rustix::fs::stat("/dev/null").unwrap();
    }
}

fn mark(what: &str) {
    let _ = std::fs::metadata(format!("/withal-mark-{what}"));
}

/// Replaces a directory.
fn exchange(path: &Path) -> i32 {
    marked(|| {
        let staged = AtomicDir::create(path).open()?;
        for name in ["a", "b"] {
            std::fs::write(staged.path().join(name), PIECE).unwrap();
        }
        staged.commit()
    })
}

/// Length of the content that is written here at once, all of one byte.
pub(crate) const LONG: usize = 3 << 20;

/// Replaces the file again and again, and says each step on standard output.
fn write_for_ever(path: &Path) -> i32 {
    let mut out = std::io::stdout();
    out.write_all(b"!").unwrap();
    for round in 0_u8.. {
        let durability = match round % 2 {
            0 => Durability::Atomic,
            _ => Durability::Durable,
        };
        let chunk = vec![b'a' + round % 26; LONG / 12];
        let mut file = AtomicWriter::create(path)
            .durability(durability)
            .open()
            .unwrap();
        for _ in 0..12 {
            file.write_all(&chunk).unwrap();
            out.write_all(b".").unwrap();
            out.flush().unwrap();
        }
        file.commit().unwrap();
        out.write_all(b".").unwrap();
        out.flush().unwrap();
        if round == u8::MAX {
            break;
        }
    }
    0
}

/// Has a writer open until standard input ends.
fn open_and_wait(path: &Path) -> i32 {
    let mut file = AtomicWriter::create(path).open().unwrap();
    file.write_all(b"alive").unwrap();
    say_and_wait();
    file.commit().unwrap();
    0
}

fn hold(lock: FileLock) -> i32 {
    let held = lock.lock().unwrap();
    say_and_wait();
    held.release().unwrap();
    0
}

fn say_and_wait() {
    let mut out = std::io::stdout();
    out.write_all(b"!").unwrap();
    out.flush().unwrap();
    let _ = std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

/// Adds one to the number in a file, unsafely but for the lock.
fn count(path: &Path) -> i32 {
    for _ in 0..25 {
        let held = FileLock::exclusive(path.with_extension("lock"))
            .lock()
            .unwrap();
        let number: u32 = std::fs::read_to_string(path).unwrap().parse().unwrap();
        std::fs::write(path, (number + 1).to_string()).unwrap();
        held.release().unwrap();
    }
    0
}

/// Reads until the child has said `!`.
pub(crate) fn wait_ready(child: &mut std::process::Child) {
    let out = child.stdout.as_mut().unwrap();
    let mut byte = [0];
    while byte != *b"!" {
        out.read_exact(&mut byte)
            .expect("the child ended before it was ready");
    }
}
