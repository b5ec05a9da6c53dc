//! SCRAM by the AUTH exchange of MQTT 5.0 (section 4.12), from the client's side.

use super::Error;
use super::options::ConnectOptions;
use ravelin_protect::scram::{self, Mechanism, ScramClient};

/// The exchange that goes on while the connection opens.
pub struct Exchange {
    mechanism: Mechanism,
    client: ScramClient,
    first: Vec<u8>,
}

impl Exchange {
    /// Starts the exchange if the options ask for it.
    pub fn begin(options: &ConnectOptions) -> Result<Option<Exchange>, Error> {
        let (Some(mechanism), Some(user), Some(password)) =
            (options.scram, &options.username, &options.password)
        else {
            return Ok(None);
        };
        let random = ravelin_protect::random().map_err(failed)?;
        let (client, first) =
            ScramClient::begin(mechanism, user, password.clone(), &scram::nonce(&random)).map_err(failed)?;
        Ok(Some(Exchange { mechanism, client, first }))
    }

    /// The method's name.
    pub fn method(&self) -> &'static str {
        self.mechanism.name()
    }

    /// What goes into the CONNECT.
    pub fn first(&self) -> &[u8] {
        &self.first
    }

    /// Answers the server's challenge.
    pub fn prove(&mut self, challenge: &[u8]) -> Result<Vec<u8>, Error> {
        self.client.prove(challenge).map_err(failed)
    }

    /// Checks the end that came with the CONNACK: a server that does not know the password is not the server.
    pub fn verify(self, end: Option<&[u8]>) -> Result<(), Error> {
        let end = end.ok_or_else(|| {
            Error::Authentication("the broker did not prove that it knows the password".into())
        })?;
        self.client.verify(end).map_err(failed)
    }
}

fn failed(why: impl std::fmt::Display) -> Error {
    Error::Authentication(why.to_string())
}
