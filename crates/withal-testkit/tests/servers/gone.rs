//! Nothing is left of a server, however its owner ends.
//!
//! The owner is this test program once more, told by a variable to run one test that starts a
//! server and then ends in its own way.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use rustix::process::{Pid, Signal, kill_process};
use withal_core::{ContextManager, with};
use withal_os::TempDir;
use withal_testkit::servers::{postgres, redis};

use crate::support::{directory, nothing_left, processes_in, wait_until};

const OWNER: &str = "WITHAL_TEST_OWNER";

/// Runs as the owner, if this process is one: starts both, says so, and waits to be killed.
#[test]
fn owner() {
    let Some(directory) = env::var_os(OWNER) else {
        return;
    };
    let directory = PathBuf::from(directory);
    let _postgres = ContextManager::enter(postgres().directory(&directory)).unwrap();
    let _redis = ContextManager::enter(redis().directory(&directory)).unwrap();
    println!("\nstarted");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    // As libtest does at the end: nothing is dropped.
    std::process::exit(0);
}

/// An owner that starts both servers in `directory`.
fn spawn_owner(directory: &Path, variables: &[(&str, &Path)]) -> Child {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "gone::owner", "--nocapture"]);
    command.env(OWNER, directory);
    command.envs(variables.iter().copied());
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command.spawn().unwrap()
}

fn wait_started(owner: &mut Child) {
    let said = BufReader::new(owner.stdout.take().unwrap());
    let mut lines = said.lines().map(Result::unwrap);
    assert!(lines.any(|line| line == "started"), "the owner ended");
}

fn start_owner(directory: &Path) -> Child {
    let mut owner = spawn_owner(directory, &[]);
    wait_started(&mut owner);
    owner
}

fn is_gone(directory: &Path) {
    wait_until("the end of the servers", || nothing_left(directory).is_ok());
}

#[test]
fn a_killed_process_leaves_nothing() {
    let directory = directory();
    let mut owner = start_owner(directory.path());
    assert!(nothing_left(directory.path()).is_err());
    owner.kill().unwrap();
    owner.wait().unwrap();
    is_gone(directory.path());
}

#[test]
fn a_process_that_exits_leaves_nothing() {
    let directory = directory();
    let mut owner = start_owner(directory.path());
    drop(owner.stdin.take());
    assert!(owner.wait().unwrap().success());
    is_gone(directory.path());
}

/// The shells that watch over servers in `directory`.
fn supervisors(directory: &Path) -> Vec<Pid> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let ours = processes.filter(|process| {
        let line = fs::read_to_string(process.path().join("cmdline")).unwrap_or_default();
        line.contains("withal-supervisor") && line.contains(directory.to_str().unwrap())
    });
    let numbers = ours.map(|process| process.file_name().to_str().unwrap().parse().unwrap());
    numbers
        .map(|number| Pid::from_raw(number).unwrap())
        .collect()
}

#[test]
fn the_kernel_ends_servers_whose_supervisors_are_killed() {
    let directory = directory();
    let mut owner = start_owner(directory.path());
    let supervisors = supervisors(directory.path());
    assert_eq!(supervisors.len(), 2);
    for supervisor in supervisors {
        kill_process(supervisor, Signal::KILL).unwrap();
    }
    owner.kill().unwrap();
    owner.wait().unwrap();
    wait_until("the end of the servers", || {
        processes_in(directory.path()).is_empty()
    });

    // Nobody was left to remove the directories: the next start does, once they are old enough.
    let left = || fs::read_dir(directory.path()).unwrap().flatten();
    assert_eq!(left().count(), 2);
    with(
        (
            postgres().directory(directory.path()),
            redis().directory(directory.path()),
        ),
        |_| {
            assert_eq!(left().count(), 4);
            Ok(())
        },
    )
    .unwrap();
    let old = SystemTime::now() - Duration::from_secs(3_600);
    for entry in left() {
        fs::File::open(entry.path())
            .unwrap()
            .set_modified(old)
            .unwrap();
    }
    with(
        (
            postgres().directory(directory.path()),
            redis().directory(directory.path()),
        ),
        |_| {
            assert_eq!(left().count(), 2);
            Ok(())
        },
    )
    .unwrap();
    nothing_left(directory.path()).unwrap();
}

#[test]
fn an_owner_whose_supervisor_was_killed_still_closes() {
    let directory = directory();
    with(postgres().directory(directory.path()), |server| {
        for supervisor in supervisors(server.socket_dir()) {
            kill_process(supervisor, Signal::KILL)?;
        }
        Ok(())
    })
    .unwrap();
    nothing_left(directory.path()).unwrap();
}

#[test]
fn a_panic_leaves_nothing() {
    let directory = directory();
    let managers = (
        postgres().directory(directory.path()),
        redis().directory(directory.path()),
    );
    let body = || with(managers, |_| -> Result<(), _> { panic!("in the body") });
    catch_unwind(AssertUnwindSafe(body)).unwrap_err();
    nothing_left(directory.path()).unwrap();
}

#[test]
fn a_drop_leaves_nothing() {
    let directory = directory();
    drop(ContextManager::enter(postgres().directory(directory.path())).unwrap());
    drop(ContextManager::enter(redis().directory(directory.path())).unwrap());
    nothing_left(directory.path()).unwrap();
}

#[test]
fn processes_that_start_at_once_share_a_template_and_another_boot_makes_a_new_one() {
    let directory = directory();
    let cache = TempDir::new().open().unwrap();
    let spawn = |_| spawn_owner(directory.path(), &[("XDG_CACHE_HOME", cache.path())]);
    let mut owners: Vec<Child> = (0..3).map(spawn).collect();
    owners.iter_mut().for_each(wait_started);
    let templates = cache.path().join("withal/postgres");
    let entries = fs::read_dir(&templates).unwrap().map(Result::unwrap);
    let names: Vec<_> = entries.map(|entry| entry.file_name()).collect();
    let names: Vec<_> = names.iter().filter(|name| *name != "lock").collect();
    assert_eq!(names.len(), 1, "{names:?}");

    let boot = templates.join(names[0]).join("boot");
    let this = fs::read(&boot).unwrap();
    fs::write(&boot, "another").unwrap();
    let mut later = spawn(0);
    wait_started(&mut later);
    assert_eq!(fs::read(&boot).unwrap(), this);

    for mut owner in owners.into_iter().chain([later]) {
        drop(owner.stdin.take());
        assert!(owner.wait().unwrap().success());
    }
    is_gone(directory.path());
}
