//! `ravelin client add`: a certificate, a password, access rules, and what to paste into the client.

use super::{Dir, rules};
use crate::deployment::snippets::{self, Connection, Snippet};
use crate::deployment::{self, Deployment, days, host_of, quoted};
use anyhow::bail;
use ravelin_node::config::{Listener, Transport};
use ravelin_protect::password::Edit;
use ravelin_protect::pki::Ca;
use ravelin_protect::{BindClientId, ClientCertificate, Secret, file};
use std::path::PathBuf;
use std::process::ExitCode;

/// Add a client: a certificate, a password, or both, and its access rules.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  ravelin client add meter-7 --dir plant --publish 'meters/meter-7/#'
  ravelin client add tablet --dir plant --password --subscribe 'meters/+/reading'
  ravelin client add gateway --dir plant --certificate --password=stdin < password.txt

Without --certificate and --password, a certificate is made. A running node takes the client's password and rules up on
SIGHUP; a certificate is accepted at once.")]
pub struct Args {
    /// The client's name: its identity, and the Client Identifier it uses.
    name: String,
    #[command(flatten)]
    dir: Dir,
    /// Make a certificate.
    #[arg(long)]
    certificate: bool,
    /// Give it a password: made up and printed, or read from standard input.
    #[arg(long, value_name = "random|stdin", num_args = 0..=1, require_equals = true, default_missing_value = "random")]
    password: Option<PasswordSource>,
    /// The Client Identifier in the snippets, where it is not the name [default: NAME].
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    /// How long the certificate is valid.
    #[arg(long, default_value_t = deployment::CLIENT_VALIDITY_DAYS, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    days: u32,
    /// A filter of topics that it may publish to (repeatable).
    #[arg(long, value_name = "FILTER")]
    publish: Vec<String>,
    /// A filter that it may subscribe to (repeatable).
    #[arg(long, value_name = "FILTER")]
    subscribe: Vec<String>,
    /// Write what was made as one JSON object.
    #[arg(long)]
    json: bool,
}

/// Where a password comes from.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum PasswordSource {
    Random,
    Stdin,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    deployment::check_name(&args.name)?;
    let deployment = Deployment::open(&args.dir.dir)?;
    let client_id = args.client_id.clone().unwrap_or_else(|| args.name.clone());
    if client_id.is_empty()
        || client_id.contains(|c: char| c.is_control() || c.is_whitespace() || "'\"$`\\".contains(c))
    {
        bail!("{client_id:?} cannot be a Client Identifier here");
    }
    let with_certificate = args.certificate || args.password.is_none();

    // Everything that can be wrong is found before anything is written.
    let certificate = args.name.as_str();
    let paths =
        (deployment.layout.client_certificate(certificate), deployment.layout.client_key(certificate));
    if with_certificate {
        for path in [&paths.0, &paths.1] {
            if path.exists() {
                bail!(
                    "{} exists; nothing was changed (`ravelin client remove {}` first)",
                    path.display(),
                    args.name
                );
            }
        }
    }
    let passwords = args.password.map(|_| deployment.passwords()).transpose()?;
    let mut edit = passwords.as_deref().map(Edit::open).transpose()?;
    if edit.as_ref().is_some_and(|edit| edit.has(&args.name)) {
        bail!("{} has a password; nothing was changed (`ravelin passwd` changes it)", args.name);
    }
    let new_rules = if args.publish.is_empty() && args.subscribe.is_empty() {
        None
    } else {
        let path = deployment.access_rules()?;
        let text = rules::with_added(&path, &args.name, &args.publish, &args.subscribe)?;
        Some((path, text))
    };
    let password = match args.password {
        None => None,
        Some(PasswordSource::Random) => Some(deployment::random_password()?),
        Some(PasswordSource::Stdin) => Some(crate::commands::passwd::read_password()?),
    };

    if with_certificate {
        let ca = Ca::load(&deployment.layout.ca_certificate(), &deployment.layout.ca_key())?;
        ca.issue_client(&args.name, deployment::now_s()?, days(args.days))?.save(&paths.0, &paths.1)?;
    }
    if let (Some(mut edit), Some(password)) = (edit.take(), &password) {
        edit.set(&args.name, password)?;
        edit.save()?;
    }
    if let Some((path, text)) = &new_rules {
        file::replace(path, text.as_bytes())?;
    }

    let added = Added {
        args: &args,
        deployment: &deployment,
        client_id,
        paths: with_certificate.then_some(paths),
        password,
    };
    if args.json {
        added.print_json()
    } else {
        added.print(new_rules.is_some())
    }
    Ok(ExitCode::SUCCESS)
}

