//! Text with references to what gates have acquired: `${work.path}/x`, `${env.HOME}`, `$$`.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::keys::Bytes;
use crate::message::shown;
use crate::suggest;

/// Text in which `${id.attribute}` stands for what the gate `id` has, `${env.NAME}` for a variable
/// of withal's own environment, and `$$` for a dollar sign.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(OsString),
    Reference(Reference),
}

/// A reference that leads nowhere.
#[derive(Debug)]
pub(crate) struct Unresolved {
    pub(crate) reference: Reference,
    pub(crate) why: String,
    /// Whether there is no such gate, rather than no such attribute.
    pub(super) is_gate_unknown: bool,
}

impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}", self.reference, self.why)
    }
}

impl std::error::Error for Unresolved {}

/// `id.attribute`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reference {
    pub(crate) id: String,
    pub(crate) attribute: String,
}

/// What the gates that are acquired have, by their ids.
pub(crate) type Attributes = HashMap<String, Vec<(&'static str, OsString)>>;

/// The id of withal's own environment.
pub(crate) const ENVIRONMENT: &str = "env";

impl Template {
    /// The text, with what it refers to in place.
    pub(crate) fn resolve(&self, attributes: &Attributes) -> anyhow::Result<OsString> {
        let mut text = OsString::new();
        for part in &self.0 {
            match part {
                Part::Text(literal) => text.push(literal),
                Part::Reference(reference) => text.push(reference.resolve(attributes)?),
            }
        }
        Ok(text)
    }

    /// The text, if it refers to no gate.
    pub(crate) fn resolve_alone(&self) -> anyhow::Result<OsString> {
        let references = self.0.iter().filter_map(|part| match part {
            Part::Reference(reference) => Some(reference),
            Part::Text(_) => None,
        });
        for reference in references {
            if reference.id != ENVIRONMENT {
                return Err(Unresolved {
                    reference: reference.clone(),
                    why: "the program is named before gates are acquired; write \
                          `command = [\"env\", \"…\"]`"
                        .to_owned(),
                    is_gate_unknown: false,
                }
                .into());
            }
        }
        self.resolve(&Attributes::new())
    }

    /// The same, with what gates have in place; variables stay references, for their values may be
    /// secrets.
    pub(super) fn filled(&self, attributes: &Attributes) -> anyhow::Result<Template> {
        let mut filled = Vec::new();
        let mut text = OsString::new();
        for part in &self.0 {
            match part {
                Part::Text(literal) => text.push(literal),
                Part::Reference(reference) if reference.id == ENVIRONMENT => {
                    push_text(&mut filled, &mut text);
                    filled.push(part.clone());
                }
                Part::Reference(reference) => text.push(reference.resolve(attributes)?),
            }
        }
        push_text(&mut filled, &mut text);
        Ok(Template(filled))
    }

    /// What stands between its references.
    pub(super) fn literals(&self) -> impl Iterator<Item = &OsStr> {
        self.0.iter().filter_map(|part| match part {
            Part::Text(literal) => Some(literal.as_os_str()),
            Part::Reference(_) => None,
        })
    }

    /// What it refers to, if it is nothing but that.
    pub(super) fn sole_reference(&self) -> Option<&Reference> {
        match self.0.as_slice() {
            [Part::Reference(reference)] => Some(reference),
            _ => None,
        }
    }

    /// Whether it refers to the gate `id`.
    pub(crate) fn refers_to(&self, id: &str) -> bool {
        let mut parts = self.0.iter();
        parts.any(|part| matches!(part, Part::Reference(reference) if reference.id == id))
    }
}

/// The text with what stands for it in place of each reference, variables included: their values
/// may be secrets.
impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| match part {
            Part::Text(literal) => f.write_str(&shown(literal)),
            Part::Reference(Reference { id, attribute }) => {
                f.write_str(&placeholder(id, attribute))
            }
        })
    }
}

/// What stands for a value that is not known yet, or not to be shown.
pub(super) fn placeholder(id: &str, attribute: &str) -> String {
    format!("‹{id}.{attribute}›")
}

/// Whether a text that is only planned has all its values, so that it can be looked at.
pub(super) fn is_known(text: impl AsRef<OsStr>) -> bool {
    !shown(text.as_ref()).contains('‹')
}

impl Reference {
    fn resolve(&self, attributes: &Attributes) -> Result<OsString, Unresolved> {
        let unresolved = |why: String| Unresolved {
            reference: self.clone(),
            why,
            is_gate_unknown: false,
        };
        let Reference { id, attribute } = self;
        if id == ENVIRONMENT {
            return std::env::var_os(attribute)
                .ok_or_else(|| unresolved("the variable is not set; set it".to_owned()));
        }
        let known = attributes.get(id).ok_or_else(|| Unresolved {
            is_gate_unknown: true,
            ..unresolved(format!("no gate before this one has the id `{id}`"))
        })?;
        let value = known.iter().find(|(name, _)| name == attribute);
        value.map(|(_, value)| value.clone()).ok_or_else(|| {
            let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
            unresolved(format!(
                "the gate has no `{attribute}`; {}",
                suggest::instead(attribute, &names)
            ))
        })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "${{{}.{}}}", self.id, self.attribute)
    }
}

impl FromStr for Template {
    type Err = String;

