//! Arrows between crates point down only.

use super::Finding;
use crate::repository::{Metadata, Package};

/// Each crate, lowest first, and the crates of ours it may depend on.
///
/// Tests may look anywhere: only what is built for users counts.
const MAY_DEPEND_ON: &[(&str, &[&str])] = &[
    ("withal-core", &[]),
    ("withal-macros", &[]),
    ("withal-scope", &["withal-core"]),
    ("withal-os", &["withal-core"]),
    ("withal-log", &["withal-core", "withal-os"]),
    ("withal-pool", &["withal-core", "withal-scope"]),
    (
        "withal-sql",
        &["withal-core", "withal-os", "withal-scope", "withal-pool"],
    ),
    ("withal-net", &["withal-core", "withal-scope"]),
    ("withal-web", &["withal-core", "withal-scope"]),
    (
        "withal-lock",
        &["withal-core", "withal-scope", "withal-pool", "withal-sql"],
    ),
    ("withal-servers", &["withal-core", "withal-os"]),
    (
        "withal-testkit",
        &["withal-core", "withal-scope", "withal-servers"],
    ),
    ("withal", LIBRARIES),
    ("withal-cli", EVERYTHING_BELOW_THE_COMMAND),
    ("withal-conformance", &["withal-core", "withal-scope"]),
    ("withal-benches", EVERYTHING_BELOW_THE_COMMAND),
    (
        "withal-proofs",
        &["withal-core", "withal-log", "withal-os", "withal-servers"],
    ),
    ("withal-proofs-pg", EVERYTHING_BELOW_THE_COMMAND),
    ("withal-examples", EVERYTHING_BELOW_THE_COMMAND),
    ("withal-example-invoices", EVERYTHING_BELOW_THE_COMMAND),
    (
        "withal-example-many-databases",
        EVERYTHING_BELOW_THE_COMMAND,
    ),
    ("withal-example-nightly-report", &[]),
    ("withal-example-resilient-log", EVERYTHING_BELOW_THE_COMMAND),
    (
        "withal-example-transfer-funds",
        EVERYTHING_BELOW_THE_COMMAND,
    ),
    ("withal-example-giant-logs", EVERYTHING_BELOW_THE_COMMAND),
    ("xtask", &[]),
];

const LIBRARIES: &[&str] = &[
    "withal-core",
    "withal-macros",
    "withal-scope",
    "withal-os",
    "withal-log",
    "withal-pool",
    "withal-sql",
    "withal-net",
    "withal-web",
    "withal-lock",
    "withal-servers",
    "withal-testkit",
];

const EVERYTHING_BELOW_THE_COMMAND: &[&str] = &[
    "withal-core",
    "withal-macros",
    "withal-scope",
    "withal-os",
    "withal-log",
    "withal-pool",
    "withal-sql",
    "withal-net",
    "withal-web",
    "withal-lock",
    "withal-servers",
    "withal-testkit",
    "withal",
];

/// What the core crate may use besides the standard library, and only as an option.
const CORE_OPTIONS: &[&str] = &["log", "tracing"];

pub(super) fn check(metadata: &Metadata) -> Vec<Finding> {
    let packages = metadata.packages.iter();
    packages.flat_map(|p| check_package(p, metadata)).collect()
}

fn check_package(package: &Package, metadata: &Metadata) -> Vec<Finding> {
    let manifest = package.folder(metadata).join("Cargo.toml");
    let finding = |message: String| Finding::new(&manifest, 0, message);
    let name = package.name.as_str();
    let Some((_, allowed)) = MAY_DEPEND_ON.iter().find(|(crate_, _)| *crate_ == name) else {
        return vec![finding(format!(
            "`{name}` has no place in the order of crates yet (xtask/src/tidy/architecture.rs)"
        ))];
    };
    package
        .dependencies
        .iter()
        .filter(|dependency| dependency.kind.as_deref() != Some("dev"))
        .filter_map(|dependency| {
            let target = dependency.name.as_str();
            if metadata.package(target).is_some() {
                let is_down = allowed.contains(&target);
                (!is_down).then(|| finding(format!("`{name}` may not depend on `{target}`")))
            } else if name == "withal-core" {
                let is_option = dependency.optional && CORE_OPTIONS.contains(&target);
                (!is_option).then(|| {
                    finding(format!(
                        "`{name}` stands on the standard library alone, not on `{target}`"
                    ))
                })
            } else {
                None
            }
        })
        .collect()
}
