//! Several writers in turn, with a commit ring or without, each of which may crash.

use proptest::prelude::*;
use withal_log::{CommitRing, LogOptions};

use super::{config, read};
use crate::disk::{Dice, Fault, FaultDisk};
use crate::ring::{PAGE, going, options, still};

/// What one writer does, and how it ends.
#[derive(Clone, Debug)]
struct Session {
    sizes: Vec<usize>,
    /// The machine stops at this operation.
    at: Option<u64>,
    /// Only the process does.
    is_kill: bool,
    clock: Clock,
    is_ringed: bool,
}

#[derive(Clone, Copy, Debug)]
enum Clock {
    Still,
    Goes,
}

fn session() -> impl Strategy<Value = Session> {
    (
        proptest::collection::vec(prop_oneof![0_usize..60, 300_usize..3000], 0..24),
        proptest::option::of(0_u64..60),
        any::<bool>(),
        prop_oneof![3 => Just(Clock::Still), 1 => Just(Clock::Goes)],
        proptest::bool::weighted(0.9),
    )
        .prop_map(|(sizes, at, is_kill, clock, is_ringed)| Session {
            sizes,
            at,
            is_kill,
            clock,
            is_ringed,
        })
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn whoever_comes_next_finds_what_was_acknowledged(
        sessions in proptest::collection::vec(session(), 1..5),
        pages in 4_u64..12,
        rotate in prop_oneof![Just(4000_u64), Just(1 << 20)],
        seed in 1_u64..,
    ) {
        let mut dice = Dice(seed);
        let mut disk = FaultDisk::default();
        // What may be there, and how much of it is.
        let (mut submitted, mut acknowledged) = (Vec::new(), 0);
        for (number, session) in sessions.iter().chain([&LAST]).enumerate() {
            if let Some(at) = session.at {
                disk.plan(at, Fault::Crash);
            }
            let options = options().ring_size(pages * PAGE).rotate_size(rotate);
            let Ok(log) = session.options(options).open_in(disk.storage()) else {
                prop_assert!(session.at.is_some());
                disk = session.left(&disk, &mut dice);
                continue;
            };
            if let Ok(text) = read(&disk.storage()) {
                prop_assert!(submitted.starts_with(&text), "invented before session {}", number);
                let len = text.len();
                prop_assert!(len >= acknowledged, "lost before {}: {}", number, acknowledged - len);
                acknowledged = len;
                submitted = text;
            }
            for (line, size) in session.sizes.iter().enumerate() {
                let record = format!("{number} {line} {}", "x".repeat(*size));
                submitted.extend_from_slice(record.as_bytes());
                submitted.push(b'\n');
                if log.append(&record).is_err() {
                    break;
                }
                acknowledged = submitted.len();
            }
            let left = session.left(&disk, &mut dice);
            let closed = log.close();
            match session.at {
                Some(_) => disk = left,
                None => prop_assert!(closed.is_ok(), "{:?}", closed),
            }
        }
    }
}

impl Session {
    fn options(&self, options: LogOptions) -> LogOptions {
        let options = options.clock(match self.clock {
            Clock::Still => still,
            Clock::Goes => going,
        });
        match self.is_ringed {
            true => options,
            false => options.commit_ring(CommitRing::Never),
        }
    }

    /// What it leaves if it ends here.
    fn left(&self, disk: &FaultDisk, dice: &mut Dice) -> FaultDisk {
        match self.is_kill {
            true => disk.after_kill(),
            false => disk.after_power_loss(dice),
        }
    }
}

const LAST: Session = Session {
    sizes: Vec::new(),
    at: None,
    is_kill: false,
    clock: Clock::Still,
    is_ringed: true,
};
