//! Documents that say which test holds a promise name tests that exist.
//!
//! In ARCHITECTURE.md each paragraph that begins `**Architecture Invariant:**` goes on to "Held by
//! `crate::path::test_name`", or by a chore (`cargo xtask miri`) or a lint that clippy.toml sets up.
//! In docs/contextlib.md and docs/sql.md each cell of a column whose heading has the word "test" names its tests in
//! that way, or by their bare names and as files of compile-fail cases after "crate:" or
//! "crate, compile-fail:". A row that has none says that it "does not apply", and why.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use super::sources::Source;
use super::{Document, Finding};

const INVARIANT: &str = "**Architecture Invariant:**";

pub(super) fn check(documents: &[Document], sources: &[Source], lints: &str) -> Vec<Finding> {
    let tests = Tests::of(sources, lints);
    let find = |path: &str| documents.iter().find(|d| d.path == Path::new(path));
    let mut findings = match find("ARCHITECTURE.md") {
        Some(document) => check_invariants(document, &tests),
        None => vec![Finding::new("ARCHITECTURE.md", 0, "missing")],
    };
    for document in ["docs/contextlib.md", "docs/sql.md"]
        .map(find)
        .into_iter()
        .flatten()
    {
        findings.extend(check_tables(document, &tests));
    }
    findings
}

/// What can hold a promise.
struct Tests<'s> {
    /// The test functions of each crate, by the name its paths begin with.
    functions: BTreeMap<String, BTreeSet<String>>,
    /// All Rust files, compile-fail cases among them.
    files: BTreeSet<&'s Path>,
    /// The text of clippy.toml.
    lints: &'s str,
}

impl Tests<'_> {
    fn of<'s>(sources: &'s [Source], lints: &'s str) -> Tests<'s> {
        let mut functions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for source in sources {
            let mut parts = source.path.iter().filter_map(|part| part.to_str());
            let folder = match parts.next() {
                Some("crates") => parts.next(),
                top => top,
            };
            let name = folder.unwrap_or_default().replace('-', "_");
            functions
                .entry(name)
                .or_default()
                .extend(source.test_functions());
        }
        let files = sources.iter().map(|source| source.path.as_path());
        Tests {
            functions,
            files: files.collect(),
            lints,
        }
    }

    /// What is wrong with what is said to hold an invariant, if anything.
    fn complain_of_holder(&self, holder: &str) -> Option<String> {
        if let Some(chore) = holder.strip_prefix("cargo xtask ") {
            let is_known = crate::chores().any(|known| known == chore);
            return (!is_known).then(|| format!("`{holder}`: there is no such chore"));
        }
        let lint = format!("{} =", holder.replace('_', "-"));
        let is_lint = self.lints.lines().any(|line| line.starts_with(&lint));
        if is_lint || holder == "clippy.toml" {
            return None;
        }
        self.complain(holder)
    }

    /// What is wrong with a test's path, if anything.
    fn complain(&self, path: &str) -> Option<String> {
        let Some((crate_, rest)) = path.split_once("::") else {
            return Some(format!(
                "`{path}` is not of the form `crate::path::test_name`"
            ));
        };
        let test = rest.rsplit("::").next().unwrap_or(rest);
        match self.functions.get(&crate_.replace('-', "_")) {
            None => Some(format!("`{path}`: there is no crate `{crate_}`")),
            Some(names) if !names.contains(test) => {
                Some(format!("`{path}`: `{crate_}` has no test `{test}`"))
            }
            Some(_) => None,
        }
    }

    /// The same for a name that may also be bare, or a file: of `crate_`, if that is known.
    fn complain_of_name(&self, crate_: Option<&str>, name: &str) -> Option<String> {
        match crate_ {
            _ if name.contains("::") => self.complain(name),
            Some(crate_) if !name.ends_with(".rs") => self.complain(&format!("{crate_}::{name}")),
            _ => (!self.knows(crate_, name)).then(|| format!("`{name}`: there is no such test")),
        }
    }

    fn knows(&self, crate_: Option<&str>, name: &str) -> bool {
        if !name.ends_with(".rs") {
            return self.functions.values().any(|names| names.contains(name));
        }
        let folder = crate_.map(|crate_| Path::new("crates").join(crate_));
        self.files.iter().any(|file| {
            file.ends_with(name)
                && folder
                    .as_ref()
                    .is_none_or(|folder| file.starts_with(folder))
        })
    }
}

