//! Replays programs of nested blocks recorded from CPython.
#![forbid(unsafe_code)]

pub mod format;
pub mod forms;
pub mod managers;

use format::{Case, Event};
use forms::Form;

/// How a replay differs from the record, if it does.
#[must_use]
pub fn difference(case: &Case, form: Form) -> Option<String> {
    let (events, outcome) = forms::replay(case, form);
    if events != case.log {
        let position = events
            .iter()
            .zip(&case.log)
            .take_while(|(got, want)| got == want)
            .count();
        let show = |events: &[Event]| match events.get(position) {
            Some(event) => event.to_string(),
            None => "the end".to_owned(),
        };
        let (want, got) = (show(&case.log), show(&events));
        return Some(format!("event {position}: expected {want}, got {got}"));
    }
    let differs = outcome != case.outcome;
    differs.then(|| format!("outcome: expected {}, got {outcome}", case.outcome))
}
