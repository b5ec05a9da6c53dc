//! `ravelin init`: a secure deployment in one go.

use crate::deployment::{self, Layout, quoted, template};
use anyhow::{Context, bail};
use ravelin_protect::file::{self, Mode};
use ravelin_protect::password::Edit;
use ravelin_protect::pki::Ca;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Create a secure deployment: configuration, private CA, certificates, operator, store key.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  ravelin init plant                                     for this machine only
  ravelin init plant --address 0.0.0.0 --host bus.plant.example --name plant-1

Nothing is ever overwritten: the directory must not exist yet, or be empty.")]
pub struct Args {
    /// Where to create it.
    dir: PathBuf,
    /// What the node is called in logs [default: the name of the directory].
    #[arg(long)]
    name: Option<String>,
    /// A host name or address by which clients reach the node, for its certificate (repeatable; localhost and this
    /// machine's name are always in it).
    #[arg(long = "host", value_name = "HOST")]
    hosts: Vec<String>,
    /// Where to listen: an address, or address:port (passwords are then accepted two ports further, and
    /// the node is administered three ports further, on loopback).
    #[arg(long, default_value = "127.0.0.1")]
    address: String,
}

/// The identity of whoever runs the node.
const OPERATOR: &str = "operator";

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let address = parse_address(&args.address)?;
    let name = match args.name {
        Some(name) => name,
        None => default_name(&args.dir),
    };
    if name.is_empty() || name.len() > 64 || name.contains(|c: char| c.is_control() || "\"\\".contains(c)) {
        bail!("{name:?} cannot be the name of a node");
    }
    let hosts = hosts(&args.hosts, address.ip());
    let layout = Layout::new(&args.dir);
    claim(layout.dir())?;
    let password = create(&layout, &name, &hosts, address).with_context(|| {
        format!("{} was left incomplete: delete it and try again", layout.dir().display())
    })?;
    report(&layout, &hosts, address, &password);
    Ok(ExitCode::SUCCESS)
}

/// `127.0.0.1`, `::1`, `0.0.0.0:8883`.
fn parse_address(text: &str) -> anyhow::Result<SocketAddr> {
    let address = match text.parse::<IpAddr>() {
        Ok(ip) => SocketAddr::new(ip, 8883),
        Err(_) => {
            text.parse().with_context(|| format!("{text:?} is not an address (127.0.0.1, [::1]:8883)"))?
        }
    };
    if address.port() == 0 || address.port() > u16::MAX - 3 {
        bail!("the port is within 1 and 65532");
    }
    Ok(address)
}

fn default_name(dir: &Path) -> String {
    let absolute = std::path::absolute(dir).unwrap_or_else(|_| dir.into());
    let name = absolute.file_name().and_then(|name| name.to_str()).unwrap_or("ravelin");
    let plain: String =
        name.chars().filter(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c)).take(64).collect();
    if plain.is_empty() { "ravelin".into() } else { plain }
}

/// The names and addresses of the server's certificate.
fn hosts(wanted: &[String], listens_on: IpAddr) -> Vec<String> {
    let mut hosts: Vec<String> = wanted.to_vec();
    hosts.extend(["localhost".into(), "127.0.0.1".into(), "::1".into()]);
    hosts.extend(deployment::hostname());
    if !listens_on.is_unspecified() {
        hosts.push(listens_on.to_string());
    }
    let mut seen = std::collections::BTreeSet::new();
    hosts.retain(|host| seen.insert(host.clone()));
    hosts
}

