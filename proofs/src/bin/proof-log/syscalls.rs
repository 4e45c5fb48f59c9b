//! Every system call that touches the log, killed or refused, one by one.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;
use withal_proofs::check::{self, Kept};
use withal_proofs::submitted;
use withal_proofs::tally::Tally;

use crate::evidence::{self, Evidence};
use crate::strace::{self, Ended};

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// A folder to work in; bad states stay there
    #[arg(long)]
    scratch: PathBuf,

    /// Try only every n-th use of each system call
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    every: u32,
}

/// What the writer is made to do, and what it finds.
struct Scene {
    name: &'static str,
    flags: &'static [&'static str],
    start: Start,
}

enum Start {
    Nothing,
    /// Records that were written by a process that was killed, and part of another after them.
    Torn,
    /// The same, with half an entry at the end of the sidecar.
    TornTwice,
}

const SCENES: &[Scene] = &[
    Scene {
        name: "interval",
        flags: &["--inline"],
        start: Start::Nothing,
    },
    Scene {
        name: "always",
        flags: &["--inline", "--always"],
        start: Start::Nothing,
    },
    Scene {
        name: "always, with its threads",
        flags: &["--always", "--records=20"],
        start: Start::Nothing,
    },
    Scene {
        name: "always, in the commit ring",
        flags: &["--inline", "--always", "--ring"],
        start: Start::Nothing,
    },
    Scene {
        name: "always, in the commit ring, with its threads",
        flags: &["--always", "--ring", "--records=20"],
        start: Start::Nothing,
    },
    Scene {
        name: "recovery",
        flags: &["--inline", "--records=12"],
        start: Start::Torn,
    },
    Scene {
        name: "recovery with a torn sidecar",
        flags: &["--inline", "--always", "--records=12"],
        start: Start::TornTwice,
    },
];

/// What is done to a system call: from then on it happens again, or once.
const SPOILED: &[(&str, bool)] = &[
    ("signal=SIGKILL", false),
    ("error=ENOSPC", false),
    ("error=ENOSPC", true),
    ("error=EIO", false),
    ("error=EIO", true),
];

/// How long an entry of a sidecar is.
const ENTRY: usize = 64;
/// How many records the killed process of a torn log had written.
const BEFORE: u64 = 9;

pub(crate) fn run(arguments: &Arguments) -> Result<Tally> {
    let mut tally = Tally::default();
    let mut evidence = Evidence::new(arguments.scratch.clone());
    for scene in SCENES {
        let stage = Stage::new(scene, &arguments.scratch)?;
        let of_scene = stage.play(arguments.every, &mut evidence)?;
        println!("{}: {of_scene}", scene.name);
        tally.add(of_scene);
    }
    Ok(tally)
}

struct Stage<'s> {
    scene: &'s Scene,
    writer: PathBuf,
    /// What each case begins with, what it works on, and what it has left.
    start: Option<PathBuf>,
    log: PathBuf,
    left: PathBuf,
    counter: PathBuf,
    trace: PathBuf,
}

