//! `cargo xtask miri`: undefined behaviour, looked for with the best tool to be had.

use std::process::Command;

use anyhow::{Result, bail};
use clap::Args;
use serde::Deserialize;

use crate::repository::{self, Metadata};
use crate::{provision, shell};

/// What the scopes stand on, and the scopes, which have the `unsafe`.
const PACKAGES: &[&str] = &["withal-core", "withal-scope"];
const QUICK_PACKAGES: &[&str] = &["withal-scope"];

/// Tests that take hours under Miri, and where they stand: in a crate that forbids `unsafe`, and
/// whose smaller tests take the same paths.
const TOO_LARGE: &[(&str, &[&str])] = &[(
    "withal-core",
    &[
        "a_hundred_thousand_failures_are_kept_shown_and_dropped_without_recursion",
        "managers_that_may_swallow_mean_the_same_in_every_form_up_to_depth_three",
        "managers_that_never_swallow_mean_the_same_in_every_form_up_to_depth_three",
        "a_stack_of_four_equals_four_nested_blocks",
        "size::",
    ],
)];

/// Tests that take minutes. What they try in every way, others of the crate try in one.
const NOT_QUICK: &[&str] = &["many::", "product::"];

const MIRIFLAGS: &str = "-Zmiri-disable-isolation -Zmiri-strict-provenance";

/// What to look at.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The scopes under one borrow model (Stacked Borrows) only, without the longest tests, and
    /// nothing is installed
    #[arg(long)]
    quick: bool,

    /// A package to run; may be given more than once [default: withal-core and withal-scope, the
    /// latter alone if quick]
    #[arg(long, value_name = "NAME")]
    package: Vec<String>,

    /// The flags for Miri; the borrow model is added
    #[arg(long, value_name = "FLAGS", default_value = MIRIFLAGS, allow_hyphen_values = true)]
    flags: String,

    /// Arguments for the test programs, such as part of a test's name
    #[arg(last = true)]
    tests: Vec<String>,
}

impl Arguments {
    fn packages(&self) -> Vec<&str> {
        match (self.package.as_slice(), self.quick) {
            ([], true) => QUICK_PACKAGES.to_vec(),
            ([], false) => PACKAGES.to_vec(),
            (named, _) => named.iter().map(String::as_str).collect(),
        }
    }
}

/// Runs Miri, and where that cannot be had AddressSanitizer, and else Valgrind.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if has_miri() || (!arguments.quick && install_miri()) {
        return miri(arguments);
    }
    println!(
        "Miri cannot be had here: it needs a nightly toolchain with the components miri and rust-src"
    );
    if has_nightly() {
        println!("running AddressSanitizer instead, which sees memory errors but no aliasing");
        address_sanitizer(arguments)
    } else {
        println!("nor is there a nightly for AddressSanitizer; running Valgrind instead");
        valgrind(arguments)
    }
}

/// The quick subset for CI, or why it cannot run.
pub(crate) fn quick() -> Result<Option<String>> {
    if !has_miri() {
        return Ok(Some(
            "no nightly with miri here (`cargo xtask miri` installs one)".to_owned(),
        ));
    }
    miri(&Arguments {
        quick: true,
        package: Vec::new(),
        flags: MIRIFLAGS.to_owned(),
        tests: Vec::new(),
    })?;
    Ok(None)
}

fn miri(arguments: &Arguments) -> Result<()> {
    let models: &[(&str, &str)] = if arguments.quick {
        &[("Stacked Borrows", "")]
    } else {
        &[
            ("Stacked Borrows", ""),
            ("Tree Borrows", " -Zmiri-tree-borrows"),
        ]
    };
    for (model, flag) in models {
        for package in arguments.packages() {
            println!("-- {package} under {model}");
            let flags = format!("{}{flag}", arguments.flags);
            shell::run(
                nightly_cargo()
                    .env("MIRIFLAGS", flags)
                    .args(["miri", "test"])
                    .args(test_targets(package))
                    .arg("--")
                    .args(skipped(package, arguments.quick))
                    .args(&arguments.tests),
            )?;
        }
    }
    Ok(())
}

fn skipped(package: &str, is_quick: bool) -> Vec<String> {
    let too_large = TOO_LARGE
        .iter()
        .filter(|(crate_, _)| *crate_ == package)
        .flat_map(|(_, tests)| tests.iter());
    let not_quick = NOT_QUICK.iter().filter(|_| is_quick);
    too_large
        .chain(not_quick)
        .map(|test| format!("--skip={test}"))
        .collect()
}

fn address_sanitizer(arguments: &Arguments) -> Result<()> {
    let host = shell::output(shell::at_root("rustc").args(["--print", "host-tuple"]))?;
    let host = host.trim();
    let target = Metadata::load()?.target_directory.join("sanitizer");
    for package in arguments.packages() {
        shell::run(
            nightly_cargo()
                .env("RUSTFLAGS", "-Zsanitizer=address")
                .env("CARGO_TARGET_DIR", &target)
                .args(["test", "--target", host])
                .args(test_targets(package))
                .arg("--")
                .args(&arguments.tests),
        )?;
    }
    Ok(())
}

fn valgrind(arguments: &Arguments) -> Result<()> {
    if !shell::is_installed("valgrind") {
        if arguments.quick {
            bail!("no nightly and no valgrind (`apt-get install valgrind`)");
        }
        provision::apt(&["valgrind"])?;
    }
    for package in arguments.packages() {
        for program in test_programs(package)? {
            shell::run(
                shell::at_root("valgrind")
                    .args(["--error-exitcode=99", "--quiet", "--trace-children=no"])
                    .arg(program)
                    .args(&arguments.tests),
            )?;
        }
    }
    Ok(())
}

/// Builds the package's tests and gives the paths of the programs.
fn test_programs(package: &str) -> Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Message {
        executable: Option<String>,
    }
    let messages = shell::output(
        shell::cargo()
            .args(["test", "--no-run", "--message-format=json"])
            .args(test_targets(package)),
    )?;
    let programs: Vec<String> = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Message>(line).ok()?.executable)
        .collect();
    if programs.is_empty() {
        bail!("{package} has no tests");
    }
    Ok(programs)
}

/// The targets that fit: unit tests and the one integration test program, which leaves out what
/// cannot run here by `cfg(miri)`.
fn test_targets(package: &str) -> Vec<String> {
    let mut targets = vec![format!("--package={package}"), "--lib".to_owned()];
    let it = repository::root().join(format!("crates/{package}/tests/it/main.rs"));
    if it.is_file() {
        targets.push("--test=it".to_owned());
    }
    targets
}

fn has_nightly() -> bool {
    shell::succeeds(nightly_cargo().arg("--version"))
}

fn has_miri() -> bool {
    shell::succeeds(nightly_cargo().args(["miri", "--version"]))
}

fn install_miri() -> bool {
    shell::is_installed("rustup")
        && shell::run(shell::at_root("rustup").args([
            "toolchain",
            "install",
            "nightly",
            "--profile=minimal",
            "--component=miri,rust-src",
            "--no-self-update",
        ]))
        .is_ok()
        && has_miri()
}

fn nightly_cargo() -> Command {
    let mut command = shell::at_root("rustup");
    let _ = command.args(["run", "nightly", "cargo"]);
    command
}
