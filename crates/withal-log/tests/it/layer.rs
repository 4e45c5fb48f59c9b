//! Events of `tracing` in a log.

use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use serde_json::Value;
use tracing::subscriber::with_default;
use tracing::{Level, debug, error, info, info_span, warn};
use tracing_subscriber::prelude::*;
use withal_log::{Durability, Log, OnFull, Pressure, tracing_layer};

use crate::child;
use crate::crash::read;
use crate::disk::{Fault, FaultDisk};

fn log(disk: &FaultDisk) -> Log {
    let log = Log::open("log").durability(Durability::Buffered);
    log.open_in(disk.storage()).unwrap()
}

fn lines(disk: &FaultDisk) -> Vec<String> {
    let text = String::from_utf8(read(&disk.storage()).unwrap()).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn json(disk: &FaultDisk) -> Vec<Value> {
    let parse = |line: String| serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}"));
    lines(disk).into_iter().map(parse).collect()
}

#[test]
fn events_are_json_with_fields_and_spans() {
    let disk = FaultDisk::default();
    let log = log(&disk);
    with_default(
        tracing_subscriber::registry().with(tracing_layer(&log)),
        || {
            let outer = info_span!("request", id = 7, user = tracing::field::Empty);
            let _outer = outer.enter();
            outer.record("user", "ada");
            let inner = info_span!("query").entered();
            warn!(target: "shop", order = 17, price = 1.5, paid = true, who = ?Some("me"), "late: {}", 3);
            drop(inner);
            info!("plain");
        },
    );
    debug!("outside");
    log.close().unwrap();
    let [first, second] = &json(&disk)[..] else {
        panic!("{:?}", lines(&disk));
    };
    assert_eq!(first["level"], "WARN");
    assert_eq!(first["target"], "shop");
    assert_eq!(first["fields"]["message"], "late: 3");
    assert_eq!(first["fields"]["order"], 17);
    assert_eq!(first["fields"]["price"], 1.5);
    assert_eq!(first["fields"]["paid"], true);
    assert_eq!(first["fields"]["who"], "Some(\"me\")");
    assert_eq!(first["spans"][0]["name"], "request");
    assert_eq!(first["spans"][0]["id"], 7);
    assert_eq!(first["spans"][0]["user"], "ada");
    assert_eq!(first["spans"][1]["name"], "query");
    let stamp = first["timestamp"].as_str().unwrap();
    let stamp: jiff::Timestamp = stamp.parse().unwrap();
    assert!(stamp.duration_until(jiff::Timestamp::now()).as_secs() < 60);
    assert_eq!(second["spans"].as_array().unwrap().len(), 1);
    assert_eq!(second["fields"].as_object().unwrap().len(), 1);
}

#[test]
fn hostile_text_is_still_json_and_one_line() {
    let disk = FaultDisk::default();
    let log = log(&disk);
    let hostile = "quote\" back\\ line\n tab\t cr\r nul\0 bell\u{7} ü 世界 \u{2028}";
    with_default(
        tracing_subscriber::registry().with(tracing_layer(&log)),
        || {
            let _span = tracing::span!(Level::INFO, "s\"", key = hostile).entered();
            info!(text = hostile, debug = ?hostile, not = f64::NAN, "{hostile}");
        },
    );
    log.close().unwrap();
    let events = json(&disk);
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["fields"]["text"], hostile);
    assert_eq!(events[0]["fields"]["message"], hostile);
    assert_eq!(events[0]["fields"]["debug"], format!("{hostile:?}"));
    assert_eq!(events[0]["fields"]["not"], "NaN");
    assert_eq!(events[0]["spans"][0]["key"], hostile);
}

#[test]
fn text_is_for_people() {
    let disk = FaultDisk::default();
    let log = log(&disk);
    let layer = tracing_layer(&log).text();
    with_default(tracing_subscriber::registry().with(layer), || {
        let _span = info_span!("request", id = 7, path = "/a b").entered();
        error!(target: "shop", order = 17, "failed");
        info!(target: "shop", order = 18);
    });
    log.close().unwrap();
    let lines: Vec<_> = lines(&disk)
        .iter()
        .map(|line| line[27..].to_owned())
        .collect();
    assert_eq!(
        lines,
        [
            " ERROR request{id=7 path=\"/a b\"}: shop: failed order=17",
            "  INFO request{id=7 path=\"/a b\"}: shop: order=18",
        ]
    );
}

#[test]
fn both_forms_may_be_used_at_once() {
    let disks = [FaultDisk::default(), FaultDisk::default()];
    let logs = [log(&disks[0]), log(&disks[1])];
    let registry = tracing_subscriber::registry()
        .with(tracing_layer(&logs[0]))
        .with(tracing_layer(&logs[1]).text());
    with_default(registry, || {
        let _span = info_span!("request", id = 7).entered();
        info!("both");
    });
    logs.into_iter().for_each(|log| log.close().unwrap());
    assert_eq!(json(&disks[0])[0]["spans"][0]["id"], 7);
    assert!(
        lines(&disks[1])[0].contains("request{id=7}: "),
        "{:?}",
        lines(&disks[1])
    );
}

