//! Relative links in Markdown lead somewhere, down to the heading.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use super::{Document, Finding};

pub(super) fn check(root: &Path, documents: &[Document]) -> Vec<Finding> {
    let anchors: BTreeMap<&Path, BTreeSet<String>> = documents
        .iter()
        .map(|document| (document.path.as_path(), anchors(&document.text)))
        .collect();
    let mut findings = Vec::new();
    for document in documents {
        for (line, link) in links(&document.text) {
            if let Some(complaint) = complain(root, &document.path, &link, &anchors) {
                findings.push(Finding::new(&document.path, line, complaint));
            }
        }
    }
    findings
}

/// The line of this offset, counted from one.
pub(super) fn line_at(text: &str, offset: usize) -> usize {
    1 + text
        .bytes()
        .take(offset)
        .filter(|byte| *byte == b'\n')
        .count()
}

fn links(text: &str) -> Vec<(usize, String)> {
    Parser::new_ext(text, Options::ENABLE_TABLES)
        .into_offset_iter()
        .filter_map(|(event, range)| match event {
            Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                Some((line_at(text, range.start), dest_url.into_string()))
            }
            _ => None,
        })
        .collect()
}

fn complain(
    root: &Path,
    from: &Path,
    link: &str,
    anchors: &BTreeMap<&Path, BTreeSet<String>>,
) -> Option<String> {
    // A path of Rust in a README that is a crate's documentation; rustdoc checks those.
    let is_rust = link.contains("::");
    let is_elsewhere = link.contains("://") || link.starts_with("mailto:");
    if is_rust || is_elsewhere {
        return None;
    }
    let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
    let target = if path.is_empty() {
        from.to_path_buf()
    } else {
        resolve(from, path)?
    };
    if !root.join(&target).exists() {
        return Some(format!("the link to `{link}` leads nowhere"));
    }
    let known = anchors.get(target.as_path())?;
    (!anchor.is_empty() && !known.contains(anchor))
        .then(|| format!("`{}` has no heading `#{anchor}`", target.display()))
}

/// The path relative to the root; `..` is taken literally, as on the web.
fn resolve(from: &Path, path: &str) -> Option<PathBuf> {
    let mut resolved = from.parent()?.to_path_buf();
    for part in Path::new(path).components() {
        match part {
            Component::Normal(name) => resolved.push(name),
            Component::ParentDir => {
                let _ = resolved.pop();
            }
            Component::RootDir => resolved.clear(),
            Component::CurDir | Component::Prefix(_) => {}
        }
    }
    Some(resolved)
}

/// What the headings can be linked as: lower case, no punctuation, hyphens for spaces, counted
/// where they repeat.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    let mut heading: Option<String> = None;
    for event in Parser::new_ext(text, Options::ENABLE_TABLES) {
        match event {
            Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
            Event::End(TagEnd::Heading(_)) => {
                let slug = slug(&heading.take().unwrap_or_default());
                let numbered = (1..).map(|n| format!("{slug}-{n}"));
                let free = [slug.clone()]
                    .into_iter()
                    .chain(numbered)
                    .find(|name| !anchors.contains(name));
                anchors.extend(free);
            }
            Event::Text(text) | Event::Code(text) => {
                if let Some(heading) = &mut heading {
                    heading.push_str(&text);
                }
            }
            _ => {}
        }
    }
    anchors
}

fn slug(heading: &str) -> String {
    heading
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}
