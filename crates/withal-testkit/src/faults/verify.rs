//! What is demanded of every run of a plan.

use super::plan::{Event, Plan};
use super::{Fault, Step};

/// What the scenario came to, as text to search in.
pub(super) struct Told {
    /// What its caller was given: an error, or a panic.
    pub(super) caller: String,
    /// What the reaper reported.
    pub(super) reaper: String,
    /// It panicked.
    pub(super) panicked: bool,
    /// It hung and was dropped.
    pub(super) dropped: bool,
}

impl Plan {
    /// Whether something hung in this run, so that withal had to give it up.
    pub(super) fn hung(&self) -> bool {
        let injected = self.injected();
        injected.iter().any(|(_, fault)| *fault == Fault::Hang)
    }

    /// Every enter has one exit, in reverse order.
    pub(super) fn check_exits(&self) -> Vec<String> {
        let mut breaches = Vec::new();
        let mut open: Vec<usize> = Vec::new();
        for event in self.events() {
            match event {
                Event::Entered(manager) => open.push(manager),
                Event::Exited(manager) => match open.iter().rposition(|it| *it == manager) {
                    None => breaches.push(format!(
                        "manager {manager} was exited once more than it was entered"
                    )),
                    Some(position) => {
                        let _ = open.remove(position);
                        breaches.extend(open.get(position..).into_iter().flatten().map(|newer| {
                            format!(
                                "manager {manager} was exited before manager {newer}, \
                                 which was entered after it"
                            )
                        }));
                    }
                },
                Event::Reached(..) => {}
            }
        }
        let forgotten = open.iter();
        breaches.extend(
            forgotten.map(|manager| format!("manager {manager} was entered and never exited")),
        );
        breaches
    }

    /// Every error and panic has reached somebody, and none came from elsewhere.
    pub(super) fn check_told(&self, told: &Told) -> Vec<String> {
        let is_untold = |text: &String| !told.caller.contains(text) && !told.reaper.contains(text);
        let untold = |kind: Fault| {
            let all = self.injected().into_iter();
            let of_kind = all.filter(move |(_, fault)| *fault == kind);
            of_kind.map(|(it, _)| it.to_string()).filter(is_untold)
        };
        let mut breaches = Vec::new();
        // A panic goes on alone: what failed beside it, withal notices.
        let panics = self.injected();
        let panics = panics.iter().any(|(_, fault)| *fault == Fault::Panic);
        let beside_panic = told.panicked || (told.dropped && panics);
        if !beside_panic {
            breaches.extend(untold(Fault::Error).map(|it| format!("the error {it} was lost")));
            breaches.extend(untold(Fault::Panic).map(|it| format!("the panic {it} was lost")));
        }
        if told.dropped && !self.hung() {
            breaches.push("it hangs by itself".to_owned());
        }
        if told.panicked && !told.caller.contains("injected into the ") {
            breaches.push(format!("it panicked by itself: {}", told.caller));
        }
        breaches
    }

    /// A plan without a fault must have been carried out, or the others prove nothing.
    pub(super) fn check_used(&self) -> Vec<String> {
        if !self.is_faultless() {
            return Vec::new();
        }
        let events = self.events();
        let managers =
            (0..self.managers()).filter(|manager| !events.contains(&Event::Entered(*manager)));
        let mut breaches: Vec<String> = managers
            .map(|manager| format!("manager {manager} of the plan was never entered"))
            .collect();
        if !events.contains(&Event::Reached(Step::Body, Fault::None)) {
            breaches.push("the body of the plan never ran".to_owned());
        }
        breaches
    }
}
