//! Crashes at random points of a recording.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::Result;
use withal_proofs::dice::Dice;
use withal_proofs::tally::Tally;

use crate::device::{Loop, Mounted};
use crate::disk::{self, FileSystem};
use crate::recorder::Event;
use crate::recording::Recording;

/// How much of what was not flushed is lost together.
#[derive(Clone, Copy, Debug)]
enum Torn {
    Whole,
    Pages,
    Sectors,
}

impl Torn {
    fn unit(self) -> usize {
        match self {
            Torn::Whole => usize::MAX,
            Torn::Pages => 4096,
            Torn::Sectors => 512,
        }
    }
}

/// What came of a number of crashes.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) tally: Tally,
    /// States that the file system itself could not be mounted from: nothing of ours to check.
    pub(crate) unmountable: u64,
}

/// Rebuilds and checks crashes.
pub(crate) struct Replay<'r> {
    pub(crate) file_system: &'r FileSystem,
    pub(crate) scratch: &'r Path,
    /// Where bad states are kept.
    pub(crate) kept: &'r Path,
}

impl Replay<'_> {
    /// Checks so many random crashes.
    pub(crate) fn check(
        &self,
        recording: &Recording,
        states: u64,
        seed: u64,
        outcome: &mut Outcome,
    ) -> Result<()> {
        let (crashed, root) = (self.scratch.join("crashed"), self.scratch.join("root"));
        fs::create_dir_all(&root)?;
        let mut number = 0;
        self.visit(recording, states, seed, &crashed, |acknowledged, what| {
            number += 1;
            // Given back before the next state, lest its pages be taken for that one's.
            let device = Loop::over(&crashed)?;
            let mounted = Mounted::on(
                &device.device,
                self.file_system.kind,
                self.file_system.mount,
                &root,
            );
            let mounted = match mounted {
                Ok(mounted) => mounted,
                Err(error) => {
                    println!("did not mount, {what}: {error}");
                    outcome.unmountable += 1;
                    return Ok(());
                }
            };
            let checked = recording.workload.check(&root, acknowledged);
            mounted.unmount()?;
            drop(device);
            outcome.tally.count(checked.is_ok());
            if let Err(how) = checked {
                println!(
                    "BAD: {}, state {number} of seed {seed}, {what}: {how}",
                    self.file_system.name
                );
                // Mounted and recovered it is another image now.
                self.keep(recording, states, seed, number, acknowledged)?;
            }
            Ok(())
        })
    }

    /// The image of one random crash in `image`, and what was acknowledged before it.
    pub(crate) fn crash(&self, recording: &Recording, seed: u64, image: &Path) -> Result<u64> {
        let mut last = 0;
        let rebuilt = self.scratch.join("rebuilt");
        self.visit(recording, 1, seed, &rebuilt, |acknowledged, _| {
            last = acknowledged;
            disk::copy(&rebuilt, image, "auto")
        })?;
        Ok(last)
    }

    fn keep(
        &self,
        recording: &Recording,
        states: u64,
        seed: u64,
        wanted: u64,
        acknowledged: u64,
    ) -> Result<()> {
        fs::create_dir_all(self.kept)?;
        let kept = self
            .kept
            .join(format!("{}-{seed}-{wanted}.img", self.file_system.name));
        let again = self.scratch.join("again");
        let mut number = 0;
        self.visit(recording, states, seed, &again, |_, _| {
            number += 1;
            match number == wanted {
                true => disk::copy(&again, &kept, "always"),
                false => Ok(()),
            }
        })?;
        let kept_shown = kept.display();
        println!(
            "  replay: mount -o loop,{} {kept_shown} /mnt && {} replay /mnt/log --acknowledged \
             {acknowledged} --kept {}; umount /mnt",
            self.file_system.mount,
            std::env::current_exe()?
                .with_file_name("proof-log")
                .display(),
            recording.workload.kept()
        );
        Ok(())
    }

    /// Rebuilds the crashes one after the other in `image`.
    fn visit(
        &self,
        recording: &Recording,
        states: u64,
        seed: u64,
        image: &Path,
        mut each: impl FnMut(u64, &str) -> Result<()>,
    ) -> Result<()> {
        let mut dice = Dice::new(seed);
        let events = recording.events.as_slice();
        let mut points: Vec<usize> = (0..states)
            .map(|_| dice.roll(events.len() as u64 + 1) as usize)
            .collect();
        points.sort_unstable();
        let flushed: PathBuf = image.with_extension("flushed");
        disk::copy(&recording.base, &flushed, "auto")?;
        let safe = OpenOptions::new().write(true).open(&flushed)?;
        let mut pending: Vec<(u64, &[u8])> = Vec::new();
        let (mut at, mut acknowledged) = (0, recording.acknowledged);
        for point in points {
            for event in events.get(at..point).unwrap_or_default() {
                match event {
                    Event::Write { offset, data } => pending.push((*offset, data)),
                    Event::Mark(number) => acknowledged = *number,
                    Event::Flush => {
                        for (offset, data) in pending.drain(..) {
                            safe.write_all_at(data, offset)?;
                        }
                    }
                }
            }
            at = point;
            if image.exists() {
                fs::remove_file(image)?;
            }
            disk::copy(&flushed, image, "auto")?;
            let crashed = OpenOptions::new().write(true).open(image)?;
            let what = lose(&crashed, &pending, &mut dice)?;
            each(acknowledged, &what)?;
        }
        fs::remove_file(image)?;
        Ok(fs::remove_file(flushed)?)
    }
}

/// Writes some of what was not flushed; says how.
fn lose(image: &File, pending: &[(u64, &[u8])], dice: &mut Dice) -> Result<String> {
    let torn = match dice.roll(3) {
        0 => Torn::Whole,
        1 => Torn::Pages,
        _ => Torn::Sectors,
    };
    // All of it and nothing of it too.
    let percent = dice.roll(11) * 10;
    for (offset, data) in pending {
        let mut offset = *offset;
        for piece in data.chunks(torn.unit()) {
            if dice.roll(100) < percent {
                image.write_all_at(piece, offset)?;
            }
            offset += piece.len() as u64;
        }
    }
    Ok(format!(
        "{percent} % of {} writes kept, {torn:?}",
        pending.len()
    ))
}
