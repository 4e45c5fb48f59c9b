//! Every combination of enter, body and exit, in every form a block can be written in, against
//! a model of `docs/contextlib.md`.

use std::panic::{AssertUnwindSafe, catch_unwind};

use withal_core::{BoxError, ContextManager, Error, ExitCase, ExitStack, NoticeKind, with};

use crate::support::{
    Act, Plain, Seen, Step, fail, log, newest_first, noticing, oldest_first, text_of, throw, trace,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    Value,
    Fails,
    Panics,
}

/// What came of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    Value(u32),
    Swallowed,
    /// Newest first.
    Failed(Vec<String>),
    Panicked(String),
}

/// All that can be observed of a program.
#[derive(Debug, PartialEq, Eq)]
struct Observed {
    trace: Vec<String>,
    outcome: Outcome,
    /// What was swallowed, in order.
    swallowed: Vec<String>,
    /// What failed beside a panic, sorted: nested blocks tell of it block by block.
    ///
    /// What was swallowed before is left out. A tuple or stack whose members swallow an error and
    /// then panic cannot tell the block around it of the first, so that tells of the error again.
    beside: Vec<String>,
}

impl Observed {
    fn new(
        trace: Vec<String>,
        outcome: Outcome,
        swallowed: Vec<String>,
        beside: Vec<String>,
    ) -> Self {
        let mut beside = beside;
        beside.retain(|text| !swallowed.contains(text));
        beside.sort();
        Observed {
            trace,
            outcome,
            swallowed,
            beside,
        }
    }
}

const NAMES: [&str; 4] = ["a", "b", "c", "d"];
const ENTER_FAILS: [&str; 4] = ["enter a", "enter b", "enter c", "enter d"];
const ENTER_PANICS: [&str; 4] = [
    "panic in enter a",
    "panic in enter b",
    "panic in enter c",
    "panic in enter d",
];
const EXIT_FAILS: [&str; 4] = ["exit a", "exit b", "exit c", "exit d"];
const EXIT_PANICS: [&str; 4] = [
    "panic in exit a",
    "panic in exit b",
    "panic in exit c",
    "panic in exit d",
];
const INSTEAD: [&str; 4] = ["instead a", "instead b", "instead c", "instead d"];

/// Everything the manager at `position` can do.
fn choices(position: usize, may_swallow: bool) -> Vec<Step> {
    let enters = [
        Act::Fail(ENTER_FAILS[position]),
        Act::Panic(ENTER_PANICS[position]),
    ];
    let mut exits = vec![
        Act::Pass,
        Act::Fail(EXIT_FAILS[position]),
        Act::Panic(EXIT_PANICS[position]),
        Act::Reraise,
    ];
    if may_swallow {
        exits.extend([
            Act::Suppress,
            Act::Match("body"),
            Act::Replace(INSTEAD[position]),
        ]);
    }
    let name = NAMES[position];
    let enters = enters.map(|enter| Step {
        name,
        enter,
        exit: Act::Pass,
    });
    let exits = exits.into_iter().map(|exit| Step {
        name,
        enter: Act::Pass,
        exit,
    });
    enters.into_iter().chain(exits).collect()
}

fn programs(depth: usize, may_swallow: bool) -> Vec<Vec<Step>> {
    (0..depth).fold(vec![Vec::new()], |programs, position| {
        programs
            .iter()
            .flat_map(|program| {
                choices(position, may_swallow).into_iter().map(|step| {
                    let mut longer = program.clone();
                    longer.push(step);
                    longer
                })
            })
            .collect()
    })
}

/// The rules of `docs/contextlib.md`, with a list where Python has a chain.
#[derive(Default)]
struct Model {
    trace: Vec<String>,
    failures: Vec<String>,
    panic: Option<String>,
    value: Option<u32>,
    swallowed: Vec<String>,
    beside: Vec<String>,
}

