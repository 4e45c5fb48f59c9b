//! The with statement for any command.

mod cli;
mod message;
mod process;
mod run;

fn main() {
    let exit = match cli::parse() {
        Ok(cli::Request::Run(job)) => run::run(job),
        Err(exit) => exit,
    };
    process::end(exit)
}
