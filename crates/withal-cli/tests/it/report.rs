//! What a run leaves to be read.

use std::fs;

use nix::sys::signal::{Signal, kill};
use serde_json::{Value, json};

use crate::kill_matrix::kill_both;
use crate::support::{Sandbox, wait_until};

/// A report without what differs from run to run, and what is checked of that.
#[track_caller]
fn stripped(text: &str) -> Value {
    let mut report: Value = serde_json::from_str(text).unwrap();
    let object = report.as_object_mut().unwrap();
    assert_eq!(object.remove("run").unwrap().as_str().unwrap().len(), 32);
    for key in ["started", "ended"] {
        let time = object.remove(key).unwrap();
        let _ = time.as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    }
    let length = object.remove("duration_seconds").unwrap().as_f64().unwrap();
    let command = object.remove("command_seconds").unwrap().as_f64();
    assert!(command.unwrap_or_default() <= length);
    for gate in object["gates"].as_array_mut().unwrap() {
        let gate = gate.as_object_mut().unwrap();
        let mut sum = 0.0;
        for key in ["acquire_seconds", "hold_seconds", "release_seconds"] {
            sum += gate.remove(key).unwrap().as_f64().unwrap_or_default();
        }
        assert!(sum <= length + 0.001, "{sum} {length}");
    }
    let marks = object["marks"].as_array().unwrap().iter();
    let marks = marks.map(|mark| mark["what"].clone()).collect();
    let _ = object.insert("marks".to_owned(), marks);
    report
}

#[test]
fn a_report_has_what_happened_in_one_object() {
    let sandbox = Sandbox::new();
    let options = [
        "--report",
        "run.json",
        "--name",
        "nightly",
        "-l",
        "lock",
        "-w",
        "tempdir:id=work",
    ];
    sandbox
        .run(
            &[
                &options[..],
                &["-e", "A=hunter2", "--", "sh", "-c", "exit 3"],
            ]
            .concat(),
        )
        .check_code(3);
    let text = sandbox.read("run.json");
    assert!(!text.contains("hunter2"));
    let mut report = stripped(&text);
    let what = report["gates"][1]["what"].take();
    assert!(
        what.as_str().unwrap().starts_with("tempdir TMPDIR (/"),
        "{what}"
    );
    let gate = |label: &str, kind: &str, what: Value| json!({ "label": label, "kind": kind, "what": what, "outcome": "released", "warnings": [], "error": null });
    let expected = json!({
        "version": 1,
        "job": "nightly",
        "file": null,
        "command": ["sh", "-c", "exit 3"],
        "outcome": "failed",
        "exit": 3,
        "signal": null,
        "timed_out": false,
        "killed": false,
        "error": null,
        "gates": [
            gate("--lock", "lock", json!("lock lock")),
            gate("work", "tempdir", Value::Null),
            gate("--env", "env", json!("env A")),
        ],
        "orphans": [],
        "marks": [],
        "teardown_errors": [],
    });
    assert_eq!(report, expected);
}

#[test]
fn a_report_has_what_was_done_by_force() {
    let sandbox = Sandbox::new();
    let script = "trap '' TERM; echo $$ > pid; while :; do sleep 0.01; done";
    let options = ["--report", "run.json", "-T", "100ms", "-k", "50ms", "--"];
    sandbox
        .run(&[&options[..], &["sh", "-c", script]].concat())
        .check_code(124);
    let report = stripped(&sandbox.read("run.json"));
    let expected = json!(["timed_out", 124, "SIGKILL", true, true, ["timeout", "KILL"]]);
    let keys = ["outcome", "exit", "signal", "timed_out", "killed", "marks"];
    let found: Value = keys.iter().map(|key| report[key].clone()).collect();
    assert_eq!(found, expected);
}

#[test]
fn a_report_names_what_was_left_running() {
    let sandbox = Sandbox::new();
    let script = "setsid sleep 60 & while ! [ -e /proc/$!/comm ]; do :; done";
    sandbox
        .run(&["--report", "run.json", "--", "sh", "-c", script])
        .check_code(0);
    let report = stripped(&sandbox.read("run.json"));
    assert_eq!(report["orphans"].as_array().unwrap().len(), 1, "{report}");
}

