//! The commands: arguments in, exit status out. `main.rs` calls [`main`] and nothing else.

mod arguments;
mod bench;
mod checkpoint;
mod console;
mod exit;
mod inputs;
mod notices;
mod progress;
mod run;
mod state;
mod usage;
mod watch;

use arguments::{Arguments, Command, StateCommand, Suite};
use clap::Parser;
use console::{Console, Failure};
use exit::Exit;
use std::io::Write;
use std::process::ExitCode;

/// Reads the arguments, runs the command, tells how it ended.
pub(crate) fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(e) => {
            // `--help` and `--version` come this way too, with status 0.
            let _ = e.print();
            return if e.exit_code() == 0 { Exit::Done.into() } else { Exit::Refused.into() };
        }
    };
    let mut console = Console::new(wants_json(&arguments.command));
    if let Err(e) = thalweg::engine::failpoint::check() {
        console.error(&Failure::of(&e));
        return Exit::Refused.into();
    }
    match dispatch(arguments.command, &mut console) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            console.error(&failure);
            failure.exit.into()
        }
    }
}

fn wants_json(command: &Command) -> bool {
    match command {
        Command::Run(run) => run.json,
        Command::Explain(explain) => explain.json,
        Command::Checkpoint(checkpoint) => checkpoint.arguments().json,
        Command::State(StateCommand::Query { arguments, .. }) => arguments.json,
        Command::Config | Command::Bench { .. } => false,
    }
}

fn dispatch(command: Command, console: &mut Console) -> Result<Exit, Failure> {
    match command {
        Command::Config => print(thalweg::settings::DEFAULTS),
        Command::Checkpoint(command) => checkpoint::checkpoint(&command),
        Command::State(command) => state::state(&command),
        Command::Run(arguments) => run::run(&arguments, console),
        Command::Explain(arguments) => run::explain(&arguments),
        Command::Bench { suite: Suite::Nexmark(arguments) } => bench::nexmark(&arguments, console),
        Command::Bench { suite: Suite::Checkpoint(arguments) } => bench::checkpoint(&arguments, console),
    }
}

/// Writes a command's result. A reader that has seen enough (`| head`) is no failure.
fn print(text: &str) -> Result<Exit, Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(Exit::Done),
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(Exit::Done),
        Err(e) => Err(Failure::failed(format!("write standard output: {e}"))),
    }
}
