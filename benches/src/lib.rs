//! The clock of the benchmarks: each case in turn, many times, in one process.
//!
//! A program declares its cases and calls [`Bench::run`], which prints one JSON line per case:
//! `{"work": …, "who": …, "unit": "ns", "samples": […]}`; the unit may be `/s`, `B/s`, `B` or `%`
//! too. Those who do the same work follow each other, as often and each as often first.
//! `cargo xtask bench` reads them. With `--quick` every case runs once, which is how CI sees that
//! it runs at all. With `--only TEXT` those cases run that have the text in `work: who`.

#![forbid(unsafe_code)]

pub mod whole;

use std::fmt;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use serde::Serialize;

/// The name under which our own samples are printed.
pub const US: &str = "withal";

/// How long a sample should take: long against the clock, short against the scheduler.
const SAMPLE: Duration = Duration::from_millis(10);
const ROUNDS: usize = 11;
/// The same for rates, where threads are started and disks are waited for.
const RATE_SAMPLE: Duration = Duration::from_millis(100);

/// The cases of a program.
#[derive(Debug)]
pub struct Bench<'a> {
    cases: Vec<Case<'a>>,
    counts: Vec<Count>,
    is_quick: bool,
    only: String,
}

/// Some work, and one way to do it.
struct Case<'a> {
    work: String,
    who: &'static str,
    operation: Box<dyn FnMut(u64) -> Duration + 'a>,
    unit: Unit,
    repeats: u64,
    samples: Vec<f64>,
}

/// What a case's samples count.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Unit {
    Nanoseconds,
    PerSecond,
}

/// What is no matter of time.
#[derive(Debug)]
struct Count {
    work: String,
    who: &'static str,
    unit: &'static str,
    count: f64,
}

/// What is printed of a case.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Measure<'c> {
    /// What was done.
    pub work: &'c str,
    /// Who did it.
    pub who: &'c str,
    /// What the samples count.
    pub unit: &'static str,
    /// One for each time.
    pub samples: &'c [f64],
}

impl Measure<'_> {
    /// Prints it.
    ///
    /// # Errors
    ///
    /// The output cannot be written.
    pub fn print(&self) -> io::Result<()> {
        let mut output = io::stdout().lock();
        serde_json::to_writer(&mut output, self)?;
        writeln!(output)
    }
}

impl<'a> Bench<'a> {
    /// No cases yet; reads `--quick` and `--only` from the program's arguments.
    #[must_use]
    pub fn from_arguments() -> Bench<'a> {
        Bench {
            cases: Vec::new(),
            counts: Vec::new(),
            is_quick: std::env::args().any(|argument| argument == "--quick"),
            only: std::env::args()
                .skip_while(|argument| argument != "--only")
                .nth(1)
                .unwrap_or_default(),
        }
    }

    /// Whether every case runs only once, to see that it runs.
    #[must_use]
    pub fn is_quick(&self) -> bool {
        self.is_quick
    }

    /// Adds a case whose operation does the work as often as it is told, and says how long it took.
    pub fn case(
        &mut self,
        work: impl Into<String>,
        who: &'static str,
        operation: impl FnMut(u64) -> Duration + 'a,
    ) {
        self.add(work.into(), who, Unit::Nanoseconds, Box::new(operation));
    }

    /// The same, but it is printed how often the work is done in a second.
    pub fn rate(
        &mut self,
        work: impl Into<String>,
        who: &'static str,
        operation: impl FnMut(u64) -> Duration + 'a,
    ) {
        self.add(work.into(), who, Unit::PerSecond, Box::new(operation));
    }

    /// Adds a number in percent, which is printed as it is.
    pub fn share(&mut self, work: impl Into<String>, who: &'static str, percent: f64) {
        self.count(work.into(), who, "%", || percent);
    }

    /// Adds a number of bytes. It is found out at once.
    pub fn bytes(
        &mut self,
        work: impl Into<String>,
        who: &'static str,
        bytes: impl FnOnce() -> f64,
    ) {
        self.count(work.into(), who, "B", bytes);
    }

    fn count(
        &mut self,
        work: String,
        who: &'static str,
        unit: &'static str,
        count: impl FnOnce() -> f64,
    ) {
        if self.is_wanted(&work, who) {
            let count = count();
            self.counts.push(Count {
                work,
                who,
                unit,
                count,
            });
        }
    }

    fn is_wanted(&self, work: &str, who: &str) -> bool {
        format!("{work}: {who}").contains(&self.only)
    }

    fn add(
        &mut self,
        work: String,
        who: &'static str,
        unit: Unit,
        operation: Box<dyn FnMut(u64) -> Duration + 'a>,
    ) {
        if !self.is_wanted(&work, who) {
            return;
        }
        self.cases.push(Case {
            work,
            who,
            operation,
            unit,
            repeats: 1,
            samples: Vec::new(),
        });
    }

    /// Measures all cases in turn, and prints what it finds.
    ///
    /// # Errors
    ///
    /// The output cannot be written.
    pub fn run(self) -> io::Result<()> {
        let rounds = if self.is_quick { 1 } else { ROUNDS };
        let mut works = works(self.cases);
        if !self.is_quick {
            works.iter_mut().for_each(|cases| calibrate(cases));
        }
        for round in 0..rounds {
            for cases in &mut works {
                let first = round % cases.len();
                let (later, sooner) = cases.split_at_mut(first);
                sooner.iter_mut().chain(later).for_each(Case::sample);
            }
            // There and back, so that no work always follows the same neighbour.
            works.reverse();
        }
        if rounds % 2 == 1 {
            works.reverse();
        }
        let cases = works.iter().flatten().map(Case::measure);
        let mut measures = cases.chain(self.counts.iter().map(Count::measure));
        measures.try_for_each(|measure| measure.print())?;
        io::stdout().flush()
    }
}

