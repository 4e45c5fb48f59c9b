//! `--mock`: an HTTP server that answers as a file says, its URL in a variable.

mod routes;
mod server;

use std::ffi::OsString;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use anyhow::Context as _;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use withal_core::{AsyncContextManager, ExitCase};

use super::keys::{self, Port};
use super::{Equip, Kind, NoUndo, Setting, Taken, Template, Variable, Warnings, is_known};
use crate::message::shown;
use routes::Routes;
use server::Unmatched;

/// An HTTP server that answers as a file says.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Mock {
    file: Template,
    env: Option<Variable>,
    #[serde(default)]
    port: Port,
    /// Whether a request that no route is for makes the run fail.
    #[serde(default)]
    fail_on_unmatched: bool,
}

#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Options {
    /// Answer HTTP requests as FILE says, the server's URL in $VAR
    #[arg(long, value_name = "VAR=FILE", value_parser = clap::builder::OsStringValueParser::new())]
    mock: Vec<OsString>,
}

impl Kind for Mock {
    const NAME: &'static str = "mock";
    const ATTRIBUTES: &'static [&'static str] = &["url", "port"];
    type Options = Options;
    type Gate = Serve;
    type Undo = NoUndo;

    fn gate(self, setting: &Setting<'_>) -> anyhow::Result<Serve> {
        Ok(Serve {
            file: setting.path(&self.file)?,
            variable: self.env,
            port: self.port,
            fail_on_unmatched: self.fail_on_unmatched,
            warnings: setting.ties.warnings.clone(),
        })
    }

    fn check(serve: &Serve) -> anyhow::Result<()> {
        match is_known(&serve.file) {
            true => Routes::read(&serve.file).map(drop),
            false => Ok(()),
        }
    }

    fn takes(&self, _gate: &Self::Gate) -> Vec<Taken> {
        let variable = self.env.clone().map(Taken::Variable);
        variable.into_iter().chain(self.port.takes()).collect()
    }
}

impl super::Options for Options {
    const OPTION: &'static str = "mock";
    type Kind = Mock;

    fn gates(self) -> anyhow::Result<Vec<Mock>> {
        const REMEDY: &str = "--mock: a value is not of the form VAR=FILE";
        let gates = self.mock.into_iter().map(|argument| {
            let (name, file) = keys::split(&argument);
            let variable = Variable::try_from(name.to_owned()).ok().context(REMEDY)?;
            let file = file.filter(|file| !file.is_empty()).context(REMEDY)?;
            Ok(Mock {
                file: file.to_owned().into(),
                env: Some(variable),
                port: Port::Free,
                fail_on_unmatched: false,
            })
        });
        gates.collect()
    }
}

pub(super) struct Serve {
    file: PathBuf,
    variable: Option<Variable>,
    port: Port,
    fail_on_unmatched: bool,
    warnings: Warnings,
}

impl fmt::Display for Serve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mock {}", shown(&self.file))
    }
}

pub(super) struct Serving {
    address: SocketAddr,
    variable: Option<Variable>,
    /// Those who answer.
    tasks: JoinSet<()>,
    unmatched: Arc<Unmatched>,
    fail_on_unmatched: bool,
    warnings: Warnings,
}

impl AsyncContextManager for Serve {
    type Resource = Serving;
    type Error = anyhow::Error;

    async fn enter(self) -> anyhow::Result<Serving> {
        let routes = Routes::read(&self.file)?;
        let port = self.port.number();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await;
        let listener = listener.with_context(|| match self.port {
            Port::Free => "no free port on 127.0.0.1".to_owned(),
            Port::Number(port) => format!("cannot listen on port {port} of 127.0.0.1"),
        })?;
        let address = listener.local_addr().context("no address")?;
        let unmatched = Arc::<Unmatched>::default();
        let mut tasks = JoinSet::new();
        let _task = tasks.spawn(server::serve(listener, routes, unmatched.clone()));
        Ok(Serving {
            address,
            variable: self.variable,
            tasks,
            unmatched,
            fail_on_unmatched: self.fail_on_unmatched,
            warnings: self.warnings,
        })
    }

    async fn exit(mut serving: Serving, _case: ExitCase) -> anyhow::Result<()> {
        serving.tasks.shutdown().await;
        let Some(told) = serving.unmatched.told() else {
            return Ok(());
        };
        anyhow::ensure!(!serving.fail_on_unmatched, "{told}");
        serving.warnings.warn(format_args!("mock: {told}"));
        Ok(())
    }
}

impl Serving {
    fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Equip for Serving {
    fn equip(&mut self, command: &mut Command) -> anyhow::Result<()> {
        if let Some(variable) = &self.variable {
            let _ = command.env(variable, self.url());
        }
        Ok(())
    }

    fn attributes(&self) -> Vec<(&'static str, OsString)> {
        vec![
            ("url", self.url().into()),
            ("port", self.address.port().to_string().into()),
        ]
    }

    fn detail(&self) -> Option<String> {
        Some(self.url())
    }
}
