//! Words in, exit code out: what the user typed, the look it asks for, and where the result goes.

use std::process::ExitCode;

use clap::Parser;

mod apply;
pub mod args;
mod commands;
mod conditions;
mod door;
pub mod look;
mod observe;
mod onlooker;
mod stop;
mod terminal;
mod values;
pub mod watch;
mod window;

use args::{Cli, Command};

/// How a command ended, as its exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    NothingFound = 0,
    Found = 1,
    /// Also where what could be seen gives no verdict.
    CouldNotLook = 2,
}

/// The whole program.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match &cli.command {
        Command::Status(args) => commands::status(args),
        Command::Diagnose(args) => commands::diagnose(args),
        Command::Audit(args) => commands::audit(args),
        Command::Explain(args) => commands::explain(args),
        Command::List(args) => commands::list(args),
        Command::Events(args) => commands::events(args),
        Command::Watch(args) => watch::watch(args),
        Command::Record(args) => commands::record(args),
        Command::Recommend(args) => commands::recommend(args),
        Command::Simulate(args) => commands::simulate(args),
        Command::Apply(args) => apply::apply(args),
        Command::Confirm(args) => apply::confirm(args),
        Command::Rollback(args) => apply::rollback(args),
        Command::Watchdog => apply::watchdog(),
    };
    let outcome = outcome.unwrap_or_else(|error| {
        terminal::complain(&error);
        Outcome::CouldNotLook
    });
    ExitCode::from(outcome as u8)
}