#[test]
fn two_layers_of_one_form_each_keep_their_own_fields() {
    let disks = [FaultDisk::default(), FaultDisk::default()];
    let logs = [log(&disks[0]), log(&disks[1])];
    let registry = tracing_subscriber::registry()
        .with(tracing_layer(&logs[0]).text())
        .with(tracing_layer(&logs[1]).text());
    with_default(registry, || {
        let span = info_span!("request", id = 7, user = tracing::field::Empty).entered();
        span.record("user", "ada");
        info!("both");
    });
    logs.into_iter().for_each(|log| log.close().unwrap());
    for disk in &disks {
        let line = &lines(disk)[0];
        assert!(line.contains(" request{id=7 user=\"ada\"}: "), "{line}");
    }
}

/// Emits an event whenever it is shown.
struct Chatty;

impl std::fmt::Debug for Chatty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        info!("from inside");
        f.write_str("chatty")
    }
}

#[test]
fn an_event_from_inside_a_value_is_not_recursed_into() {
    let disk = FaultDisk::default();
    let log = log(&disk);
    let layer = tracing_layer(&log);
    let lost = layer.lost();
    with_default(tracing_subscriber::registry().with(layer), || {
        info!(value = ?Chatty, "outer");
    });
    log.close().unwrap();
    assert_eq!(json(&disk).len(), 1);
    assert_eq!(lost.dropped(), 0);
}

#[test]
fn many_threads_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let log = Log::open(folder.path()).durability(Durability::Buffered);
    let log = log.rotate_size(1 << 20).open().unwrap();
    let registry = Arc::new(tracing_subscriber::registry().with(tracing_layer(&log)));
    std::thread::scope(|threads| {
        for thread in 0..8 {
            let registry = Arc::clone(&registry);
            threads.spawn(move || {
                with_default(registry, || {
                    for number in 0..10_000 {
                        info!(thread, number, "event");
                    }
                });
            });
        }
    });
    log.close().unwrap();
    let text = String::from_utf8(crate::basics::text(folder.path())).unwrap();
    let mut next = [0_u64; 8];
    for line in text.lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        let thread = event["fields"]["thread"].as_u64().unwrap() as usize;
        assert_eq!(event["fields"]["number"], next[thread]);
        next[thread] += 1;
    }
    assert_eq!(next, [10_000; 8]);
}

#[test]
fn under_pressure_events_are_dropped_counted_and_told_of() {
    let disk = FaultDisk::default();
    let log = Log::open("log").durability(Durability::Buffered);
    let log = log.on_full(OnFull::Block(Some(Duration::from_secs(30))));
    let log = log.open_in(disk.storage()).unwrap();
    let layer = tracing_layer(&log).on_pressure(Pressure::Drop);
    let lost = layer.lost();
    let subscriber = tracing_subscriber::registry().with(layer);
    // The log stalls: its disk is full, and it waits.
    disk.plan_full(0, u64::MAX / 2);
    let padding = "x".repeat(10_000);
    let mut sent = 0_u64;
    with_default(subscriber, || {
        while lost.dropped() < 10 {
            info!(number = sent, padding);
            sent += 1;
        }
        disk.plan_full(0, 0);
        // Once there is room again, the next event says what is missing.
        loop {
            let before = lost.dropped();
            info!(number = sent, "after");
            sent += 1;
            if lost.dropped() == before {
                break;
            }
            std::thread::yield_now();
        }
    });
    log.close().unwrap();
    // Whatever is missing, a record says so, and where it is missing.
    let events = json(&disk);
    let (mut next, mut told) = (0, 0);
    for event in &events {
        match event["fields"]["dropped"].as_u64() {
            Some(dropped) => (next, told) = (next + dropped, told + dropped),
            None => {
                assert_eq!(event["fields"]["number"], next);
                next += 1;
            }
        }
    }
    assert_eq!((next, told), (sent, lost.dropped()));
    assert_eq!(events.last().unwrap()["fields"]["message"], "after");
}

