//! Gates: what is acquired before the command and undone after it.
//!
//! Each kind is a file. In it: what a job file says of such a gate ([`Kind`]), the options that are
//! short for that ([`Options`]), and an async context manager whose resource [equips](Equip) the
//! command. A kind is known by its `mod` and by its name in the list at `kinds!`.

mod described;
mod directory;
mod dotenv;
mod env;
mod env_file;
mod helper;
mod hook;
mod keys;
mod lease;
mod lock;
mod log;
mod mock;
mod noted;
mod output;
mod pg_lock;
mod postgres;
mod postgres_server;
mod preview;
mod redis_lock;
mod reference;
mod secrets;
mod service;
mod source;
mod sqlite;
mod taken;
mod tempdir;
mod template;
mod undo;
mod with;

use std::ffi::OsString;
use std::fmt;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32};

use anyhow::Context as _;
use clap::ArgMatches;
use serde::de::{DeserializeOwned, Deserializer};
use serde::{Deserialize, Serialize};
use withal_core::{AsyncContextManager, ExitCase};
use withal_scope::AsyncExitStack;

use crate::message::{Level, Messages};
use crate::run::journal::Journal;
use crate::run::{Alarms, Deposit, Keep, RunId, Services};
use described::When;
use noted::{Deadline, Limits, Noted};
use taken::Taken;
use template::is_known;

pub(crate) use described::{Origin, check_dates, described};
pub(crate) use keys::{Variable, duration, keys_of_table, parsed, unknown as unknown_key};
pub(crate) use noted::{Held, Warnings};
pub(crate) use output::{gate as output, open as open_output};
pub(crate) use preview::{Preview, Previews};
pub(crate) use secrets::Secrets;
pub(crate) use template::{Attributes, Template, Unresolved};
pub(crate) use undo::{NoUndo, Recovery, Undo};

/// What undoes a gate of any kind, as it stands in journals: `{"kind": …, "undo": …}`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct AnyUndo(Tagged);

