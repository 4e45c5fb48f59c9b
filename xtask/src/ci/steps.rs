//! The steps of CI: cheap ones first, so that a failure shows early.

use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::repository::{self, Metadata};
use crate::{bench, miri, proof, provision, shell, tidy};

/// One step.
pub(super) struct Step {
    pub(super) name: &'static str,
    pub(super) what: &'static str,
    /// Gives the reason if the step cannot run on this machine.
    pub(super) run: fn(&Metadata) -> Result<Option<String>>,
}

pub(super) const STEPS: &[Step] = &[
    Step {
        name: "tools",
        what: "install what is missing",
        run: |_| done(provision::tools()),
    },
    Step {
        name: "format",
        what: "rustfmt leaves nothing to change",
        run: |_| cargo(&["fmt", "--all", "--check"]),
    },
    Step {
        name: "tidy",
        what: "the repository's own rules",
        run: |_| done(tidy::run()),
    },
    Step {
        name: "clippy",
        what: "no warning, with all features",
        run: |_| clippy("--all-features"),
    },
    Step {
        name: "clippy-bare",
        what: "no warning, with no features",
        run: |_| clippy("--no-default-features"),
    },
    Step {
        name: "alone",
        what: "each published package by itself, as its users build it",
        run: alone,
    },
    Step {
        name: "readme",
        what: "README's first command",
        run: |_| readme(),
    },
    Step {
        name: "docs",
        what: "rustdoc without a warning",
        run: docs,
    },
    Step {
        name: "tests",
        what: "all tests, with all features",
        run: |_| {
            cargo(&[
                "test",
                "--workspace",
                "--all-features",
                "--lib",
                "--bins",
                "--tests",
            ])
        },
    },
    Step {
        name: "tests-bare",
        what: "the tests of the published crates with features, without them",
        run: tests_without_features,
    },
    Step {
        name: "doctests",
        what: "the examples of the documentation",
        run: |_| cargo(&["test", "--workspace", "--all-features", "--doc"]),
    },
    Step {
        name: "conformance",
        what: "programs of nested blocks, as CPython ran them",
        run: conformance,
    },
    Step {
        name: "loom",
        what: "every interleaving of what has atomics",
        run: loom,
    },
    Step {
        name: "examples",
        what: "the examples and benches build, and the examples do what they say",
        run: |_| examples(),
    },
    Step {
        name: "kills",
        what: "`withal run`, killed at random moments, and what is left then",
        run: |metadata| done(proof::quick(metadata)),
    },
    Step {
        name: "benches",
        what: "every benchmark once, as a test",
        run: |_| done(bench::quick()),
    },
    Step {
        name: "msrv",
        what: "the oldest compiler we promise",
        run: msrv,
    },
    Step {
        name: "deny",
        what: "licences and sources of dependencies",
        run: deny,
    },
    Step {
        name: "miri",
        what: "undefined behaviour, the quick subset",
        run: |_| miri::quick(),
    },
];

/// The names of all steps.
pub(super) fn names() -> Vec<&'static str> {
    STEPS.iter().map(|step| step.name).collect()
}

fn done(ended: Result<()>) -> Result<Option<String>> {
    ended.map(|()| None)
}

fn cargo(arguments: &[&str]) -> Result<Option<String>> {
    done(shell::run(shell::cargo().args(arguments)))
}

fn clippy(features: &str) -> Result<Option<String>> {
    cargo(&[
        "clippy",
        "--workspace",
        "--all-targets",
        features,
        "--",
        "--deny=warnings",
    ])
}

/// A feature of a dependency that only our tests ask for is missed here, and nowhere else.
fn alone(metadata: &Metadata) -> Result<Option<String>> {
    for package in metadata.packages.iter().filter(|it| it.is_published()) {
        let package = format!("--package={}", package.name);
        shell::run(shell::cargo().args(["check", "--quiet", &package]))?;
    }
    Ok(None)
}

fn readme() -> Result<Option<String>> {
    let path = repository::root().join("README.md");
    let text = std::fs::read_to_string(&path).context("cannot read README.md")?;
    let command = first_command(&text).context("README.md has no line `$ cargo run …`")?;
    done(shell::run(
        shell::at_root("bash").args(["-euo", "pipefail", "-c", command]),
    ))
}

fn first_command(readme: &str) -> Option<&str> {
    let command = readme.lines().find_map(|line| line.strip_prefix("$ "))?;
    command.starts_with("cargo run ").then_some(command)
}

fn docs(_: &Metadata) -> Result<Option<String>> {
    done(shell::run(
        shell::cargo().env("RUSTDOCFLAGS", "--deny=warnings").args([
            "doc",
            "--workspace",
            "--all-features",
            "--no-deps",
        ]),
    ))
}

fn tests_without_features(metadata: &Metadata) -> Result<Option<String>> {
    let packages = metadata
        .packages
        .iter()
        // The others ask for features of these.
        .filter(|package| package.is_published() && !package.features.is_empty())
        .map(|package| format!("--package={}", package.name));
    shell::run(shell::cargo().arg("test").args(packages).args([
        "--no-default-features",
        "--lib",
        "--tests",
    ]))?;
    // What the compiler says of the facade as most have it.
    cargo(&["test", "--package=withal", "--test=it", "compile"])
}

