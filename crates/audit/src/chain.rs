//! The chain: what each entry adds to it, who signs it, and how that is verified.
//!
//! An entry's *leaf* is the hash of a random salt and its text; the *head* after it is the hash of the head before, its
//! number and its leaf. Who is given a leaf in place of an entry can follow the chain all the same, and cannot guess what
//! the entry says: that is what the salt is for.

use crate::entry::{Checkpoint, PublicKeyOf};
use crate::error::Error;
use aws_lc_rs::digest::{Context, SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// A hash.
pub type Hash = [u8; 32];
/// What a leaf is blinded with.
pub type Salt = [u8; 16];

/// SubjectPublicKeyInfo of a P-256 key, up to the point.
const SPKI_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
const POINT_BYTES: usize = 65;

/// SHA-256.
pub fn sha256(bytes: &[u8]) -> Hash {
    hash_of(digest(&SHA256, bytes).as_ref())
}

fn hash_of(bytes: &[u8]) -> Hash {
    let mut hash = [0; 32];
    hash.copy_from_slice(bytes);
    hash
}

/// Where the chain has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain {
    /// The number of the last entry; 0 before the first.
    pub sequence: u64,
    /// The head after it.
    pub head: Hash,
}

impl Chain {
    /// The chain of a record before its first entry.
    pub fn start(record: [u8; 16]) -> Chain {
        let mut context = Context::new(&SHA256);
        context.update(&[2]);
        context.update(&record);
        Chain { sequence: 0, head: hash_of(context.finish().as_ref()) }
    }

    /// Adds an entry of which only the leaf is known.
    pub fn add_leaf(&mut self, leaf: &Hash) {
        self.sequence += 1;
        let mut context = Context::new(&SHA256);
        context.update(&[1]);
        context.update(&self.head);
        context.update(&self.sequence.to_be_bytes());
        context.update(leaf);
        self.head = hash_of(context.finish().as_ref());
    }

    /// Adds an entry.
    pub fn add(&mut self, salt: &Salt, text: &[u8]) {
        self.add_leaf(&leaf(salt, text));
    }
}

/// The leaf of an entry.
pub fn leaf(salt: &Salt, text: &[u8]) -> Hash {
    let mut context = Context::new(&SHA256);
    context.update(&[0]);
    context.update(salt);
    context.update(text);
    hash_of(context.finish().as_ref())
}

/// The key that signs checkpoints. Has no `Debug`; the module zeroes it.
pub(crate) struct Signer {
    pair: EcdsaKeyPair,
    public: PublicKey,
}

impl Signer {
    /// A new key, in PKCS #8.
    pub fn generate() -> Result<Zeroizing<Vec<u8>>, Error> {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new())
            .map_err(|_| Error::Crypto { operation: "generate a signing key" })?;
        Ok(Zeroizing::new(document.as_ref().to_vec()))
    }

    pub fn from_pkcs8(bytes: &[u8]) -> Option<Signer> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, bytes).ok()?;
        let public = PublicKey::from_point(pair.public_key().as_ref())?;
        Some(Signer { pair, public })
    }

    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs for the chain up to where it has come.
    pub fn sign(
        &self,
        record: [u8; 16],
        chain: &Chain,
        signed_ms: u64,
        closed: bool,
    ) -> Result<Checkpoint, Error> {
        let mut checkpoint = Checkpoint {
            record: hex(&record),
            sequence: chain.sequence,
            head: hex(&chain.head),
            signed_ms,
            closed,
            key: self.public.id(),
            signature: String::new(),
        };
        let signature = self
            .pair
            .sign(&SystemRandom::new(), checkpoint.text().as_bytes())
            .map_err(|_| Error::Crypto { operation: "sign a checkpoint" })?;
        checkpoint.signature = STANDARD.encode(signature.as_ref());
        Ok(checkpoint)
    }
}

/// A key that verifies checkpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    point: [u8; POINT_BYTES],
}

impl PublicKey {
    fn from_point(bytes: &[u8]) -> Option<PublicKey> {
        Some(PublicKey { point: bytes.try_into().ok()? })
    }

    /// Reads a SubjectPublicKeyInfo in DER.
    pub fn from_spki(der: &[u8]) -> Option<PublicKey> {
        PublicKey::from_point(der.strip_prefix(&SPKI_PREFIX)?)
    }

    /// Reads it in PEM.
    pub fn from_pem(text: &str) -> Option<PublicKey> {
        let body = text.split_once("-----BEGIN PUBLIC KEY-----")?.1.split_once("-----END PUBLIC KEY-----")?.0;
        let body: String = body.split_whitespace().collect();
        PublicKey::from_spki(&STANDARD.decode(body).ok()?)
    }