fn check_invariants(document: &Document, tests: &Tests<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut invariants = 0;
    let lines: Vec<&str> = document.text.lines().collect();
    for (index, line) in lines.iter().enumerate() {
        if !begins_invariant(line) {
            continue;
        }
        invariants += 1;
        let rest = lines.iter().skip(index + 1);
        let paragraph: Vec<&str> = [*line]
            .into_iter()
            .chain(
                rest.copied()
                    .take_while(|line| !line.trim().is_empty() && !begins_invariant(line)),
            )
            .collect();
        let finding = |message: String| Finding::new(&document.path, index + 1, message);
        let held_by = held_by(&paragraph.join("\n"));
        if held_by.is_empty() {
            findings.push(finding(
                "the invariant names no test: \"Held by `…`\"".to_owned(),
            ));
        }
        let complaints = held_by
            .iter()
            .filter_map(|test| tests.complain_of_holder(test));
        findings.extend(complaints.map(finding));
    }
    if invariants == 0 {
        findings.push(Finding::new(
            &document.path,
            0,
            format!("has no line that begins `{INVARIANT}`"),
        ));
    }
    findings
}

fn begins_invariant(line: &str) -> bool {
    line.trim_start_matches(['-', '*', '>', ' '])
        .starts_with(INVARIANT.trim_start_matches('*'))
}

/// The code spans after "Held by".
fn held_by(paragraph: &str) -> Vec<String> {
    let Some((_, after)) = paragraph.split_once("Held by") else {
        return Vec::new();
    };
    Parser::new(after)
        .filter_map(|event| match event {
            Event::Code(code) => Some(code.into_string()),
            _ => None,
        })
        .collect()
}

fn check_tables(document: &Document, tests: &Tests<'_>) -> Vec<Finding> {
    let rows = rows_with_tests(&document.text);
    if rows.is_empty() {
        let message = "has no table with a column of tests";
        return vec![Finding::new(&document.path, 0, message)];
    }
    let check = |row: &Row| {
        let finding = |message| Finding::new(&document.path, row.line, message);
        if row.tests.is_empty() && !row.text.contains(DOES_NOT_APPLY) {
            let message =
                format!("the row names no test, and does not say it \"{DOES_NOT_APPLY}\"");
            return vec![finding(message)];
        }
        let named = row.tests.iter();
        let complaints =
            named.filter_map(|(crate_, test)| tests.complain_of_name(crate_.as_deref(), test));
        complaints.map(finding).collect()
    };
    rows.iter().flat_map(check).collect()
}

const DOES_NOT_APPLY: &str = "does not apply";

/// A row of a table that has a column of tests.
#[derive(Default)]
struct Row {
    line: usize,
    text: String,
    /// The code spans in those columns, each with the crate whose name stands before it.
    tests: Vec<(Option<String>, String)>,
}

fn rows_with_tests(text: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut columns: BTreeSet<usize> = BTreeSet::new();
    let (mut column, mut in_head, mut heading) = (0, false, String::new());
    let (mut row, mut crate_) = (Row::default(), None);
    for (event, range) in Parser::new_ext(text, Options::ENABLE_TABLES).into_offset_iter() {
        match event {
            Event::Start(Tag::TableHead) => {
                columns.clear();
                (in_head, column) = (true, 0);
            }
            Event::End(TagEnd::TableHead) => in_head = false,
            Event::Start(Tag::TableRow) => {
                column = 0;
                row = Row {
                    line: super::links::line_at(text, range.start),
                    ..Row::default()
                };
            }
            Event::End(TagEnd::TableRow) if !columns.is_empty() => {
                rows.push(std::mem::take(&mut row));
            }
            Event::Start(Tag::TableCell) => {
                heading.clear();
                crate_ = None;
            }
            Event::End(TagEnd::TableCell) => {
                if in_head && heading.to_lowercase().contains("test") {
                    let _ = columns.insert(column);
                }
                column += 1;
            }
            Event::Text(text) if in_head => heading.push_str(&text),
            Event::Text(text) => {
                row.text.push_str(&text);
                crate_ = crate_before(&text).or(crate_);
            }
            Event::Code(code) if !in_head && columns.contains(&column) => {
                row.tests.push((crate_.clone(), code.into_string()));
            }
            Event::End(TagEnd::Table) => columns.clear(),
            _ => {}
        }
    }
    rows
}

/// The crate in "withal-core:" or "; withal-core, compile-fail:".
fn crate_before(text: &str) -> Option<String> {
    let mut words = text.split([' ', ',', ';', ':']);
    let crate_ = words.rfind(|word| word.starts_with("withal"))?;
    Some(crate_.to_owned())
}
