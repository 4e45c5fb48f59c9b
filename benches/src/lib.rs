//! The clock of the benchmarks: each case in turn, many times, in one process.
//!
//! A program declares its cases and calls [`Bench::run`], which prints one JSON line per case:
//! `{"work": …, "who": …, "unit": "ns", "samples": […]}`. `cargo xtask bench` reads them. With
//! `--quick` every case runs once, which is how CI sees that it runs at all.

#![forbid(unsafe_code)]

use std::fmt;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use serde::Serialize;

/// The name under which our own samples are printed.
pub const US: &str = "withal";

/// How long a sample should take: long against the clock, short against the scheduler.
const SAMPLE: Duration = Duration::from_millis(10);
const ROUNDS: usize = 11;

/// The cases of a program.
#[derive(Debug)]
pub struct Bench<'a> {
    cases: Vec<Case<'a>>,
    is_quick: bool,
}

/// Some work, and one way to do it.
struct Case<'a> {
    work: String,
    who: &'static str,
    operation: Box<dyn FnMut(u64) -> Duration + 'a>,
    repeats: u64,
    samples: Vec<f64>,
}

/// What is printed of a case.
#[derive(Serialize)]
struct Measure<'c> {
    work: &'c str,
    who: &'c str,
    unit: &'static str,
    samples: &'c [f64],
}

impl<'a> Bench<'a> {
    /// No cases yet; reads `--quick` from the program's arguments.
    #[must_use]
    pub fn from_arguments() -> Bench<'a> {
        Bench {
            cases: Vec::new(),
            is_quick: std::env::args().any(|argument| argument == "--quick"),
        }
    }

    /// Adds a case whose operation does the work as often as it is told, and says how long it took.
    pub fn case(
        &mut self,
        work: impl Into<String>,
        who: &'static str,
        operation: impl FnMut(u64) -> Duration + 'a,
    ) {
        self.cases.push(Case {
            work: work.into(),
            who,
            operation: Box::new(operation),
            repeats: 1,
            samples: Vec::new(),
        });
    }

    /// Measures all cases in turn, and prints what it finds.
    ///
    /// # Errors
    ///
    /// The output cannot be written.
    pub fn run(mut self) -> io::Result<()> {
        let rounds = if self.is_quick { 1 } else { ROUNDS };
        if !self.is_quick {
            self.cases.iter_mut().for_each(Case::calibrate);
        }
        for round in 0..rounds {
            // There and back, so that no case always follows the same neighbour.
            if round % 2 == 0 {
                self.cases.iter_mut().for_each(Case::sample);
            } else {
                self.cases.iter_mut().rev().for_each(Case::sample);
            }
        }
        let mut output = io::stdout().lock();
        for case in &self.cases {
            serde_json::to_writer(&mut output, &case.measure())?;
            writeln!(output)?;
        }
        output.flush()
    }
}

impl Case<'_> {
    /// Finds how many repeats make a sample, which warms up too.
    fn calibrate(&mut self) {
        loop {
            let took = (self.operation)(self.repeats);
            if took >= SAMPLE {
                break;
            }
            let short_by = SAMPLE.as_secs_f64() / took.as_secs_f64().max(1e-9);
            // In steps, as the first runs are slow.
            self.repeats = ((self.repeats as f64) * short_by.clamp(1.2, 10.0)).ceil() as u64;
        }
    }

    fn sample(&mut self) {
        let took = (self.operation)(self.repeats);
        let nanoseconds = took.as_secs_f64() * 1e9 / self.repeats as f64;
        // A tenth of a nanosecond is more than the clock can tell.
        self.samples.push((nanoseconds * 10.0).round() / 10.0);
    }

    fn measure(&self) -> Measure<'_> {
        Measure {
            work: &self.work,
            who: self.who,
            unit: "ns",
            samples: &self.samples,
        }
    }
}

impl fmt::Debug for Case<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Case")
            .field("work", &self.work)
            .field("who", &self.who)
            .finish_non_exhaustive()
    }
}

/// Times `repeats` calls.
pub fn timed<T>(repeats: u64, mut operation: impl FnMut(u64) -> T) -> Duration {
    let began = Instant::now();
    for index in 0..repeats {
        let _ = std::hint::black_box(operation(index));
    }
    began.elapsed()
}
