//! The rungs: how a node is configured so that it refuses there, and what is sent against it.

use super::flood::{Say, Size, open};
use super::node::Child;
use ravelin_protect::pki::Ca;
use ravelin_protect::tls;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Where the flood comes from.
const FLOOD: &str = "network:127.64.0.0/10";
const PASSWORD_LISTENER: &str = "authentication = [\"password\"]\n";
const ANONYMOUS_LISTENER: &str = "dangerous_anonymous = true\n";
/// Without the limits that would refuse before the rung that is meant.
const WIDE: &str = "connection_rate = \"1000000/s\"\nconnection_burst = 1000000\npre_auth_max = 100000\n";

/// A rung that is measured.
pub struct Rung {
    pub name: &'static str,
    pub label: &'static str,
    pub rate_key: &'static str,
    /// As the node calls it.
    pub rung: &'static str,
    pub ban: Option<&'static str>,
    listener: &'static str,
    tls: bool,
    limits: &'static str,
    packet: Packet,
    /// Connections at once.
    pub threads: usize,
    /// Addresses that they come from.
    pub sources: u64,
    /// Does what must be done before, and returns what must stay open.
    pub prime: fn(&Child, &Say) -> anyhow::Result<Vec<TcpStream>>,
}

impl Rung {
    /// The size of its flood.
    pub fn size(&self) -> Size {
        Size { threads: self.threads, sources: self.sources }
    }
}

/// What a client sends.
#[derive(Clone, Copy)]
enum Packet {
    Nothing,
    /// Not even TLS.
    Garbage,
    Handshake,
    Malformed,
    Oversized,
    Password,
    NoCredentials,
    BannedName,
}

const PLAIN: Rung = Rung {
    name: "",
    label: "",
    rate_key: "",
    rung: "",
    ban: None,
    listener: ANONYMOUS_LISTENER,
    tls: false,
    limits: WIDE,
    packet: Packet::Nothing,
    threads: 8,
    sources: 1 << 14,
    prime: |_, _| Ok(Vec::new()),
};

/// All of them, in the order in which they are climbed.
pub const RUNGS: &[Rung] = &[
    Rung {
        name: "banned_address",
        label: "banned address",
        rate_key: "banned_address_per_s",
        rung: "banned_address",
        ban: Some(FLOOD),
        ..PLAIN
    },
    Rung {
        name: "rate_per_address",
        label: "too many from an address",
        rate_key: "rate_per_address_per_s",
        rung: "rate_per_address",
        limits: "exempt_loopback = false\nconnection_rate_per_address = \"1/s\"\nconnection_burst_per_address = 1\n\
                 connect_deadline = \"100ms\"\nconnection_rate = \"1000000/s\"\nconnection_burst = 1000000\npre_auth_max = 100000\n",
        sources: 1,
        ..PLAIN
    },
    Rung {
        name: "pre_auth",
        label: "no slot before log-in",
        rate_key: "pre_auth_per_s",
        rung: "pre_auth",
        limits: "pre_auth_max = 1\nconnect_deadline = \"5m\"\nconnection_rate = \"1000000/s\"\n\
                 connection_burst = 1000000\n",
        prime: |node, _| {
            let held = open(node.address, Ipv4Addr::LOCALHOST)?;
            std::thread::sleep(Duration::from_millis(200));
            Ok(vec![held])
        },
        ..PLAIN
    },
    Rung {
        name: "tls_garbage",
        label: "not TLS",
        rate_key: "tls_garbage_per_s",
        rung: "tls",
        tls: true,
        packet: Packet::Garbage,
        ..PLAIN
    },
    Rung {
        name: "tls_no_certificate",
        label: "TLS without a certificate",
        rate_key: "tls_no_certificate_per_s",
        rung: "tls",
        tls: true,
        packet: Packet::Handshake,
        ..PLAIN
    },
    Rung {
        name: "malformed_connect",
        label: "malformed CONNECT",
        rate_key: "malformed_connect_per_s",
        rung: "connect",
        packet: Packet::Malformed,
        ..PLAIN
    },
    Rung {
        name: "oversized_connect",
        label: "oversized CONNECT",
        rate_key: "oversized_connect_per_s",
        rung: "connect",
        packet: Packet::Oversized,
        ..PLAIN
    },
    Rung {
        name: "banned_client",
        label: "banned client id",
        rate_key: "banned_client_per_s",
        rung: "banned_client",
        ban: Some("client_id:banned"),
        packet: Packet::BannedName,
        ..PLAIN
    },
    Rung {
        name: "no_credentials",
        label: "denied: no credentials",
        rate_key: "no_credentials_per_s",
        rung: "authentication",
        listener: PASSWORD_LISTENER,
        packet: Packet::NoCredentials,
        ..PLAIN
    },
    Rung {
        name: "locked_out",
        label: "locked out",
        rate_key: "locked_out_per_s",
        rung: "locked_out",
        listener: PASSWORD_LISTENER,
        limits: "connection_rate = \"1000000/s\"\nconnection_burst = 1000000\npre_auth_max = 100000\n\
                 lockout_failures_per_user = 1\nlockout_pause = \"1h\"\nlockout_pause_max = \"1h\"\n\
                 lockout_pause_known_max = \"1h\"\n",
        packet: Packet::Password,
        prime: fail_once,
        ..PLAIN
    },
    Rung {
        name: "wrong_password",
        label: "wrong password (argon2id)",
        rate_key: "wrong_password_per_s",
        rung: "authentication",
        listener: PASSWORD_LISTENER,
        limits: "lockout = false\n",
        packet: Packet::Password,
        threads: 2,
        ..PLAIN
    },
];

