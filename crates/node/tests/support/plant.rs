//! A CA, certificates of two meters, and what connects with them to a node that asks for them.
#![allow(dead_code, reason = "each test file uses a part of it")]

use crate::support::{Client, connect, connect_socket};
use ravelin_mqtt::Version;
use ravelin_node::Node;
use ravelin_node::config::Config;
use ravelin_protect::pki::Ca;
use ravelin_protect::tls;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub const DAY: Duration = Duration::from_secs(86_400);

pub type Tls = StreamOwned<ClientConnection, TcpStream>;

pub fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

pub struct Plant {
    pub directory: tempfile::TempDir,
    pub ca: Ca,
}

impl Plant {
    pub fn new() -> Plant {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let (ca, issued) = Ca::create("plant", now_s(), DAY * 100).unwrap();
        issued.save(&path.join("ca.crt"), &path.join("ca.key")).unwrap();
        let server = ca.issue_server(&["localhost".into()], now_s(), DAY).unwrap();
        server.save(&path.join("server.crt"), &path.join("server.key")).unwrap();
        std::fs::write(path.join("ca.crl"), ca.issue_crl(&[], 1, now_s(), DAY * 20).unwrap()).unwrap();
        std::fs::write(path.join("rules"), "pattern readwrite #\n").unwrap();
        ravelin_store::Keys::create(path.join("store.key")).unwrap();
        let plant = Plant { directory, ca };
        plant.issue("meter-1");
        plant.issue("meter-2");
        plant
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn issue(&self, name: &str) {
        let issued = self.ca.issue_client(name, now_s(), DAY).unwrap();
        issued.save(&self.path(&format!("{name}.crt")), &self.path(&format!("{name}.key"))).unwrap();
    }

    pub fn config(&self, listener: &str, sections: &str) -> Config {
        let text = format!(
            "[node]\nworkers = 2\ndata = \"data\"\n[store]\nkey_file = \"store.key\"\n[access]\nrules_file = \"rules\"\n\
             [[listener]]\nname = \"mtls\"\ntransport = \"tls\"\naddress = \"127.0.0.1:0\"\ncertificate = \"server.crt\"\n\
             key = \"server.key\"\nclient_ca = \"ca.crt\"\nauthentication = [\"certificate\"]\n\
             bind_client_id = \"prefix\"\n{listener}\n{sections}\n"
        );
        Config::parse(&text, self.directory.path()).unwrap_or_else(|errors| panic!("{errors}"))
    }

    pub fn client_config(&self, certificate: &str, key: &str) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.path("ca.crt")).unwrap()).unwrap();
        let builder = ClientConfig::builder_with_provider(tls::provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        builder.with_client_auth_cert(chain, key).unwrap().into()
    }

    pub fn of(&self, name: &str) -> Arc<ClientConfig> {
        let read = |end: &str| std::fs::read_to_string(self.path(&format!("{name}.{end}"))).unwrap();
        self.client_config(&read("crt"), &read("key"))
    }

    pub fn serial(&self, name: &str) -> String {
        let der = CertificateDer::from_pem_file(self.path(&format!("{name}.crt"))).unwrap();
        ravelin_protect::serial_of(&der).unwrap()
    }
}

pub fn stream(node: &Node, config: &Arc<ClientConfig>) -> Tls {
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(Arc::clone(config), name).unwrap();
    StreamOwned::new(connection, connect_socket(node.addresses()[0]))
}

/// A connection that has gone as far as TLS does.
pub fn shake_hands(node: &Node, config: &Arc<ClientConfig>) -> Tls {
    let mut stream = stream(node, config);
    stream.flush().unwrap();
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock).unwrap();
    }
    stream
}

/// A client with a session that outlives its connection.
pub fn join(node: &Node, config: &Arc<ClientConfig>, client_id: &str) -> Client<Tls> {
    let mut client = Client::new(stream(node, config), Version::V5);
    let mut wanted = connect(client_id);
    (wanted.clean_start, wanted.session_expiry_s) = (false, Some(3600));
    client.connect(&wanted);
    client
}

/// Whether a client with this configuration is served.
pub fn is_served(node: &Node, config: &Arc<ClientConfig>, client_id: &str) -> bool {
    use ravelin_mqtt::encode_connect;
    let mut stream = stream(node, config);
    let mut out = Vec::new();
    encode_connect(&mut out, &connect(client_id));
    let mut answer = [0; 4];
    stream.write_all(&out).and_then(|()| stream.read_exact(&mut answer)).is_ok() && answer[3] == 0
}
