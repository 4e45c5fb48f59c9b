//! Where a URL comes from, if there may be a secret in it.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize, Serializer};

use super::{Setting, Template, is_known, postgres_server};
use crate::message::shown;

/// Where a URL comes from: `env:NAME`, `file:PATH`, or the URL itself, if there is no password in
/// it, or if it is that of a server of the run's own.
///
/// Journals hold this, and not what it refers to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Reference {
    Env(String),
    File(PathBuf),
    Url(String),
    #[serde(rename = "url", skip_deserializing)]
    Own(Own),
}

/// A server of the run's own that is asked for a password where the command finds it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Own {
    url: String,
    /// The way there without a password.
    open: String,
}

/// Journals hold the way without a password.
impl Serialize for Own {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.open.serialize(serializer)
    }
}

impl fmt::Debug for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open = &self.open;
        f.debug_struct("Own")
            .field("open", open)
            .finish_non_exhaustive()
    }
}

impl Reference {
    /// What a key says, or the variable `otherwise`.
    pub(super) fn of(
        key: Option<&Template>,
        otherwise: &str,
        setting: &Setting<'_>,
    ) -> anyhow::Result<Reference> {
        let Some(key) = key else {
            return Ok(Reference::Env(otherwise.to_owned()));
        };
        let text = setting.text(key)?;
        let text = text.to_str().context("`url_from` is no text")?;
        if text.starts_with('‹') {
            // What another gate will have: this is a plan.
            return Ok(Reference::Url(text.to_owned()));
        }
        match Reference::own(key, setting) {
            Some(open) if has_password(text) => Ok(Reference::Own(Own {
                url: text.to_owned(),
                open,
            })),
            _ => Reference::parse(text, setting.directory),
        }
    }

    /// The way without a password to the server whose URL `key` refers to, if it is the run's own.
    fn own(key: &Template, setting: &Setting<'_>) -> Option<String> {
        let reference = key.sole_reference();
        let reference = reference.filter(|it| it.attribute == postgres_server::URL)?;
        postgres_server::without_password(setting.attributes.get(&reference.id)?)
    }

    fn parse(text: &str, directory: &Path) -> anyhow::Result<Reference> {
        if let Some(name) = text.strip_prefix("env:") {
            return Ok(Reference::Env(name.to_owned()));
        }
        if let Some(path) = text.strip_prefix("file:") {
            let path = std::path::absolute(directory.join(path));
            return Ok(Reference::File(path.context("`url_from`")?));
        }
        if has_password(text) {
            bail!(
                "`url_from` is a URL with a password, which would be seen; put it into a variable or a file, and write `env:NAME` or `file:PATH`"
            );
        }
        match text.contains(':') {
            true => Ok(Reference::Url(text.to_owned())),
            false => {
                bail!("`url_from`: write `env:NAME`, `file:PATH`, or a URL without a password")
            }
        }
    }

    /// Whether the URL is there, if that can be known.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        match self {
            Reference::Url(_) | Reference::Own(_) => Ok(()),
            Reference::File(path) if !is_known(path) => Ok(()),
            Reference::Env(name) if !is_known(name) => Ok(()),
            _ => self.read().map(drop),
        }
    }

    /// Whether the server was one of the run's own, and has gone with all that was on it: the
    /// directory with its socket is not there any more.
    pub(super) fn is_gone(&self) -> bool {
        let (Reference::Url(url) | Reference::Own(Own { open: url, .. })) = self else {
            return false;
        };
        let (_, query) = url.split_once('?').unwrap_or((url, ""));
        let mut parameters = query.split('&');
        let host = parameters.find_map(|parameter| parameter.strip_prefix("host="));
        let host = host.map(|host| percent_decode_str(host).decode_utf8_lossy());
        host.is_some_and(|host| host.starts_with('/') && !Path::new(&*host).exists())
    }

    /// The URL.
    ///
    /// # Errors
    ///
    /// What is missing; never what was found.
    pub(super) fn read(&self) -> anyhow::Result<String> {
        let (url, place) = match self {
            Reference::Url(url) | Reference::Own(Own { url, .. }) => return Ok(url.clone()),
            Reference::Env(name) => {
                let value = std::env::var(name);
                let missing = || format!("there is no URL in the variable `{name}`; set it");
                (value.with_context(missing)?, format!("variable `{name}`"))
            }
            Reference::File(path) => {
                let name = shown(path);
                let text = fs::read_to_string(path);
                let text = text.with_context(|| format!("cannot read the URL in `{name}`"))?;
                (text, format!("file `{name}`"))
            }
        };
        let url = url.trim();
        anyhow::ensure!(!url.is_empty(), "the {place} is empty; a URL belongs there");
        Ok(url.to_owned())
    }
}

/// Whether somebody could log in with what stands there.
pub(super) fn has_password(url: &str) -> bool {
    let (place, query) = url.split_once('?').unwrap_or((url, ""));
    let place = place.split_once("://").map_or("", |(_, place)| place);
    let place = place.split('/').next().unwrap_or_default();
    let user = place.rsplit_once('@').map_or("", |(user, _)| user);
    let mut parameters = query.split('&');
    user.contains(':') || parameters.any(|it| it.to_ascii_lowercase().starts_with("pass"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_a_variable_a_file_or_a_url_without_a_password() {
        let parse = |text| Reference::parse(text, Path::new("/jobs"));
        let check = |text, expected| assert_eq!(parse(text).unwrap(), expected, "{text}");
        check("env:PG_URL", Reference::Env("PG_URL".to_owned()));
        check("file:pg.url", Reference::File("/jobs/pg.url".into()));
        check("file:/run/pg.url", Reference::File("/run/pg.url".into()));
        for url in [
            "postgres://ada@db:5432/app",
            "redis://cache",
            "postgres:///a?host=/run/pg",
        ] {
            check(url, Reference::Url(url.to_owned()));
        }
        for url in [
            "postgres://ada:s3cret@db/app",
            "redis://:s3cret@cache",
            "postgres://ada@db/app?sslmode=require&password=s3cret",
            "s3cret",
        ] {
            let error = parse(url).unwrap_err().to_string();
            assert!(
                error.contains("env:NAME") && !error.contains("s3cret"),
                "{error}"
            );
        }
    }
}
