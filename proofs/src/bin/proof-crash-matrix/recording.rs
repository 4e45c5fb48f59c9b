//! Running a workload on a file system whose every write is recorded.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};
use clap::ValueEnum;
use withal_proofs::check::{self, Kept, Way};

use crate::device::{self, Loop, Mounted};
use crate::disk::{self, FileSystem};
use crate::recorder::{Event, Recorder};

/// Which records are durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durable {
    /// Those before a sync
    Some,
    /// All that are acknowledged
    All,
    /// The same, by way of the commit ring
    Ringed,
}

impl Durable {
    fn flags(self) -> &'static [&'static str] {
        match self {
            Durable::Some => &[],
            Durable::All => &["--always"],
            Durable::Ringed => &["--always", "--ring"],
        }
    }
}

/// How much of the disk is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    Ample,
    /// No more than is needed, and a neighbour takes what is freed
    Scarce,
}

impl Room {
    /// Runs the writer: where there is a neighbour, it has time before a name is durable.
    fn command(self, writer: &Path) -> Command {
        match self {
            Room::Ample => Command::new(writer),
            Room::Scarce => {
                let mut strace = Command::new("strace");
                let _ = strace
                    .args(["-f", "-qq", "-o", "/dev/null", "--seccomp-bpf"])
                    .args(["-e", "trace=fsync", "-e", "inject=fsync:delay_enter=8000"])
                    .arg(writer);
                strace
            }
        }
    }

    fn flags(self) -> &'static [&'static str] {
        match self {
            Room::Ample => &[],
            Room::Scarce => &["--full"],
        }
    }
}

/// What is run and what must be there.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Workload {
    /// A log
    Log {
        seed: u64,
        records: u64,
        durable: Durable,
        kept: Kept,
        room: Room,
    },
    /// Files written atomically
    File { way: Way, versions: u64, room: Room },
}

impl Workload {
    /// The same with other random numbers, where it has any.
    pub(crate) fn seeded(mut self, with: u64) -> Workload {
        if let Workload::Log { seed, .. } = &mut self {
            *seed = with;
        }
        self
    }

    /// The same where what it frees is taken at once, if it frees anything.
    pub(crate) fn on_full_disk(mut self) -> Option<Workload> {
        match &mut self {
            Workload::Log {
                kept: Kept::Last,
                durable: Durable::Some,
                room,
                records,
                ..
            } => {
                *room = Room::Scarce;
                *records *= 4;
            }
            Workload::File {
                way: Way::Replace | Way::Keep | Way::Batch,
                room,
                ..
            } => *room = Room::Scarce,
            Workload::Log { .. } | Workload::File { .. } => return None,
        }
        Some(self)
    }

    fn room(self) -> Room {
        match self {
            Workload::Log { room, .. } | Workload::File { room, .. } => room,
        }
    }

    /// Checks what a crash has left; gives how much of the workload is there.
    pub(crate) fn check(self, root: &Path, acknowledged: u64) -> Result<u64, String> {
        if self.room() == Room::Scarce {
            // On a disk that is still full a log does not open, and says so.
            make_room(root).map_err(|error| format!("nothing can be removed: {error}"))?;
        }
        match self {
            Workload::Log { kept, .. } => check::log(&root.join("log"), acknowledged, kept),
            Workload::File { way, .. } => check::file(way, &root.join("file"), acknowledged),
        }
    }

    /// How the check of what was left is told to check this.
    pub(crate) fn kept(self) -> String {
        match self {
            Workload::Log { kept, .. } => name(&kept),
            Workload::File { .. } => name(&Kept::Whole),
        }
    }

    fn command(self, root: &Path, mark: &Path) -> Result<Command> {
        let mut command = self.room().command(&check::writer()?);
        let _ = match self {
            Workload::Log {
                seed,
                records,
                durable,
                kept,
                room: _,
            } => command
                .arg("log")
                .arg(root.join("log"))
                .args([format!("--seed={seed}"), format!("--records={records}")])
                .arg(format!("--kept={}", name(&kept)))
                .args(durable.flags()),
            Workload::File {
                way,
                versions,
                room: _,
            } => command
                .arg("file")
                .arg(root.join("file"))
                .args([format!("--versions={versions}")])
                .arg(format!("--way={}", name(&way))),
        };
        let _ = command.args(self.room().flags()).arg("--mark").arg(mark);
        Ok(command)
    }
}

/// Removes what the disk was filled with.
fn make_room(root: &Path) -> std::io::Result<()> {
    let ballast = root.join("ballast");
    match ballast.exists() {
        true => fs::remove_file(ballast),
        false => Ok(()), // the crash came before
    }
}

/// A value as it stands on a command line.
fn name(value: &impl ValueEnum) -> String {
    let value = value.to_possible_value();
    value.map_or_else(String::new, |value| value.get_name().to_owned())
}

/// What a workload has done to a disk.
#[derive(Debug)]
pub(crate) struct Recording {
    pub(crate) workload: Workload,
    /// The image it began with, and what was acknowledged in it.
    pub(crate) base: PathBuf,
    pub(crate) acknowledged: u64,
    pub(crate) events: Vec<Event>,
}

/// What came of an attempt to record.
#[derive(Debug)]
pub(crate) enum Made {
    Recording(Recording),
    /// The file system could not be mounted from the image.
    Unmountable(anyhow::Error),
    /// The workload failed, and how.
    Failed(String),
}

impl Made {
    /// On a sound file system nothing else than a recording is expected.
    pub(crate) fn expected(self) -> Result<Recording> {
        match self {
            Made::Recording(recording) => Ok(recording),
            Made::Unmountable(error) => Err(error.context("an empty file system")),
            Made::Failed(how) => bail!("the workload failed: {how}"),
        }
    }
}

impl Recording {
    /// Runs the workload on the image `base`, which stays as it is.
    pub(crate) fn make(
        file_system: &FileSystem,
        workload: Workload,
        base: PathBuf,
        acknowledged: u64,
        scratch: &Path,
    ) -> Result<Made> {
        let (live, served, root) = (
            scratch.join("live"),
            scratch.join("served"),
            scratch.join("root"),
        );
        fs::create_dir_all(&served)?;
        fs::create_dir_all(&root)?;
        disk::copy(&base, &live, "auto")?;
        let image = OpenOptions::new().read(true).write(true).open(&live)?;
        let recorder = Recorder::start(image, &served)?;
        let ran = {
            let device = Loop::over(&served.join("disk"))?;
            let mounted =
                match Mounted::on(&device.device, file_system.kind, file_system.mount, &root) {
                    Ok(mounted) => mounted,
                    Err(error) => return Ok(Made::Unmountable(error)),
                };
            let ran = device::run(&mut workload.command(&root, &served.join("mark"))?);
            mounted.unmount()?;
            ran
        };
        let events = recorder.stop()?;
        fs::remove_file(live)?;
        if let Err(error) = ran {
            return Ok(Made::Failed(format!("{error:#}")));
        }
        Ok(Made::Recording(Recording {
            workload,
            base,
            acknowledged,
            events,
        }))
    }

    /// What it consists of, for people.
    pub(crate) fn describe(&self) -> String {
        let (mut writes, mut flushes, mut marks) = (0, 0, 0);
        for event in &self.events {
            match event {
                Event::Write { .. } => writes += 1,
                Event::Flush => flushes += 1,
                Event::Mark(_) => marks += 1,
            }
        }
        format!("{writes} writes, {flushes} flushes, {marks} acknowledgements")
    }
}
