//! The few cryptographic operations the log needs: HKDF-SHA-256 and AES-256-GCM.

use crate::Error;
use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    hkdf, rand,
};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// An authentication tag.
pub(crate) type Tag = [u8; TAG_BYTES];
pub(crate) const TAG_BYTES: usize = 16;

/// A secret of 32 bytes. Has no `Debug`; zeroed on drop.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct Secret(pub(crate) [u8; 32]);

impl Secret {
    pub(crate) fn random() -> Result<Secret, Error> {
        Ok(Secret(random()?))
    }
}

/// Random bytes of the cryptographic module.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| Error::Crypto { operation: "draw random bytes" })?;
    Ok(bytes)
}

/// A key that seals or opens, derived for one purpose. The module zeroes it on drop.
pub struct SealingKey(LessSafeKey);

impl SealingKey {
    /// HKDF-SHA-256 of `master` with `salt` and `info`.
    pub(crate) fn derive(master: &Secret, salt: &[u8], info: &[&[u8]]) -> Result<SealingKey, Error> {
        let pseudorandom = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(&master.0);
        let okm = pseudorandom
            .expand(info, &AES_256_GCM)
            .map_err(|_| Error::Crypto { operation: "derive a key" })?;
        Ok(SealingKey(LessSafeKey::new(UnboundKey::from(okm))))
    }

    /// Encrypts `text` in place; the tag goes behind it. The caller never uses a `counter` twice for one key.
    pub fn seal(&self, counter: u64, aad: &[u8], text: &mut [u8]) -> Result<[u8; 16], Error> {
        let tag = self
            .0
            .seal_in_place_separate_tag(nonce(counter), Aad::from(aad), text)
            .map_err(|_| Error::Crypto { operation: "encrypt" })?;
        tag.as_ref().try_into().map_err(|_| Error::Crypto { operation: "encrypt" })
    }

    /// Decrypts ciphertext followed by its tag in place; `None` when it is not authentic.
    pub fn open<'a>(&self, counter: u64, aad: &[u8], sealed: &'a mut [u8]) -> Option<&'a mut [u8]> {
        self.0.open_in_place(nonce(counter), Aad::from(aad), sealed).ok()
    }
}

/// Derives bytes that may be public, such as a key's id.
pub(crate) fn fingerprint(secret: &Secret, info: &[u8]) -> Result<[u8; 32], Error> {
    let failed = |_| Error::Crypto { operation: "derive a key id" };
    let pseudorandom = hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(&secret.0);
    let mut out = [0; 32];
    pseudorandom.expand(&[info], hkdf::HKDF_SHA256).map_err(failed)?.fill(&mut out).map_err(failed)?;
    Ok(out)
}

fn nonce(counter: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&counter.to_be_bytes());
    Nonce::assume_unique_for_key(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sealed_text_opens_only_with_its_counter_and_aad() {
        let key = SealingKey::derive(&Secret([7; 32]), b"salt", &[b"info"]).unwrap();
        let mut text = b"meter 17".to_vec();
        let tag = key.seal(5, b"aad", &mut text).unwrap();
        assert_ne!(text, b"meter 17");
        text.extend_from_slice(&tag);
        assert!(key.open(6, b"aad", &mut text.clone()).is_none());
        assert!(key.open(5, b"AAD", &mut text.clone()).is_none());
        assert_eq!(key.open(5, b"aad", &mut text).unwrap(), b"meter 17");
    }
}
