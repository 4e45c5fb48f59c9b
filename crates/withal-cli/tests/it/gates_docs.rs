//! What docs/gates.md shows is true.

use std::path::Path;

use crate::support::{Sandbox, WITHAL};

const PAGE: &str = include_str!("../../../../docs/gates.md");
const SERVERS: &str = include_str!("../../../../docs/gates-servers.md");

#[test]
fn the_examples_of_the_page_on_gates_work() {
    let bin = Path::new(WITHAL).parent().unwrap().display();
    let examples = PAGE.split("```sh\n").skip(1);
    let examples = examples.map(|rest| rest.split("```").next().unwrap());
    let mut count = 0;
    for example in examples {
        let sandbox = Sandbox::new();
        let ended = sandbox.shell(&format!("set -e\nPATH={bin}:$PATH\n{example}"));
        assert_eq!(ended.code(), 0, "{example}\n{ended:?}");
        count += 1;
    }
    assert!(count >= 10, "{count}");
}

#[test]
fn the_page_on_gates_has_every_kind() {
    let ended = Sandbox::new().run(&["--with", "no-such-kind", "--", "true"]);
    let (_, kinds) = ended.stderr.trim_end().rsplit_once("there are ").unwrap();
    let lines = [PAGE, SERVERS].into_iter().flat_map(str::lines);
    let headings = lines.filter_map(|line| line.strip_prefix("## "));
    let headings: Vec<&str> = headings.flat_map(|heading| heading.split(", ")).collect();
    for kind in kinds.split(", ") {
        assert!(headings.contains(&kind), "{kind} is not in docs/gates.md");
    }
}
