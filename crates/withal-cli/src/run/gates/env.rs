//! `--env`: variables of the command's environment.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;
use std::process::Command;

use serde::Deserialize;
use withal_core::{AsyncContextManager, ExitCase};

use super::{
    Equip, Kind, NoUndo, SEARCH_PATH, SearchPath, Secrets, Setting, Taken, Template, Variable,
    dotenv, is_known,
};
use crate::message::shown;

/// Variables of the command's environment.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Keys")]
pub(super) struct Env(Keys);

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    name: Option<Variable>,
    value: Option<Template>,
    /// A file of others; those that are named here win.
    file: Option<Template>,
    #[serde(default)]
    set: BTreeMap<Variable, Template>,
    /// Those whose values do not belong into logs.
    #[serde(default)]
    secret: Vec<Variable>,
}

impl TryFrom<Keys> for Env {
    type Error = String;

    fn try_from(keys: Keys) -> Result<Env, String> {
        match (&keys.name, &keys.value) {
            (Some(_), None) => Err("no `value`; write `value = …`".to_owned()),
            (None, Some(_)) => Err("no `name`; write `name = …`".to_owned()),
            (Some(name), _) if keys.set.contains_key(name) => {
                Err(format!("`{name}` is in `name` and in `set`; leave one out"))
            }
            (None, None)
                if keys.file.is_none() && keys.set.is_empty() && keys.secret.is_empty() =>
            {
                Err("no variables; write `name` and `value`, `set`, `file`, or `secret`".to_owned())
            }
            _ => Ok(Env(keys)),
        }
    }
}

#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Options {
    /// Set a variable for the command
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = clap::builder::OsStringValueParser::new())]
    env: Vec<OsString>,
}

impl Kind for Env {
    const NAME: &'static str = "env";
    const CAN_BE_OUTLIVED: bool = true;
    type Options = Options;
    type Gate = Set;
    type Undo = NoUndo;

    fn gate(self, setting: &Setting<'_>) -> anyhow::Result<Set> {
        let Env(keys) = self;
        let file = keys.file.map(|file| setting.path(&file)).transpose()?;
        let named = keys.set.into_iter().chain(keys.name.zip(keys.value));
        let named = named.map(|(name, value)| Ok((name, setting.text(&value)?)));
        let variables = Variables {
            file,
            named: named.collect::<anyhow::Result<_>>()?,
            secret: keys.secret,
        };
        Ok(Set::new(Self::NAME, variables, setting))
    }

    fn check(gate: &Set) -> anyhow::Result<()> {
        gate.check()
    }

    fn search_path(gate: &Set) -> SearchPath {
        gate.search_path()
    }

    /// Those of the file may be set anew: nobody sees their names here.
    fn takes(&self, gate: &Self::Gate) -> Vec<Taken> {
        let named = gate.variables.named.iter();
        named
            .map(|(name, _)| Taken::Variable(name.clone()))
            .collect()
    }
}

impl super::Options for Options {
    const OPTION: &'static str = "env";
    type Kind = Env;

    fn gates(self) -> anyhow::Result<Vec<Env>> {
        self.env.into_iter().map(Env::parse).collect()
    }
}

impl Env {
    /// The argument is not repeated in the message: it may be all secret.
    fn parse(argument: OsString) -> anyhow::Result<Env> {
        const REMEDY: &str = "--env: a value is not of the form NAME=VALUE; write `-e NAME=VALUE`";
        let bytes = argument.into_vec();
        let split = bytes.iter().position(|byte| *byte == b'=');
        let (name, value) = match split.map(|at| bytes.split_at(at)) {
            Some((name, [_, value @ ..])) => (name, value),
            _ => anyhow::bail!(REMEDY),
        };
        let name = Variable::try_from(OsString::from_vec(name.to_vec()));
        Ok(Env(Keys {
            name: Some(name.map_err(|_| anyhow::anyhow!(REMEDY))?),
            value: Some(OsString::from_vec(value.to_vec()).into()),
            ..Keys::default()
        }))
    }
}

/// Where variables come from.
pub(super) struct Variables {
    file: Option<PathBuf>,
    /// Those that are named win over those of the file.
    named: Vec<(Variable, OsString)>,
    secret: Vec<Variable>,
}

