//! `ravelin client remove`: its certificate is revoked, its password deleted, its rules commented out.

use super::{Dir, rules};
use crate::deployment::{self, Deployment};
use anyhow::{Context, bail};
use ravelin_node::config::CrlSource;
use ravelin_protect::file;
use ravelin_protect::password::{DeleteOutcome, Edit};
use ravelin_protect::pki::Ca;
use std::process::ExitCode;

/// Remove a client: revoke its certificate, delete its password, comment its rules out.
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  ravelin client remove meter-7 --dir plant && kill -HUP $(pidof ravelin)

The certificate is put on the revocation list of the CA; with the SIGHUP the client is disconnected.")]
pub struct Args {
    /// The client's name.
    name: String,
    #[command(flatten)]
    dir: Dir,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    deployment::check_name(&args.name)?;
    let deployment = Deployment::open(&args.dir.dir)?;
    let layout = &deployment.layout;
    let mut done = Vec::new();

    let (certificate, key) = (layout.client_certificate(&args.name), layout.client_key(&args.name));
    if certificate.exists() {
        let ca = Ca::load(&layout.ca_certificate(), &layout.ca_key())?;
        ca.revoke(&certificate, &layout.ca_crl(), deployment::now_s()?, deployment::CA_VALIDITY)?;
        // Only what is on the list may go: without the file the serial number would be lost.
        for path in [&certificate, &key] {
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("failed to delete {}", path.display()));
                }
                _ => {}
            }
        }
        done.push("certificate revoked".to_string());
        let crl = layout.ca_crl();
        let listed = deployment.config.listeners.iter().filter_map(|listener| listener.tls.as_ref());
        if !listed
            .filter(|tls| tls.client_ca.is_some())
            .all(|tls| tls.crl.contains(&CrlSource::File(crl.clone())))
        {
            eprintln!(
                "warning: not every listener has crl = [\"ca/ca.crl\"]: there the certificate is still accepted"
            );
        }
    }
    if let Ok(path) = deployment.passwords() {
        let mut edit = Edit::open(&path)?;
        if edit.delete(&args.name) == DeleteOutcome::Deleted {
            edit.save()?;
            done.push("password deleted".into());
        }
    }
    if let Ok(path) = deployment.access_rules() {
        let (text, lines) = rules::without(&path, &args.name)?;
        if lines > 0 {
            file::replace(&path, text.as_bytes())?;
            done.push(format!("{lines} lines of rules commented out"));
        }
    }
    if done.is_empty() {
        bail!("{} has no client {:?}", args.dir.dir.display(), args.name);
    }
    println!(
        "{}: {}. A running node takes it up with: kill -HUP $(pidof ravelin)",
        args.name,
        done.join(", ")
    );
    Ok(ExitCode::SUCCESS)
}
