//! What is said while databases are migrated.

use std::fmt::Display;
use std::io::{self, IsTerminal as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use withal_sql::migrate::Event;

use crate::message::{Messages, shown};

/// How often the clock of the bar is drawn.
const TICK: Duration = Duration::from_millis(200);

/// Lines on stderr; on a terminal a bar below them. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Progress {
    messages: Messages,
    bar: ProgressBar,
}

impl Progress {
    pub(super) fn new(messages: Messages) -> Progress {
        Progress {
            messages,
            bar: ProgressBar::hidden(),
        }
    }

    /// Begins to count up to `migrations`.
    pub(super) fn begin(&self, migrations: usize) {
        let template = "{bar:30} {pos} of {len}, {elapsed}  {msg}";
        if let Ok(style) = ProgressStyle::with_template(template)
            && self.messages.is_talkative()
            && io::stderr().is_terminal()
        {
            let length = u64::try_from(migrations).unwrap_or(u64::MAX);
            self.bar.set_length(length);
            self.bar.set_style(style);
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
            self.bar.enable_steady_tick(TICK);
        }
    }

    pub(super) fn end(&self) {
        self.bar.finish_and_clear();
    }

    pub(super) fn tell(&self, database: &str, event: &Event<'_>) {
        let database = shown(database);
        match event {
            Event::Waiting { holder, .. } => {
                let holder = holder.unwrap_or("somebody else");
                self.say(format_args!(
                    "{database}: waiting for {holder}, which migrates it"
                ));
            }
            Event::Began { migration, .. } => {
                self.bar
                    .set_message(format!("{database}: {}", shown(migration.name())));
            }
            Event::Ran {
                migration, took, ..
            } => {
                let milliseconds = took.as_millis();
                self.say(format_args!(
                    "{database}: {} ran in {milliseconds} ms",
                    migration.name()
                ));
                self.bar.inc(1);
            }
            Event::Committed { version, .. } => {
                self.say(format_args!("{database}: committed, at version {version}"));
            }
            _ => {}
        }
    }

    pub(super) fn say(&self, text: impl Display) {
        self.bar.suspend(|| self.messages.warn(text));
    }

    pub(super) fn error(&self, text: impl Display) {
        self.bar.suspend(|| self.messages.error(text));
    }
}