/// Lists the kinds of gates; their order here is that of the help text only.
macro_rules! kinds {
    ($($file:ident::$kind:ident),+ $(,)?) => {
        /// The options that ask for gates.
        #[derive(Debug, clap::Args)]
        #[group(skip)]
        #[command(next_help_heading = "Gates (acquired in the order given, undone in reverse)")]
        pub(crate) struct Arguments {
            #[command(flatten)] with: with::Options,
            $(#[command(flatten)] $file: <$file::$kind as Kind>::Options,)+
        }

        impl Arguments {
            /// The options that ask for gates, as they stand on the command line, but for values of
            /// variables, which may be secrets.
            pub(crate) fn words(matches: &ArgMatches) -> Vec<OsString> {
                let options = <Arguments as clap::Args>::augment_args(clap::Command::new(""));
                let mut words = Vec::new();
                for option in options.get_arguments().map(|option| option.get_id().as_str()) {
                    let positions = matches.indices_of(option).into_iter().flatten();
                    let values = matches.get_raw(option).into_iter().flatten();
                    words.extend(positions.zip(values).flat_map(|(position, value)| {
                        let value = match option == <env::Env as Kind>::NAME {
                            true => keys::split(value).0,
                            false => value,
                        };
                        [(position, OsString::from(option)), (position, value.to_owned())]
                    }));
                }
                words.sort_by_key(|(position, _)| *position);
                words.into_iter().map(|(_, word)| word).collect()
            }

            /// The gates in the order they were asked for.
            pub(crate) fn in_order(self, matches: &ArgMatches) -> anyhow::Result<Vec<Planned>> {
                let mut gates = self.with.planned(matches)?;
                $(place(self.$file, matches, &mut gates)?;)+
                gates.sort_by_key(|(position, _)| *position);
                Ok(gates.into_iter().map(|(_, gate)| gate).collect())
            }
        }

        /// The names of all kinds.
        const NAMES: &[&str] = &[$(<$file::$kind as Kind>::NAME),+];

        /// The keys that gates of the kind `name` have beside those of every gate.
        fn keys_of(name: &str) -> Option<&'static [&'static str]> {
            $(if name == <$file::$kind as Kind>::NAME {
                return keys::of::<$file::$kind>();
            })+
            None
        }

        /// All kinds with their keys and attributes, for those who describe them.
        #[cfg(test)]
        pub(crate) fn kinds() -> Vec<(&'static str, &'static [&'static str], &'static [&'static str])> {
            vec![$((
                <$file::$kind as Kind>::NAME,
                keys_of(<$file::$kind as Kind>::NAME).unwrap_or_default(),
                <$file::$kind as Kind>::ATTRIBUTES,
            )),+]
        }

        /// Reads what is said of a gate of the kind `name`; `None` if there is no such kind.
        fn read<'de, D: Deserializer<'de>>(
            name: &str,
            keys: D,
        ) -> Option<Result<BoxGate, D::Error>> {
            $(if name == <$file::$kind as Kind>::NAME {
                let kind = serde::Deserialize::deserialize(keys);
                return Some(kind.map(|kind: $file::$kind| Box::new(Made::Keys(kind)) as BoxGate));
            })+
            None
        }

        #[derive(Debug, Serialize, Deserialize)]
        #[serde(tag = "kind", content = "undo", rename_all = "kebab-case")]
        enum Tagged {
            $($kind(<$file::$kind as Kind>::Undo),)+
        }

        impl AnyUndo {
            /// Whether what it undoes is still there after the machine has started again.
            pub(crate) fn outlives_reboot(&self) -> bool {
                match &self.0 {
                    $(Tagged::$kind(_) => <<$file::$kind as Kind>::Undo as Undo>::OUTLIVES_REBOOT,)+
                }
            }

            /// As [`Undo::undo`].
            pub(crate) async fn undo(self, recovery: &Recovery) -> anyhow::Result<()> {
                match self.0 {
                    $(Tagged::$kind(undo) => undo.undo(recovery).await,)+
                }
            }
        }

        $(impl Listed for $file::$kind {
            fn any(undo: Self::Undo) -> AnyUndo {
                AnyUndo(Tagged::$kind(undo))
            }
        })+
    };
}

kinds!(
    lock::Lock,
    tempdir::Tempdir,
    output::Output,
    log::Log,
    sqlite::Sqlite,
    postgres::Postgres,
    postgres_server::PostgresServer,
    pg_lock::PgLock,
    redis_lock::RedisLock,
    mock::Mock,
    env::Env,
    env_file::EnvFile,
    service::Service,
    hook::Hook,
);

/// A kind of gate: its keys, and the gate they ask for.
trait Kind: DeserializeOwned + Clone + Send + 'static {
    /// Its name in job files and after `--with`.
    const NAME: &'static str;

    /// What others can refer to: the names that [`Equip::attributes`] gives.
    const ATTRIBUTES: &'static [&'static str] = &[];

    /// Whether what the command leaves running can do without it.
    const CAN_BE_OUTLIVED: bool = false;

    /// The options that ask for such gates.
    type Options: Options<Kind = Self>;

    /// What is entered. `Display` says what it is, for `--verbose`, and no more than that: no
    /// values, which may be secrets. Its errors need not name the gate.
    type Gate: AsyncContextManager<Resource: Equip, Error = anyhow::Error>
        + fmt::Display
        + Send
        + 'static;

    /// What undoes such a gate if its process dies; [`NoUndo`] where that is enough.
    type Undo: Undo + fmt::Debug;

    /// The gate, when its turn has come: what it refers to has been acquired.
    ///
    /// This acquires nothing and changes nothing. A plan is made of it, too, with `‹id.attribute›`
    /// in place of what is not there yet.
    fn gate(self, setting: &Setting<'_>) -> anyhow::Result<Self::Gate>;

    /// Whether it takes the command's stdout, so that there can be no other such gate; without keys
    /// if it was made without any.
    fn takes_stdout(_keys: Option<&Self>) -> bool {
        false
    }

    /// What no other gate of the run can have, if this is the gate.
    fn takes(&self, _gate: &Self::Gate) -> Vec<Taken> {
        Vec::new()
    }

    /// Whether acquiring it runs programs, which may make what later gates need.
    fn runs_programs(_gate: &Self::Gate) -> bool {
        false
    }

    /// Looks for what can be found wrong before anything is acquired: files that cannot be read, for
    /// one. What [is not known](is_known) yet is not wrong.
    fn check(_gate: &Self::Gate) -> anyhow::Result<()> {
        Ok(())
    }

    /// The same for what is needed only when it is undone: that is no reason not to begin.
    fn check_undoing(_gate: &Self::Gate) -> anyhow::Result<()> {
        Ok(())
    }

    /// Where it has the command looked for.
    fn search_path(_gate: &Self::Gate) -> SearchPath {
        SearchPath::Kept
    }

    /// What will undo the gate, whatever comes of acquiring it: written down before that, so its
    /// names are chosen by now.
    fn intent(_gate: &Self::Gate) -> Option<Self::Undo> {
        None
    }

    /// The same with what is known only now: device and inode, ids a server has given. It takes the
    /// intent's place.
    fn acquired(_resource: &Resource<Self>) -> Option<Self::Undo> {
        None
    }
}

/// The variable that says where programs are.
const SEARCH_PATH: &str = "PATH";

/// Where a command is looked for, by a gate that sets variables for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SearchPath {
    /// Where it was looked for without the gate.
    Kept,
    Set(OsString),
    /// That is known only once the gate is acquired.
    Unknown,
}

