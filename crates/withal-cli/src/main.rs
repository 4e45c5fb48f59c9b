//! The with statement for any command.

mod atomic;
mod cli;
mod confidential;
mod input;
mod log;
mod message;
mod migrate;
mod output;
mod process;
mod run;
mod source;
mod stop;
mod suggest;
mod watch;
mod wording;

fn main() {
    process::outlive_full_files();
    let exit = match cli::parse() {
        Ok(cli::Request::Run(job)) => run::run(job),
        Ok(cli::Request::Nothing) => run::Exit::SUCCESS,
        Ok(cli::Request::Plan(job)) => run::print_plan(&job),
        Ok(cli::Request::Log(command)) => log::run(command),
        Ok(cli::Request::Atomic(job)) => atomic::run(job),
        Ok(cli::Request::Recover(arguments)) => run::recover(&arguments),
        Ok(cli::Request::List(arguments)) => run::ls(&arguments),
        Ok(cli::Request::Migrate(arguments)) => migrate::run(arguments),
        Ok(cli::Request::Watch(job)) => watch::run(job),
        Err(exit) => exit,
    };
    process::end(exit)
}
