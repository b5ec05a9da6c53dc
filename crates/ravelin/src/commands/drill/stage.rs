//! Where a drill plays: the node, its consent, and the identities that the attackers get.

use super::attacker::{Attacker, Hello};
use crate::client::address::Scheme;
use crate::client::options::{ConnectOptions, TlsOptions};
use crate::client::property::PacketProperties;
use crate::client::tls::{TlsArgs, server_name};
use crate::deployment::random_password;
use anyhow::{Context, bail};
use ravelin_console::api::certificates::{CaInfo, Enrolment, NewCertificate};
use ravelin_console::api::directory::RoleRef;
use ravelin_console::api::directory::classes::ClassRequest;
use ravelin_console::api::directory::identities::IdentityRequest;
use ravelin_console::api::directory::roles::{RoleRequest, Rule};
use ravelin_console::api::drill::{DrillEnd, DrillItem, DrillRequest, DrillStatus};
use ravelin_console::api::node::{ListenerStatus, NodeStatus};
use ravelin_console::client::{Client, Target};
use ravelin_mqtt::Version;
use ravelin_protect::directory::RuleType;
use ravelin_protect::file::{self, Mode};
use ravelin_protect::pki;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

/// The role of the attackers.
const ROLE: &str = "drill-attackers";
/// The class of those whose presence is expected.
const CLASS: &str = "drill-sensors";
/// How long their certificates are good.
const VALIDITY: &str = "30m";

/// An attack cannot be rehearsed here, and why.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct CannotRun(String);

impl CannotRun {
    pub fn because(why: impl Into<String>) -> anyhow::Error {
        anyhow::Error::new(CannotRun(why.into()))
    }
}

/// What an attacker proves itself with.
#[derive(Clone)]
enum Proof {
    /// A certificate that the node's CA issued for the drill, and its key.
    Certificate(PathBuf, PathBuf),
    /// A password, where the node has no CA.
    Password(String),
}

/// The node and the attackers.
pub struct Stage {
    pub client: Client,
    ca: PathBuf,
    /// Where the real clients' certificates are.
    dir: Option<PathBuf>,
    status: DrillStatus,
    has_ca: bool,
    listeners: Vec<ListenerStatus>,
    /// The host of the control lane: the listeners are there, too.
    host: String,
    /// What the attackers prove themselves with, by identity.
    identities: BTreeMap<String, Proof>,
    /// Of this machine, one for each attack: what one is suspected of does not meet the next.
    source: u8,
    temporary: PathBuf,
    /// Connections that an attack leaves open until its end.
    pub held: Vec<Attacker>,
}

impl Stage {
    /// Looks at the node, and whether it consents.
    pub fn open(client: Client, target: &Target, dir: Option<PathBuf>) -> anyhow::Result<Stage> {
        let status: DrillStatus = client.get("/v1/drill")?;
        let listeners = client.get("/v1/listeners")?;
        let has_ca = client.get::<CaInfo>("/v1/ca").is_ok();
        let host = target.url.trim_start_matches("https://").trim_start_matches("http://");
        let host = host.rsplit_once(':').map_or(host, |(host, _)| host).trim_matches(['[', ']']).to_owned();
        let ca = target.ca.clone().unwrap_or_default();
        let temporary = std::env::temp_dir().join(format!("ravelin-drill-{}", std::process::id()));
        Ok(Stage {
            client,
            ca,
            dir,
            status,
            has_ca,
            listeners,
            host,
            identities: BTreeMap::new(),
            source: 0,
            temporary,
            held: Vec::new(),
        })
    }

    /// The node's name.
    pub fn node(&self) -> anyhow::Result<String> {
        Ok(self.client.get::<NodeStatus>("/v1/status")?.name)
    }

    /// Asks for consent, and makes the role of the attackers.
    pub fn begin(&self, scenario: &str) -> anyhow::Result<u64> {
        let request = DrillRequest { scenario: scenario.into() };
        let drill: DrillItem = self.client.call("POST", "/v1/drill", &request)?;
        let begun = self.prepare();
        if let Err(error) = &begun {
            let _ = self.end(drill.id, &format!("failed: {error:#}"));
        }
        begun.map(|()| drill.id)
    }

