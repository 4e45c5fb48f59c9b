//! Each rule on a small example, and all of them on this repository.

use std::path::{Path, PathBuf};

use super::sources::Source;
use super::{Document, Finding, architecture, check, crates, links, named_tests, sources};
use crate::repository::{self, Dependency, Metadata, Package};

#[test]
fn the_repository_is_tidy() {
    let findings = check(&repository::root(), &Metadata::load().unwrap()).unwrap();
    let shown: Vec<String> = findings.iter().map(Finding::to_string).collect();
    assert!(shown.is_empty(), "\n{}", shown.join("\n"));
}

#[test]
fn arrows_between_crates_point_down_only() {
    let arrows = |from: &str, to: &str, kind: Option<&str>| {
        let metadata = workspace(vec![package(from, &[(to, kind, false)]), package(to, &[])]);
        messages(architecture::check(&metadata))
    };
    assert!(arrows("withal-scope", "withal-core", None).is_empty());
    assert!(arrows("withal-core", "withal-testkit", Some("dev")).is_empty());
    assert_eq!(
        arrows("withal-os", "withal-scope", None),
        ["crates/withal-os/Cargo.toml: `withal-os` may not depend on `withal-scope`"]
    );
    assert_eq!(
        arrows("withal-os", "withal-cli", Some("build")),
        ["crates/withal-os/Cargo.toml: `withal-os` may not depend on `withal-cli`"]
    );
}

#[test]
fn the_core_crate_stands_on_the_standard_library() {
    let core = |dependency, optional| {
        let metadata = workspace(vec![package(
            "withal-core",
            &[(dependency, None, optional)],
        )]);
        messages(architecture::check(&metadata))
    };
    assert!(core("tracing", true).is_empty());
    for (dependency, optional) in [("tracing", false), ("tokio", true)] {
        assert_eq!(
            core(dependency, optional),
            [format!(
                "crates/withal-core/Cargo.toml: `withal-core` stands on the standard library \
                 alone, not on `{dependency}`"
            )]
        );
    }
}

#[test]
fn a_new_crate_is_given_a_place_first() {
    let metadata = workspace(vec![package("withal-extra", &[])]);
    let [finding] = architecture::check(&metadata).try_into().unwrap();
    assert!(finding.message.starts_with("`withal-extra` has no place"));
}

#[test]
fn a_folder_is_named_as_its_crate() {
    let check = |name, folder| messages(crates::check_name(&package(name, &[]), Path::new(folder)));
    assert!(check("withal-os", "crates/withal-os").is_empty());
    assert!(check("withal-benches", "benches").is_empty());
    assert_eq!(check("withal-os", "crates/os").len(), 1);
    assert_eq!(check("withal-utils", "crates/withal-utils").len(), 1);
}

#[test]
fn a_source_file_says_what_it_is() {
    check_source("crates/a/src/x.rs", "//! What it is.\nfn f() {}\n", &[]);
    check_source(
        "crates/a/src/lib.rs",
        "#![doc = include_str!(\"../README.md\")]\n",
        &[],
    );
    check_source("crates/a/tests/ui/x.rs", "fn main() {}\n", &[]);
    check_source(
        "crates/a/src/x.rs",
        "fn f() {}\n",
        &["crates/a/src/x.rs:1: the first line is a `//!` line that says what this file is"],
    );
}

#[test]
fn code_is_unsafe_in_granted_modules_only() {
    let text = "//! X.\n// unsafe in a comment\nconst X: &str = \"unsafe\";\nunsafe fn f() {}\n";
    check_source("crates/withal-scope/src/cell/slot.rs", text, &[]);
    check_source("crates/withal-cli/src/process.rs", text, &[]);
    for path in ["crates/withal-scope/src/cellar.rs", "benches/src/lib.rs"] {
        let expected = format!("{path}:4: `unsafe` outside the modules it is granted to");
        check_source(path, text, &[&expected]);
    }
}

