//! What the front does when the keeper is killed: it ends the command and undoes the gates.

use std::collections::HashSet;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use tokio::time::{Instant, timeout};

use super::RunId;
use super::gates::Recovery;
use super::identity::Distance;
use super::journal::{Journal, Reading, Record, Story};
use super::leftovers;
use super::recover::undo_gates;
use super::services::Services;
use super::signals::{Blocked, Signals};
use super::status::Exit;
use super::supervise::Limits;
use super::tree::{self, Tree};
use crate::message::{Messages, say};

/// How long undoing may take: somebody waits, and has just used force.
const LIMIT: Duration = Duration::from_secs(4);

/// How long killed processes may take to be gone.
const KILL_LIMIT: Duration = Duration::from_secs(5);

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
            tell_rest(story.opened.id);
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
    tell_rest(id);
    Ok(())
}

fn tell_rest(id: RunId) {
    let short = id.short();
    say(format_args!(
        "not all is undone: `withal recover {short}` tries again"
    ));
}

/// Asks all that is left to end, and kills what has not ended after the grace.
pub(super) async fn end_all(
    tree: &mut Tree,
    signals: &mut Signals,
    limits: Limits,
    messages: Messages,
) {
    let mut kills = false;
    let mut deadline = Instant::now() + limits.grace;
    loop {
        tree.reap();
        let left = tree.left();
        if left.is_empty() {
            return;
        }
        match kills {
            true => tree::kill_all(&left),
            false => tree.ask(&left, limits.signal),
        }
        let names = || {
            let names: Vec<String> = left.iter().map(|pid| tree::describe(*pid)).collect();
            names.join(", ")
        };
        match signals.next_before(Some(deadline)).await {
            Some(arrived) if arrived.is_about_children() => {}
            Some(arrived)
                if arrived.was_sent()
                    && matches!(arrived.signal, Signal::SIGTERM | Signal::SIGINT) =>
            {
                kills = true;
            }
            Some(_) => {}
            None if kills => {
                say(format_args!(
                    "left running, because it cannot be killed: {}",
                    names()
                ));
                return;
            }
            None => {
                let grace = humantime::format_duration(limits.grace);
                let names = names();
                messages.warn(format_args!("not ended within {grace}, killed: {names}"));
                kills = true;
                deadline = Instant::now() + KILL_LIMIT;
            }
        }
    }
}