    fn prepare(&self) -> anyhow::Result<()> {
        file::create_dir(&self.temporary)?;
        let rule = |acltype, topic: &str| Rule {
            acltype,
            topic: topic.into(),
            priority: 0,
            allow: true,
            qosmax: None,
            retain: None,
            sharedgroup: None,
        };
        // Their own topics, and nothing of the plant's.
        let role = RoleRequest {
            textname: Some("Attackers of a drill".into()),
            textdescription: None,
            allowwildcardsubs: true,
            acls: vec![
                rule(RuleType::PublishClientSend, "drill/#"),
                rule(RuleType::PublishClientReceive, "drill/#"),
                rule(RuleType::SubscribePattern, "drill/#"),
            ],
        };
        self.client.order("PUT", &format!("/v1/directory/roles/{ROLE}"), Some(&role))?;
        self.client.order(
            "PUT",
            &format!("/v1/directory/classes/{CLASS}"),
            Some(&ClassRequest::default()),
        )?;
        Ok(())
    }

    /// Takes away what the drill has made, and tells the node that it is over.
    pub fn end(&self, drill: u64, outcome: &str) -> anyhow::Result<()> {
        let _ = std::fs::remove_dir_all(&self.temporary);
        let mut failed = None;
        for name in self.identities.keys() {
            let gone = self.client.order_plain("DELETE", &format!("/v1/directory/identities/{name}"));
            failed = failed.or(gone.err());
        }
        for path in [format!("/v1/directory/roles/{ROLE}"), format!("/v1/directory/classes/{CLASS}")] {
            failed = failed.or(self.client.order_plain("DELETE", &path).err());
        }
        let outcome = outcome[..outcome.floor_char_boundary(1000)].to_owned();
        self.client.order("POST", "/v1/drill/end", Some(&DrillEnd { id: drill, outcome }))?;
        match failed {
            None => Ok(()),
            Some(error) => Err(error).context("the drill is over, but not all that it made was taken away"),
        }
    }

    /// The attacks to come are from another address of this machine, where the node is on it, too.
    pub fn next_source(&mut self) {
        self.source = self.source.wrapping_add(1);
    }

    /// The connections that the last attack left open end.
    pub fn leave(&mut self) {
        self.held.clear();
    }

    /// Whether a name is one of the drill's, or of a client that it may play.
    pub fn is_ours(&self, name: &str) -> bool {
        let played = name.strip_suffix("-drill").unwrap_or(name);
        name.starts_with(&self.status.prefix) || self.status.play.iter().any(|one| one == played)
    }

    /// Where the attacks come from, if that is chosen.
    pub fn source(&self) -> Option<IpAddr> {
        let local = self.listeners.iter().filter_map(|one| one.address.parse::<SocketAddr>().ok());
        let is_local = local.into_iter().all(|address| address.ip().is_loopback() && address.is_ipv4());
        is_local.then(|| IpAddr::V4(Ipv4Addr::new(127, 77, self.source, 1)))
    }

    /// Logs an attacker in, as an identity of its own: `drill-NAME`.
    pub fn login(&mut self, name: &str) -> anyhow::Result<Attacker> {
        let name = format!("{}{name}", self.status.prefix);
        let mut attacker = self.open_as(&name)?;
        expect_welcome(attacker.hello(Hello::as_client(&name))?)?;
        Ok(attacker)
    }

    /// Opens a connection as an identity of the drill, and says nothing.
    pub fn open_as(&mut self, identity: &str) -> anyhow::Result<Attacker> {
        if !self.identities.contains_key(identity) {
            let proof = self.enrol(identity)?;
            self.identities.insert(identity.into(), proof);
        }
        match self.identities[identity].clone() {
            Proof::Certificate(certificate, key) => {
                self.connect(Some((certificate, key)), takes_certificates)
            }
            Proof::Password(password) => Ok(self.open_for_password()?.with_credentials(identity, &password)),
        }
    }

    /// Opens a connection without a certificate to a listener that takes passwords.
    pub fn open_for_password(&mut self) -> anyhow::Result<Attacker> {
        if !self.listeners.iter().any(takes_passwords) {
            return Err(CannotRun::because("no listener takes passwords"));
        }
        self.connect(None, takes_passwords)
    }