/// The names of a flood's figures.
pub struct FloodKeys {
    pub quiet: &'static str,
    pub quiet_label: &'static str,
    pub busy: &'static str,
    pub busy_label: &'static str,
    pub ratio: &'static str,
    pub rate: &'static str,
    pub cores: &'static str,
}

pub const BANNED_FLOOD: FloodKeys = FloodKeys {
    quiet: "banned_quiet_us",
    quiet_label: "latency before",
    busy: "banned_flood_us",
    busy_label: "latency, flood of banned addresses",
    ratio: "banned_flood_ratio",
    rate: "banned_flood_per_s",
    cores: "banned_flood_cores",
};

pub const MALFORMED_FLOOD: FloodKeys = FloodKeys {
    quiet: "malformed_quiet_us",
    quiet_label: "latency before",
    busy: "malformed_flood_us",
    busy_label: "latency, flood of malformed CONNECTs",
    ratio: "malformed_flood_ratio",
    rate: "malformed_flood_per_s",
    cores: "malformed_flood_cores",
};

/// A directory with a CA, a server's certificate and a password file. It goes with this.
pub struct Ground {
    directory: PathBuf,
    client: Arc<ClientConfig>,
}

impl Ground {
    pub fn new() -> anyhow::Result<Ground> {
        let directory = std::env::temp_dir().join(format!("ravelin-bench-reject-{}", std::process::id()));
        fs::DirBuilder::new().mode(0o700).create(&directory)?;
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let day = Duration::from_secs(86_400);
        let (ca, issued) = Ca::create("Ravelin bench", now_s, day)?;
        drop(issued);
        let server = ca.issue_server(&["localhost".into()], now_s, day)?;
        let ground_of = |client| Ground { directory: directory.clone(), client };
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(ca.certificate().as_bytes())?)?;
        let client = ClientConfig::builder_with_provider(tls::provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let ground = ground_of(Arc::new(client));
        ground.write("ca.crt", ca.certificate())?;
        ground.write("server.crt", &server.certificate)?;
        ground.write("server.key", &server.key)?;
        let hash = ravelin_protect::password::StoredHash::create(&ravelin_protect::Secret::new("right"))?;
        ground.write("passwords", &format!("alice:{hash}\n"))?;
        Ok(ground)
    }

    /// The configuration of a node that refuses at a rung.
    pub fn config(&self, rung: &Rung) -> anyhow::Result<PathBuf> {
        self.write_config(rung, rung.limits)
    }

    /// The configuration of a node with the limits that it has by default.
    pub fn open_config(&self, rung: &Rung) -> anyhow::Result<PathBuf> {
        self.write_config(rung, "")
    }

    fn write_config(&self, rung: &Rung, limits: &str) -> anyhow::Result<PathBuf> {
        let transport = if rung.tls {
            "transport = \"tls\"\ncertificate = \"server.crt\"\nkey = \"server.key\"\nclient_certificate = \"required\"\n\
             client_ca = \"ca.crt\"\nauthentication = [\"certificate\"]\n"
                .to_owned()
        } else {
            format!("transport = \"tcp\"\n{}", rung.listener)
        };
        let text = format!(
            "[node]\nworkers = 1\n[[listener]]\nname = \"l\"\naddress = \"127.0.0.1:0\"\nbind_client_id = \"none\"\n\
             {transport}[authentication]\npassword_file = \"passwords\"\n[access]\ndangerous_allow_everything = true\n\
             [sys]\ninterval = \"0s\"\n[limits]\n{limits}"
        );
        self.write("ravelin.toml", &text)
    }

    /// What is sent against a rung.
    pub fn say(&self, rung: &Rung) -> anyhow::Result<Say> {
        let bytes: Vec<u8> = match rung.packet {
            Packet::Nothing => Vec::new(),
            Packet::Garbage => b"GET / HTTP/1.0\r\n\r\n".to_vec(),
            Packet::Handshake => return Ok(Say::Handshake(Arc::clone(&self.client))),
            Packet::Malformed => vec![0x10, 12, 0, 4, b'M', b'Q', b'T', b'X', 4, 2, 0, 60, 0, 0],
            Packet::Oversized => vec![0x10, 0xFF, 0xFF, 0xFF, 0x7F],
            Packet::Password => connect("flood", Some(("alice", "wrong"))),
            Packet::NoCredentials => connect("flood", None),
            Packet::BannedName => connect("banned", None),
        };
        Ok(Say::Bytes(bytes.into()))
    }

    fn write(&self, name: &str, text: &str) -> anyhow::Result<PathBuf> {
        let path = self.directory.join(name);
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        file.write_all(text.as_bytes())?;
        Ok(path)
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// A CONNECT of 3.1.1.
fn connect(client_id: &str, credentials: Option<(&str, &str)>) -> Vec<u8> {
    let text = |text: &str| [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat();
    let flags = if credentials.is_some() { 0xC2 } else { 2 };
    let mut body = [&text("MQTT")[..], &[4, flags, 0, 60], &text(client_id)].concat();
    if let Some((user, password)) = credentials {
        body.extend(text(user));
        body.extend(text(password));
    }
    [&[0x10, body.len() as u8][..], &body].concat()
}

/// The user has failed once, which is once too often here.
fn fail_once(node: &Child, say: &Say) -> anyhow::Result<Vec<TcpStream>> {
    let mut stream = open(node.address, Ipv4Addr::LOCALHOST)?;
    if let Say::Bytes(bytes) = say {
        stream.write_all(bytes)?;
    }
    let _ = stream.read(&mut [0; 16])?;
    Ok(Vec::new())
}
