//! Gates: what is acquired before the command and undone after it.
//!
//! A gate is an async context manager whose resource [equips](Equip) the command. Each kind is a
//! file with its options ([`Kind`]) and its manager; it is known by its `mod` and by its name in
//! the list at `kinds!`.

mod env;
mod lock;
mod output;
mod tempdir;

use std::borrow::Cow;
use std::fmt;
use std::pin::Pin;
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use clap::ArgMatches;
use withal_core::{AsyncContextManager, ExitCase};
use withal_scope::AsyncExitStack;

use crate::message::Messages;

pub(crate) use output::{gate as output, open as open_output};

/// Lists the kinds of gates; their order here is that of the help text only.
macro_rules! kinds {
    ($($kind:ident),+) => {
        /// The options that ask for gates.
        #[derive(Debug, clap::Args)]
        #[group(skip)]
        #[command(next_help_heading = "Gates (acquired in the order given, undone in reverse)")]
        pub(crate) struct Arguments {
            $(#[command(flatten)] $kind: $kind::Arguments,)+
        }

        impl Arguments {
            /// The gates in the order they were asked for.
            pub(crate) fn in_order(self, matches: &ArgMatches) -> anyhow::Result<Vec<BoxGate>> {
                let mut gates = Vec::new();
                $(place(self.$kind, matches, &mut gates)?;)+
                gates.sort_by_key(|(position, _)| *position);
                Ok(gates.into_iter().map(|(_, gate)| gate).collect())
            }
        }
    };
}

kinds!(lock, tempdir, output, env);

/// What a gate's resource does for the command before it starts.
pub(crate) trait Equip {
    fn equip(&mut self, command: &mut Command) -> anyhow::Result<()>;

    /// What was acquired, where its gate's name does not say that.
    fn detail(&self) -> Option<String> {
        None
    }
}

/// A kind of gate: its options, and the gates they ask for.
trait Kind: clap::Args {
    /// The option that asks for a gate, once for each; no dashes.
    const OPTION: &'static str;

    type Gate: Gate + 'static;

    /// The gates, in the order of the option's values.
    fn gates(self) -> anyhow::Result<Vec<Self::Gate>>;
}

/// A lock that somebody else holds.
#[derive(Debug)]
pub(crate) struct Busy(String);

impl fmt::Display for Busy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Busy {}

/// A context manager whose resource equips the command, on its way to a stack.
///
/// Its name is the option it came from, which its errors begin with. `Display` says what it is, for
/// `--verbose`, and no more than that: no values, which may be secrets.
pub(crate) trait Gate: Send + fmt::Display {
    /// Enters on `stack`, then equips `command`.
    fn enter<'a>(self: Box<Self>, place: &'a mut Place<'_>) -> Entering<'a>;
}

pub(crate) type BoxGate = Box<dyn Gate>;

type Entering<'a> = Pin<Box<dyn Future<Output = anyhow::Result<()>> + 'a>>;

/// Where gates are entered.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    pub(crate) stack: &'a mut AsyncExitStack,
    pub(crate) command: &'a mut Command,
    pub(crate) held: &'a Held,
}

impl<M> Gate for M
where
    M: AsyncContextManager<Error = anyhow::Error> + fmt::Display + Send + 'static,
    M::Resource: Equip + 'static,
{
    fn enter<'a>(self: Box<Self>, place: &'a mut Place<'_>) -> Entering<'a> {
        Box::pin(async move {
            let gate = Noted {
                name: self.to_string(),
                gate: *self,
                held: place.held.clone(),
            };
            let mut lent = place.stack.enter_async_context(gate).await?;
            let equipped = lent.resource.equip(place.command);
            equipped.context(lent.option.clone())
        })
    }
}

/// The names of what is held right now, and how that is told.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    names: Arc<Mutex<Vec<String>>>,
    messages: Messages,
}

impl Held {
    pub(crate) fn new(messages: Messages) -> Held {
        Held {
            names: Arc::default(),
            messages,
        }
    }

    /// In the order they are undone.
    pub(crate) fn names(&self) -> Vec<String> {
        self.lock().iter().rev().cloned().collect()
    }

    pub(crate) fn acquired(&self, name: &str) {
        self.messages.step(format_args!("acquired {name}"));
        self.lock().push(name.to_owned());
    }

    /// Exits run in reverse order, so it is the newest.
    fn undone(&self, name: &str, outcome: &anyhow::Result<()>) {
        let _ = self.lock().pop();
        if outcome.is_ok() {
            self.messages.step(format_args!("released {name}"));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<String>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A gate that is noted in [`Held`] while it is held, and that names itself in its errors.
struct Noted<M> {
    gate: M,
    name: String,
    held: Held,
}

struct NotedResource<R> {
    resource: R,
    option: Cow<'static, str>,
    name: String,
    held: Held,
}

impl<M> AsyncContextManager for Noted<M>
where
    M: AsyncContextManager<Resource: Equip, Error = anyhow::Error> + Send,
{
    type Resource = NotedResource<M::Resource>;
    type Error = anyhow::Error;

    async fn enter(self) -> anyhow::Result<Self::Resource> {
        let Noted { gate, name, held } = self;
        held.messages.step(format_args!("acquiring {name}"));
        let option = gate.name();
        let resource = gate.enter().await.context(option.clone())?;
        let name = match resource.detail() {
            Some(detail) => format!("{name} ({detail})"),
            None => name,
        };
        held.acquired(&name);
        Ok(NotedResource {
            resource,
            option,
            name,
            held,
        })
    }

    async fn exit(noted: Self::Resource, case: ExitCase) -> anyhow::Result<()> {
        let outcome = M::exit(noted.resource, case).await;
        noted.held.undone(&noted.name, &outcome);
        outcome.context(noted.option)
    }
}

/// Adds a kind's gates, each with its position on the command line.
fn place<K: Kind>(
    arguments: K,
    matches: &ArgMatches,
    gates: &mut Vec<(usize, BoxGate)>,
) -> anyhow::Result<()> {
    let positions = matches.indices_of(K::OPTION).into_iter().flatten();
    let boxed = arguments
        .gates()?
        .into_iter()
        .map(|gate| Box::new(gate) as BoxGate);
    gates.extend(positions.zip(boxed));
    Ok(())
}