/// Makes the directory ours: it is created, or was empty.
fn claim(dir: &Path) -> anyhow::Result<()> {
    match std::fs::read_dir(dir) {
        Ok(mut entries) => {
            if entries.next().is_some() {
                bail!("{} is not empty; nothing was changed", dir.display());
            }
            let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
            std::fs::set_permissions(dir, private)
                .with_context(|| format!("failed to make {} private", dir.display()))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(file::create_dir(dir)?),
        Err(error) => Err(error).with_context(|| format!("failed to read {}", dir.display())),
    }
}

/// Writes the deployment; gives the operator's password.
fn create(
    layout: &Layout,
    name: &str,
    hosts: &[String],
    address: SocketAddr,
) -> anyhow::Result<ravelin_protect::Secret> {
    let now_s = deployment::now_s()?;
    for dir in [layout.ca_dir(), layout.tls_dir(), layout.clients_dir(), layout.data_dir()] {
        file::create_dir(&dir)?;
    }
    // Two CAs with one name could not be told apart by whoever has both.
    let unique = ravelin_protect::hex(&ravelin_protect::random::<4>()?);
    let (ca, issued) = Ca::create(&format!("Ravelin {name} CA {unique}"), now_s, deployment::CA_VALIDITY)?;
    issued.save(&layout.ca_certificate(), &layout.ca_key())?;
    let list = ca.issue_crl(&[], now_s, now_s, deployment::CA_VALIDITY)?;
    file::create(&layout.ca_crl(), list.as_bytes(), Mode::Public)?;
    ca.issue_server(hosts, now_s, deployment::days(deployment::SERVER_VALIDITY_DAYS))?
        .save(&layout.server_certificate(), &layout.server_key())?;
    ca.issue_client(OPERATOR, now_s, deployment::days(deployment::CLIENT_VALIDITY_DAYS))?
        .save(&layout.client_certificate(OPERATOR), &layout.client_key(OPERATOR))?;

    file::create(&layout.passwords(), template::PASSWORDS.as_bytes(), Mode::Private)?;
    let password = deployment::random_password()?;
    let mut edit = Edit::open(&layout.passwords())?;
    edit.set(OPERATOR, &password)?;
    edit.save()?;

    file::create(&layout.access_rules(), template::ACCESS_RULES.as_bytes(), Mode::Private)?;
    ravelin_store::Keys::create(layout.store_key()).context("failed to create the store's key")?;
    let with_port = |port| SocketAddr::new(address.ip(), port);
    let text = template::config(&template::Particulars {
        name,
        address,
        password_address: with_port(address.port() + 2),
        websocket_address: with_port(address.port() + 1),
        control_address: control_address(address),
        admin: OPERATOR,
    });
    file::create(&layout.config(), text.as_bytes(), Mode::Private)?;
    Ok(password)
}

/// The control lane stays on this machine, wherever clients connect.
fn control_address(address: SocketAddr) -> SocketAddr {
    let loopback: IpAddr = match address.ip() {
        ip if ip.is_loopback() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(loopback, address.port() + 3)
}

fn report(layout: &Layout, hosts: &[String], address: SocketAddr, password: &ravelin_protect::Secret) {
    let dir = quoted(layout.dir());
    let ca = quoted(&layout.ca_certificate());
    let certificate = quoted(&layout.client_certificate(OPERATOR));
    let key = quoted(&layout.client_key(OPERATOR));
    let host = match address.ip() {
        IpAddr::V4(Ipv4Addr::LOCALHOST) => "localhost".to_string(),
        ip if ip.is_unspecified() => "localhost".to_string(),
        ip => ip.to_string(),
    };
    let port = address.port();
    println!(
        "\
Created {dir}: mutual TLS on {address}, passwords over TLS on port {}, administered on
{}.
The server's certificate is for {}.
The operator's password (shown once, only its hash is kept): {}

Run it:
  ravelin serve {dir}

Try it, in two other terminals:
  mosquitto_sub -V mqttv5 -h {host} -p {port} --cafile {ca} --cert {certificate} --key {key} -t 'demo/#' -v
  mosquitto_pub -V mqttv5 -h {host} -p {port} --cafile {ca} --cert {certificate} --key {key} -t demo/hello -m hello

Next:
  ravelin client add meter-7 --dir {dir} --publish 'meters/meter-7/#'
  ravelin ctl status --dir {dir}
  ravelin check {dir}

Keep {} offline and a copy of {} elsewhere: whoever has the first
can make clients, and without the second what is stored cannot be read.",
        port + 2,
        control_address(address),
        hosts.join(", "),
        String::from_utf8_lossy(password.expose()),
        quoted(&layout.ca_key()),
        quoted(&layout.store_key()),
    );
}