    /// Logs in with a real client's certificate, which was stolen: as `NAME-drill` where its identity may have a second
    /// Client Identifier, so that the real one is not thrown out; else as itself.
    pub fn play(&mut self, name: &str) -> anyhow::Result<Attacker> {
        let mut attacker = self.open_played(name)?;
        if attacker.hello(Hello::as_client(&format!("{name}-drill")))? == 0 {
            return Ok(attacker);
        }
        let mut attacker = self.open_played(name)?;
        expect_welcome(attacker.hello(Hello::as_client(name))?)?;
        Ok(attacker)
    }

    /// Opens a connection with a real client's certificate, and says nothing.
    pub fn open_played(&mut self, name: &str) -> anyhow::Result<Attacker> {
        if !self.status.play.iter().any(|one| one == name) {
            return Err(CannotRun::because(format!(
                "the configuration does not consent: `[drill] play` has no {name:?}"
            )));
        }
        let dir = self.dir.clone().unwrap_or_else(|| ".".into()).join("clients");
        let (certificate, key) = (dir.join(format!("{name}.crt")), dir.join(format!("{name}.key")));
        if !certificate.exists() || !key.exists() {
            return Err(CannotRun::because(format!(
                "there is no certificate with its key of {name} in {}",
                dir.display()
            )));
        }
        self.connect(Some((certificate, key)), takes_certificates)
    }

    fn enrol(&self, identity: &str) -> anyhow::Result<Proof> {
        let password = if self.has_ca { None } else { Some(random_password()?) };
        let password = password.as_ref().map(|secret| String::from_utf8_lossy(secret.expose()).into_owned());
        let request = IdentityRequest {
            roles: vec![RoleRef { rolename: ROLE.into(), priority: 0 }],
            textname: Some("An attacker of a drill".into()),
            class: identity.ends_with("sensor").then(|| CLASS.into()),
            password: password.clone(),
            ..IdentityRequest::default()
        };
        self.client.order("PUT", &format!("/v1/directory/identities/{identity}"), Some(&request))?;
        if let Some(password) = password {
            return Ok(Proof::Password(password));
        }
        let (key, request) = pki::new_request(identity)?;
        let enrolment = Enrolment { identity: identity.into(), request, validity: Some(VALIDITY.into()) };
        let new: NewCertificate = self.client.call("POST", "/v1/certificates", &enrolment)?;
        let at = |ending: &str| self.temporary.join(format!("{identity}.{ending}"));
        file::create(&at("crt"), new.certificate.as_bytes(), Mode::Private)?;
        file::create(&at("key"), key.as_bytes(), Mode::Private)?;
        Ok(Proof::Certificate(at("crt"), at("key")))
    }

    fn connect(
        &self,
        certificate: Option<(PathBuf, PathBuf)>,
        suits: impl Fn(&ListenerStatus) -> bool,
    ) -> anyhow::Result<Attacker> {
        let listener = self.listeners.iter().find(|one| one.transport == "tls" && suits(one));
        let listener = listener.context("the node has no TLS listener for these clients")?;
        let address: SocketAddr = listener.address.parse().context("the address of a listener")?;
        let (cert, key) = certificate.unzip();
        let tls = TlsArgs { cafile: Some(self.ca.clone()), cert, key, ..TlsArgs::default() };
        let options = ConnectOptions {
            scheme: Scheme::Mqtts,
            host: if address.ip().is_loopback() { address.ip().to_string() } else { self.host.clone() },
            port: address.port(),
            path: String::new(),
            bind_address: self.source(),
            tls: Some(TlsOptions { config: Arc::new(tls.config()?), name: server_name(&self.host)? }),
            version: Version::V311,
            client_id: String::new(),
            username: None,
            password: None,
            scram: None,
            keep_alive_s: 60,
            clean_start: true,
            session_expiry_s: None,
            will: None,
            properties: PacketProperties::default(),
            url_topic: None,
            debug: false,
        };
        Attacker::open(&options)
    }
}

fn takes_certificates(listener: &ListenerStatus) -> bool {
    listener.authentication.iter().any(|one| one == "certificate")
}

fn takes_passwords(listener: &ListenerStatus) -> bool {
    listener.client_certificate != "required" && listener.authentication.iter().any(|one| one == "password")
}

fn expect_welcome(code: u8) -> anyhow::Result<()> {
    if code != 0 {
        bail!("the node refused the log-in: code {code}");
    }
    Ok(())
}