#[test]
fn a_report_has_why_nothing_was_run_and_what_was_not_undone() {
    let sandbox = Sandbox::new();
    sandbox
        .run(&[
            "--report",
            "run.json",
            "-t",
            "-o",
            "/proc/out",
            "--",
            "true",
        ])
        .check_code(125);
    let report = stripped(&sandbox.read("run.json"));
    assert_eq!(report["outcome"], "not_acquired");
    assert!(
        report["error"].as_str().unwrap().contains("/proc/out"),
        "{report}"
    );
    let outcomes: Vec<_> = report["gates"].as_array().unwrap().iter().collect();
    assert_eq!(outcomes[0]["outcome"], "released");
    assert_eq!(outcomes[1]["outcome"], "acquire_failed");

    let script = "mv $TMPDIR $TMPDIR-moved; mkdir $TMPDIR";
    let started = sandbox.start_run(&["--report", "run.json", "-t", "--", "sh", "-c", script]);
    started.finish_unchecked().check_code(123);
    let report = stripped(&sandbox.read("run.json"));
    assert_eq!(report["gates"][0]["outcome"], "release_failed");
    assert_eq!(report["teardown_errors"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&report["outcome"], &report["exit"]),
        (&json!("succeeded"), &json!(123))
    );
}

#[test]
fn a_report_goes_to_a_descriptor() {
    let sandbox = Sandbox::new();
    let ended = sandbox.shell("$W run --report fd:3 -- echo own 3>&1 | cat");
    let (own, report) = ended.stdout.split_once('\n').unwrap();
    assert_eq!(own, "own");
    assert_eq!(stripped(report)["exit"], 0);
    sandbox
        .shell("$W run --report fd:3 -- true 3>run.json")
        .check_code(0);
    assert_eq!(stripped(&sandbox.read("run.json"))["exit"], 0);
    let ended = sandbox.run(&["--report", "fd:97", "-l", "lock", "--", "touch", "started"]);
    ended.check_code(125);
    assert!(
        ended.stderr.contains("fd:97: no such descriptor"),
        "{ended:?}"
    );
    assert!(!sandbox.has("started") && !sandbox.has("lock"));
}

#[test]
fn a_report_that_cannot_be_written_is_told_and_changes_no_status() {
    let sandbox = Sandbox::new();
    let ended = sandbox.run(&["--report", "no/run.json", "--", "sh", "-c", "exit 6"]);
    ended.check_code(6);
    assert!(ended.stderr.starts_with("withal: --report: "), "{ended:?}");
}

/// The samples of a file of metrics, by their names with labels.
fn samples(text: &str) -> Vec<(&str, f64)> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            (series, value.parse().unwrap())
        })
        .collect()
}

#[test]
fn metrics_keep_when_a_job_succeeded_last() {
    let sandbox = Sandbox::new();
    let run = |script: &str| {
        let options = [
            "--metrics",
            "m.prom",
            "--name",
            "a \"b\"",
            "-w",
            "tempdir:id=work",
        ];
        let _ = sandbox.run(&[&options[..], &["--", "sh", "-c", script]].concat());
        sandbox.read("m.prom")
    };
    let find = |text: &str, series: &str| {
        let found = samples(text).into_iter().find(|(name, _)| *name == series);
        found.map(|(_, value)| value)
    };
    let job = r#"{job="a \"b\""}"#;
    let success = format!("withal_run_last_success_timestamp_seconds{job}");
    let code = format!("withal_run_last_exit_code{job}");
    let before = run("exit 4");
    assert_eq!(
        (find(&before, &code), find(&before, &success)),
        (Some(4.0), None)
    );
    let first = run("exit 0");
    let when = find(&first, &success);
    assert!(
        find(&first, &code) == Some(0.0) && when.is_some(),
        "{first}"
    );
    let second = run("exit 5");
    assert_eq!(
        (find(&second, &code), find(&second, &success)),
        (Some(5.0), when)
    );
    let gate = r#"{job="a \"b\"",gate="work",kind="tempdir"}"#;
    for stage in ["acquire", "hold", "release"] {
        let series = format!("withal_run_gate_{stage}_duration_seconds{gate}");
        assert!(find(&second, &series).is_some(), "{series}: {second}");
    }
    // Each series has its type before it, and is written once.
    let mut names: Vec<&str> = samples(&second).into_iter().map(|(name, _)| name).collect();
    for name in &names {
        let family = name.split('{').next().unwrap();
        assert!(
            second.contains(&format!("# TYPE {family} gauge\n{family}{{")),
            "{name}"
        );
    }
    names.sort_unstable();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count);
}

#[test]
fn a_timeline_shows_every_gate_the_command_and_the_signals() {
    let sandbox = Sandbox::new();
    let script = "trap '' TERM; while :; do sleep 0.01; done";
    let options = [
        "--timeline",
        "t.svg",
        "-T",
        "100ms",
        "-k",
        "50ms",
        "-l",
        "a<b",
        "-t",
        "--",
    ];
    let _ = sandbox.run(&[&options[..], &["sh", "-c", script]].concat());
    let picture = fs::read_to_string(sandbox.path("t.svg")).unwrap();
    let count = |part: &str| picture.matches(part).count();
    // One of each in the key as well.
    assert_eq!(count("class=\"hollow\""), 3);
    assert_eq!(count("class=\"solid\""), 3);
    assert_eq!(count("class=\"hatched\""), 3);
    assert_eq!(count("class=\"failed\""), 2);
    assert_eq!(count("class=\"mark\""), 2);
    assert!(picture.contains("lock a&lt;b") && !picture.contains("a<b"));
    assert!(picture.contains("prefers-color-scheme: dark"));
}