/// What entering a gate of the kind `K` gives.
type Resource<K> = <<K as Kind>::Gate as AsyncContextManager>::Resource;

/// A kind that stands in the list at `kinds!`.
trait Listed: Kind {
    fn any(undo: Self::Undo) -> AnyUndo;
}

/// Command-line options that ask for gates of one kind.
trait Options: clap::Args {
    /// The option that asks for a gate, once for each; no dashes.
    const OPTION: &'static str;

    type Kind: Listed;

    /// The gates, in the order of the option's values.
    fn gates(self) -> anyhow::Result<Vec<Self::Kind>>;
}

/// No options: such gates are asked for by keys alone.
#[derive(Debug, clap::Args)]
#[group(skip)]
struct OnlyKeys<K: 'static> {
    #[arg(skip)]
    kind: PhantomData<fn() -> K>,
}

impl<K: Listed> Options for OnlyKeys<K> {
    /// That of gates with keys, which are not asked for here.
    const OPTION: &'static str = "with";
    type Kind = K;

    fn gates(self) -> anyhow::Result<Vec<K>> {
        Ok(Vec::new())
    }
}

/// What a gate's resource does for the command before it starts.
pub(crate) trait Equip {
    fn equip(&mut self, command: &mut Command) -> anyhow::Result<()>;

    /// What others can refer to, as `${id.attribute}`.
    fn attributes(&self) -> Vec<(&'static str, OsString)> {
        Vec::new()
    }

    /// What was acquired, where its gate's name does not say that.
    fn detail(&self) -> Option<String> {
        None
    }
}

/// What a gate can see of its surroundings.
#[derive(Debug)]
pub(crate) struct Setting<'a> {
    /// What others refer to the gate by.
    pub(crate) id: Option<&'a str>,
    /// What relative paths are relative to.
    pub(crate) directory: &'a Path,
    /// What the gates before it have.
    pub(crate) attributes: &'a Attributes,
    /// Whether a gate takes the command's stdout.
    pub(crate) is_stdout_taken: bool,
    /// What the rest of the run lends it.
    pub(crate) ties: &'a Ties,
}

/// What ties a gate to the rest of the run; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Ties {
    /// Names that must be known before there is anything so named are made from it.
    pub(crate) run: RunId,
    /// How many of these names were given.
    pub(crate) names: Arc<AtomicU32>,
    /// Stops the command, if what the gate holds is lost.
    pub(crate) alarms: Alarms,
    /// Where processes of gates are known, so that they are not taken for the command's.
    pub(crate) services: Services,
    /// Keeps descriptors open that must outlive this process.
    pub(crate) deposit: Deposit,
    /// Whether gates leave what they made, where their own keys do not say.
    pub(crate) keep: Keep,
    /// Set when undoing begins, if somebody waits for it to be over.
    pub(crate) is_hurried: Arc<AtomicBool>,
    /// What does not belong into logs.
    pub(crate) secrets: Secrets,
    pub(crate) warnings: Warnings,
    pub(crate) messages: Messages,
}

