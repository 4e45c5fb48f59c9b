//! Services: connections that have a name, in a `pg_service.conf`.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::{Error, ErrorKind};

/// What a service says, besides what has no name there.
#[derive(Default)]
pub(super) struct Service(Vec<(String, String)>);

impl Service {
    /// The first of this name in the first of the files that has one.
    pub(super) fn find(name: &str, files: &[PathBuf]) -> Result<Service, Error> {
        for file in files {
            let text = match fs::read_to_string(file) {
                Ok(text) => text,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(wrong(file, "cannot be read").with_source(error)),
            };
            if let Some(service) = parse(&text, name).map_err(|line| {
                wrong(file, format_args!("says no `option=value` in line {line}"))
            })? {
                return Ok(service);
            }
        }
        let files: Vec<String> = files.iter().map(|file| shown(file)).collect();
        let message = format!("there is no service `{name}` in {}", files.join(" or "));
        Err(Error::new(ErrorKind::Url, message))
    }

    pub(super) fn option(&self, name: &str) -> Option<&str> {
        let mut options = self.options();
        options.find_map(|(option, value)| (option == name).then_some(value))
    }

    pub(super) fn options(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }
}

/// What is there may be a password: it is not shown.
fn wrong(file: &Path, why: impl fmt::Display) -> Error {
    Error::new(ErrorKind::Url, format!("{} {why}", shown(file)))
}

fn shown(file: &Path) -> String {
    format!("`{}`", file.display())
}

/// The service of this name, or which line is none of its kind.
fn parse(text: &str, name: &str) -> Result<Option<Service>, usize> {
    let mut found: Option<Service> = None;
    for (number, line) in (1_usize..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(section) = line.strip_prefix('[') {
            if found.is_some() {
                break;
            }
            let is_it = section.strip_suffix(']') == Some(name);
            found = is_it.then(Service::default);
        } else if let Some(Service(options)) = &mut found {
            let (option, value) = line.split_once('=').ok_or(number)?;
            options.push((option.trim_end().to_owned(), value.trim_start().to_owned()));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# mine
[other]
host=elsewhere
no option

[orders]
  host = db.example
port=6543
password=a=b # c
# user=eve

[orders]
user=late
";

    #[test]
    fn a_service_is_what_stands_below_its_name() {
        let service = parse(TEXT, "orders").unwrap().unwrap();
        let options: Vec<_> = service.options().collect();
        assert_eq!(
            options,
            [
                ("host", "db.example"),
                ("port", "6543"),
                ("password", "a=b # c"),
            ]
        );
        assert_eq!(service.option("port"), Some("6543"));
        assert_eq!(service.option("user"), None);
        assert!(parse(TEXT, "order").unwrap().is_none());
        assert_eq!(parse(TEXT, "other").err(), Some(4));
    }

    #[test]
    fn it_is_looked_for_in_each_file_and_what_is_wrong_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let (mine, all) = (folder.path().join("mine"), folder.path().join("all"));
        let files = [mine.clone(), all.clone()];
        let find = |name: &str| Service::find(name, &files);
        let error = find("orders").err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Url);
        assert!(error.to_string().contains("no service `orders`"), "{error}");
        fs::write(&all, TEXT).unwrap();
        assert!(find("orders").is_ok());
        fs::write(&mine, "[orders]\npassword s3cret\n").unwrap();
        let error = find("orders").err().unwrap();
        let text = format!("{error} {error:?}");
        assert!(
            text.contains("mine` says no `option=value` in line 2"),
            "{text}"
        );
        assert!(!text.contains("s3cret"), "{text}");
    }
}
