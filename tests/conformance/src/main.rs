//! `ravelin-conformance`: runs the suite against a broker and prints a table.

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use ravelin_conformance::{Deviation, Options, ScramCredential, Version, run};

const USAGE: &str = "\
usage: ravelin-conformance --addr HOST:PORT [options]

  --addr HOST:PORT          a plain listener at which everybody may do everything
  --ws HOST:PORT            a WebSocket listener (path /mqtt)
  --scram USER:PASSWORD     a user of SCRAM-SHA-256 at the plain listener
  --mqtt 3.1.1|5            one version only
  --only TEXT               only statements and tests whose id or name contains TEXT
  --jobs N                  tests at a time (8)
  --json FILE               write the report as JSON too
  --expect-failures FILE    known failures: lines of `id test reason`
  --strict                  a skipped test is a gap

exit status: 0 conforms, 1 does not, 2 could not be run";

fn main() -> ExitCode {
    match start() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("ravelin-conformance: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn start() -> Result<bool> {
    let mut options = Options::new("");
    let mut json = None;
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        if name == "--strict" {
            options.strict = true;
            continue;
        }
        if name == "--help" || name == "-h" {
            println!("{USAGE}");
            return Ok(true);
        }
        let value = arguments.next().with_context(|| format!("{name} needs a value\n\n{USAGE}"))?;
        match name.as_str() {
            "--addr" => options.address = value,
            "--ws" => options.websocket = Some(value),
            "--scram" => options.scram = Some(scram(&value)?),
            "--mqtt" => options.version = Some(version(&value)?),
            "--only" => options.only = Some(value),
            "--jobs" => options.jobs = value.parse().context("--jobs needs a number")?,
            "--json" => json = Some(value),
            "--expect-failures" => {
                let text =
                    std::fs::read_to_string(&value).with_context(|| format!("failed to read {value}"))?;
                options.expected =
                    Deviation::parse_all(&text).with_context(|| format!("failed to parse {value}"))?;
            }
            _ => bail!("unknown option {name}\n\n{USAGE}"),
        }
    }
    if options.address.is_empty() {
        bail!("--addr is missing\n\n{USAGE}");
    }
    let report = run(&options)?;
    print!("{report}");
    if let Some(path) = json {
        let text = format!("{:#}\n", report.to_json());
        std::fs::write(&path, text).with_context(|| format!("failed to write {path}"))?;
    }
    Ok(report.is_success())
}

fn scram(value: &str) -> Result<ScramCredential> {
    let (user, password) = value.split_once(':').context("--scram needs USER:PASSWORD")?;
    Ok(ScramCredential { user: user.to_owned(), password: password.to_owned() })
}

fn version(value: &str) -> Result<Version> {
    match value {
        "3.1.1" | "311" | "4" => Ok(Version::V311),
        "5" | "5.0" => Ok(Version::V5),
        _ => bail!("--mqtt needs 3.1.1 or 5, not {value}"),
    }
}