#[test]
fn who_takes_over_writes_what_the_killed_keeper_would_have() {
    let sandbox = Sandbox::new();
    let started = sandbox.start_run(&[
        "--report",
        "run.json",
        "--metrics",
        "run.prom",
        "--timeline",
        "run.svg",
        "--name",
        "nightly",
        "-w",
        "lock:path=lock,when=env:NO_SUCH_VARIABLE",
        "-l",
        "lock",
        "-w",
        "tempdir:id=work",
        "--",
        "sh",
        "-c",
        "touch ready; exec sleep 1000",
    ]);
    started.wait_for("ready");
    started.wait_for_record("command");
    kill(started.keeper(), Signal::SIGKILL).unwrap();
    started.finish().check_code(125);
    let report = stripped(&sandbox.read("run.json"));
    let gates = report["gates"].as_array().unwrap().iter();
    let gates: Vec<Value> = gates
        .map(|gate| json!([gate["label"], gate["kind"], gate["outcome"], gate["error"]]))
        .collect();
    let expected = [
        json!(["--lock", "lock", "released", null]),
        json!(["work", "tempdir", "released", null]),
    ];
    assert_eq!(gates, expected);
    for (key, value) in [
        ("outcome", json!("keeper_killed")),
        (
            "error",
            json!("the process that holds the gates was killed"),
        ),
        ("exit", json!(125)),
        ("marks", json!(["keeper killed"])),
        ("job", json!("nightly")),
        ("teardown_errors", json!([])),
    ] {
        assert_eq!(report[key], value, "{report}");
    }
    let metrics = sandbox.read("run.prom");
    assert!(
        metrics.contains("withal_run_last_exit_code{job=\"nightly\"} 125"),
        "{metrics}"
    );
    let timeline = sandbox.read("run.svg");
    assert!(timeline.contains("keeper killed"), "{timeline}");
    assert!(timeline.contains("the keeper was killed ·"), "{timeline}");
}

#[test]
fn a_keeper_whose_front_is_killed_writes_all_and_says_so_whatever_the_command_exits_with() {
    let sandbox = Sandbox::new();
    // What tells of an earlier success stays.
    let files = [
        "--report",
        "run.json",
        "--metrics",
        "run.prom",
        "--name",
        "n",
    ];
    sandbox
        .run(&[&files[..], &["--", "true"]].concat())
        .check_code(0);
    let success = "withal_run_last_success_timestamp_seconds{job=\"n\"} ";
    let last = |metrics: &str| {
        let mut lines = metrics.lines();
        lines
            .find_map(|line| line.strip_prefix(success))
            .map(str::to_owned)
    };
    let before = last(&sandbox.read("run.prom"));
    assert!(before.is_some());
    let script = "trap 'exit 0' TERM; touch ready; while :; do sleep 0.01; done";
    let run = ["--timeline", "run.svg", "-t", "--", "sh", "-c", script];
    let started = sandbox.start_run(&[&files[..], &run].concat());
    started.wait_for("ready");
    let keeper = started.keeper();
    kill(started.pid(), Signal::SIGKILL).unwrap();
    let _ = started.finish_unchecked();
    wait_until("the keeper's end", || kill(keeper, None).is_err());
    let report = stripped(&sandbox.read("run.json"));
    for (key, value) in [
        ("outcome", json!("front_killed")),
        (
            "error",
            json!("the process that was started first was killed"),
        ),
        ("exit", json!(125)),
        ("signal", json!(null)),
        ("marks", json!(["front killed"])),
        ("teardown_errors", json!([])),
    ] {
        assert_eq!(report[key], value, "{report}");
    }
    assert_eq!(report["gates"][0]["outcome"], json!("released"), "{report}");
    let metrics = sandbox.read("run.prom");
    assert!(
        metrics.contains("withal_run_last_exit_code{job=\"n\"} 125\n"),
        "{metrics}"
    );
    assert_eq!(last(&metrics), before);
    let timeline = sandbox.read("run.svg");
    assert!(timeline.contains("the front was killed ·"), "{timeline}");
    sandbox.check_nothing_is_left();
}

