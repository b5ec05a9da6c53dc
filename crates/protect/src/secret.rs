//! Secrets: bytes that are wiped when dropped and that nothing can print.

use crate::Error;
use aws_lc_rs::{hmac, rand};
use zeroize::Zeroizing;

/// Secret bytes: a password, a key. There is no `Debug`, no `Display` and no equality.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes a copy of `bytes`.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Secret {
        Secret(Zeroizing::new(bytes.into()))
    }

    /// The bytes, for whoever must use them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

/// A secret of the node from which it derives what it answers for users that do not exist, so that they cannot be
/// told from users that do. Keep it between restarts: a salt that changes on a restart tells the two apart.
#[derive(Clone)]
pub struct NodeSecret(Zeroizing<[u8; 32]>);

impl NodeSecret {
    /// A secret from 32 bytes that are kept with the node's other keys.
    pub fn new(bytes: [u8; 32]) -> NodeSecret {
        NodeSecret(Zeroizing::new(bytes))
    }

    /// A random secret, for a node that keeps none.
    pub fn generate() -> Result<NodeSecret, Error> {
        Ok(NodeSecret::new(random()?))
    }

    /// 32 bytes that depend on the secret, on the purpose and on `data`.
    pub(crate) fn derive(&self, purpose: &str, data: &str) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &self.0[..]));
        context.update(purpose.as_bytes());
        context.update(&[0]);
        context.update(data.as_bytes());
        let mut out = [0; 32];
        out.copy_from_slice(context.sign().as_ref());
        out
    }

    /// A number below `bound` (which is not 0) that depends on the secret, on the purpose and on `data`.
    pub(crate) fn pick(&self, purpose: &str, data: &str, bound: usize) -> usize {
        let bytes = self.derive(purpose, data);
        let number = u64::from_be_bytes([
            bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5], bytes[6], bytes[7],
        ]);
        (number % bound.max(1) as u64) as usize
    }
}

/// `N` random bytes from the operating system.
pub fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| Error::Random)?;
    Ok(bytes)
}
