//! Tries every row on withal, and on its peers if asked; then tasks cancelled at random.

#![forbid(unsafe_code)]
#![expect(
    clippy::print_stdout,
    reason = "a command-line program: its output is what it is for"
)]

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use withal_core::ContextManager as _;
use withal_proofs_pg::{Amount, Lab, Limits, ROWS, Result, Row, Tried, Who, soak};
use withal_testkit::servers::{PostgresServer, postgres};

/// Tries on a real Postgres what must not leak.
#[derive(Debug, Parser)]
struct Arguments {
    /// Cancel tasks at random for so long, in seconds [default: 10,000 tasks]
    #[arg(long)]
    seconds: Option<u64>,

    /// The same rows for the peers that were built in
    #[arg(long)]
    peers: bool,

    /// Only rows whose names contain this
    #[arg(long)]
    only: Option<String>,
}

fn main() -> ExitCode {
    // Bodies panic on purpose.
    std::panic::set_hook(Box::new(|panic| {
        let said = panic.payload().downcast_ref::<&str>();
        if said != Some(&"the body panics") {
            eprintln!("{panic}");
        }
    }));
    // What is worked around is expected here.
    withal_core::set_notice_hook(|_| {});
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let ended = runtime
        .map_err(Into::into)
        .and_then(|runtime| runtime.block_on(run(&Arguments::parse())));
    match ended {
        Ok(tried) => {
            let bad = tried.bad.len();
            println!("{} tried, {bad} bad", tried.runs);
            match tried.runs > 0 && bad == 0 {
                true => ExitCode::SUCCESS,
                false => ExitCode::FAILURE,
            }
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<Tried> {
    let server = postgres().durable().enter()?;
    let who = match arguments.peers {
        true => Who::ALL,
        false => &[Who::Withal],
    };
    if arguments.peers && who.len() == 1 {
        return Err("no peers were built in: build with the feature `peers`".into());
    }
    println!("leaks / runs");
    print!("{:<50}", "");
    for who in who {
        print!("{:>20}", who.to_string());
    }
    println!();
    let only = arguments.only.as_deref().unwrap_or_default();
    let mut sum = Tried::default();
    for row in ROWS.iter().filter(|row| row.name.contains(only)) {
        print!("{:<50}", row.name);
        let mut bad = Vec::new();
        for who in who.iter().copied() {
            let tried = cell(&server, who, row).await;
            print!("{:>20}", shown(&tried));
            if who == Who::Withal {
                let tried = tried?.unwrap_or_default();
                bad.extend(tried.bad.clone());
                sum.add(tried);
            }
        }
        println!();
        for bad in bad {
            println!("  bad: {bad}");
        }
    }
    if arguments.only.is_none() {
        sum.add(soaked(&server, arguments).await?);
    }
    Ok(sum)
}

async fn cell(server: &PostgresServer, who: Who, row: &Row) -> Result<Option<Tried>> {
    if row.is_ours_only && who != Who::Withal {
        return Ok(None);
    }
    let lab = Lab::new(server, who, Limits::strict()).await?;
    row.run(&lab).await.map(Some)
}

fn shown(tried: &Result<Option<Tried>>) -> String {
    match tried {
        Ok(Some(tried)) => format!("{}/{}", tried.bad.len(), tried.runs),
        Ok(None) => "-".to_owned(),
        Err(error) => format!("error: {error}"),
    }
}

async fn soaked(server: &PostgresServer, arguments: &Arguments) -> Result<Tried> {
    let lab = Lab::new(server, Who::Withal, Limits::strict()).await?;
    let amount = match arguments.seconds {
        Some(seconds) => Amount::For(Duration::from_secs(seconds)),
        None => Amount::Tasks(10_000),
    };
    let soaked = soak(&lab, amount).await?;
    println!(
        "{} tasks on a pool of 8: {} cancelled at random, {} ended by themselves",
        soaked.tasks, soaked.cancelled, soaked.ended
    );
    for bad in &soaked.bad {
        println!("  bad: {bad}");
    }
    Ok(Tried {
        runs: soaked.tasks,
        bad: soaked.bad,
    })
}