impl Ties {
    /// Those of a run that is only planned: nothing comes of them.
    fn of_plan() -> anyhow::Result<Ties> {
        let messages = Messages::new(Level::Quiet);
        Ok(Ties {
            run: RunId::random()?,
            names: Arc::default(),
            alarms: Alarms::new().0,
            services: Services::default(),
            deposit: Deposit::default(),
            keep: Keep::default(),
            is_hurried: Arc::default(),
            secrets: Secrets::default(),
            warnings: Warnings::new(messages),
            messages,
        })
    }
}

impl Setting<'_> {
    /// A text, with what it refers to.
    pub(crate) fn text(&self, template: &Template) -> anyhow::Result<OsString> {
        template.resolve(self.attributes)
    }

    /// A path, with what it refers to.
    pub(crate) fn path(&self, template: &Template) -> anyhow::Result<PathBuf> {
        Ok(self.directory.join(self.text(template)?))
    }
}

/// A lock that somebody else holds.
#[derive(Debug)]
pub(crate) struct Busy {
    text: String,
    /// The exit status for it, if the gate has one of its own.
    pub(crate) code: Option<u8>,
}

impl Busy {
    fn new(text: impl Into<String>) -> Busy {
        Busy {
            text: text.into(),
            code: None,
        }
    }
}

impl fmt::Display for Busy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Busy {}

/// Whether the command itself succeeded, whatever became of the gates inside this one.
fn has_succeeded(case: &ExitCase) -> bool {
    match case {
        ExitCase::Succeeded => true,
        ExitCase::Errored(error) => error.body().is_none(),
        _ => false,
    }
}

/// A gate that is to be acquired.
pub(crate) struct Planned {
    /// What its errors begin with: its option, or its id.
    label: String,
    /// What others refer to it by.
    id: Option<String>,
    limits: Limits,
    when: When,
    /// What its relative paths are relative to.
    directory: PathBuf,
    /// Where it is described, if it is described by keys.
    origin: Option<Origin>,
    takes_stdout: bool,
    gate: BoxGate,
}

/// Where gates are entered.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    pub(crate) stack: &'a mut AsyncExitStack,
    pub(crate) command: &'a mut Command,
    pub(crate) attributes: Attributes,
    pub(crate) is_stdout_taken: bool,
    pub(crate) held: &'a Held,
    pub(crate) ties: Ties,
    pub(crate) journal: Journal,
}

impl Planned {
    fn new(label: impl Into<String>, gate: BoxGate) -> Planned {
        Planned {
            label: label.into(),
            id: None,
            limits: Limits::default(),
            when: When::Always,
            directory: PathBuf::new(),
            origin: None,
            takes_stdout: gate.takes_stdout(),
            gate,
        }
    }

    /// A gate that no keys ask for.
    fn ready<K: Listed>(label: &'static str, gate: K::Gate) -> Planned {
        Planned::new(label, Box::new(Made::<K>::Gate(gate)))
    }

    /// The name of its kind.
    pub(crate) fn kind(&self) -> &'static str {
        self.gate.kind()
    }

    /// Whether it is acquired: it may be left out.
    pub(crate) fn is_acquired(&self) -> bool {
        self.when.holds()
    }

    /// Whether it takes the command's stdout.
    pub(crate) fn takes_stdout(&self) -> bool {
        self.takes_stdout && self.is_acquired()
    }

    /// Enters it, then equips the command.
    pub(crate) async fn enter(self, place: &mut Place<'_>) -> anyhow::Result<()> {
        let Planned {
            label,
            id,
            limits,
            when,
            directory,
            gate,
            ..
        } = self;
        if !when.holds() {
            return Ok(());
        }
        let attributes = gate
            .enter(label, id.as_deref(), limits, &directory, place)
            .await?;
        if let Some(id) = id {
            let _ = place.attributes.insert(id, attributes);
        }
        Ok(())
    }
}

/// A gate of any kind, on its way to a stack.
trait Gate: Send {
    /// The name of its kind.
    fn kind(&self) -> &'static str;

    /// What others can refer to.
    fn attributes(&self) -> &'static [&'static str];

    /// Whether it takes the command's stdout.
    fn takes_stdout(&self) -> bool;

    /// Whether what the command leaves running can do without it.
    fn can_be_outlived(&self) -> bool;

    /// What would be entered.
    fn outlook(&self, setting: &Setting<'_>) -> anyhow::Result<Outlook>;

    /// Enters it on the stack, then equips the command. Gives what others can refer to.
    fn enter<'a>(
        self: Box<Self>,
        label: String,
        id: Option<&'a str>,
        limits: Limits,
        directory: &'a Path,
        place: &'a mut Place<'_>,
    ) -> Entering<'a>;
}

