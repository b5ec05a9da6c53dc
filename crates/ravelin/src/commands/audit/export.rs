//! `ravelin audit export`: evidence for others.

use super::Place;
use super::show::Pick;
use anyhow::Context;
use ravelin_audit::export;
use std::fs::OpenOptions;
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::ExitCode;

/// Write evidence: entries in clear, the others withheld behind hashes, all of it signed for.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  ravelin audit export plant > evidence.jsonl                          everything
  ravelin audit export plant --topic 'commands/#' --output case-7.jsonl  only these; the rest stays secret
  ravelin audit verify case-7.jsonl --public-key plant.pem             what the receiver does

What is not picked is in it as a hash, so that the receiver can see that nothing was left out or altered.")]
pub struct Args {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    pick: Pick,
    /// A file that does not exist yet; by default, standard output.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mut reader = args.place.reader()?;
    let mut picker = args.pick.picker();
    let mut out: Box<dyn Write> = match &args.output {
        Some(path) => {
            let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
            Box::new(BufWriter::new(file.with_context(|| format!("failed to create {}", path.display()))?))
        }
        None => Box::new(BufWriter::new(std::io::stdout().lock())),
    };
    let exported = export::write(&mut reader, &mut *out, |item| picker.is_meant(item))?;
    eprintln!(
        "{} entries in clear, {} withheld; {} too new to be signed for were left out",
        exported.entries, exported.withheld, exported.unsigned
    );
    eprintln!("SHA-256 of the key that verifies it: {}", reader.public_key().fingerprint());
    for problem in &exported.problems {
        eprintln!("ravelin: {problem}");
    }
    Ok(if exported.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