impl Model {
    fn run(program: &[Step], body: Body) -> Observed {
        let mut model = Model::default();
        let mut entered = Vec::new();
        for step in program {
            model.trace.push(format!("enter {}", step.name));
            match step.enter {
                Act::Fail(text) => model.fail(text),
                Act::Panic(text) => model.panic(text),
                _ => {
                    entered.push(step);
                    continue;
                }
            }
            break;
        }
        if entered.len() == program.len() {
            model.trace.push("body".to_owned());
            match body {
                Body::Value => model.value = Some(7),
                Body::Fails => model.fail("body"),
                Body::Panics => model.panic("panic in body"),
            }
        }
        for step in entered.into_iter().rev() {
            model.exit(step);
        }
        model.observed()
    }

    fn exit(&mut self, step: &Step) {
        let newest: Vec<_> = self.failures.iter().rev().cloned().collect();
        let saw = match &self.panic {
            Some(panic) => format!("panicked: {panic}"),
            None if newest.is_empty() => "succeeded".to_owned(),
            None => format!("errored: {}", newest.join(" < ")),
        };
        self.trace.push(format!("exit {}: {saw}", step.name));
        match step.exit {
            Act::Pass | Act::Reraise => {}
            Act::Fail(text) => self.fail(text),
            Act::Panic(text) => self.panic(text),
            Act::Suppress => self.swallow(|_| true),
            Act::Match(match_text) => self.swallow(|text| text == match_text),
            Act::Replace(text) => {
                self.swallow(|_| true);
                self.fail(text);
            }
        }
    }

    fn fail(&mut self, text: &str) {
        self.value = None;
        match self.panic {
            Some(_) => self.beside.push(text.to_owned()),
            None => self.failures.push(text.to_owned()),
        }
    }

    fn panic(&mut self, text: &str) {
        self.value = None;
        self.beside.append(&mut self.failures);
        let text = format!("panicked: {text}");
        match self.panic {
            Some(_) => self.beside.push(text),
            None => self.panic = Some(text),
        }
    }

    fn swallow(&mut self, matches: impl Fn(&str) -> bool) {
        let failures = std::mem::take(&mut self.failures);
        for text in failures {
            match matches(&text) {
                true => self.swallowed.push(text),
                false => self.failures.push(text),
            }
        }
    }

    fn observed(mut self) -> Observed {
        self.failures.reverse();
        let outcome = match (self.panic, self.value) {
            (Some(panic), _) => Outcome::Panicked(panic),
            (None, _) if !self.failures.is_empty() => Outcome::Failed(self.failures),
            (None, Some(value)) => Outcome::Value(value),
            (None, None) => Outcome::Swallowed,
        };
        Observed::new(self.trace, outcome, self.swallowed, self.beside)
    }
}

type Ran = Result<Option<u32>, Error>;

fn observe(run: impl FnOnce() -> Ran) -> Observed {
    trace();
    let (ended, notices) = noticing(|| catch_unwind(AssertUnwindSafe(run)));
    let outcome = match ended {
        Ok(Ok(Some(value))) => Outcome::Value(value),
        Ok(Ok(None)) => Outcome::Swallowed,
        Ok(Err(error)) => {
            let mut texts = oldest_first(&error);
            texts.reverse();
            assert_eq!(texts, newest_first(&error));
            Outcome::Failed(texts)
        }
        Err(payload) => Outcome::Panicked(format!("panicked: {}", text_of(&*payload))),
    };
    let swallowed = texts_of(&notices, NoticeKind::Suppressed);
    Observed::new(
        trace(),
        outcome,
        swallowed,
        texts_of(&notices, NoticeKind::BesidePanic),
    )
}

fn texts_of(notices: &[Seen], kind: NoticeKind) -> Vec<String> {
    let of_kind = notices.iter().filter(|notice| notice.kind == kind);
    of_kind.flat_map(|notice| notice.texts.clone()).collect()
}

