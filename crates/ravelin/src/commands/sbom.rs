//! `ravelin sbom`: what this binary is made of.

use std::process::ExitCode;

/// Print what this binary is made of: a CycloneDX bill of materials.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  ravelin sbom > ravelin.cdx.json\n  ravelin sbom | jq -r '.components[].purl'"
)]
pub struct Args {}

/// Runs the command.
pub fn run(_: Args) -> anyhow::Result<ExitCode> {
    use std::io::Write;
    match std::io::stdout().lock().write_all(ravelin_node::SBOM.as_bytes()) {
        // Whoever reads it has had enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        result => result.map(|()| ExitCode::SUCCESS).map_err(Into::into),
    }
}
