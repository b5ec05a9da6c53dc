//! Certificates: issued, renewed, listed, revoked; the CA's revocation list.

use super::Ctl;
use super::table::{Table, or_dash, time};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ravelin_console::api::certificates::{
    CaInfo, Certificate, Enrolment, NewCertificate, Renewal, RevokeOrder, RevokeReport, Revoked, Selector,
};
use ravelin_console::client::{ClientError, segment};
use ravelin_protect::file::{self, Mode};
use ravelin_protect::pki::{self, Request};
use std::path::{Path, PathBuf};

/// Issue, renew, list and revoke certificates.
#[derive(clap::Args)]
#[command(arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// The certificates that the node's CA has issued
    #[command(after_help = "Example:\n  ravelin ctl cert list --dir plant")]
    List {
        /// At most so many
        #[arg(long, value_name = "COUNT", default_value_t = 10_000)]
        max: usize,
    },
    /// Make a key here, and have the node's CA issue a certificate for it
    #[command(after_help = "\
Examples:
  ravelin ctl cert enrol meter-7 --out meter-7 --dir plant          writes meter-7.key and meter-7.crt
  ravelin ctl cert enrol meter-7 --out meter-7 --request csr.pem --validity 7d --dir plant")]
    Enrol {
        /// Whose it shall be
        identity: String,
        /// Where to write: OUT.crt, and OUT.key if the key is made here
        #[arg(long, value_name = "OUT")]
        out: PathBuf,
        /// A request (PKCS#10) of a device that has made its own key
        #[arg(long, value_name = "FILE")]
        request: Option<PathBuf>,
        /// How long it shall be valid, at most as long as the node is configured to issue
        #[arg(long, value_name = "DURATION")]
        validity: Option<String>,
    },
    /// Renew a certificate with the key that it has: a new key and a new certificate
    #[command(
        after_help = "Example:\n  ravelin ctl cert renew meter-7.crt meter-7.key --out meter-7.next --dir plant"
    )]
    Renew {
        /// The certificate
        certificate: PathBuf,
        /// Its key
        private_key: PathBuf,
        /// Where to write: OUT.crt and OUT.key
        #[arg(long, value_name = "OUT")]
        out: PathBuf,
    },
    /// Revoke: sessions are closed, tickets refused, the CA's list written
    #[command(after_help = "\
Examples:
  ravelin ctl cert revoke --certificates-of meter-7 --reason stolen --dir plant
  ravelin ctl cert revoke --file meter-7.crt --dir plant
  ravelin ctl cert revoke --identity meter-7 --wipe --dir plant")]
    Revoke(RevokeArgs),
    /// What is revoked
    #[command(after_help = "Example:\n  ravelin ctl cert revoked --dir plant")]
    Revoked,
    /// Take the revocation of an identity back
    #[command(after_help = "Example:\n  ravelin ctl cert lift meter-7 --dir plant")]
    Lift {
        /// The identity
        identity: String,
    },
}

#[derive(clap::Args)]
struct RevokeArgs {
    #[command(flatten)]
    what: What,
    /// With --serial: the issuer's distinguished name
    #[arg(long, value_name = "NAME", requires = "serial")]
    issuer: Option<String>,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    /// Delete the sessions with their subscriptions and queued messages
    #[arg(long)]
    wipe: bool,
}

#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct What {
    /// The certificate with this serial number, in hex
    #[arg(long, value_name = "HEX")]
    serial: Option<String>,
    /// The certificate with this SHA-256 fingerprint, in hex
    #[arg(long, value_name = "HEX")]
    fingerprint: Option<String>,
    /// The certificate in this file (PEM)
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// All certificates that this identity has so far; newer ones are good
    #[arg(long, value_name = "IDENTITY")]
    certificates_of: Option<String>,
    /// This identity, however it proves itself, until it is lifted
    #[arg(long, value_name = "IDENTITY")]
    identity: Option<String>,
}

