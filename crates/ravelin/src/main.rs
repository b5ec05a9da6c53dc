//! The `ravelin` command: a secure MQTT broker, and the tools to set it up, try it and measure it.
//!
//! Thin: a command is one file in `commands`, and does its work through the crates of the workspace.

mod cli;
mod client;
mod commands;
mod deployment;

fn main() -> std::process::ExitCode {
    cli::run()
}
