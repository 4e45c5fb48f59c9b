//! `withal log repair`: as far as nothing can be lost by it.

use std::path::PathBuf;

use withal_log::{ProblemKind, RepairAction, RepairKind, RepairOptions, repair};

use super::check_is_log;
use super::progress::Progress;
use crate::output::Output;
use crate::run::Exit;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The directory of the log
    #[arg(value_name = "DIR")]
    path: PathBuf,

    /// Only print what would be done
    #[arg(short = 'n', long)]
    dry_run: bool,

    /// Make lost and damaged sidecars anew: what the text has now counts as right from then on
    #[arg(long)]
    reindex: bool,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    check_is_log(&arguments.path)?;
    let options = RepairOptions {
        dry_run: arguments.dry_run,
        reindex: arguments.reindex,
    };
    let progress = Progress::of(&arguments.path);
    let actions = repair(&arguments.path, &options, |bytes| progress.add(bytes))?;
    drop(progress);
    let mut output = Output::new()?;
    for action in &actions {
        output.line(action)?;
    }
    output.flush()?;
    Ok(exit(&actions))
}

fn exit(actions: &[RepairAction]) -> Exit {
    let left = actions.iter().filter_map(|action| match action.kind {
        RepairKind::Left(ProblemKind::MissingSegment) => Some(3),
        RepairKind::Left(_) => Some(2),
        _ => None,
    });
    Exit::Code(left.max().unwrap_or(0))
}
