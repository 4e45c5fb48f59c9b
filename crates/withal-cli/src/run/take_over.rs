//! What the front does when the keeper is killed: it ends the command and undoes the gates.

use std::collections::HashSet;
use std::time::Duration;

use nix::unistd::Pid;
use tokio::time::timeout;

use super::gates::Recovery;
use super::identity::Distance;
use super::journal::{Journal, Reading, Record, Story};
use super::leftovers;
use super::recover::{say_pending, undo_gates};
use super::services::Services;
use super::signals::Blocked;
use super::status::Exit;
use super::supervise::{Limits, end_all};
use super::tree::{self, Tree};
use crate::message::{Messages, say};

/// How long undoing may take: somebody waits, and has just used force.
const LIMIT: Duration = Duration::from_secs(4);

/// Ends what the keeper has left, newest first, in the order it would have.
pub(super) async fn take_over(
    journal: &Journal,
    blocked: &Blocked,
    strangers: HashSet<Pid>,
    limits: Limits,
    messages: Messages,
) -> anyhow::Result<Exit> {
    say("the process that holds the gates was killed: stopping the command, undoing all");
    let mut signals = blocked.listen()?;
    let reading = journal.read()?;
    let story = match reading {
        Reading::Whole(story) => Some(story),
        Reading::Empty => None,
        Reading::Damaged(why) => {
            say(format_args!("the journal is damaged: {why}"));
            None
        }
    };
    let services = Services::new(journal.clone(), messages);
    if let Some(story) = &story {
        journal.catch_up(story)?;
        services.adopt(&story.services);
    }
    let mut tree = Tree::left_behind(strangers, services.clone());
    end_all(&mut tree, &mut signals, limits, messages).await;
    services.forget();
    end_all(&mut tree, &mut signals, limits, messages).await;
    if let Some(story) = story {
        if !tree::is_reaper()
            && let Err(error) = leftovers::end(&story, Distance::Here, messages).await
        {
            // What they use is not taken away from processes that live.
            say(error);
            say_pending(journal, story.opened.id);
            return Ok(Exit::FAILED);
        }
        undo(journal, *story, messages).await?;
    }
    Ok(Exit::FAILED)
}

async fn undo(journal: &Journal, story: Story, messages: Messages) -> anyhow::Result<()> {
    let id = story.opened.id;
    let recovery = Recovery::new(&story, Distance::Here, journal, messages);
    let undone = timeout(LIMIT, undo_gates(journal, story.gates, &recovery)).await;
    let errors = undone.unwrap_or_else(|_| vec!["it took too long".to_owned()]);
    for error in &errors {
        say(error);
    }
    if errors.is_empty() {
        return journal.close(&Record::Closed {
            exit: Some(Exit::FAILED),
        });
    }
    say_pending(journal, id);
    Ok(())
}