/// The cases of each work, in the order in which works were first seen.
fn works(cases: Vec<Case<'_>>) -> Vec<Vec<Case<'_>>> {
    let mut works: Vec<Vec<Case<'_>>> = Vec::new();
    for case in cases {
        let is_same = |known: &&mut Vec<Case<'_>>| known.iter().any(|one| one.work == case.work);
        match works.iter_mut().find(is_same) {
            Some(known) => known.push(case),
            None => works.push(vec![case]),
        }
    }
    works
}

/// Finds how many repeats make a sample: the same for all who take about as long.
fn calibrate(cases: &mut [Case<'_>]) {
    cases.iter_mut().for_each(Case::calibrate);
    let most = cases.iter().map(|case| case.repeats).max().unwrap_or(1);
    for case in cases {
        case.repeats = most.min(4 * case.repeats);
    }
}

impl Case<'_> {
    /// Finds how many repeats make a sample. The first time is not one: there connections are made,
    /// and files are read.
    fn calibrate(&mut self) {
        let _first = (self.operation)(1);
        loop {
            let took = (self.operation)(self.repeats);
            let sample = match self.unit {
                Unit::Nanoseconds => SAMPLE,
                Unit::PerSecond => RATE_SAMPLE,
            };
            if took >= sample {
                break;
            }
            let short_by = sample.as_secs_f64() / took.as_secs_f64().max(1e-9);
            // In steps, as the first runs are slow.
            self.repeats = ((self.repeats as f64) * short_by.clamp(1.2, 10.0)).ceil() as u64;
        }
    }

    fn sample(&mut self) {
        let took = (self.operation)(self.repeats);
        let each = took.as_secs_f64() / self.repeats as f64;
        let sample = match self.unit {
            Unit::Nanoseconds => each * 1e9,
            Unit::PerSecond => 1.0 / each.max(1e-12),
        };
        // A tenth of a nanosecond is more than the clock can tell.
        self.samples.push((sample * 10.0).round() / 10.0);
    }

    fn measure(&self) -> Measure<'_> {
        Measure {
            work: &self.work,
            who: self.who,
            unit: match self.unit {
                Unit::Nanoseconds => "ns",
                Unit::PerSecond => "/s",
            },
            samples: &self.samples,
        }
    }
}

impl Count {
    fn measure(&self) -> Measure<'_> {
        Measure {
            work: &self.work,
            who: self.who,
            unit: self.unit,
            samples: std::slice::from_ref(&self.count),
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
