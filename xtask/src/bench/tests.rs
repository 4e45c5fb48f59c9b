//! From a program's lines to the table on the page.

use super::measure::{Measure, Measures, Summary, US, Unit, parse};
use super::source::{WholeCommand, measures};
use super::{PAGE, page, suites, table};
use crate::repository;

#[test]
fn a_summary_is_the_median_and_the_ends() {
    let check = |samples: &[f64], expected: Option<(f64, f64, f64)>| {
        let expected = expected.map(|(median, min, max)| Summary { median, min, max });
        assert_eq!(Summary::of(samples), expected);
    };
    check(&[], None);
    check(&[7.0], Some((7.0, 7.0, 7.0)));
    check(&[3.0, 1.0, 2.0], Some((2.0, 1.0, 3.0)));
    check(&[4.0, 1.0, 2.0, 3.0], Some((2.5, 1.0, 4.0)));
}

#[test]
fn each_peer_stands_beside_us_in_a_row() {
    let mut all = Measures::default();
    all.extend(vec![
        measure("enter", US, Unit::Nanoseconds, &[52.0, 50.0]),
        measure("enter", "by hand", Unit::Nanoseconds, &[50.0]),
    ]);
    all.extend(vec![
        measure("enter", US, Unit::Nanoseconds, &[60.0]),
        measure("enter", "Python", Unit::Nanoseconds, &[1_040.0]),
        measure("append", US, Unit::PerSecond, &[30_000.0]),
        measure("append", "other", Unit::PerSecond, &[10_000.0]),
        measure("memory", US, Unit::Bytes, &[3_145_728.0]),
        measure("memory", "other", Unit::Bytes, &[6_291_456.0]),
    ]);
    assert_eq!(
        table::render(&all),
        "\
| work   | withal               | peer                         | ratio               |
| ------ | -------------------- | ---------------------------- | ------------------- |
| enter  | 52.0 ns (50.0–60.0)  | by hand: 50.0 ns (50.0–50.0) | 1.04                |
| enter  | 52.0 ns (50.0–60.0)  | Python: 1.04 µs (1.04–1.04)  | 0.05 (20.0× faster) |
| append | 30.0 k/s (30.0–30.0) | other: 10.0 k/s (10.0–10.0)  | 3.00 (3.0× faster)  |
| memory | 3.00 MiB (3.00–3.00) | other: 6.00 MiB (6.00–6.00)  | 0.50                |
"
    );
}

#[test]
fn a_peer_without_us_is_found() {
    let mut all = Measures::default();
    all.extend(vec![
        measure("enter", US, Unit::Nanoseconds, &[1.0]),
        measure("entre", "Python", Unit::Nanoseconds, &[1.0]),
    ]);
    assert_eq!(all.peers_without_us(), ["Python (entre)"]);
}

#[test]
fn a_program_prints_a_measure_per_line() {
    let line = r#"{"work":"enter","who":"withal","unit":"ns","samples":[1.5,2]}"#;
    let expected = measure("enter", US, Unit::Nanoseconds, &[1.5, 2.0]);
    assert_eq!(parse(&format!("{line}\n\n")).unwrap(), [expected]);
    let error = parse("hello\n").unwrap_err();
    assert_eq!(error.to_string(), "not a measure: hello");
}

#[test]
fn whole_commands_are_timed_in_seconds() {
    let commands = [
        WholeCommand {
            who: US,
            line: "withal run -- true",
        },
        WholeCommand {
            who: "env",
            line: "env true",
        },
    ];
    let exported =
        r#"{"results":[{"command":"a","times":[0.002]},{"command":"b","times":[0.001]}]}"#;
    assert_eq!(
        measures("run", &commands, exported).unwrap(),
        [
            measure("run", US, Unit::Nanoseconds, &[2e6]),
            measure("run", "env", Unit::Nanoseconds, &[1e6]),
        ]
    );
}

#[test]
fn a_report_replaces_its_own_part_of_the_page() {
    let text =
        "# B\n<!-- bench:a -->\nold\n<!-- /bench:a -->\n<!-- bench:b -->\n<!-- /bench:b -->\n";
    assert_eq!(
        page::replace(text, "a", "new\n").unwrap(),
        "# B\n<!-- bench:a -->\nnew\n<!-- /bench:a -->\n<!-- bench:b -->\n<!-- /bench:b -->\n"
    );
    assert!(page::replace(text, "c", "new\n").is_err());
}

#[test]
fn every_benchmark_has_its_part_of_the_page() {
    let text = std::fs::read_to_string(repository::root().join(PAGE)).unwrap();
    for name in suites::names() {
        let _ = page::replace(&text, name, "").unwrap();
    }
}

fn measure(work: &str, who: &str, unit: Unit, samples: &[f64]) -> Measure {
    Measure {
        work: work.to_owned(),
        who: who.to_owned(),
        unit,
        samples: samples.to_vec(),
    }
}
