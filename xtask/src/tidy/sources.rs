//! Rules for every Rust file, checked on its tokens: strings and comments do not count.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::str::FromStr;

use proc_macro2::{Delimiter, Group, Ident, TokenStream, TokenTree};

use super::Finding;

/// Where `unsafe` is granted, as ARCHITECTURE.md argues: the scope's cells and the command's
/// process model.
const UNSAFE_GRANTED: &[&str] = &[
    "crates/withal-scope/src/cell.rs",
    "crates/withal-scope/src/cell/",
    "crates/withal-cli/src/process.rs",
    "crates/withal-cli/src/process/",
];

const UNFINISHED: &[&str] = &["todo", "unimplemented", "dbg"];

/// A Rust file and its tokens.
pub(super) struct Source {
    pub(super) path: PathBuf,
    text: String,
    tokens: Result<TokenStream, usize>,
}

impl Source {
    pub(super) fn new(path: PathBuf, text: String) -> Source {
        let tokens = TokenStream::from_str(&text).map_err(|error| error.span().start().line);
        Source { path, text, tokens }
    }

    /// The names of the tests it defines.
    pub(super) fn test_functions(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        if let Ok(tokens) = &self.tokens {
            collect_tests(tokens.clone(), &mut names);
        }
        names
    }

    /// Cases of compile-fail tests, which are wrong on purpose and whose line numbers are expected.
    fn is_compile_case(&self) -> bool {
        self.path.iter().any(|part| part == "ui")
    }

    fn may_be_unsafe(&self) -> bool {
        let path = self.path.to_string_lossy();
        UNSAFE_GRANTED.iter().any(|granted| {
            if granted.ends_with('/') {
                path.starts_with(granted)
            } else {
                path == *granted
            }
        })
    }
}

pub(super) fn check(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !source.is_compile_case() {
        findings.extend(check_opening(source));
    }
    findings.extend(check_doc_fences(source));
    match &source.tokens {
        Ok(tokens) => check_tokens(source, tokens.clone(), &mut findings),
        Err(line) => findings.push(Finding::new(&source.path, *line, "this is not Rust")),
    }
    findings
}

fn check_opening(source: &Source) -> Option<Finding> {
    let first = source.text.lines().next().unwrap_or_default();
    // A crate may include its README as its documentation.
    let is_documented = first.starts_with("//! ") || first.starts_with("#![doc = include_str!(");
    (!is_documented).then(|| {
        let message = "the first line is a `//!` line that says what this file is";
        Finding::new(&source.path, 1, message)
    })
}

fn check_doc_fences(source: &Source) -> Vec<Finding> {
    let is_ignored = |line: &str| {
        let fence = line
            .trim_start()
            .strip_prefix("///")
            .or_else(|| line.trim_start().strip_prefix("//!"))
            .and_then(|text| text.trim_start().strip_prefix("```"));
        fence.is_some_and(|info| info.split([',', ' ']).any(|word| word == "ignore"))
    };
    let lines = source.text.lines().enumerate();
    lines
        .filter(|(_, line)| is_ignored(line))
        .map(|(index, _)| Finding::new(&source.path, index + 1, "examples compile and run"))
        .collect()
}

fn check_tokens(source: &Source, tokens: TokenStream, findings: &mut Vec<Finding>) {
    let mut tokens = tokens.into_iter().peekable();
    let mut previous: Option<TokenTree> = None;
    while let Some(token) = tokens.next() {
        match &token {
            TokenTree::Ident(ident) => {
                let is_call =
                    matches!(tokens.peek(), Some(TokenTree::Punct(p)) if p.as_char() == '!');
                findings.extend(check_word(source, ident, is_call));
            }
            TokenTree::Group(group) => {
                if is_punct(previous.as_ref(), '#') || is_punct(previous.as_ref(), '!') {
                    findings.extend(check_attribute(source, group));
                }
                check_tokens(source, group.stream(), findings);
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
        previous = Some(token);
    }
}

fn check_word(source: &Source, ident: &Ident, is_macro_call: bool) -> Option<Finding> {
    let line = ident.span().start().line;
    let word = ident.to_string();
    if word == "unsafe" && !source.may_be_unsafe() {
        return Some(Finding::new(
            &source.path,
            line,
            "`unsafe` outside the modules it is granted to",
        ));
    }
    (is_macro_call && UNFINISHED.contains(&word.as_str()))
        .then(|| Finding::new(&source.path, line, format!("`{word}!` is left behind")))
}

/// `#[ignore]` hides a test; `cfg_attr(miri, ignore = "…")` skips it where it cannot run.
fn check_attribute(source: &Source, group: &Group) -> Option<Finding> {
    if group.delimiter() != Delimiter::Bracket {
        return None;
    }
    let mut tokens = group.stream().into_iter();
    let Some(TokenTree::Ident(name)) = tokens.next() else {
        return None;
    };
    let line = name.span().start().line;
    if name == "ignore" {
        let message = "no test is ignored: where behaviour is wrong today, assert it and say so";
        return Some(Finding::new(&source.path, line, message));
    }
    let Some(TokenTree::Group(inner)) = tokens.next() else {
        return None;
    };
    if name == "cfg_attr" && ignores_without_reason(inner.stream()) {
        let message = "a skipped test says why: `ignore = \"…\"`";
        return Some(Finding::new(&source.path, line, message));
    }
    None
}

fn ignores_without_reason(tokens: TokenStream) -> bool {
    let mut tokens = tokens.into_iter();
    let ignore = tokens.find(|token| matches!(token, TokenTree::Ident(i) if i == "ignore"));
    ignore.is_some() && !is_punct(tokens.next().as_ref(), '=')
}

fn collect_tests(tokens: TokenStream, names: &mut BTreeSet<String>) {
    let mut tokens = tokens.into_iter().peekable();
    let mut is_test = false;
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Ident(word) if word == "fn" => {
                if let Some(TokenTree::Ident(name)) = tokens.peek()
                    && is_test
                {
                    let _ = names.insert(name.to_string());
                }
                is_test = false;
            }
            TokenTree::Group(group) if group.delimiter() == Delimiter::Bracket => {
                is_test |= makes_a_test(group.stream());
            }
            TokenTree::Group(group) => collect_tests(group.stream(), names),
            _ => {}
        }
    }
}

/// Whether an attribute is `test`, or a path that ends so: `tokio::test(start_paused = true)`.
fn makes_a_test(attribute: TokenStream) -> bool {
    let path = attribute
        .into_iter()
        .take_while(|token| !matches!(token, TokenTree::Group(_)));
    matches!(path.last(), Some(TokenTree::Ident(word)) if word == "test")
}

fn is_punct(token: Option<&TokenTree>, character: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == character)
}
