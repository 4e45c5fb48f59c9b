//! Kills the job again and again, and looks at what it did.
#![allow(missing_docs, unused_results, clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;
use withal_os::Stamp;

const ORDERS: usize = 10_000;
const KILLS: usize = 20;

/// Runs the job, and kills it at a random moment after it has said that so many invoices are safe;
/// gives the numbers of those.
fn run(orders: &Path, invoices: &Path, kill_after: Option<usize>) -> Vec<String> {
    let mut job = Command::new(env!("CARGO_BIN_EXE_invoices"))
        .args([orders, invoices])
        .arg("--print")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(job.stdout.take().unwrap()).lines();
    let mut safe: Vec<String> = Vec::new();
    let Some(kill_after) = kill_after else {
        safe.extend(said.map(Result::unwrap));
        assert!(job.wait().unwrap().success());
        return safe;
    };
    safe.extend(said.by_ref().take(kill_after).map(Result::unwrap));
    // Until any of the steps that come next.
    thread::park_timeout(Duration::from_micros(fastrand::u64(..30_000)));
    job.kill().unwrap();
    job.wait().unwrap();
    safe.extend(said.map(Result::unwrap));
    safe
}

/// In memory if possible: what a kill leaves does not depend on the disk, and ext4 takes long to
/// make many files where many were removed in the last minutes.
fn folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

#[test]
fn killed_again_and_again_it_writes_each_invoice_and_none_again_that_was_safe() {
    let folder = folder();
    let orders = folder.path().join("orders.csv");
    let mut lines = String::new();
    for number in 1..=ORDERS {
        lines += &format!("{number},Customer {},{}\n", number % 97, 1000 + number);
    }
    fs::write(&orders, lines).unwrap();
    let invoices = folder.path().join("invoices");
    fs::create_dir(&invoices).unwrap();
    let stamp = |number: &str| {
        let stamp = Stamp::of(invoices.join(format!("{number}.txt"))).unwrap();
        stamp.unwrap_or_else(|| panic!("invoice {number} is missing"))
    };

    let mut safe = BTreeMap::new();
    for kill in 0..=KILLS {
        let kill_after = (kill < KILLS).then(|| fastrand::usize(..ORDERS / KILLS));
        for number in run(&orders, &invoices, kill_after) {
            let stamp = stamp(&number);
            assert!(safe.insert(number, stamp).is_none(), "safe twice");
        }
    }

    for (number, before) in &safe {
        // Written again, it would be another file.
        assert_eq!(stamp(number), *before, "invoice {number} was written again");
    }
    for number in 1..=ORDERS {
        let invoice = fs::read_to_string(invoices.join(format!("{number}.txt"))).unwrap();
        let (customer, cents) = (number % 97, 1000 + number);
        let total = format!("{}.{:02}", cents / 100, cents % 100);
        let expected = format!("Invoice {number}\n\nTo: Customer {customer}\nTotal: {total} EUR\n");
        assert_eq!(invoice, expected);
    }
    // And nothing else, but the note of what is finished.
    assert_eq!(fs::read_dir(&invoices).unwrap().count(), ORDERS + 1);
}
