//! Where a database is.

use std::fmt;

use crate::{Error, ErrorKind};

/// What a URL names.
#[derive(Clone)]
pub(crate) enum Target {
    #[cfg(feature = "postgres")]
    Postgres(Box<crate::postgres::Config>),
    #[cfg(feature = "sqlite")]
    Sqlite(crate::sqlite::Config),
}

impl Target {
    /// How many statements were cancelled in it so far.
    pub(crate) fn cancelled(&self) -> u64 {
        match self {
            #[cfg(feature = "postgres")]
            Target::Postgres(config) => config.cancelled.number(),
            #[cfg(feature = "sqlite")]
            Target::Sqlite(config) => config.cancelled.number(),
        }
    }
}

/// Reads a URL. Errors never show it, as there may be a password in it.
pub(crate) fn parse(url: &str) -> Result<Target, Error> {
    let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
    match scheme {
        #[cfg(feature = "postgres")]
        "postgres" | "postgresql" => {
            crate::postgres::Config::parse(url).map(|config| Target::Postgres(Box::new(config)))
        }
        #[cfg(feature = "sqlite")]
        "sqlite" => crate::sqlite::Config::parse(url).map(Target::Sqlite),
        _ => Err(wrong(
            "it does not begin with `sqlite:` or `postgres:` (or that is not built in)",
        )),
    }
}

pub(crate) fn wrong(why: impl fmt::Display) -> Error {
    Error::new(
        ErrorKind::Url,
        format!(
            "not the URL of a database: {why}; write `sqlite:orders.db` or `postgres://user@host/orders`"
        ),
    )
}

/// As it is displayed: without a password.
impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            #[cfg(feature = "postgres")]
            Target::Postgres(config) => config.fmt(f),
            #[cfg(feature = "sqlite")]
            Target::Sqlite(config) => config.fmt(f),
        }
    }
}