    fn from_str(text: &str) -> Result<Template, String> {
        let mut parts = Vec::new();
        let mut literal = OsString::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            literal.push(before);
            if let Some(after) = after.strip_prefix('$') {
                literal.push("$");
                rest = after;
            } else if let Some(after) = after.strip_prefix('{') {
                let reference = after.split_once('}');
                let (name, after) =
                    reference.ok_or("`${` without its `}`; a dollar sign alone is written `$$`")?;
                let split = name.split_once('.');
                let (id, attribute) = split
                    .filter(|(id, attribute)| !id.is_empty() && !attribute.is_empty())
                    .ok_or_else(|| {
                        format!(
                            "`${{{name}}}`: not a reference; write `${{gate.attribute}}` or \
                             `${{env.NAME}}`"
                        )
                    })?;
                push_text(&mut parts, &mut literal);
                parts.push(Part::Reference(Reference {
                    id: id.to_owned(),
                    attribute: attribute.to_owned(),
                }));
                rest = after;
            } else {
                literal.push("$");
                rest = after;
            }
        }
        literal.push(rest);
        push_text(&mut parts, &mut literal);
        Ok(Template(parts))
    }
}

fn push_text(parts: &mut Vec<Part>, literal: &mut OsString) {
    if !literal.is_empty() {
        parts.push(Part::Text(std::mem::take(literal)));
    }
}

impl From<OsString> for Template {
    /// The text as it is; a dollar sign in it means nothing.
    fn from(text: OsString) -> Template {
        Template(vec![Part::Text(text)])
    }
}

impl TryFrom<String> for Template {
    type Error = String;

    fn try_from(text: String) -> Result<Template, String> {
        text.parse()
    }
}

/// A text with references, as it stands in journals.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Recorded {
    Plain(Bytes),
    Parts(Vec<RecordedPart>),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum RecordedPart {
    Text(Bytes),
    Reference(Reference),
}

impl From<&Template> for Recorded {
    fn from(Template(parts): &Template) -> Recorded {
        match parts.as_slice() {
            [] => Recorded::Plain(Bytes::Text(String::new())),
            [Part::Text(text)] => Recorded::Plain(text.into()),
            parts => Recorded::Parts(parts.iter().map(RecordedPart::from).collect()),
        }
    }
}

impl From<&Part> for RecordedPart {
    fn from(part: &Part) -> RecordedPart {
        match part {
            Part::Text(text) => RecordedPart::Text(text.into()),
            Part::Reference(reference) => RecordedPart::Reference(reference.clone()),
        }
    }
}

impl From<Recorded> for Template {
    fn from(recorded: Recorded) -> Template {
        let parts = match recorded {
            Recorded::Plain(text) => vec![RecordedPart::Text(text)],
            Recorded::Parts(parts) => parts,
        };
        let parts = parts.into_iter().map(|part| match part {
            RecordedPart::Text(text) => Part::Text(text.into()),
            RecordedPart::Reference(reference) => Part::Reference(reference),
        });
        Template(parts.collect())
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt as _;

    use super::{Attributes, Recorded, Template};

    #[track_caller]
    fn check(text: &str, expected: Result<&str, &str>) {
        let work = vec![("path", OsString::from("/tmp/w"))];
        let attributes = Attributes::from([("work".to_owned(), work)]);
        let template = text.parse::<Template>().map_err(anyhow::Error::msg);
        let resolved = template.and_then(|template| template.resolve(&attributes));
        let resolved = resolved.map_err(|error| error.to_string());
        let resolved = resolved.as_ref().map(|text| text.to_str().unwrap());
        assert_eq!(resolved.map_err(String::as_str), expected, "{text}");
    }

    #[test]
    fn references_stand_for_what_gates_have() {
        check("", Ok(""));
        check("a/b", Ok("a/b"));
        check("${work.path}/x", Ok("/tmp/w/x"));
        check("<${work.path}${work.path}>", Ok("</tmp/w/tmp/w>"));
        check("$$5 and $5, $", Ok("$5 and $5, $"));
        check("$${work.path}", Ok("${work.path}"));
        check("${env.CARGO_PKG_NAME}", Ok("withal-cli"));
    }

    #[test]
    fn wrong_references_are_named() {
        check(
            "${work.path",
            Err("`${` without its `}`; a dollar sign alone is written `$$`"),
        );
        check(
            "${path}",
            Err("`${path}`: not a reference; write `${gate.attribute}` or `${env.NAME}`"),
        );
        check(
            "${wrk.path}",
            Err("`${wrk.path}`: no gate before this one has the id `wrk`"),
        );
        check(
            "${work.url}",
            Err("`${work.url}`: the gate has no `url`; there is `path`"),
        );
        check(
            "${env.NO_SUCH_VARIABLE}",
            Err("`${env.NO_SUCH_VARIABLE}`: the variable is not set; set it"),
        );
    }

    #[test]
    fn a_recorded_text_holds_what_gates_have_and_names_variables() {
        let work = vec![("path", OsString::from_vec(b"/w\xff".to_vec()))];
        let attributes = Attributes::from([("work".to_owned(), work)]);
        let check = |text: &str, expected: &str, resolved: &[u8]| {
            let template = text.parse::<Template>().unwrap();
            let filled = template.filled(&attributes).unwrap();
            let json = serde_json::to_string(&Recorded::from(&filled)).unwrap();
            assert_eq!(json, expected, "{text}");
            let back = serde_json::from_str::<Recorded>(&json).unwrap();
            let back = Template::from(back).resolve(&Attributes::new()).unwrap();
            assert_eq!(back.into_vec(), resolved, "{text}");
        };
        check("", r#""""#, b"");
        check("a$$b", r#""a$b""#, b"a$b");
        check("${work.path}", "[47,119,255]", b"/w\xff");
        let name = r#"{"id":"env","attribute":"CARGO_PKG_NAME"}"#;
        check("${env.CARGO_PKG_NAME}", &format!("[{name}]"), b"withal-cli");
        check(
            "<${env.CARGO_PKG_NAME}${work.path}>",
            &format!(r#"["<",{name},[47,119,255,62]]"#),
            b"<withal-cli/w\xff>",
        );
    }
}
