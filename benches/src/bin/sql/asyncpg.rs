//! asyncpg, a process that is told what to do and says how long it took.

use std::cell::RefCell;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

use withal_benches::Bench;
use withal_core::BoxError;

const WHO: &str = "asyncpg";

/// Ends when it is dropped.
struct Asyncpg {
    child: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

/// Adds its cases; none, and says so, if it is not installed.
pub(crate) fn add(bench: &mut Bench<'_>, url: &str) -> Result<(), BoxError> {
    let Some(asyncpg) = Asyncpg::start(url)? else {
        eprintln!("asyncpg is missing: `pip install asyncpg`");
        return Ok(());
    };
    let asyncpg = Rc::new(RefCell::new(asyncpg));
    let order = |work: &'static str, tasks: u64| {
        let asyncpg = Rc::clone(&asyncpg);
        move |repeats| {
            let took = asyncpg.borrow_mut().order(work, tasks, repeats);
            took.expect("asyncpg does the work")
        }
    };
    for (name, tasks, work) in [
        ("take a connection and give it back", 1, "check-out"),
        ("the same, 64 tasks on 8", 64, "check-out"),
        ("take one, query a row, give it back", 1, "query"),
    ] {
        bench.case(name, WHO, order(work, tasks));
    }
    for (name, tasks, work) in [
        ("transfers, 1 task", 1, "transfer"),
        ("transfers, 32 tasks", 32, "transfer"),
        ("transfers on the disk, 1 task", 1, "durable"),
        ("transfers on the disk, 32 tasks", 32, "durable"),
        ("rows, others may run", 1, "rows"),
    ] {
        bench.rate(name, WHO, order(work, tasks));
    }
    Ok(())
}

impl Asyncpg {
    /// `None` if it is not installed.
    fn start(url: &str) -> Result<Option<Asyncpg>, BoxError> {
        let found = Command::new("python3")
            .args(["-c", "import asyncpg"])
            .stderr(Stdio::null())
            .status();
        if !found.is_ok_and(|status| status.success()) {
            return Ok(None);
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/asyncpg_peer.py");
        let mut child = Command::new("python3")
            .arg(script)
            .arg(url)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let answers = child.stdout.take().ok_or("no stdout")?;
        Ok(Some(Asyncpg {
            orders: child.stdin.take(),
            answers: BufReader::new(answers),
            child,
        }))
    }

    fn order(&mut self, work: &str, tasks: u64, repeats: u64) -> Result<Duration, BoxError> {
        let orders = self.orders.as_mut().ok_or("it has ended")?;
        writeln!(orders, "{work} {tasks} {repeats}")?;
        let mut answer = String::new();
        let _ = self.answers.read_line(&mut answer)?;
        Ok(Duration::from_secs_f64(answer.trim().parse()?))
    }
}

impl Drop for Asyncpg {
    fn drop(&mut self) {
        drop(self.orders.take());
        if let Err(error) = self.child.wait() {
            eprintln!("asyncpg: {error}");
        }
    }
}