/// What can be known of a gate before it is acquired.
struct Outlook {
    what: String,
    takes: Vec<Taken>,
    /// Whether what is wrong with gates after it can be known before it is acquired.
    runs_programs: bool,
    wrong: Option<anyhow::Error>,
    /// What is wrong with undoing it.
    doubt: Option<anyhow::Error>,
    search_path: SearchPath,
}

type BoxGate = Box<dyn Gate>;

type Entering<'a> =
    Pin<Box<dyn Future<Output = anyhow::Result<Vec<(&'static str, OsString)>>> + 'a>>;

/// A gate of the kind `K`: made when its turn comes, or one that knows all it needs already.
enum Made<K: Kind> {
    Keys(K),
    Gate(K::Gate),
}

impl<K: Listed> Gate for Made<K> {
    fn kind(&self) -> &'static str {
        K::NAME
    }

    fn attributes(&self) -> &'static [&'static str] {
        K::ATTRIBUTES
    }

    fn takes_stdout(&self) -> bool {
        K::takes_stdout(match self {
            Made::Keys(keys) => Some(keys),
            Made::Gate(_) => None,
        })
    }

    fn can_be_outlived(&self) -> bool {
        K::CAN_BE_OUTLIVED
    }

    fn outlook(&self, setting: &Setting<'_>) -> anyhow::Result<Outlook> {
        let of = |gate: &K::Gate| Outlook {
            what: gate.to_string(),
            takes: Vec::new(),
            runs_programs: K::runs_programs(gate),
            wrong: None,
            doubt: None,
            search_path: SearchPath::Kept,
        };
        Ok(match self {
            Made::Keys(keys) => {
                let gate = keys.clone().gate(setting)?;
                Outlook {
                    takes: keys.takes(&gate),
                    wrong: K::check(&gate).err(),
                    doubt: K::check_undoing(&gate).err(),
                    search_path: K::search_path(&gate),
                    ..of(&gate)
                }
            }
            Made::Gate(gate) => of(gate),
        })
    }

    fn enter<'a>(
        self: Box<Self>,
        label: String,
        id: Option<&'a str>,
        limits: Limits,
        directory: &'a Path,
        place: &'a mut Place<'_>,
    ) -> Entering<'a> {
        Box::pin(async move {
            let chronicle = place.held.chronicle();
            let entry = chronicle.acquiring(&label, K::NAME);
            let ties = Ties {
                warnings: Warnings::of_gate(chronicle.clone(), entry, place.ties.messages),
                ..place.ties.clone()
            };
            let setting = Setting {
                id,
                is_stdout_taken: place.is_stdout_taken,
                directory,
                attributes: &place.attributes,
                ties: &ties,
            };
            let deadline = Deadline::new(limits);
            let gate = match *self {
                Made::Keys(keys) => keys.gate(&setting).inspect_err(|error| {
                    chronicle.acquired(entry, Err(format!("{error:#}")));
                }),
                Made::Gate(gate) => Ok(gate),
            };
            let gate = gate.with_context(|| label.clone())?;
            let gate = Noted::<K> {
                gate,
                label: label.clone(),
                limits,
                deadline: deadline.clone(),
                held: place.held.clone(),
                entry,
                journal: place.journal.clone(),
            };
            let entering = place.stack.enter_async_context(gate);
            let mut lent = deadline.keep(entering, &label).await?;
            let equipped = lent.resource.equip(place.command);
            equipped.context(label)?;
            Ok(lent.resource.attributes())
        })
    }
}

/// Adds the gates that some options ask for, each with its position on the command line.
fn place<O: Options>(
    options: O,
    matches: &ArgMatches,
    gates: &mut Vec<(usize, Planned)>,
) -> anyhow::Result<()> {
    let positions = matches.indices_of(O::OPTION).into_iter().flatten();
    let planned = options.gates()?.into_iter().map(|kind| {
        let label = format!("--{}", O::OPTION.replace('_', "-"));
        Planned::new(label, Box::new(Made::Keys(kind)))
    });
    gates.extend(positions.zip(planned));
    Ok(())
}