    pub(crate) fn from_entry(entry: &PublicKeyOf) -> Option<PublicKey> {
        let key = PublicKey::from_spki(&STANDARD.decode(&entry.public_key).ok()?)?;
        (key.id() == entry.key).then_some(key)
    }

    pub(crate) fn to_entry(&self) -> PublicKeyOf {
        PublicKeyOf { key: self.id(), public_key: STANDARD.encode(self.to_spki()) }
    }

    /// As SubjectPublicKeyInfo in DER.
    pub fn to_spki(&self) -> Vec<u8> {
        [&SPKI_PREFIX[..], &self.point].concat()
    }

    /// The same in PEM, as `openssl` reads it.
    pub fn to_pem(&self) -> String {
        let body = STANDARD.encode(self.to_spki());
        let mut pem = String::from("-----BEGIN PUBLIC KEY-----\n");
        for line in body.as_bytes().chunks(64) {
            pem.push_str(&String::from_utf8_lossy(line));
            pem.push('\n');
        }
        pem.push_str("-----END PUBLIC KEY-----\n");
        pem
    }

    /// SHA-256 of the SubjectPublicKeyInfo, in hex: what is compared by telephone.
    pub fn fingerprint(&self) -> String {
        hex(&sha256(&self.to_spki()))
    }

    /// The first 8 bytes of it.
    pub fn id(&self) -> String {
        self.fingerprint()[..16].to_owned()
    }

    /// Whether this key signed the checkpoint.
    pub fn verifies(&self, checkpoint: &Checkpoint) -> bool {
        let Ok(signature) = STANDARD.decode(&checkpoint.signature) else { return false };
        checkpoint.key == self.id()
            && UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &self.point)
                .verify(checkpoint.text().as_bytes(), &signature)
                .is_ok()
    }
}

/// In lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble & 15)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect()
}

/// Back from lower-case hex.
pub(crate) fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let text = text.as_bytes();
    if text.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_depends_on_every_entry_and_their_order() {
        let salt = [3; 16];
        let run = |texts: &[&str]| {
            let mut chain = Chain::start([1; 16]);
            texts.iter().for_each(|text| chain.add(&salt, text.as_bytes()));
            chain
        };
        let heads =
            [run(&[]), run(&["a"]), run(&["a", "b"]), run(&["b", "a"]), run(&["ab"]), run(&["a", "b", "b"])];
        for (index, one) in heads.iter().enumerate() {
            assert!(heads[index + 1..].iter().all(|other| other.head != one.head));
        }
        assert_ne!(Chain::start([1; 16]).head, Chain::start([2; 16]).head);
    }

    #[test]
    fn a_signature_is_for_one_statement_by_one_key() {
        let signer = Signer::from_pkcs8(&Signer::generate().unwrap()).unwrap();
        let other = Signer::from_pkcs8(&Signer::generate().unwrap()).unwrap();
        let chain = Chain { sequence: 9, head: [7; 32] };
        let sound = signer.sign([1; 16], &chain, 1000, false).unwrap();
        assert!(signer.public().verifies(&sound));
        assert!(!other.public().verifies(&sound));
        for altered in [
            Checkpoint { sequence: 10, ..sound.clone() },
            Checkpoint { head: hex(&[8; 32]), ..sound.clone() },
            Checkpoint { signed_ms: 1001, ..sound.clone() },
            Checkpoint { closed: true, ..sound.clone() },
            Checkpoint { record: hex(&[2; 16]), ..sound.clone() },
            Checkpoint { signature: "AA==".into(), ..sound.clone() },
            Checkpoint { signature: "no base64".into(), ..sound.clone() },
        ] {
            assert!(!signer.public().verifies(&altered), "{altered:?}");
        }
    }

    #[test]
    fn public_keys_round_trip() {
        let signer = Signer::from_pkcs8(&Signer::generate().unwrap()).unwrap();
        let key = signer.public();
        assert_eq!(PublicKey::from_pem(&key.to_pem()).as_ref(), Some(key));
        assert_eq!(PublicKey::from_entry(&key.to_entry()).as_ref(), Some(key));
        let forged = PublicKeyOf { key: "0".repeat(16), ..key.to_entry() };
        assert_eq!(PublicKey::from_entry(&forged), None);
        assert_eq!(unhex::<2>("00ff"), Some([0, 255]));
        assert_eq!((unhex::<2>("00fg"), unhex::<2>("00FF"), unhex::<2>("00f")), (None, None, None));
    }
}
