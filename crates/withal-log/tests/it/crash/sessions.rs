//! Writers and repairs in turn, with a commit ring or without, each of which may meet a fault, a full
//! disk and a crash.

use proptest::prelude::*;
use withal_log::{CommitRing, LogOptions, OnFull, RepairOptions, TailRule, repair_in};

use super::{config, read_around_holes};
use crate::disk::{Dice, Fault, FaultDisk};
use crate::ring::{PAGE, going, options, still};

/// Who comes to the log.
#[derive(Clone, Copy, Debug)]
enum Who {
    Ringed,
    Ringless,
    Strict,
    Dropping,
    Repair { dry_run: bool, reindex: bool },
}

/// What is left in the end.
#[derive(Clone, Copy, Debug)]
enum End {
    Closed,
    PowerLoss,
    Kill,
}

#[derive(Clone, Debug)]
struct Session {
    who: Who,
    sizes: Vec<usize>,
    /// At which operation, and what.
    fault: Option<(u64, Fault)>,
    /// From which operation on, and for how many.
    full: Option<(u64, u64)>,
    end: End,
    is_clock_still: bool,
}

fn session() -> impl Strategy<Value = Session> {
    let who = prop_oneof![
        6 => Just(Who::Ringed),
        1 => Just(Who::Ringless),
        1 => Just(Who::Strict),
        2 => Just(Who::Dropping),
        2 => any::<(bool, bool)>().prop_map(|(dry_run, reindex)| Who::Repair { dry_run, reindex }),
    ];
    let sizes = prop_oneof![
        4 => 0_usize..60,
        2 => 300_usize..3000,
        1 => 9_000_usize..20_000,
    ];
    let kind = std::io::ErrorKind::Other;
    let fault = prop_oneof![
        Just(Fault::Crash),
        Just(Fault::Fails(kind)),
        Just(Fault::Half(kind)),
    ];
    (
        who,
        proptest::collection::vec(sizes, 0..16),
        proptest::option::of((0_u64..60, fault)),
        proptest::option::weighted(0.2, (0_u64..40, 1_u64..20)),
        prop_oneof![Just(End::Closed), Just(End::PowerLoss), Just(End::Kill)],
        any::<bool>(),
    )
        .prop_map(|(who, sizes, fault, full, end, is_clock_still)| Session {
            who,
            sizes,
            fault,
            full,
            end,
            is_clock_still,
        })
}

impl Session {
    /// One that finds what there is.
    fn last() -> Session {
        Session {
            who: Who::Ringed,
            sizes: Vec::new(),
            fault: None,
            full: None,
            end: End::Closed,
            is_clock_still: true,
        }
    }

    fn plan(&self, disk: &FaultDisk) {
        if let Some((at, fault)) = self.fault {
            disk.plan(at, fault);
        }
        if let Some((from, len)) = self.full {
            disk.plan_full(from, from + len);
        }
    }

    fn is_undisturbed(&self) -> bool {
        self.fault.is_none() && self.full.is_none()
    }

    fn options(&self, options: LogOptions) -> LogOptions {
        let options =
            options
                .on_full(OnFull::Fail)
                .clock(if self.is_clock_still { still } else { going });
        match self.who {
            Who::Ringed | Who::Repair { .. } => options,
            Who::Ringless => options.commit_ring(CommitRing::Never),
            Who::Strict => options.tail_rule(TailRule::Strict),
            Who::Dropping => options.on_full(OnFull::Drop).drop_line("dropped {count}"),
        }
    }

    /// What is left if it is over now; nothing if it goes on to its end.
    fn left(&self, disk: &FaultDisk, dice: &mut Dice) -> Option<FaultDisk> {
        match self.end {
            End::Closed if !matches!(self.fault, Some((_, Fault::Crash))) => None,
            End::PowerLoss => Some(disk.after_power_loss(dice)),
            End::Closed | End::Kill => Some(disk.after_kill()),
        }
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn whoever_comes_next_finds_what_was_acknowledged(
        sessions in proptest::collection::vec(session(), 1..6),
        pages in 4_u64..12,
        rotate in prop_oneof![Just(4000_u64), Just(1 << 20)],
        compress: bool,
        beside in prop_oneof![Just(1_u64), Just(5000), Just(u64::MAX)],
        seed in 1_u64..,
    ) {
        let mut dice = Dice(seed);
        let mut disk = FaultDisk::default();
        let (mut submitted, mut acknowledged) = (Vec::new(), Vec::new());
        for (number, session) in sessions.iter().chain([&Session::last()]).enumerate() {
            session.plan(&disk);
            if let Who::Repair { dry_run, reindex } = session.who {
                let options = RepairOptions { dry_run, reindex };
                let _may_meet_the_fault = repair_in(&disk.storage(), &options, |_| ());
                let left = session.left(&disk, &mut dice);
                disk = left.unwrap_or_else(|| disk.after_kill());
                continue;
            }
            let options = options().ring_size(pages * PAGE).rotate_size(rotate);
            let options = session.options(options.sync_beside(beside));
            let options = if compress { options.compress(1) } else { options };
            let log = match options.open_in(disk.storage()) {
                Ok(log) => log,
                Err(error) => {
                    prop_assert!(!session.is_undisturbed(), "{}: {:?}", number, error);
                    let left = session.left(&disk, &mut dice);
                    disk = left.unwrap_or_else(|| disk.after_kill());
                    continue;
                }
            };
            if session.is_undisturbed() {
                check(&disk, &acknowledged, &submitted, number)?;
            }
            for (line, size) in session.sizes.iter().enumerate() {
                let record = format!("{number} {line} {}", "x".repeat(*size));
                submitted.push(record.clone());
                if log.append_durable(&record).is_ok() {
                    acknowledged.push(record);
                }
            }
            let left = session.left(&disk, &mut dice);
            let _may_meet_the_fault = log.close();
            disk = left.unwrap_or_else(|| disk.after_kill());
        }
    }
}

/// All that was acknowledged is there, in order and once; all that is there was submitted; and nobody
/// misses anything.
fn check(
    disk: &FaultDisk,
    acknowledged: &[String],
    submitted: &[String],
    number: usize,
) -> Result<(), TestCaseError> {
    let (text, told) = read_around_holes(&disk.storage());
    prop_assert!(told.is_empty(), "before {}: {:?}", number, told);
    let text = String::from_utf8(text).unwrap();
    let lines = text.lines();
    let found: Vec<&str> = lines
        .filter(|line| !line.starts_with("dropped ") && !line.is_empty())
        .collect();
    let start = |line: &str| line.chars().take(20).collect::<String>();
    let mut rest = submitted.iter();
    for line in &found {
        let is_known = rest.any(|known| known == line);
        prop_assert!(
            is_known,
            "before {}: not submitted here: {}",
            number,
            start(line)
        );
    }
    let mut rest = found.iter();
    for line in acknowledged {
        let is_there = rest.any(|there| there == line);
        prop_assert!(is_there, "before {}: lost: {}", number, start(line));
    }
    Ok(())
}
