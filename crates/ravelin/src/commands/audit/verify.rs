//! `ravelin audit verify`: what is not as it was written, and where.

use super::show::time;
use super::{Place, anchors, public_key};
use ravelin_audit::{Verification, export};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::ExitCode;

/// Verify the record, or an export of it.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  ravelin audit verify plant                               the record of the deployment in ./plant
  ravelin audit verify plant --anchor /mnt/elsewhere/plant.head
  ravelin audit verify evidence.jsonl --public-key plant.pem

Without --anchor, that the whole directory was put back to an earlier copy cannot be noticed; without --public-key,
that an export was made by somebody else. Exit status: 0 whole, 1 damage was found, 2 it could not be verified.")]
pub struct Args {
    #[command(flatten)]
    place: Place,
    /// A checkpoint that was kept elsewhere (`ravelin audit head`): it must be in the record (repeatable).
    #[arg(long = "anchor", value_name = "FILE")]
    anchors: Vec<PathBuf>,
    /// The public key in PEM that must have signed (`ravelin audit key`).
    #[arg(long, value_name = "FILE")]
    public_key: Option<PathBuf>,
    /// Write what was found as one JSON object.
    #[arg(long)]
    json: bool,
}

/// Runs the command. Damage has an exit status of its own, so whatever else fails has another one.
pub fn run(args: Args) -> ExitCode {
    let json = args.json;
    match verify(args) {
        Ok(found) => {
            match json {
                true => println!("{}", serde_json::to_string(&found).unwrap_or_default()),
                false => report(&found),
            }
            if found.is_whole() { ExitCode::SUCCESS } else { ExitCode::from(1) }
        }
        Err(error) => {
            eprintln!("ravelin: it could not be verified: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn verify(args: Args) -> anyhow::Result<Verification> {
    let anchors = anchors(&args.anchors)?;
    let pinned = public_key(args.public_key.as_deref())?;
    if let Some(path) = &args.place.config
        && let Some(mut input) = as_export(path)
    {
        return Ok(export::verify(&mut input, &path.display().to_string(), anchors, pinned)?);
    }
    let (disk, keys) = args.place.open()?;
    Ok(ravelin_audit::verify(&*disk, &keys, anchors, pinned)?)
}

/// The file, if it is an export and not a configuration.
fn as_export(path: &std::path::Path) -> Option<BufReader<File>> {
    let mut input = BufReader::new(File::open(path).ok()?);
    let begin = input.fill_buf().ok()?;
    let begin = String::from_utf8_lossy(&begin[..begin.len().min(64)]).into_owned();
    export::is_export(&begin).then_some(input)
}

fn report(found: &Verification) {
    let Verification { record, first, last, entries, withheld, checkpoints, signed, .. } = found;
    println!("record      {record}");
    if found.first_ms > 0 {
        println!("entries     {first} to {last}, {} to {}", time(found.first_ms), time(found.last_ms));
    }
    println!("read        {entries} in clear, {withheld} withheld, {} segments", found.segments);
    println!("signed      up to {signed}, {} signatures, at {}", checkpoints, time(found.signed_ms));
    println!("head        {}", found.head);
    for key in &found.keys {
        println!("key         {key}");
    }
    if found.pruned_to > 0 {
        println!("deleted     entries up to {}, as configured and signed for", found.pruned_to);
    }
    if found.lost > 0 {
        println!("gaps        {} entries were lost, as the record itself says", found.lost);
    }
    if found.anchors > 0 {
        println!("anchors     {} agree", found.anchors);
    }
    if found.anchors_too_old > 0 {
        println!("anchors     {} are for entries that were deleted", found.anchors_too_old);
    }
    match (found.closed, last.saturating_sub(*signed + 1), found.unfinished_bytes) {
        (true, ..) => println!("end         closed in order"),
        (false, 0, 0) => println!("end         open: the node runs, or ended without a stop"),
        (false, unsigned, bytes) => println!(
            "end         open: {unsigned} entries behind the last signature, {bytes} bytes of an unfinished write"
        ),
    }
    for damage in &found.damage {
        println!("DAMAGE      {damage}");
    }
    println!("{}", if found.is_whole() { "whole" } else { "DAMAGED" });
}
