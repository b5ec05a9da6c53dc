//! A client that keeps its TLS session ticket: `ravelin pub` and `sub` make a new session each time they run.

use super::broker::PATIENCE;
use anyhow::Context;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

/// A client with its certificate, and the tickets that it was given.
pub struct TicketHolder {
    config: Arc<ClientConfig>,
    port: u16,
}

/// What became of an attempt to connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// CONNACK accepted it. Whether a ticket spared it the full handshake.
    Accepted { resumed: bool },
    /// The connection ended before that, for this reason.
    Refused(String),
}

impl TicketHolder {
    /// `name`'s certificate and key in the deployment at `dir`.
    pub fn new(dir: &Path, name: &str, port: u16) -> anyhow::Result<TicketHolder> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(dir.join("ca/ca.crt")).context("the CA's certificate")?)?;
        let clients = dir.join("clients");
        let chain: Vec<_> = CertificateDer::pem_file_iter(clients.join(format!("{name}.crt")))
            .context("the client's certificate")?
            .collect::<Result<_, _>>()?;
        let key = PrivateKeyDer::from_pem_file(clients.join(format!("{name}.key"))).context("its key")?;
        let config =
            ClientConfig::builder_with_provider(rustls::crypto::aws_lc_rs::default_provider().into())
                .with_safe_default_protocol_versions()?
                .with_root_certificates(roots)
                .with_client_auth_cert(chain, key)?;
        Ok(TicketHolder { config: Arc::new(config), port })
    }

    /// Connects as `client_id`, with a ticket if there is one, waits for CONNACK and leaves.
    pub fn connect(&self, client_id: &str) -> anyhow::Result<Outcome> {
        let socket = TcpStream::connect(("127.0.0.1", self.port)).context("the broker does not listen")?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let name = ServerName::try_from("localhost")?;
        let connection = ClientConnection::new(Arc::clone(&self.config), name)?;
        let mut stream = StreamOwned::new(connection, socket);
        Ok(match greet(&mut stream, client_id) {
            Ok(()) => {
                let resumed = stream.conn.handshake_kind() == Some(HandshakeKind::Resumed);
                Outcome::Accepted { resumed }
            }
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                Outcome::Refused("the connection is closed before CONNACK".into())
            }
            Err(error) => Outcome::Refused(error.to_string()),
        })
    }
}

/// CONNECT of 3.1.1 with a clean session, and its CONNACK.
fn greet(stream: &mut (impl Read + Write), client_id: &str) -> std::io::Result<()> {
    let mut body = b"\0\x04MQTT\x04\x02\0\x3c".to_vec();
    body.extend((client_id.len() as u16).to_be_bytes());
    body.extend(client_id.as_bytes());
    stream.write_all(&[&[0x10, body.len() as u8][..], &body].concat())?;
    let mut answer = [0; 4];
    stream.read_exact(&mut answer)?;
    if answer != [0x20, 2, 0, 0] {
        return Err(std::io::Error::other(format!("CONNACK with return code {}", answer[3])));
    }
    stream.write_all(&[0xE0, 0])
}
