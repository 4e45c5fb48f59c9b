//! Notices, where the hook is not the well-behaved one of the other tests.

use std::process::Command;

use withal_core::{ExitStack, Notice, NoticeKind, set_notice_hook, suppress, with};

use crate::support::{self, Act, Oops, fail, oops, step, throw, trace};

const CHILD: &str = "WITHAL_CORE_TEST_NOTICES";

/// Runs the test `name` of this binary in a process of its own, where it may set what it likes;
/// gives what that wrote to stderr.
fn in_a_process(name: &str, role: &str) -> String {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("notices::{name}"), "--nocapture"])
        .env(CHILD, role)
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success(),
        "{}\n{stderr}",
        String::from_utf8_lossy(&output.stdout)
    );
    stderr
}

fn role() -> Option<String> {
    std::env::var(CHILD).ok()
}

#[test]
#[cfg_attr(miri, ignore = "starts a process")]
fn a_hook_that_panics_skips_no_exit() {
    if role().is_none() {
        in_a_process("a_hook_that_panics_skips_no_exit", "child");
        return;
    }
    set_notice_hook(|_: &Notice<'_>| throw("in the hook"));
    let ran = with(
        (
            step("a"),
            suppress::<Oops>(),
            step("b").exit(Act::Fail("b")),
        ),
        |_| fail::<()>("body"),
    );
    assert_eq!(ran.unwrap(), None);
    assert_eq!(
        trace(),
        [
            "enter a",
            "enter b",
            "exit b: errored: body",
            "exit a: succeeded"
        ]
    );

    let mut stack = ExitStack::new();
    stack.callback(|| support::log("exit"));
    drop(stack);
    assert_eq!(trace(), ["exit"]);
}

#[test]
#[cfg_attr(miri, ignore = "starts a process")]
fn without_a_hook_notices_are_lines_on_stderr_or_go_to_the_log() {
    let name = "without_a_hook_notices_are_lines_on_stderr_or_go_to_the_log";
    if role().is_none() {
        let stderr = in_a_process(name, "child");
        let by = match (cfg!(feature = "tracing"), cfg!(feature = "log")) {
            (true, _) => "tracing: WARN",
            (false, true) => "log: WARN",
            (false, false) => "withal: WARN",
        };
        let mut lines = stderr.lines().filter(|line| line.contains(": WARN"));
        let first = lines.next().unwrap();
        let start = format!("{by} error suppressed: `Suppress` at ");
        assert!(first.starts_with(&start), "{first}");
        assert!(first.ends_with(": body"), "{first}");
        assert!(lines.next().unwrap().ends_with(": body (2 times here)"));
        assert_eq!(lines.next(), None);
        return;
    }
    install_logs();
    set_notice_hook(|_: &Notice<'_>| throw("cleared before it is called"));
    withal_core::clear_notice_hook();
    for _ in 0..2 {
        let ran = with(suppress::<Oops>(), |_| fail::<()>("body"));
        assert_eq!(ran.unwrap(), None);
    }
}

/// Where nobody reads stderr any more, writing to it fails; exits still run.
#[test]
#[cfg(target_os = "linux")]
#[cfg_attr(miri, ignore = "starts a process")]
fn a_stderr_that_cannot_be_written_skips_no_exit() {
    let name = "a_stderr_that_cannot_be_written_skips_no_exit";
    if role().is_none() {
        let full = std::fs::File::options()
            .write(true)
            .open("/dev/full")
            .unwrap();
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &format!("notices::{name}"), "--nocapture"])
            .env(CHILD, "child")
            .stdout(std::process::Stdio::null())
            .stderr(full)
            .status();
        assert!(status.unwrap().success());
        return;
    }
    let ran = with((step("a"), suppress::<Oops>()), |_| fail::<()>("body"));
    assert_eq!(ran.unwrap(), None);
    assert_eq!(trace(), ["enter a", "exit a: succeeded"]);
}

#[test]
fn every_kind_says_what_happened() {
    let kinds = [
        NoticeKind::Suppressed,
        NoticeKind::BesidePanic,
        NoticeKind::NotClosed,
        NoticeKind::StackGone,
        NoticeKind::TeardownFailed,
        NoticeKind::TeardownTimedOut,
        NoticeKind::TeardownLost,
        NoticeKind::StillLent,
    ];
    let mut texts = kinds
        .map(|kind| Notice::new(kind, None, None).to_string())
        .to_vec();
    texts.sort();
    texts.dedup();
    assert_eq!(texts.len(), kinds.len());
    let error = withal_core::Error::new(oops("lost"));
    let entry = withal_core::Entry::new("a");
    let notice = Notice::new(NoticeKind::TeardownLost, Some(&entry), Some(&error));
    let want = format!("teardown lost: its runtime is gone: {entry}: lost");
    assert_eq!(notice.to_string(), want);
}

fn install_logs() {
    #[cfg(feature = "log")]
    {
        log::set_logger(&LogToStderr).unwrap();
        log::set_max_level(log::LevelFilter::Warn);
    }
    #[cfg(feature = "tracing")]
    tracing::subscriber::set_global_default(TraceToStderr).unwrap();
}

#[cfg(feature = "log")]
struct LogToStderr;

#[cfg(feature = "log")]
impl log::Log for LogToStderr {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        assert_eq!(record.target(), "withal");
        eprintln!("log: {} {}", record.level(), record.args());
    }

    fn flush(&self) {}
}

#[cfg(feature = "tracing")]
struct TraceToStderr;

#[cfg(feature = "tracing")]
impl tracing::Subscriber for TraceToStderr {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        struct Message(String);
        impl tracing::field::Visit for Message {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                if field.name() == "message" {
                    self.0 = format!("{value:?}");
                }
            }
        }
        let mut message = Message(String::new());
        event.record(&mut message);
        assert_eq!(event.metadata().target(), "withal");
        eprintln!("tracing: {} {}", event.metadata().level(), message.0);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}
