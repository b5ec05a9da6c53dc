//! The `ravelin` command: a secure MQTT broker, and the tools to set it up, try it and measure it.
//!
//! Thin: a command is one file in `commands`, and does its work through the crates of the workspace.

mod cli;
mod client;
mod commands;
mod deployment;

/// Many small, short-lived buffers of different sizes: what mimalloc is best at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    cli::run()
}