/// See the CA and its revocation list.
#[derive(clap::Args)]
#[command(arg_required_else_help = true)]
pub struct CrlArgs {
    #[command(subcommand)]
    command: CrlCommand,
}

#[derive(clap::Subcommand)]
enum CrlCommand {
    /// How current the list is; --pem prints the list itself
    #[command(
        after_help = "Examples:\n  ravelin ctl crl show --dir plant\n  ravelin ctl crl show --pem --dir plant | openssl crl -noout -text"
    )]
    Show {
        /// Print the list
        #[arg(long)]
        pem: bool,
    },
}

/// Runs the command.
pub fn run(ctl: &Ctl, args: Args) -> Result<(), ClientError> {
    match args.command {
        Command::List { max } => {
            let all: Vec<Certificate> = ctl.all("/v1/certificates", max)?;
            ctl.print(&all, |all| list(all));
        }
        Command::Enrol { identity, out, request, validity } => {
            let (key, request) = match request {
                Some(path) => (None, read(&path)?),
                None => pki::new_request(&identity).map(|(key, pem)| (Some(key), pem)).map_err(usage)?,
            };
            let order = Enrolment { identity, request, validity };
            let key = key.as_ref().map(|key| key.as_str());
            save(ctl, &out, key, || ctl.client.call("POST", "/v1/certificates", &order))?;
        }
        Command::Renew { certificate, private_key, out } => {
            let (certificate, old_key) =
                (read(&certificate)?, file::read_text(&private_key, 64 << 10).map_err(usage)?);
            let identity = identity_of(&certificate)?;
            let (key, request) = pki::new_request(&identity).map_err(usage)?;
            let parsed = Request::parse(request.as_bytes()).map_err(usage)?;
            let signature = STANDARD.encode(pki::sign_renewal(&old_key, &parsed).map_err(usage)?);
            let order = Renewal { certificate, request, signature };
            save(ctl, &out, Some(&key), || ctl.client.call("POST", "/v1/certificates/renew", &order))?;
        }
        Command::Revoke(args) => revoke(ctl, args)?,
        Command::Revoked => {
            let all: Vec<Revoked> = ctl.all("/v1/revocations", usize::MAX)?;
            ctl.print(&all, |all| {
                let row = |one: &Revoked| {
                    [one.key.clone(), time(one.at_s.saturating_mul(1000)), one.by.clone(), one.reason.clone()]
                };
                Table::new(&["REVOKED", "WHEN", "BY", "REASON"]).with(all.iter().map(row))
            });
        }
        Command::Lift { identity } => {
            let path = format!("/v1/revocations/identity/{}", segment(&identity));
            ctl.client.order_plain("DELETE", &path)?;
            ctl.done(&format!("{identity} is not revoked any more"));
        }
    }
    Ok(())
}

/// Runs the command.
pub fn run_crl(ctl: &Ctl, args: CrlArgs) -> Result<(), ClientError> {
    let CrlCommand::Show { pem } = args.command;
    if pem {
        print!("{}", ctl.client.get_text("/crl")?);
        return Ok(());
    }
    let ca: CaInfo = ctl.client.get("/v1/ca")?;
    ctl.print(&ca, |ca| {
        let seconds =
            |at: Option<i64>| at.map(|at| time(u64::try_from(at).unwrap_or(0).saturating_mul(1000)));
        let mut table = Table::pairs();
        table.pair("ca", &ca.name);
        table.pair("valid until", or_dash(&seconds(Some(ca.not_after_s))));
        table.pair("certificates", ca.issued);
        table.pair("list made", or_dash(&seconds(ca.list_this_update_s)));
        table.pair("next list", or_dash(&seconds(ca.list_next_update_s)));
        table
    });
    Ok(())
}