fn run_body(body: Body) -> Result<u32, BoxError> {
    log("body");
    match body {
        Body::Value => Ok(7),
        Body::Fails => fail("body"),
        Body::Panics => throw("panic in body"),
    }
}

fn nested(program: &[Step], body: Body) -> Result<Option<u32>, BoxError> {
    match program {
        [] => run_body(body).map(Some),
        [first, rest @ ..] => Ok(with(*first, |_| nested(rest, body))?.flatten()),
    }
}

fn nested_plain(program: &[Step], body: Body) -> Result<Option<u32>, BoxError> {
    match program {
        [] => run_body(body).map(Some),
        [first, rest @ ..] => Ok(with(Plain(*first), |_| nested_plain(rest, body))?),
    }
}

fn as_error(ran: Result<Option<u32>, BoxError>) -> Ran {
    ran.map_err(Error::new)
}

/// All forms of a block of managers that may swallow, beside the nested one.
fn forms(program: &[Step], body: Body) -> Vec<(&'static str, Observed)> {
    let mut forms = vec![
        ("nested", observe(|| as_error(nested(program, body)))),
        ("stack", observe(|| stack(program, body))),
        (
            "stack inside a stack",
            observe(|| stacked_stack(program, body)),
        ),
        ("half a stack", observe(|| half_stack(program, body))),
    ];
    macro_rules! block {
        ($form:literal, $managers:expr) => {
            forms.push(($form, observe(|| with($managers, |_| run_body(body)))));
        };
    }
    match *program {
        [] => {}
        [a] => {
            block!("tuple", (a,));
            block!("tuple of a tuple", ((a,),));
            block!("array", [a]);
        }
        [a, b] => {
            block!("tuple", (a, b));
            block!("tuple in a tuple", ((a,), b));
            block!("array", [a, b]);
            block!("array in a tuple", ([a], (b,)));
        }
        [a, b, c] => {
            block!("tuple", (a, b, c));
            block!("tuple to the left", ((a, b), c));
            block!("tuple to the right", (a, (b, c)));
            block!("array", [a, b, c]);
            block!("array of tuples", [((a, b), c)]);
            block!("array in a tuple", (a, [b, c]));
        }
        [a, b, c, d] => {
            block!("tuple", (a, b, c, d));
            block!("tuple of tuples", ((a, b), (c, d)));
            block!("array of arrays", [[a, b], [c, d]]);
        }
        _ => unreachable!("deeper than the product"),
    }
    forms
}

fn plain_forms(program: &[Step], body: Body) -> Vec<(&'static str, Observed)> {
    let mut forms = vec![
        ("nested", observe(|| as_error(nested_plain(program, body)))),
        ("stack", observe(|| plain_stack(program, body))),
    ];
    macro_rules! block {
        ($form:literal, $managers:expr) => {
            forms.push((
                $form,
                observe(|| with($managers, |_| run_body(body)).map(Some)),
            ));
        };
    }
    match *program {
        [] => {}
        [a] => {
            block!("tuple", (Plain(a),));
            block!("array", [Plain(a)]);
        }
        [a, b] => {
            block!("tuple", (Plain(a), Plain(b)));
            block!("array", [Plain(a), Plain(b)]);
        }
        [a, b, c] => {
            block!("tuple", (Plain(a), Plain(b), Plain(c)));
            block!("tuple to the right", (Plain(a), (Plain(b), Plain(c))));
            block!("array", [Plain(a), Plain(b), Plain(c)]);
        }
        _ => unreachable!("deeper than the product"),
    }
    forms
}

fn stack(program: &[Step], body: Body) -> Ran {
    with(ExitStack::suppressing(), |stack| {
        for step in program {
            drop(stack.enter_context(*step)?);
        }
        run_body(body)
    })
}

fn plain_stack(program: &[Step], body: Body) -> Ran {
    let ran = with(ExitStack::new(), |stack| {
        for step in program {
            drop(stack.enter_context(Plain(*step))?);
        }
        run_body(body)
    });
    ran.map(Some)
}

