//! Who signs for a CA. The key may be in a file, as here, or in a module that never gives it out (PKCS#11, a TPM): then
//! another [`Signer`] stands in for it.

use crate::{Error, file};
use rcgen::{KeyPair, PublicKeyData, SignatureAlgorithm, SigningKey};
use std::path::Path;
use std::sync::Arc;

/// The algorithm that a CA signs with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SignerAlgorithm {
    /// ECDSA on P-256 with SHA-256.
    EcdsaP256,
    /// ECDSA on P-384 with SHA-384.
    EcdsaP384,
    /// Ed25519.
    Ed25519,
    /// RSA (PKCS#1 1.5) with SHA-256.
    Rsa,
}

/// A private key that signs, and is not seen.
pub trait Signer: Send + Sync {
    /// The content of the `subjectPublicKey` bit string of its public key.
    fn public_key(&self) -> &[u8];

    /// With which algorithm it signs.
    fn algorithm(&self) -> SignerAlgorithm;

    /// A signature over `message`, in the form that X.509 has for the algorithm.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error>;
}

/// A private key in a file (PEM: PKCS#8, SEC1 or PKCS#1).
pub struct FileSigner {
    key: KeyPair,
    algorithm: SignerAlgorithm,
}

impl FileSigner {
    /// Reads the key.
    pub fn load(path: &Path) -> Result<FileSigner, Error> {
        let pem = file::read_text(path, 64 << 10)?;
        let key = KeyPair::from_pem(&pem)
            .map_err(|error| Error::content(path, format!("holds no private key that can sign: {error}")))?;
        FileSigner::new(key).map_err(|error| Error::content(path, error.to_string()))
    }

    pub(super) fn new(key: KeyPair) -> Result<FileSigner, Error> {
        let known = [
            (&rcgen::PKCS_ECDSA_P256_SHA256, SignerAlgorithm::EcdsaP256),
            (&rcgen::PKCS_ECDSA_P384_SHA384, SignerAlgorithm::EcdsaP384),
            (&rcgen::PKCS_ED25519, SignerAlgorithm::Ed25519),
            (&rcgen::PKCS_RSA_SHA256, SignerAlgorithm::Rsa),
        ];
        let algorithm = known.iter().find(|(known, _)| key.algorithm() == *known);
        let (_, algorithm) = algorithm
            .ok_or_else(|| Error::Value("is not an ECDSA P-256, P-384, Ed25519 or RSA key".into()))?;
        Ok(FileSigner { algorithm: *algorithm, key })
    }
}

impl Signer for FileSigner {
    fn public_key(&self) -> &[u8] {
        self.key.der_bytes()
    }

    fn algorithm(&self) -> SignerAlgorithm {
        self.algorithm
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        SigningKey::sign(&self.key, message).map_err(super::failed)
    }
}

/// A signer as rcgen asks for it.
pub(super) struct Signing(pub Arc<dyn Signer>);

impl PublicKeyData for Signing {
    fn der_bytes(&self) -> &[u8] {
        self.0.public_key()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        match self.0.algorithm() {
            SignerAlgorithm::EcdsaP256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            SignerAlgorithm::EcdsaP384 => &rcgen::PKCS_ECDSA_P384_SHA384,
            SignerAlgorithm::Ed25519 => &rcgen::PKCS_ED25519,
            SignerAlgorithm::Rsa => &rcgen::PKCS_RSA_SHA256,
        }
    }
}

impl SigningKey for Signing {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.0.sign(message).map_err(|_| rcgen::Error::RemoteKeyError)
    }
}