fn revoke(ctl: &Ctl, args: RevokeArgs) -> Result<(), ClientError> {
    let What { serial, fingerprint, file, certificates_of, identity } = args.what;
    let fingerprint = match file {
        Some(path) => Some(facts_of(&read(&path)?)?.fingerprint.to_string()),
        None => fingerprint,
    };
    let what = Selector { serial, issuer: args.issuer, fingerprint, certificates_of, identity };
    let order = RevokeOrder { what, reason: args.reason, wipe: args.wipe };
    let report: RevokeReport = ctl.client.call("POST", "/v1/revocations", &order)?;
    ctl.print(&report, |report| {
        let mut table = Table::pairs();
        table.pair("revoked", &report.revocation.key);
        table.pair("connections", format!("{} ended in {} us", report.disconnected, report.took_us));
        table.pair("sessions", format!("{} wiped", report.wiped));
        table.pair("list", &report.list);
        table
    });
    Ok(())
}

/// Asks for a certificate and writes it, and the key that was made here. Nothing is ever overwritten, and that is found
/// out before a certificate exists that nobody has.
fn save(
    ctl: &Ctl,
    out: &Path,
    key: Option<&str>,
    ask: impl FnOnce() -> Result<NewCertificate, ClientError>,
) -> Result<(), ClientError> {
    let path = |end: &str| {
        let mut name = out.as_os_str().to_owned();
        name.push(end);
        PathBuf::from(name)
    };
    let (certificate_path, key_path) = (path(".crt"), path(".key"));
    if certificate_path.exists() {
        return Err(ClientError::Usage(format!("{} exists", certificate_path.display())));
    }
    if let Some(key) = key {
        file::create(&key_path, key.as_bytes(), Mode::Private).map_err(usage)?;
    }
    let new = match ask() {
        Ok(new) => new,
        Err(error) => {
            if key.is_some() {
                // A key without a certificate is of no use.
                let _ = std::fs::remove_file(&key_path);
            }
            return Err(error);
        }
    };
    file::create(&certificate_path, new.certificate.as_bytes(), Mode::Public).map_err(usage)?;
    ctl.print(&new, |new| {
        let mut table = Table::pairs();
        table.pair("certificate", certificate_path.display());
        if key.is_some() {
            table.pair("key", key_path.display());
        }
        table.pair("identity", &new.issued.identity);
        table.pair("serial", &new.issued.serial);
        let until = u64::try_from(new.issued.not_after_s).unwrap_or(0);
        table.pair("valid until", time(until.saturating_mul(1000)));
        table
    });
    Ok(())
}

fn list(all: &[Certificate]) -> Table {
    let seconds = |at: i64| time(u64::try_from(at).unwrap_or(0).saturating_mul(1000));
    Table::new(&["SERIAL", "IDENTITY", "KEY", "VALID UNTIL", "ISSUED BY", "REVOKED"]).with(all.iter().map(
        |one| {
            let revoked = one.revoked_s.map(|at| time(at.saturating_mul(1000)));
            [
                one.serial.clone(),
                one.identity.clone(),
                one.key.clone(),
                seconds(one.not_after_s),
                one.by.clone(),
                or_dash(&revoked),
            ]
        },
    ))
}

fn identity_of(pem: &str) -> Result<String, ClientError> {
    let identity = facts_of(pem)?.identity(ravelin_protect::IdentityFrom::CommonName);
    identity.map(|identity| identity.to_string()).map_err(usage)
}

fn facts_of(pem: &str) -> Result<ravelin_protect::CertificateFacts, ClientError> {
    use rustls::pki_types::{CertificateDer, pem::PemObject};
    let der = CertificateDer::from_pem_slice(pem.as_bytes())
        .map_err(|_| ClientError::Usage("the file holds no certificate in PEM".into()))?;
    ravelin_protect::CertificateFacts::parse(&der).map_err(usage)
}

fn read(path: &Path) -> Result<String, ClientError> {
    file::read_text(path, 64 << 10).map(|text| text.to_string()).map_err(usage)
}

fn usage(error: impl std::fmt::Display) -> ClientError {
    ClientError::Usage(error.to_string())
}