impl Variables {
    pub(super) fn of_file(file: PathBuf) -> Variables {
        Variables {
            file: Some(file),
            named: Vec::new(),
            secret: Vec::new(),
        }
    }

    /// Those of the file first.
    fn read(&self) -> anyhow::Result<Vec<(Variable, OsString)>> {
        let mut variables = match &self.file {
            Some(file) => dotenv::read(file)?,
            None => Vec::new(),
        };
        variables.extend(self.named.iter().cloned());
        Ok(variables)
    }

    /// What is secret; where it is not set here, as the command inherits it.
    fn secrets(&self, variables: &[(Variable, OsString)]) -> anyhow::Result<Vec<OsString>> {
        let secrets = self.secret.iter().map(|secret| {
            let mut set = variables.iter().rev();
            let set = set.find(|(name, _)| name == secret);
            let value = set.map(|(_, value)| value.clone());
            value.or_else(|| std::env::var_os(secret)).ok_or_else(|| {
                anyhow::anyhow!("secret: `{secret}` is not set, neither here nor around withal")
            })
        });
        secrets.collect()
    }
}

/// Variables. Their values are never shown: they may be secrets.
pub(super) struct Set {
    /// The kind of gate.
    kind: &'static str,
    variables: Variables,
    secrets: Secrets,
}

impl Set {
    pub(super) fn new(kind: &'static str, variables: Variables, setting: &Setting<'_>) -> Set {
        Set {
            kind,
            variables,
            secrets: setting.ties.secrets.clone(),
        }
    }

    /// Where it has the command looked for.
    pub(super) fn search_path(&self) -> SearchPath {
        let is_path =
            |(name, value): (Variable, OsString)| (name.as_ref() == SEARCH_PATH).then_some(value);
        let is_file_known = self.variables.file.iter().all(is_known);
        // Those that are named win over those of the file.
        let variables = match is_file_known {
            true => self.variables.read().ok(),
            false => Some(self.variables.named.clone()),
        };
        let Some(variables) = variables else {
            return SearchPath::Unknown;
        };
        match variables.into_iter().rev().find_map(is_path) {
            Some(path) if is_known(&path) => SearchPath::Set(path),
            Some(_) => SearchPath::Unknown,
            None if is_file_known => SearchPath::Kept,
            None => SearchPath::Unknown,
        }
    }

    /// Whether all is there.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        if !self.variables.file.iter().all(is_known) {
            return Ok(());
        }
        let variables = self.variables.read()?;
        self.variables.secrets(&variables).map(drop)
    }
}

impl fmt::Display for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Variables {
            file,
            named,
            secret,
        } = &self.variables;
        let file = file.iter().map(shown);
        let named = named.iter().map(|(name, _)| name.to_string());
        let mut parts: Vec<String> = file.chain(named).collect();
        if parts.is_empty() {
            parts = secret.iter().map(ToString::to_string).collect();
        }
        write!(f, "{} {}", self.kind, parts.join(", "))
    }
}

/// What was set.
pub(super) struct Loaded {
    variables: Vec<(Variable, OsString)>,
    /// Whether the names were not known before.
    is_from_file: bool,
}

impl AsyncContextManager for Set {
    type Resource = Loaded;
    type Error = anyhow::Error;

    async fn enter(self) -> anyhow::Result<Loaded> {
        let variables = self.variables.read()?;
        let secrets = self.variables.secrets(&variables)?;
        self.secrets.add(secrets.iter().map(OsString::as_os_str))?;
        Ok(Loaded {
            variables,
            is_from_file: self.variables.file.is_some(),
        })
    }

    /// The environment is the command's own and has gone with it.
    async fn exit(_loaded: Loaded, _case: ExitCase) -> anyhow::Result<()> {
        Ok(())
    }
}

impl Equip for Loaded {
    fn equip(&mut self, command: &mut Command) -> anyhow::Result<()> {
        let variables = self.variables.iter();
        let _ = command.envs(variables.map(|(name, value)| (name, value)));
        Ok(())
    }

    fn detail(&self) -> Option<String> {
        let names: Vec<String> = self
            .variables
            .iter()
            .map(|(name, _)| name.to_string())
            .collect();
        self.is_from_file.then(|| names.join(", "))
    }
}