fn conformance(_: &Metadata) -> Result<Option<String>> {
    const CASES: &str = "crates/withal-conformance/cases.json";
    if !repository::root().join(CASES).is_file() {
        bail!("{CASES} is missing");
    }
    cargo(&[
        "run",
        "--release",
        "--package=withal-conformance",
        "--",
        CASES,
    ])
}

/// Runs every `tests/loom_*.rs`, built apart: the flag changes all dependencies too.
fn loom(metadata: &Metadata) -> Result<Option<String>> {
    let tests = loom_tests(&repository::files(&repository::root())?);
    if tests.is_empty() {
        bail!("there is no tests/loom_*.rs");
    }
    for (package, test) in tests {
        let loom = |also: &[&str]| {
            let mut command = shell::cargo();
            let _ = command
                .env("RUSTFLAGS", "--cfg withal_loom")
                .env("CARGO_TARGET_DIR", metadata.target_directory.join("loom"))
                .args(["test", "--release"])
                .arg(format!("--package={package}"))
                .arg(format!("--test={test}"))
                .args(also);
            command
        };
        // Under another flag than its own a file is empty, and would pass.
        if !shell::output(&mut loom(&["--", "--list"]))?.contains(": test") {
            bail!("{test} of {package} has no tests under `--cfg withal_loom`");
        }
        shell::run(&mut loom(&[]))?;
    }
    Ok(None)
}

/// The packages and names of the loom tests among these files.
fn loom_tests(files: &[impl AsRef<Path>]) -> Vec<(String, String)> {
    let parts = |path: &Path| -> Option<(String, String)> {
        let parts: Vec<_> = path
            .iter()
            .map(|part| part.to_str())
            .collect::<Option<_>>()?;
        let [_, package, "tests", file] = parts.as_slice() else {
            return None;
        };
        let test = file.strip_suffix(".rs")?;
        test.starts_with("loom_")
            .then(|| ((*package).to_owned(), test.to_owned()))
    };
    files
        .iter()
        .filter_map(|file| parts(file.as_ref()))
        .collect()
}

fn examples() -> Result<Option<String>> {
    let _ran = cargo(&[
        "check",
        "--workspace",
        "--all-features",
        "--examples",
        "--benches",
    ])?;
    for program in ["cancelled", "whats-open"] {
        let _ran = cargo(&["run", "--package=withal-examples", "--bin", program])?;
    }
    for example in ["transfer-funds", "giant-logs"] {
        let _ran = cargo(&["run", &format!("--package=withal-example-{example}")])?;
    }
    let _ran = cargo(&["test", "--package=withal-example-many-databases"])?;
    let _ran = cargo(&[
        "run",
        "--package=withal-cli",
        "--",
        "run",
        "examples/nightly-report/JOB.toml",
    ])?;
    // These kill a program again and again, and look at what is left.
    let _ran = cargo(&["test", "--package=withal-example-invoices"])?;
    cargo(&[
        "run",
        "--package=withal-example-resilient-log",
        "--",
        "prove",
    ])
}

fn msrv(metadata: &Metadata) -> Result<Option<String>> {
    let promised = metadata
        .packages
        .iter()
        .find_map(|package| package.rust_version.as_deref())
        .context("no package names its rust-version")?;
    let compiler = shell::output(shell::at_root("rustc").arg("--version"))?;
    if compiler.starts_with(&format!("rustc {promised}.")) {
        println!("the compiler of the other steps is it: {}", compiler.trim());
        return Ok(None);
    }
    if !shell::is_installed("rustup") {
        return Ok(Some(format!(
            "this is {}, and no rustup to get {promised} with",
            compiler.trim()
        )));
    }
    shell::run(shell::at_root("rustup").args([
        "toolchain",
        "install",
        promised,
        "--profile=minimal",
        "--no-self-update",
    ]))?;
    done(shell::run(
        shell::at_root("rustup")
            .env("CARGO_TARGET_DIR", metadata.target_directory.join("msrv"))
            .args([
                "run",
                promised,
                "cargo",
                "check",
                "--workspace",
                "--all-features",
            ]),
    ))
}

fn deny(_: &Metadata) -> Result<Option<String>> {
    if !shell::succeeds(shell::cargo().args(["deny", "--version"])) {
        return Ok(Some(
            "no cargo-deny here (`cargo install --locked cargo-deny`)".to_owned(),
        ));
    }
    cargo(&["deny", "check", "bans", "licenses", "sources"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_command_is_the_first_line_with_a_prompt() {
        let readme = "text\n```console\n$ cargo run -- a && b\n$ cargo run -- c\n```\n";
        assert_eq!(first_command(readme), Some("cargo run -- a && b"));
        assert_eq!(first_command("$ rm -r x\n$ cargo run\n"), None);
    }

    #[test]
    fn loom_tests_are_found_by_their_names() {
        let files = [
            "crates/withal-scope/tests/loom_slot.rs",
            "crates/withal-scope/tests/it/loom_not.rs",
            "crates/withal-scope/tests/it.rs",
            "crates/withal-pool/tests/loom_queue.rs",
        ];
        let owned = |(package, test): (&str, &str)| (package.to_owned(), test.to_owned());
        assert_eq!(
            loom_tests(&files),
            [("withal-scope", "loom_slot"), ("withal-pool", "loom_queue")].map(owned)
        );
    }
}
