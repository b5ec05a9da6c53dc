//! `ravelin client list`: who can connect, by what, and until when.

use super::{Dir, rules};
use crate::deployment::{self, Deployment};
use anyhow::Context;
use ravelin_protect::{CertificateFacts, PasswordFile, trust};
use std::collections::BTreeMap;
use std::process::ExitCode;

/// List the clients of a deployment: their certificates, passwords and rules.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  ravelin client list --dir plant")]
pub struct Args {
    #[command(flatten)]
    dir: Dir,
    /// Write one JSON array.
    #[arg(long)]
    json: bool,
}

#[derive(Default)]
struct Client {
    /// Days until the certificate ends.
    certificate_days: Option<i64>,
    password: Option<&'static str>,
    scram_sha_256: bool,
    scram_sha_512: bool,
    totp: bool,
    rules: bool,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let deployment = Deployment::open(&args.dir.dir)?;
    let mut clients: BTreeMap<String, Client> = BTreeMap::new();
    let now_s = deployment::now_s()? as i64;
    let dir = deployment.layout.clients_dir();
    let entries = std::fs::read_dir(&dir).with_context(|| format!("failed to read {}", dir.display()))?;
    for entry in entries.flatten() {
        let path = entry.path();
        let Some(name) =
            path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".crt"))
        else {
            continue;
        };
        let chain = trust::load_certificates(&path)?;
        let facts = chain.first().and_then(|der| CertificateFacts::parse(der).ok());
        let days = facts.map(|facts| (facts.not_after_s - now_s).div_euclid(86_400));
        clients.entry(name.into()).or_default().certificate_days = days;
    }
    if let Ok(path) = deployment.passwords() {
        let passwords = PasswordFile::load(&path)?;
        for (name, user) in passwords.users() {
            let client = clients.entry(name.into()).or_default();
            client.password = user.password.as_ref().map(|hash| hash.scheme());
            client.scram_sha_256 = user.scram_sha_256.is_some();
            client.scram_sha_512 = user.scram_sha_512.is_some();
            client.totp = user.totp.is_some();
        }
    }
    if let Ok(path) = deployment.access_rules() {
        for user in rules::users(&path) {
            clients.entry(user).or_default().rules = true;
        }
    }
    if args.json {
        let list: Vec<_> = clients
            .iter()
            .map(|(name, client)| {
                serde_json::json!({
                    "name": name,
                    "certificate_days": client.certificate_days,
                    "password": client.password,
                    "scram_sha_256": client.scram_sha_256,
                    "scram_sha_512": client.scram_sha_512,
                    "totp": client.totp,
                    "rules": client.rules,
                })
            })
            .collect();
        println!("{}", serde_json::Value::from(list));
        return Ok(ExitCode::SUCCESS);
    }
    println!("{:<32} {:<20} {:<24} RULES", "CLIENT", "CERTIFICATE", "PASSWORD");
    for (name, client) in &clients {
        let certificate = match client.certificate_days {
            Some(..0) => "expired".into(),
            Some(days) => format!("{days} days"),
            None => "-".into(),
        };
        let scram = client.scram_sha_256 || client.scram_sha_512;
        let ways = [client.password, scram.then_some("scram"), client.totp.then_some("totp")];
        let ways: Vec<_> = ways.into_iter().flatten().collect();
        let password = if ways.is_empty() { "-".into() } else { ways.join(", ") };
        println!("{name:<32} {certificate:<20} {password:<24} {}", if client.rules { "own" } else { "-" });
    }
    Ok(ExitCode::SUCCESS)
}