/// What the child does. Under a global subscriber `tracing` itself does not keep an event apart from
/// one that it causes.
pub(crate) fn under_a_global_subscriber() {
    let (ended, end) = mpsc::channel();
    let work = std::thread::spawn(move || {
        let disk = FaultDisk::default();
        let log = Log::open("log").open_in(disk.storage()).unwrap();
        let layer = tracing_layer(&log);
        let lost = layer.lost();
        tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer))
            .unwrap();
        withal_core::set_notice_hook(|notice| warn!("{notice}"));

        let span = info_span!("request", first = ?Chatty, later = tracing::field::Empty);
        span.in_scope(|| {
            span.record("later", tracing::field::debug(Chatty));
            info!(value = ?Chatty, "outer");
        });
        assert_eq!((lost.nested(), lost.dropped()), (1, 0));

        // The log says that its disk failed, on the thread that is writing it.
        disk.plan(0, Fault::Fails(std::io::ErrorKind::Other));
        log.append("no event").unwrap();
        let nested = lost.nested();
        assert!(nested > 1);

        log.close().unwrap();
        // The layer says that its log is closed, while an event is written.
        info!("too late");
        info!("too late");
        assert_eq!((lost.nested(), lost.dropped()), (nested + 1, 2));

        let [inside, later, outer, record] = &lines(&disk)[..] else {
            panic!("{:?}", lines(&disk));
        };
        for inside in [inside, later] {
            assert!(inside.contains(r#"{"message":"from inside"}"#), "{inside}");
        }
        assert!(
            outer.contains(r#""message":"outer","value":"chatty""#),
            "{outer}"
        );
        assert!(
            outer.contains(r#""first":"chatty","later":"chatty""#),
            "{outer}"
        );
        assert_eq!(record, "no event");
        ended.send(()).unwrap();
    });
    let ended = end.recv_timeout(Duration::from_secs(60));
    assert!(ended.is_ok(), "it waits for itself, or failed");
    work.join().unwrap();
}

#[test]
fn events_that_come_out_of_logging_do_not_wait_for_themselves() {
    let nowhere = Path::new("");
    let status = child::command("global-subscriber", nowhere).status();
    assert!(status.unwrap().success());
}

#[test]
fn a_field_that_is_recorded_again_is_replaced() {
    let disk = FaultDisk::default();
    let log = log(&disk);
    let subscriber = tracing_subscriber::registry()
        .with(tracing_layer(&log))
        .with(tracing_layer(&log).text());
    with_default(subscriber, || {
        let span = info_span!(
            "request",
            first = "1",
            later = tracing::field::Empty,
            last = 3
        );
        let _entered = span.enter();
        info!("one");
        span.record("later", "second");
        span.record("first", "a longer first");
        span.record("later", "2");
        info!("two");
    });
    log.close().unwrap();
    let lines = lines(&disk);
    let spans = |line: &str| serde_json::from_str::<Value>(line).unwrap()["spans"].to_string();
    assert_eq!(
        spans(&lines[0]),
        r#"[{"first":"1","last":3,"name":"request"}]"#
    );
    assert!(
        lines[1].contains(r#"request{first="1" last=3}:"#),
        "{}",
        lines[1]
    );
    // Once: a parser would take the last of two.
    let expected = r#"{"name":"request","first":"a longer first","last":3,"later":"2"}"#;
    assert!(lines[2].contains(expected), "{}", lines[2]);
    let expected = r#"request{first="a longer first" last=3 later="2"}:"#;
    assert!(lines[3].contains(expected), "{}", lines[3]);
}

#[test]
fn what_is_refused_later_is_counted_and_told_of() {
    let kinds = [
        Durability::Buffered,
        Durability::Interval(Duration::from_secs(1)),
    ];
    for (durability, pressure) in kinds
        .into_iter()
        .flat_map(|durability| [Pressure::Block, Pressure::Drop].map(|it| (durability, it)))
    {
        let disk = FaultDisk::default();
        let log = Log::open("log").durability(durability);
        let log = log.on_full(OnFull::Fail).open_in(disk.storage()).unwrap();
        let layer = tracing_layer(&log).on_pressure(pressure);
        let lost = layer.lost();
        let subscriber = tracing_subscriber::registry().with(layer);
        let padding = "x".repeat(20_000);
        let mut sent = 0_u64;
        with_default(subscriber, || {
            for round in 0..5 {
                disk.plan_full(0, u64::MAX / 2);
                for _ in 0..20 + round {
                    info!(number = sent, padding);
                    sent += 1;
                }
                while lost.dropped() < 10 * (round + 1) {
                    info!(number = sent, padding);
                    sent += 1;
                }
                disk.plan_full(0, 0);
                for _ in 0..20 {
                    info!(number = sent, "after");
                    sent += 1;
                }
            }
        });
        // What was refused last, perhaps.
        let unheard = log.close().err().map_or(0, |error| error.earlier());
        let (mut present, mut told, mut next) = (0, 0, 0);
        for event in json(&disk) {
            match event["fields"]["dropped"].as_u64() {
                Some(dropped) => told += dropped,
                None => {
                    let number = event["fields"]["number"].as_u64().unwrap();
                    assert!(number >= next, "{event}");
                    next = number + 1;
                    present += 1;
                }
            }
        }
        let sums = (present + told + unheard, told);
        assert_eq!(sums, (sent, lost.dropped()), "{durability:?} {pressure:?}");
    }
}