#[test]
fn a_keeper_whose_front_is_killed_while_it_acquires_says_so() {
    let sandbox = Sandbox::new();
    let hook = r#"hook:acquire=["sh","-c","touch begun; exec sleep 1000"]"#;
    let run = ["--report", "run.json", "-w", hook, "--", "touch", "ran"];
    let started = sandbox.start_run(&run);
    started.wait_for("begun");
    let keeper = started.keeper();
    kill(started.pid(), Signal::SIGKILL).unwrap();
    let _ = started.finish_unchecked();
    wait_until("the keeper's end", || kill(keeper, None).is_err());
    let report = stripped(&sandbox.read("run.json"));
    assert_eq!(report["outcome"], json!("front_killed"), "{report}");
    assert_eq!(report["signal"], json!(null), "{report}");
    let outcome = &report["gates"][0]["outcome"];
    assert_eq!(*outcome, json!("acquire_failed"), "{report}");
    assert!(!sandbox.has("ran"));
}

#[test]
fn recovery_says_that_there_is_no_report_if_both_were_killed() {
    let sandbox = Sandbox::new();
    let run = [
        "--report",
        "run.json",
        "-t",
        "--",
        "sh",
        "-c",
        "touch ready; exec sleep 1000",
    ];
    let started = sandbox.start_run(&run);
    started.wait_for("ready");
    started.wait_for_record("command");
    kill_both(started);
    let recovered = sandbox.withal(&["recover"]);
    recovered.check_code(0);
    let expected = ": it was killed while its command ran, so there is no report\n";
    assert!(recovered.stderr.ends_with(expected), "{recovered:?}");
    assert!(!sandbox.has("run.json"));
}

#[test]
fn what_was_being_acquired_when_the_keeper_was_killed_is_told_as_not_acquired() {
    let sandbox = Sandbox::new();
    let hook = r#"hook:acquire=["sh","-c","touch begun; exec sleep 1000"],release=["rm","begun"]"#;
    let started = sandbox.start_run(&[
        "--report", "run.json", "-t", "-w", hook, "--", "touch", "ran",
    ]);
    started.wait_for("begun");
    kill(started.keeper(), Signal::SIGKILL).unwrap();
    started.finish().check_code(125);
    assert!(!sandbox.has("ran") && !sandbox.has("begun"));
    let report = stripped(&sandbox.read("run.json"));
    let outcome = |gate: usize| report["gates"][gate]["outcome"].clone();
    assert_eq!(
        (outcome(0), outcome(1)),
        (json!("released"), json!("acquire_failed"))
    );
}

#[test]
fn no_secret_of_the_command_line_is_in_what_a_run_leaves() {
    let sandbox = Sandbox::new();
    let words = [
        "--url=postgres://me:hunter2@h/d",
        "--token",
        "hunter2",
        "Authorization: Bearer hunter2",
        "-H",
        "as-hunter3-stands",
    ];
    let options = [
        &["--report", "run.json", "--timeline", "run.svg", "-t"][..],
        &["-w", r#"env:set={A="hunter3"},secret=["A"]"#],
        &["-l", "of-hunter3.lock", "--"],
    ];
    let run = [&options.concat()[..], &["true"], &words].concat();
    sandbox.run(&run).check_code(0);
    let (report, picture) = (sandbox.read("run.json"), sandbox.read("run.svg"));
    let planned = sandbox.run(&[&["-n"][..], &run].concat());
    let told = planned.stdout + &planned.stderr;
    for (text, mask) in [
        (&report, "***"),
        (&picture, "***"),
        (&told, "--token '***'"),
    ] {
        assert!(!text.contains("hunter2"), "{text}");
        assert!(text.contains(mask), "{text}");
    }
    // What a gate calls secret is masked wherever it stands, once the gate is acquired.
    for text in [&report, &picture] {
        assert!(!text.contains("hunter3"), "{text}");
    }
}

#[test]
fn a_run_that_is_refused_is_told_to_whoever_watches_them() {
    let sandbox = Sandbox::new();
    let told = [
        "--name",
        "job",
        "--report",
        "run.json",
        "--metrics",
        "metrics",
    ];
    let run =
        |options: &[&str]| sandbox.run(&[&told[..], options, &["--", "touch", "started"]].concat());
    run(&[]).check_code(0);
    fs::remove_file(sandbox.path("started")).unwrap();
    let before = (sandbox.read("run.json"), sandbox.read("metrics"));
    run(&["-n", "--env-file", "none"]).check_code(125);
    assert_eq!(before, (sandbox.read("run.json"), sandbox.read("metrics")));
    run(&["--env-file", "none"]).check_code(125);
    assert!(!sandbox.has("started"));
    let report: Value = serde_json::from_str(&sandbox.read("run.json")).unwrap();
    assert_eq!(report["outcome"], "not_acquired");
    assert_eq!(report["exit"], 125);
    assert!(
        report["error"].as_str().unwrap().contains("`none`"),
        "{report}"
    );
    let metrics = sandbox.read("metrics");
    assert!(
        metrics.contains("withal_run_last_exit_code{job=\"job\"} 125"),
        "{metrics}"
    );
}
