//! Journals that nobody may trust: listed, explained, and nothing foreign touched.

#![allow(
    clippy::indexing_slicing,
    reason = "a record without its field fails the test"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use serde_json::{Value, json};

use crate::kill_matrix::kill_both;
use crate::support::{Sandbox, WITHAL, wait_until};

/// A journal with its records, and how to write them again.
struct Forged<'a> {
    sandbox: &'a Sandbox,
    path: PathBuf,
    records: Vec<Value>,
}

impl<'a> Forged<'a> {
    /// The journal of a run that was killed with all its processes, its directory left.
    fn of_killed(sandbox: &'a Sandbox) -> Forged<'a> {
        let started = sandbox.start_run(&["-t", "--", "sh", "-c", "touch ready; exec sleep 1000"]);
        started.wait_for("ready");
        // The command may be quicker than who notes that it was started.
        started.wait_for_record("command");
        kill_both(started);
        for pid in sandbox.processes() {
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
        }
        wait_until("the end", || sandbox.processes().is_empty());
        let [path] = sandbox.journals().try_into().unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let records = text.lines().map(|line| serde_json::from_str(line).unwrap());
        Forged {
            sandbox,
            records: records.collect(),
            path,
        }
    }

    /// The same, of a run on another host.
    fn of_elsewhere(sandbox: &'a Sandbox) -> Forged<'a> {
        let mut forged = Forged::of_killed(sandbox);
        let opened = forged.record("open");
        opened["boot"] = json!("00000000-0000-0000-0000-000000000000");
        opened["name"] = json!("elsewhere");
        opened["machine"] = json!("another");
        forged.write();
        forged
    }

    fn record(&mut self, kind: &str) -> &mut Value {
        let mut records = self.records.iter_mut();
        records.find(|record| record["record"] == kind).unwrap()
    }

    /// Writes the records with checksums that are right.
    fn write(&self) {
        let lines = self.records.iter().enumerate().map(|(n, record)| {
            let mut fields = record.as_object().unwrap().clone();
            let _ = fields.remove("crc");
            let _ = fields.insert("n".to_owned(), json!(n));
            let mut line = Value::Object(fields).to_string();
            let _ = line.pop();
            let checksum = crc_fast::crc32_iscsi(line.as_bytes());
            format!("{line},\"crc\":\"{checksum:08x}\"}}\n")
        });
        fs::write(&self.path, lines.collect::<String>()).unwrap();
    }

    /// What `recover` says; it leaves the journal there.
    #[track_caller]
    fn check_left_alone(&self, expected: &str, state: &str) {
        let ended = self.sandbox.withal(&["recover"]);
        ended.check_code(1);
        assert!(ended.stderr.contains(expected), "{ended:?}");
        assert!(self.path.exists());
        let listed = self.sandbox.withal_json(&["ls", "--json"]);
        assert_eq!(listed["state"], state, "{listed}");
    }

    fn directory(&self) -> PathBuf {
        let acquired = self
            .records
            .iter()
            .find(|record| record["record"] == "acquired");
        PathBuf::from(acquired.unwrap()["undo"]["undo"]["path"].as_str().unwrap())
    }
}

/// A process that is none of a run's.
struct Bystander(Child);

impl Bystander {
    fn start() -> Bystander {
        Bystander(Command::new("sleep").arg("1000").spawn().unwrap())
    }

    /// One that was not started in that clock tick: a process id is not given again so soon, and
    /// without inodes the two would be the same.
    fn start_after(tick: u64) -> Bystander {
        loop {
            let bystander = Bystander::start();
            if bystander.started() != tick {
                return bystander;
            }
        }
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }

    /// In clock ticks since the machine was.
    fn started(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        fields.split(' ').nth(19).unwrap().parse().unwrap()
    }

    #[track_caller]
    fn check_alive(&mut self) {
        assert!(self.0.try_wait().unwrap().is_none());
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_process_id_that_is_another_processes_now_is_not_signalled() {
    for with_inode in [true, false] {
        let sandbox = Sandbox::new();
        let mut forged = Forged::of_killed(&sandbox);
        let process = &mut forged.record("command")["process"];
        let mut bystander = Bystander::start_after(process["started"].as_u64().unwrap());
        process["pid"] = json!(bystander.pid());
        if !with_inode {
            let _ = process.as_object_mut().unwrap().remove("pidfs");
        }
        forged.write();
        sandbox.withal(&["recover"]).check_code(0);
        bystander.check_alive();
        sandbox.check_nothing_is_left();
    }
}

#[test]
fn after_a_reboot_no_process_is_signalled_and_the_rest_is_undone() {
    let sandbox = Sandbox::new();
    let mut forged = Forged::of_killed(&sandbox);
    let mut bystander = Bystander::start();
    // Everything would match but the boot; and devices are numbered anew.
    forged.record("command")["process"] =
        json!({"pid": bystander.pid(), "started": bystander.started()});
    forged.record("open")["boot"] = json!("00000000-0000-0000-0000-000000000000");
    let device = &mut forged.record("acquired")["undo"]["undo"]["id"][0];
    *device = json!(device.as_u64().unwrap() + 1);
    forged.write();
    sandbox.withal(&["recover"]).check_code(0);
    bystander.check_alive();
    sandbox.check_nothing_is_left();
}

#[test]
fn a_run_on_another_host_is_listed_and_left_alone() {
    let sandbox = Sandbox::new();
    let forged = Forged::of_elsewhere(&sandbox);
    // One whose machine has no id is known by its name.
    forged.check_left_alone("on `elsewhere`: recover it there", "elsewhere");
    assert!(forged.directory().is_dir());
}

#[test]
fn a_torn_last_line_is_ignored_and_a_torn_middle_is_damage() {
    let sandbox = Sandbox::new();
    let forged = Forged::of_killed(&sandbox);
    let text = fs::read(&forged.path).unwrap();
    let mut middle = text.clone();
    let at = middle.iter().position(|byte| *byte == b'\n').unwrap() + 20;
    middle[at] ^= 1;
    fs::write(&forged.path, &middle).unwrap();
    forged.check_left_alone("damaged: line 2: its checksum is wrong", "damaged");
    // A line that is missing is one, too.
    let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
    fs::write(&forged.path, [lines[0], lines[2]].concat()).unwrap();
    fs::write(&forged.path, [lines[0], lines[2], lines[1]].concat()).unwrap();
    forged.check_left_alone("damaged: line 2: it belongs elsewhere", "damaged");
    let mut last = text.clone();
    let at = last.len() - 20;
    last[at] ^= 1;
    fs::write(&forged.path, &last).unwrap();
    let why = format!("damaged: line {}: its checksum is wrong", lines.len());
    forged.check_left_alone(&why, "damaged");
    fs::write(&forged.path, "garbage\n").unwrap();
    forged.check_left_alone("damaged: line 1: its checksum is wrong", "damaged");
    assert!(forged.directory().is_dir());
    // Cut anywhere in its last line it is whole up to there.
    let last = lines.last().unwrap().len();
    for cut in [1, 2, last / 2, last - 1] {
        let mut torn = text.clone();
        torn.truncate(text.len() - cut);
        fs::write(&forged.path, &torn).unwrap();
        let ended = sandbox.withal(&["recover", "--dry-run"]);
        ended.check_code(0);
        assert!(
            ended.stderr.contains("would undo tempdir TMPDIR"),
            "{ended:?}"
        );
    }
    sandbox.withal(&["recover"]).check_code(0);
    sandbox.check_nothing_is_left();
}

#[test]
fn a_journal_cut_after_the_intent_is_undone_by_the_name_that_was_chosen() {
    let sandbox = Sandbox::new();
    let mut forged = Forged::of_killed(&sandbox);
    let at = forged
        .records
        .iter()
        .position(|record| record["record"] == "intent");
    forged.records.truncate(at.unwrap() + 1);
    forged.write();
    sandbox.withal(&["recover"]).check_code(0);
    sandbox.check_nothing_is_left();
}

#[test]
fn a_rehearsal_says_so_if_only_the_journal_is_left() {
    let sandbox = Sandbox::new();
    let mut forged = Forged::of_killed(&sandbox);
    let whole = forged.records.clone();
    forged.records.truncate(1);
    forged.write();
    let ended = sandbox.withal(&["recover", "-n"]);
    ended.check_code(0);
    assert!(
        ended.stderr.contains("would remove the journal"),
        "{ended:?}"
    );
    assert_eq!(sandbox.journals().len(), 1);
    forged.records = whole;
    forged.write();
    let ended = sandbox.withal(&["recover", "-n"]);
    assert!(!ended.stderr.contains("would remove"), "{ended:?}");
    sandbox.withal(&["recover"]).check_code(0);
    sandbox.check_nothing_is_left();
}

#[test]
fn directories_that_no_run_made_are_never_removed() {
    let check = |spoil: &dyn Fn(&mut Forged<'_>, &Path), expected: &str| {
        let sandbox = Sandbox::new();
        let mut forged = Forged::of_killed(&sandbox);
        let precious = sandbox.path("precious");
        fs::create_dir(&precious).unwrap();
        fs::write(precious.join("file"), "").unwrap();
        spoil(&mut forged, &precious);
        forged.write();
        forged.check_left_alone(expected, "dead");
        assert!(precious.join("file").exists() || forged.directory().join("file").exists());
    };
    // A name that no run chooses.
    check(
        &|forged, precious| {
            forged.record("acquired")["undo"]["undo"]["path"] = json!(precious);
        },
        "no name that a run chooses",
    );
    // Another directory in its place.
    check(
        &|forged, precious| {
            let directory = forged.directory();
            fs::remove_dir(&directory).unwrap();
            fs::create_dir(&directory).unwrap();
            fs::rename(precious.join("file"), directory.join("file")).unwrap();
            let id = &mut forged.record("acquired")["undo"]["undo"]["id"][1];
            *id = json!(id.as_u64().unwrap() + 1);
        },
        "is left alone",
    );
    // A link in its place.
    check(
        &|forged, precious| {
            let directory = forged.directory();
            fs::remove_dir(&directory).unwrap();
            std::os::unix::fs::symlink(precious, &directory).unwrap();
        },
        "is left alone",
    );
}

#[test]
fn what_is_not_a_private_file_of_ours_is_no_journal() {
    let sandbox = Sandbox::new();
    let forged = Forged::of_killed(&sandbox);
    fs::set_permissions(&forged.path, fs::Permissions::from_mode(0o666)).unwrap();
    forged.check_left_alone("not a file that only you may write to", "foreign");
    fs::set_permissions(&forged.path, fs::Permissions::from_mode(0o600)).unwrap();
    let elsewhere = sandbox.path("elsewhere");
    fs::rename(&forged.path, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &forged.path).unwrap();
    forged.check_left_alone("left alone", "foreign");
    assert!(forged.directory().is_dir());
}

#[test]
fn a_directory_that_others_may_write_to_holds_no_journals() {
    let sandbox = Sandbox::new();
    let forged = Forged::of_killed(&sandbox);
    fs::set_permissions(sandbox.state(), fs::Permissions::from_mode(0o777)).unwrap();
    let ended = sandbox.withal(&["recover"]);
    ended.check_code(125);
    assert!(ended.stderr.contains("others may write to it"), "{ended:?}");
    assert!(forged.directory().is_dir());
    let ended = sandbox.start_run(&["--", "true"]).finish_unchecked();
    ended.check_code(125);
    assert!(ended.stderr.contains("or give --no-journal"), "{ended:?}");
}

#[test]
fn a_journal_of_another_version_is_damaged_and_names_the_reason() {
    let sandbox = Sandbox::new();
    let mut forged = Forged::of_killed(&sandbox);
    forged.record("open")["version"] = json!(2);
    forged.write();
    forged.check_left_alone("another version of withal wrote it", "damaged");
    forged.record("open")["version"] = json!(1);
    forged.record("intent")["undo"]["kind"] = json!("teapot");
    forged.write();
    forged.check_left_alone("another version of withal wrote it", "damaged");
}

#[test]
fn what_fails_five_times_is_parked_until_somebody_insists() {
    let sandbox = Sandbox::new();
    let forged = Forged::of_killed(&sandbox);
    let directory = forged.directory();
    fs::rename(&directory, sandbox.path("moved")).unwrap();
    fs::create_dir(&directory).unwrap();
    for _ in 0..5 {
        forged.check_left_alone("tempdir TMPDIR", "dead");
        if sandbox.withal_json(&["ls", "--json"])["attempts"] == 4 {
            break;
        }
    }
    sandbox.withal(&["recover"]).check_code(1);
    forged.check_left_alone("has failed 5 times", "parked");
    fs::remove_dir(&directory).unwrap();
    forged.check_left_alone("has failed 5 times", "parked");
    let id = forged.records[0]["id"].as_str().unwrap();
    let (short, _) = id.split_at(8);
    sandbox.withal(&["recover", short]).check_code(0);
    sandbox.check_nothing_is_left();
}

#[test]
fn a_watcher_recovers_what_is_killed_and_tells_once_what_it_cannot_recover() {
    let sandbox = Sandbox::new();
    let elsewhere = Forged::of_elsewhere(&sandbox);
    let mut watcher = sandbox.command(WITHAL, &["recover", "--watch"]);
    let told = fs::File::create(sandbox.path("told")).unwrap();
    let mut watcher = watcher.stderr(told).spawn().unwrap();
    let reason = "on `elsewhere`: recover it there";
    wait_until("the reason", || sandbox.read("told").contains(reason));
    // It goes on looking.
    for _ in 0..2 {
        let script = "touch started; exec sleep 1000";
        let started = sandbox.start_run(&["-t", "--", "sh", "-c", script]);
        started.wait_for("started");
        kill_both(started);
        fs::remove_file(sandbox.path("started")).unwrap();
        wait_until("the recovery", || {
            sandbox.journals() == [elsewhere.path.clone()]
        });
    }
    watcher.kill().unwrap();
    let _ = watcher.wait().unwrap();
    assert_eq!(sandbox.read("told").matches(reason).count(), 1);
}

#[test]
fn a_live_run_is_listed_and_never_recovered() {
    let sandbox = Sandbox::new();
    let script = "touch ready; while ! [ -e end ]; do sleep 0.01; done";
    let started = sandbox.start_run(&["-t", "--", "sh", "-c", script]);
    started.wait_for("ready");
    let listed = sandbox.withal_json(&["ls", "--json"]);
    assert_eq!(listed["state"], "live");
    assert_eq!(listed["front"], started.pid().as_raw());
    assert_eq!(
        listed["gates"],
        json!([{"name": "tempdir TMPDIR", "state": "acquired"}])
    );
    let recovered = sandbox.withal(&["recover", "--all"]);
    recovered.check_code(0);
    assert_eq!(recovered.stderr, "");
    let named = sandbox.withal(&["recover", listed["id"].as_str().unwrap()]);
    named.check_code(1);
    assert!(named.stderr.contains("is alive"), "{named:?}");
    sandbox.write("end", "");
    started.finish().check_code(0);
    assert_eq!(sandbox.withal(&["ls"]).stdout, "");
}

#[test]
fn ids_are_their_beginnings_and_must_mean_one_run() {
    let sandbox = Sandbox::new();
    let forged = Forged::of_killed(&sandbox);
    let check = |id: &str, expected: &str| {
        let ended = sandbox.withal(&["recover", id]);
        ended.check_code(125);
        assert!(ended.stderr.contains(expected), "{ended:?}");
    };
    check("abc", "write at least 4 digits");
    check("xxxxxxxx", "no run has such an id");
    assert!(forged.path.exists());
    let young = sandbox.withal(&["recover", "--older-than", "1h"]);
    young.check_code(0);
    assert!(forged.path.exists());
}

#[test]
fn journals_are_private_and_hold_no_passwords() {
    let sandbox = Sandbox::new();
    let script = "touch ready; exec sleep 1000";
    let started = sandbox.start_run(&[
        "-e",
        "KEY=hunter2",
        "--",
        "sh",
        "-c",
        script,
        "postgres://me:hunter2@host/db",
        "--token=hunter2",
    ]);
    started.wait_for("ready");
    let [path] = sandbox.journals().try_into().unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(&sandbox.state()), 0o700);
    let text = fs::read_to_string(&path).unwrap();
    assert!(!text.contains("hunter2"), "{text}");
    assert!(text.contains("postgres://me:***@host/db"), "{text}");
    let shown = sandbox.withal(&["ls"]).stdout;
    assert!(
        shown.contains("live") && !shown.contains("hunter2"),
        "{shown}"
    );
    started.send(nix::sys::signal::Signal::SIGTERM);
    let _ = started.finish();
}

#[test]
fn runs_of_the_same_gates_and_command_are_one_job_whatever_else_is_said() {
    let command = ["--", "sh", "-c", "echo >> started; exec sleep 1000"];
    let killed = |sandbox: &Sandbox, options: &[&str]| {
        let gates = ["-t", "-e", "WHEN=one"];
        let started = sandbox.start_run(&[options, &gates, &command].concat());
        started.wait_for("started");
        kill_both(started);
        fs::remove_file(sandbox.path("started")).unwrap();
    };
    let check = |options: &[&str], is_same: bool| {
        let sandbox = Sandbox::new();
        killed(&sandbox, &["-q", "--grace", "3s"]);
        let started = sandbox.start_run(&[options, &command].concat());
        started.wait_for("started");
        let journals = if is_same { 1 } else { 2 };
        assert_eq!(sandbox.journals().len(), journals, "{options:?}");
        kill_both(started);
        sandbox.withal(&["recover"]).check_code(0);
        sandbox.check_nothing_is_left();
    };
    check(&["--tempdir", "-v", "-T", "1h", "--env", "WHEN=two"], true);
    check(&["-e", "WHEN=one", "-t"], false);
    check(&["-t", "-e", "WHERE=one"], false);
}

#[test]
fn two_who_recover_at_once_undo_each_gate_once() {
    let sandbox = Sandbox::new();
    let release = "echo >> released; while ! [ -e go ]; do sleep 0.01; done";
    let gate = format!(r#"hook:release=["sh","-c","{release}"]"#);
    let started = sandbox.start_run(&["-w", &gate, "--", "sh", "-c", "touch ready; sleep 1000"]);
    started.wait_for("ready");
    kill_both(started);
    let one = sandbox.start(sandbox.command(WITHAL, &["recover"]));
    one.wait_for("released");
    // While one is at it, the run is as if it lived.
    let other = sandbox.withal(&["recover"]);
    other.check_code(0);
    assert_eq!(other.stderr, "");
    sandbox.write("go", "");
    one.finish().check_code(0);
    assert_eq!(sandbox.read("released"), "\n");
}

#[test]
fn what_takes_long_to_recover_does_not_keep_the_next_run_from_starting() {
    let sandbox = Sandbox::new();
    let release = "touch begun; while ! [ -e go ]; do sleep 0.01; done";
    let gate = format!(r#"hook:release=["sh","-c","{release}"]"#);
    let arguments = ["--name", "job", "-w", &gate, "--"];
    let started =
        sandbox.start_run(&[&arguments[..], &["sh", "-c", "touch ready; sleep 1000"]].concat());
    started.wait_for("ready");
    kill_both(started);
    let next = sandbox.start_run(&["--name", "job", "--", "touch", "started"]);
    let ended = next.finish_unchecked();
    ended.check_code(0);
    assert!(sandbox.has("begun") && sandbox.has("started"));
    let expected = "withal: undoing an earlier run takes too long: finish it by `withal recover`\n";
    assert_eq!(ended.stderr, expected);
    sandbox.write("go", "");
    let recovering = sandbox.start(sandbox.command(WITHAL, &["recover"]));
    recovering.finish().check_code(0);
}