fn stacked_stack(program: &[Step], body: Body) -> Ran {
    with(
        (ExitStack::suppressing(), [ExitStack::suppressing()]),
        |(_, [inner])| {
            for step in program {
                drop(inner.enter_context(*step)?);
            }
            run_body(body)
        },
    )
}

/// The outer managers in a stack, the inner ones in nested blocks.
fn half_stack(program: &[Step], body: Body) -> Ran {
    let (outer, inner) = program.split_at(program.len() / 2);
    let ran = with(ExitStack::suppressing(), |stack| {
        for step in outer {
            drop(stack.enter_context(*step)?);
        }
        nested(inner, body)
    });
    ran.map(Option::flatten)
}

const BODIES: [Body; 3] = [Body::Value, Body::Fails, Body::Panics];

/// Runs all programs of `depth` in all forms; gives the number of comparisons.
fn run_all(
    depth: usize,
    may_swallow: bool,
    forms: impl Fn(&[Step], Body) -> Vec<(&'static str, Observed)>,
) -> usize {
    let mut compared = 0;
    for program in programs(depth, may_swallow) {
        for body in BODIES {
            let want = Model::run(&program, body);
            for (form, got) in forms(&program, body) {
                assert_eq!(got, want, "{form} of {program:#?} around {body:?}");
                compared += 1;
            }
        }
    }
    compared
}

#[test]
fn managers_that_may_swallow_mean_the_same_in_every_form_up_to_depth_three() {
    let compared: usize = (0..=3).map(|depth| run_all(depth, true, forms)).sum();
    assert_eq!(compared, 3 * (4 + 9 * 7 + 81 * 8 + 729 * 10));
}

#[test]
fn managers_that_never_swallow_mean_the_same_in_every_form_up_to_depth_three() {
    let compared: usize = (0..=3)
        .map(|depth| run_all(depth, false, plain_forms))
        .sum();
    assert_eq!(compared, 3 * (2 + 6 * 4 + 36 * 4 + 216 * 5));
}

#[test]
fn a_stack_of_four_equals_four_nested_blocks() {
    let some = |program: &[Step], body| {
        let mut forms = forms(program, body);
        forms.truncate(2);
        forms
    };
    assert_eq!(run_all(4, true, some), 3 * 6561 * 2);
}

/// Closing a stack by hand with a case is leaving its block with that case.
#[test]
fn close_with_equals_leaving_the_block() {
    let entered_only = |program: &&Vec<Step>| program.iter().all(|step| step.enter == Act::Pass);
    for program in programs(2, true).iter().filter(entered_only) {
        for body in [Body::Value, Body::Fails] {
            let want = Model::run(program, body);
            let by_hand = observe(|| {
                let mut stack = ExitStack::suppressing();
                for step in program {
                    drop(stack.enter_context(*step).unwrap());
                }
                match run_body(body) {
                    Ok(value) => stack.close().map(|()| Some(value)),
                    Err(error) => stack
                        .close_with(ExitCase::Errored(Error::new(error)))
                        .map(|()| None),
                }
            });
            assert_eq!(by_hand.trace, want.trace);
            assert_eq!(by_hand.swallowed, want.swallowed);
            assert_eq!(by_hand.beside, want.beside);
            match (&by_hand.outcome, &want.outcome) {
                // `close` has no value to lose.
                (Outcome::Value(7), Outcome::Swallowed) => {}
                (got, want) => assert_eq!(got, want, "{program:#?} {body:?}"),
            }
        }
    }
}

/// The hand-driven protocol: a tuple's exit answers for its members.
#[test]
fn an_exit_called_by_hand_never_reraises_what_it_was_shown() {
    let case = ExitCase::Errored(Error::new(crate::support::oops("body")));
    let resource = (Plain(choices(0, false)[2]), Plain(choices(1, false)[2]));
    let answer = <(Plain, Plain) as ContextManager<((), ())>>::exit(resource, case);
    assert!(answer.is_ok());
}
