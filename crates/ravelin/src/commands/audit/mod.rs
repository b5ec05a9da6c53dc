//! `ravelin audit`: shows, verifies and hands out the record of transmissions.
//!
//! All of it reads files alone, and changes none: it works while the node runs and when it does not.

mod export;
mod show;
mod verify;
mod when;

use anyhow::{Context, bail};
use ravelin_audit::{Head, PublicKey, ReadOnlyDisk, Reader};
use ravelin_node::config::{Config, ConfigErrors};
use ravelin_store::Keys;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// Show, verify and hand out the record: who sent what, when, to whom; who administered; what was refused.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  ravelin audit show plant --since 1h --topic 'commands/#'
  ravelin audit verify plant
  ravelin audit export plant --topic 'commands/#' > evidence.jsonl
  ravelin audit verify evidence.jsonl --public-key plant.pem
  ravelin audit key plant > plant.pem

The record is read where it lies; the node may run or not. Nothing is changed.")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Show entries.
    Show(show::Args),
    /// Find whatever was cut, edited, repeated or exchanged, and where.
    Verify(verify::Args),
    /// Write evidence that anyone can verify with the public key alone.
    Export(export::Args),
    /// Print the newest checkpoint: keep it elsewhere, and `verify --anchor` proves that nothing was cut off since.
    Head(Plain),
    /// Print the public key that verifies checkpoints, in PEM, and its fingerprint on standard error.
    Key(Plain),
}

/// Nothing but where the record is.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  ravelin audit head plant > /mnt/elsewhere/plant.head
  ravelin audit key plant > plant.pem")]
struct Plain {
    #[command(flatten)]
    place: Place,
}

/// Where a record is.
#[derive(clap::Args)]
pub struct Place {
    /// The configuration: a file, or a directory that `ravelin init` made.
    #[arg(value_name = "CONFIG|DIR", required_unless_present = "record")]
    config: Option<PathBuf>,
    /// The directory of a record, instead of a configuration.
    #[arg(long, value_name = "DIR", conflicts_with = "config", requires = "key_file")]
    record: Option<PathBuf>,
    /// The store's key file, which opens the keys of the record.
    #[arg(long, value_name = "FILE", requires = "record")]
    key_file: Option<PathBuf>,
}

impl Place {
    /// The directory of the record, and the keys of the store.
    fn open(&self) -> anyhow::Result<(Arc<ReadOnlyDisk>, Keys)> {
        let (directory, key_file) = self.paths()?;
        let keys = Keys::load(&key_file)?;
        Ok((Arc::new(ReadOnlyDisk::new(directory)), keys))
    }

    fn reader(&self) -> anyhow::Result<Reader> {
        let (disk, keys) = self.open()?;
        Ok(Reader::open(disk, &keys)?)
    }

    fn paths(&self) -> anyhow::Result<(PathBuf, PathBuf)> {
        if let (Some(record), Some(key_file)) = (&self.record, &self.key_file) {
            return Ok((record.clone(), key_file.clone()));
        }
        let path = self.config.as_deref().context("say where the record is")?;
        let config = match Config::load(path) {
            Ok(config) => config,
            Err(ConfigErrors(found)) => match found.first() {
                Some(first) => bail!("{first}"),
                None => bail!("{} cannot be read", path.display()),
            },
        };
        let name = path.display();
        let directory = config.record_directory();
        let directory = directory.with_context(|| format!("{name} keeps no state, so it has no record"))?;
        let key_file = config.store.key_file.with_context(|| format!("{name} names no `key_file`"))?;
        Ok((directory, key_file))
    }
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Show(args) => show::run(args),
        Command::Verify(args) => Ok(verify::run(args)),
        Command::Export(args) => export::run(args),
        Command::Head(args) => {
            let head = args.place.reader()?.head()?;
            print!("{}", head.context("nothing was signed yet")?.to_json());
            Ok(ExitCode::SUCCESS)
        }
        Command::Key(args) => {
            let reader = args.place.reader()?;
            print!("{}", reader.public_key().to_pem());
            eprintln!("SHA-256 of the key: {}", reader.public_key().fingerprint());
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Reads heads that were kept elsewhere; a file may hold several, one a line.
fn anchors(paths: &[PathBuf]) -> anyhow::Result<Vec<Head>> {
    let mut anchors = Vec::new();
    for path in paths {
        let text = read(path)?;
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            anchors.push(Head::parse(line, &path.display().to_string())?);
        }
    }
    Ok(anchors)
}

fn public_key(path: Option<&Path>) -> anyhow::Result<Option<PublicKey>> {
    let Some(path) = path else { return Ok(None) };
    let key = PublicKey::from_pem(&read(path)?);
    key.map(Some).with_context(|| format!("{} is no public key of P-256 in PEM", path.display()))
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))
}
