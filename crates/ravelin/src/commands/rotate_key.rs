//! `ravelin rotate-key`: gives the encrypted store a new key.

use anyhow::{Context, bail};
use ravelin_node::config::{Config, ConfigErrors};
use ravelin_store::Keys;
use std::path::PathBuf;
use std::process::ExitCode;

/// Give the encrypted store a new key.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  ravelin rotate-key plant                    a new key for the deployment in ./plant
  ravelin rotate-key /etc/ravelin/ravelin.toml && systemctl reload ravelin

The key file gets a new current key and keeps the older ones until nothing is encrypted with them any more.
A running node takes the new key up when it reloads (SIGHUP), writes its log again with it and then drops
the older keys from the file. Back the file up afterwards: without it the store cannot be read.")]
pub struct Args {
    /// The configuration: a file, or a directory that `ravelin init` made.
    #[arg(value_name = "CONFIG|DIR")]
    config: PathBuf,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = match Config::load(&args.config) {
        Ok(config) => config,
        Err(ConfigErrors(found)) => {
            let Some(first) = found.first() else { bail!("{} cannot be read", args.config.display()) };
            bail!("{first}");
        }
    };
    let Some(path) = &config.store.key_file else {
        bail!("{} names no `key_file` in `[store]`", args.config.display());
    };
    let keys =
        Keys::rotate(path).with_context(|| format!("failed to rotate the key in {}", path.display()))?;
    println!("{}: the current key is {}", path.display(), keys.current_id());
    println!("A running node takes it up with: kill -HUP $(pidof ravelin)");
    Ok(ExitCode::SUCCESS)
}
