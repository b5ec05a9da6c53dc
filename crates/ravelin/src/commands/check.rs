//! `ravelin check`: what is wrong with a configuration and with every file that it names.

use crate::deployment;
use ravelin_node::config::{Config, Diagnostic, Severity};
use ravelin_protect::NodeSecret;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

/// Check a configuration and every file it names, without serving.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  ravelin check plant
  ravelin check /etc/ravelin/ravelin.toml --json

Exit status: 0 it can be served (there may be warnings), 1 there are errors, 2 wrong usage.")]
pub struct Args {
    /// The configuration, or the directory it is in.
    #[arg(default_value = ".")]
    config: PathBuf,
    /// Write the findings as one JSON object.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let (found, summary) = check(&args.config)?;
    let errors = found.iter().filter(|diagnostic| diagnostic.severity == Severity::Error).count();
    if args.json {
        println!("{}", as_json(&found, errors));
    } else {
        let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        for diagnostic in &found {
            eprintln!("{}\n", shown(diagnostic, colour));
        }
        match errors {
            0 => println!("ok: {summary}{}", counted(found.len(), "warning")),
            _ => eprintln!("{} cannot be served{}", args.config.display(), counted(errors, "error")),
        }
    }
    Ok(if errors == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Everything that is wrong, and what is there if nothing is.
fn check(path: &std::path::Path) -> anyhow::Result<(Vec<Diagnostic>, String)> {
    let config = match Config::load(path) {
        Ok(config) => config,
        Err(errors) => return Ok((errors.0, String::new())),
    };
    let mut found = config.warnings.clone();
    let summary = match config.load_files(NodeSecret::generate()?, deployment::now_s()?) {
        Ok(files) => {
            found.extend(files.warnings);
            let listeners: Vec<_> = config
                .listeners
                .iter()
                .map(|listener| format!("{} on {}", listener.transport.name(), listener.address))
                .collect();
            format!("{}; {} access rules", listeners.join(", "), files.access.len())
        }
        Err(errors) => {
            found.extend(errors.0);
            String::new()
        }
    };
    Ok((found, summary))
}

fn counted(count: usize, what: &str) -> String {
    match count {
        0 => String::new(),
        1 => format!("; 1 {what}"),
        count => format!("; {count} {what}s"),
    }
}

fn shown(diagnostic: &Diagnostic, colour: bool) -> String {
    let text = diagnostic.to_string();
    let (kind, code) = match diagnostic.severity {
        Severity::Error => ("error", "31;1"),
        Severity::Warning => ("warning", "33;1"),
    };
    match text.strip_prefix(kind) {
        Some(rest) if colour => format!("\u{1b}[{code}m{kind}\u{1b}[0m{rest}"),
        _ => text,
    }
}

fn as_json(found: &[Diagnostic], errors: usize) -> serde_json::Value {
    let findings: Vec<_> = found
        .iter()
        .map(|diagnostic| {
            serde_json::json!({
                "severity": match diagnostic.severity { Severity::Error => "error", Severity::Warning => "warning" },
                "file": diagnostic.file,
                "line": diagnostic.line,
                "column": diagnostic.column,
                "what": diagnostic.what,
                "help": diagnostic.help,
            })
        })
        .collect();
    serde_json::json!({ "ok": errors == 0, "errors": errors, "findings": findings })
}