struct Added<'a> {
    args: &'a Args,
    deployment: &'a Deployment,
    client_id: String,
    paths: Option<(PathBuf, PathBuf)>,
    password: Option<Secret>,
}

impl Added<'_> {
    /// The way in by certificate and the way in by password, each with its listener.
    fn connections(&self) -> Vec<(&'static str, &Listener, Connection)> {
        let mut connections = Vec::new();
        let is_tls = |listener: &Listener| listener.transport == Transport::Tls;
        let by_certificate = self.paths.as_ref().and_then(|paths| {
            let suits = |listener: &Listener| is_tls(listener) && listener.policy.methods.certificate;
            Some(("certificate", self.deployment.listener(suits)?, Some(paths.clone()), None))
        });
        let by_password = self.password.as_ref().and_then(|_| {
            let suits = |listener: &Listener| {
                let policy = &listener.policy;
                is_tls(listener)
                    && policy.methods.password
                    && (policy.client_certificate != ClientCertificate::Required || self.paths.is_some())
            };
            let listener = self.deployment.listener(suits)?;
            let required = listener.policy.client_certificate == ClientCertificate::Required;
            Some((
                "password",
                listener,
                self.paths.clone().filter(|_| required),
                Some(self.args.name.clone()),
            ))
        });
        for (way, listener, certificate, username) in [by_certificate, by_password].into_iter().flatten() {
            let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
            let connection = Connection {
                host: host_of(listener),
                port: listener.address.port(),
                ca: absolute(self.deployment.layout.ca_certificate()),
                client_id: self.client_id.clone(),
                certificate: certificate.map(|(certificate, key)| (absolute(certificate), absolute(key))),
                username,
                topic: self.topic(),
            };
            connections.push((way, listener, connection));
        }
        connections
    }

    /// A topic that the client may publish to.
    fn topic(&self) -> String {
        let filter =
            self.args.publish.first().map_or_else(|| format!("{}/hello", self.args.name), String::clone);
        filter
            .split('/')
            .map(|level| if matches!(level, "+" | "#") { "hello" } else { level })
            .collect::<Vec<_>>()
            .join("/")
    }

    fn print(&self, has_rules: bool) {
        let name = &self.args.name;
        if let Some((certificate, key)) = &self.paths {
            println!("Certificate (valid for {} days): {}", self.args.days, quoted(certificate));
            println!("Private key: {}", quoted(key));
        }
        if self.password.is_some() && self.args.password == Some(PasswordSource::Random) {
            println!("Password (shown once, only its hash is kept): {}", self.password_text());
        }
        if !has_rules && self.args.publish.is_empty() {
            println!(
                "It has no access rules of its own; add some to access.rules, such as:\n  user {name}\n  topic write {name}/#"
            );
        }
        println!("A running node takes passwords and rules up with: kill -HUP $(pidof ravelin)");
        for (way, listener, connection) in self.connections() {
            if !listener.policy.bind_client_id.allows(name, &self.client_id) {
                println!(
                    "\nwarning: the listener \"{}\" refuses the Client Identifier {:?} for {name} (bind_client_id = {:?})",
                    listener.name,
                    self.client_id,
                    match listener.policy.bind_client_id {
                        BindClientId::None => "none",
                        BindClientId::Equal => "equal",
                        BindClientId::Prefix => "prefix",
                    }
                );
            }
            println!("\nBy {way}, on {}:", listener.address);
            if way == "password" {
                println!("(set MQTT_PASSWORD in the environment)");
            }
            for Snippet { tool, text } in snippets::all(&connection) {
                println!("\n# {tool}\n{}", text.trim_end());
            }
        }
    }

    fn print_json(&self) {
        let connections: Vec<_> = self
            .connections()
            .iter()
            .map(|(way, listener, connection)| {
                let snippets: serde_json::Map<_, _> = snippets::all(connection)
                    .into_iter()
                    .map(|snippet| (snippet.tool.to_string(), snippet.text.into()))
                    .collect();
                serde_json::json!({
                    "by": way,
                    "listener": listener.name,
                    "host": connection.host,
                    "port": connection.port,
                    "ca": connection.ca,
                    "snippets": snippets,
                })
            })
            .collect();
        let (certificate, key) = self.paths.clone().unzip();
        let out = serde_json::json!({
            "name": self.args.name,
            "client_id": self.client_id,
            "certificate": certificate,
            "key": key,
            "password": self.password.as_ref().map(|_| self.password_text()),
            "connections": connections,
        });
        println!("{out}");
    }

    fn password_text(&self) -> String {
        let bytes = self.password.as_ref().map_or(&[][..], Secret::expose);
        String::from_utf8_lossy(bytes).into_owned()
    }
}