#[test]
fn nothing_unfinished_is_left_behind() {
    check_source(
        "xtask/src/x.rs",
        "//! X.\nfn todo() {\n    todo()\n}\nfn g() {\n    todo!()\n}\nfn h() { vec![dbg!(1)]; }\n",
        &[
            "xtask/src/x.rs:6: `todo!` is left behind",
            "xtask/src/x.rs:8: `dbg!` is left behind",
        ],
    );
}

#[test]
fn no_test_is_ignored() {
    check_source(
        "xtask/src/x.rs",
        "//! X.\n#[cfg_attr(miri, ignore = \"forks\")]\nfn a() {}\n#[ignore]\nfn b() {}\n\
         #[ignore = \"slow\"]\nfn c() {}\n#[cfg_attr(miri, ignore)]\nfn d() {}\n\
         /// ```ignore\n/// ```\nfn e() {}\n",
        &[
            "xtask/src/x.rs:10: examples compile and run",
            "xtask/src/x.rs:4: no test is ignored: where behaviour is wrong today, assert it and \
             say so",
            "xtask/src/x.rs:6: no test is ignored: where behaviour is wrong today, assert it and \
             say so",
            "xtask/src/x.rs:8: a skipped test says why: `ignore = \"…\"`",
        ],
    );
}

#[test]
fn what_is_not_rust_is_found() {
    check_source(
        "xtask/src/x.rs",
        "//! X.\nfn f( {\n",
        &["xtask/src/x.rs:2: this is not Rust"],
    );
}

#[test]
fn an_invariant_names_tests_that_exist() {
    let architecture = "# A\n\n\
        **Architecture Invariant:** it holds.\n\
        Held by `withal_scope::it::exits_run` and `withal-scope::exits_run`.\n\n\
        **Architecture Invariant:** this too.\nHeld by `withal_scope::it::gone`.\n\
        **Architecture Invariant:** and this.\nHeld by `withal_none::gone` and `plain`.\n\n\
        - **Architecture Invariant:** `withal_scope::it::exits_run` is no proof.\n\n\
        **Architecture Invariant:** a lint and a chore.\n\
        Held by clippy's `disallowed_methods` (`clippy.toml`) and `cargo xtask miri`.\n\n\
        **Architecture Invariant:** no lint and no chore.\n\
        Held by clippy's `disallowed_types` and `cargo xtask moire`.\n";
    check_named_tests(
        &[("ARCHITECTURE.md", architecture)],
        &[
            "ARCHITECTURE.md:6: `withal_scope::it::gone`: `withal_scope` has no test `gone`",
            "ARCHITECTURE.md:8: `withal_none::gone`: there is no crate `withal_none`",
            "ARCHITECTURE.md:8: `plain` is not of the form `crate::path::test_name`",
            "ARCHITECTURE.md:11: the invariant names no test: \"Held by `…`\"",
            "ARCHITECTURE.md:16: `disallowed_types` is not of the form `crate::path::test_name`",
            "ARCHITECTURE.md:16: `cargo xtask moire`: there is no such chore",
        ],
    );
}

#[test]
fn an_architecture_without_invariants_is_found() {
    check_named_tests(&[], &["ARCHITECTURE.md: missing"]);
    check_named_tests(
        &[("ARCHITECTURE.md", "# A\n")],
        &["ARCHITECTURE.md: has no line that begins `**Architecture Invariant:**`"],
    );
}

