//! What a cluster is told.

use std::fmt::Write;
use std::fs;

use super::super::error::ServerError;
use super::super::home::Home;

#[derive(Clone, Debug, Default)]
pub(super) struct Configuration {
    pub(super) durable: bool,
    pub(super) tls: bool,
    pub(super) settings: Vec<(String, String)>,
}

impl Configuration {
    /// Writes it into the cluster in `home`; gives the root certificate, if there is one.
    pub(super) fn write(&self, home: &Home) -> Result<Option<String>, ServerError> {
        let root = self.certify(home)?;
        let data = home.join("data");
        fs::write(data.join("postgresql.conf"), self.text(home))
            .and_then(|()| fs::write(data.join("pg_hba.conf"), self.clients()))
            .map_err(ServerError::doing("configure PostgreSQL"))?;
        Ok(root)
    }

    #[cfg(feature = "tls")]
    fn certify(&self, home: &Home) -> Result<Option<String>, ServerError> {
        self.tls
            .then(|| super::super::certificate::make(home))
            .transpose()
    }

    #[cfg(not(feature = "tls"))]
    fn certify(&self, _home: &Home) -> Result<Option<String>, ServerError> {
        Ok(None)
    }

    fn text(&self, home: &Home) -> String {
        let own = [
            ("listen_addresses", "127.0.0.1".to_owned()),
            ("unix_socket_directories", quote(home)),
        ];
        let own = own.map(|(name, value)| (name.to_owned(), value));
        let switches: &[(&str, &str)] = match self.durable {
            true => &[],
            false => &[
                ("fsync", "off"),
                ("synchronous_commit", "off"),
                ("full_page_writes", "off"),
            ],
        };
        let tls: &[(&str, &str)] = match self.tls {
            true => &[
                ("ssl", "on"),
                ("ssl_cert_file", "server.crt"),
                ("ssl_key_file", "server.key"),
            ],
            false => &[],
        };
        let fixed = switches.iter().chain(tls);
        let fixed = fixed.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let mut text = String::new();
        for (name, value) in own.into_iter().chain(fixed).chain(self.settings.clone()) {
            let value = value.replace('\'', "''");
            let _ = writeln!(text, "{name} = '{value}'");
        }
        text
    }

    /// Who may connect. The socket's directory is closed to others; the port is open to everybody
    /// on this machine, and whoever is superuser may run programs. The password goes in clear: not
    /// further than loopback, and computing it afresh for each connection is slow in a debug build.
    fn clients(&self) -> String {
        let host = if self.tls { "hostssl" } else { "host" };
        let lines = ["all", "replication"].map(|database| {
            format!(
                "local {database} all trust\n\
                 {host} {database} all 127.0.0.1/32 password\n"
            )
        });
        lines.concat()
    }
}

/// The directory as an element of a list.
fn quote(home: &Home) -> String {
    let path = home.path().to_string_lossy();
    format!("\"{}\"", path.replace('"', "\"\""))
}