impl<'s> Stage<'s> {
    fn new(scene: &'s Scene, scratch: &Path) -> Result<Stage<'s>> {
        fs::create_dir_all(scratch).with_context(|| format!("{}", scratch.display()))?;
        let mut stage = Stage {
            scene,
            writer: check::writer()?,
            start: None,
            log: scratch.join("log"),
            left: scratch.join("left"),
            counter: scratch.join("acknowledged"),
            trace: scratch.join("trace"),
        };
        if !matches!(scene.start, Start::Nothing) {
            let start = scratch.join("start");
            stage.make_start(&start)?;
            stage.start = Some(start);
        }
        Ok(stage)
    }

    fn play(&self, every: u32, evidence: &mut Evidence) -> Result<Tally> {
        let log = self.log.to_string_lossy();
        let mut arguments = vec!["script", &*log];
        arguments.extend(self.scene.flags);
        let input = self.set_up()?;
        let uses = strace::uses(&self.writer, &arguments, input, &self.log, &self.trace)?;
        let mut tally = Tally::default();
        for (call, numbers) in uses {
            for number in numbers.into_iter().filter(|number| number % every == 0) {
                for (what, goes_on) in SPOILED {
                    let from = if *goes_on { "+" } else { "" };
                    let injection = format!("{call}:{what}:when={number}{from}");
                    let input = self.set_up()?;
                    let ended = strace::inject(&self.writer, &arguments, input, &injection)?;
                    let acknowledged = self.acknowledged()?;
                    evidence::copy_if_there(&self.log, &self.left)?;
                    let checked = judge(&ended)
                        .and_then(|()| check::log(&self.log, acknowledged, Kept::Whole).map(drop));
                    tally.count(checked.is_ok());
                    if let Err(how) = checked {
                        let how = format!("{}, {injection}: {how}", self.scene.name);
                        evidence.keep(&self.left, acknowledged, &how)?;
                    }
                }
            }
        }
        Ok(tally)
    }

    /// The log as each case begins with it, and the file for its count.
    fn set_up(&self) -> Result<File> {
        if self.log.exists() {
            fs::remove_dir_all(&self.log)?;
        }
        let acknowledged = match &self.start {
            Some(start) => {
                evidence::copy(start, &self.log)?;
                BEFORE
            }
            None => 0,
        };
        fs::write(&self.counter, acknowledged.to_le_bytes())?;
        Ok(OpenOptions::new()
            .read(true)
            .write(true)
            .open(&self.counter)?)
    }

    fn acknowledged(&self) -> Result<u64> {
        let mut bytes = [0; 8];
        File::open(&self.counter)?.read_exact_at(&mut bytes, 0)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// Kills a writer when its last record is written, and tears what it has left.
    fn make_start(&self, start: &Path) -> Result<()> {
        if start.exists() {
            fs::remove_dir_all(start)?;
        }
        fs::write(&self.counter, 0_u64.to_le_bytes())?;
        let input = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&self.counter)?;
        let folder = start.to_string_lossy();
        let records = format!("--records={BEFORE}");
        let status = Command::new(&self.writer)
            .args(["script", &folder, "--inline", "--rotate=500", "--dies"])
            .arg(records)
            .stdin(input)
            .status()?;
        if status.code().is_some() {
            bail!("the writer was not killed: {status}");
        }
        if self.acknowledged()? != BEFORE {
            bail!("the writer did not come to its end");
        }
        let text = fs::canonicalize(start.join("current"))?;
        // The record after those that are there, but not all of it.
        let next = submitted::record(BEFORE);
        let (torn, _) = next.split_at(20);
        OpenOptions::new()
            .append(true)
            .open(&text)
            .and_then(|file| std::io::Write::write_all(&mut &file, torn))?;
        if matches!(self.scene.start, Start::TornTwice) {
            let sidecar = text.with_extension("idx");
            // As it was written last, or, if there is no entry yet, the header: that is durable.
            let entry = fs::read(&sidecar)?;
            let (_, entry) = entry.split_at(entry.len().saturating_sub(ENTRY));
            let (torn, _) = entry.split_at(entry.len() / 2);
            OpenOptions::new()
                .append(true)
                .open(&sidecar)
                .and_then(|file| std::io::Write::write_all(&mut &file, torn))?;
        }
        Ok(())
    }
}

/// A writer may be killed or fail; it may not panic or hang.
fn judge(ended: &Ended) -> Result<(), String> {
    match ended {
        Ended::Never => Err("the writer hangs".to_owned()),
        // Strace ends as its child did.
        Ended::With(status) if status.code() == Some(101) || status.signal() == Some(6) => {
            Err("the writer panicked".to_owned())
        }
        Ended::With(_) => Ok(()),
    }
}
