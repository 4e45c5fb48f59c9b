//! What a URL leaves out: a service, variables, and files in the user's home, as for libpq.

use std::path::PathBuf;

use super::service::Service;
use crate::Error;

/// Options that can be said by variables, too. What a service says of them counts for more.
const VARIABLES: [(&str, &str); 13] = [
    ("host", "PGHOST"),
    ("port", "PGPORT"),
    ("dbname", "PGDATABASE"),
    ("user", "PGUSER"),
    ("password", "PGPASSWORD"),
    ("passfile", "PGPASSFILE"),
    ("application_name", "PGAPPNAME"),
    ("options", "PGOPTIONS"),
    ("connect_timeout", "PGCONNECT_TIMEOUT"),
    ("sslmode", "PGSSLMODE"),
    ("sslrootcert", "PGSSLROOTCERT"),
    ("sslcert", "PGSSLCERT"),
    ("sslkey", "PGSSLKEY"),
];

/// Variables, and a service in front of them.
pub(super) struct Environment<F> {
    variable: F,
    service: Service,
}

impl<F: Fn(&str) -> Option<String>> Environment<F> {
    /// With the service that the URL or `PGSERVICE` names.
    pub(super) fn new(
        service: Option<String>,
        file: Option<String>,
        variable: F,
    ) -> Result<Environment<F>, Error> {
        let mut environment = Environment {
            variable,
            service: Service::default(),
        };
        if let Some(name) = service.or_else(|| environment.variable("PGSERVICE")) {
            environment.service = Service::find(&name, &environment.service_files(file))?;
        }
        Ok(environment)
    }

    /// What is said of an option outside of the URL.
    pub(super) fn option(&self, option: &str) -> Option<String> {
        let said = self.service.option(option).map(str::to_owned);
        said.or_else(|| {
            let (_, name) = VARIABLES.iter().find(|(known, _)| *known == option)?;
            self.variable(name)
        })
    }

    /// What a service says, and no variable can.
    pub(super) fn others(&self) -> impl Iterator<Item = (&str, &str)> {
        let options = self.service.options();
        options.filter(|(option, _)| VARIABLES.iter().all(|(known, _)| known != option))
    }

    pub(super) fn variable(&self, name: &str) -> Option<String> {
        (self.variable)(name)
    }

    pub(super) fn home(&self, file: &str) -> Option<PathBuf> {
        let home = self.variable("HOME")?;
        Some(PathBuf::from(home).join(file))
    }

    /// The user's, then that of all.
    fn service_files(&self, file: Option<String>) -> Vec<PathBuf> {
        let file = file.or_else(|| self.variable("PGSERVICEFILE"));
        let file = file.map(PathBuf::from);
        let common = self.variable("PGSYSCONFDIR").map(PathBuf::from);
        let common = common.unwrap_or_else(|| PathBuf::from("/etc/postgresql-common"));
        let own = file.or_else(|| self.home(".pg_service.conf"));
        own.into_iter()
            .chain([common.join("pg_service.conf")])
            .collect()
    }
}