#[test]
fn the_contextlib_table_names_tests_that_exist() {
    let holds = "**Architecture Invariant:** x.\nHeld by `withal_scope::exits_run`.\n";
    let table = "| python | api | our test |\n| --- | --- | --- |\n\
        | `a` | `withal::b` | `withal_scope::it::exits_run` |\n\
        | `c` | | `withal_scope::it::gone` |\n| `d` | does not apply: no | — |\n\
        | `e` | | `exits_run`, `main.rs` |\n| `f` | | `gone`, `ui/gone.rs` |\n\
        | `g` | | withal-scope: `exits_run`; withal-scope, compile-fail: `main.rs` |\n\
        | `h` | | withal-scope: `gone`; withal: `exits_run`; withal-core, ui: `main.rs` |\n\
        | `i` | not yet | planned |\n";
    check_named_tests(
        &[("ARCHITECTURE.md", holds), ("docs/contextlib.md", table)],
        &[
            "docs/contextlib.md:4: `withal_scope::it::gone`: `withal_scope` has no test `gone`",
            "docs/contextlib.md:7: `gone`: there is no such test",
            "docs/contextlib.md:7: `ui/gone.rs`: there is no such test",
            "docs/contextlib.md:9: `withal-scope::gone`: `withal-scope` has no test `gone`",
            "docs/contextlib.md:9: `withal::exits_run`: there is no crate `withal`",
            "docs/contextlib.md:9: `main.rs`: there is no such test",
            "docs/contextlib.md:10: the row names no test, and does not say it \"does not apply\"",
        ],
    );
    check_named_tests(
        &[("ARCHITECTURE.md", holds), ("docs/contextlib.md", "none\n")],
        &["docs/contextlib.md: has no table with a column of tests"],
    );
}

#[test]
fn a_relative_link_leads_somewhere() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("docs")).unwrap();
    std::fs::write(folder.path().join("docs/a.md"), "").unwrap();
    std::fs::write(folder.path().join("README.md"), "").unwrap();
    let documents = [
        document(
            "docs/a.md",
            "# The `with` block, twice\n# Two\n# Two\n[up](../README.md) [web](https://a.b/c)\n\
             [here](#the-with-block-twice) [second](#two-1) [rust](crate::with)\n\
             ```\n[code](no.md)\n```\n[gone](gone.md)\n",
        ),
        document(
            "README.md",
            "[a](docs/a.md#two)\n[b](docs/a.md#three)\n![c](/docs/c.png)\n",
        ),
    ];
    assert_eq!(
        messages(links::check(folder.path(), &documents)),
        [
            "docs/a.md:9: the link to `gone.md` leads nowhere",
            "README.md:2: `docs/a.md` has no heading `#three`",
            "README.md:3: the link to `/docs/c.png` leads nowhere",
        ]
    );
}

#[track_caller]
fn check_source(path: &str, text: &str, expected: &[&str]) {
    let source = Source::new(PathBuf::from(path), text.to_owned());
    assert_eq!(messages(sources::check(&source)), expected);
}

#[track_caller]
fn check_named_tests(documents: &[(&str, &str)], expected: &[&str]) {
    let documents: Vec<_> = documents
        .iter()
        .map(|(path, text)| document(path, text))
        .collect();
    let sources = [Source::new(
        PathBuf::from("crates/withal-scope/tests/it/main.rs"),
        "//! Tests.\nmod inner { #[test] fn exits_run() {} fn gone() {} }\n".to_owned(),
    )];
    let lints = "disallowed-methods = []\n";
    assert_eq!(
        messages(named_tests::check(&documents, &sources, lints)),
        expected
    );
}

fn messages(findings: Vec<Finding>) -> Vec<String> {
    findings.iter().map(Finding::to_string).collect()
}

fn document(path: &str, text: &str) -> Document {
    Document {
        path: PathBuf::from(path),
        text: text.to_owned(),
    }
}

fn workspace(packages: Vec<Package>) -> Metadata {
    Metadata {
        packages,
        target_directory: PathBuf::from("/repository/target"),
        workspace_root: PathBuf::from("/repository"),
    }
}

fn package(name: &str, dependencies: &[(&str, Option<&str>, bool)]) -> Package {
    Package {
        name: name.to_owned(),
        manifest_path: PathBuf::from(format!("/repository/crates/{name}/Cargo.toml")),
        dependencies: dependencies
            .iter()
            .map(|(name, kind, optional)| Dependency {
                name: (*name).to_owned(),
                kind: kind.map(str::to_owned),
                optional: *optional,
            })
            .collect(),
        publish: None,
        features: std::collections::BTreeMap::new(),
        rust_version: None,
    }
}
