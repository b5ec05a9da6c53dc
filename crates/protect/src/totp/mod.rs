//! One-time passwords by time (RFC 6238): a second factor beside a certificate.
//!
//! * SHA-1, SHA-256 or SHA-512, six to eight digits; one step earlier and one later are accepted, for clocks that differ.
//! * A step can be used once, and none before the last one that was used ([`Ledger`]): whoever reads a code on the
//!   client's screen cannot use it too.
//! * Wrong codes slow down: six digits are guessed in a night by whoever may try as often as it likes.
//! * Verification takes as long for a wrong code as for a right one.

mod base32;
mod ledger;

pub use ledger::{Keeper, Ledger, LedgerError};

use crate::{Error, NodeSecret, Secret, random};
use aws_lc_rs::{constant_time, hmac};
use std::fmt;
use std::fmt::Write;
use std::str::FromStr;
use zeroize::Zeroizing;

/// RFC 4226, R6: a secret has at least 128 bits. HMAC takes nothing from more than a block.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 16..=128;
const DIGITS: std::ops::RangeInclusive<u8> = 6..=8;
const PERIOD_S: std::ops::RangeInclusive<u32> = 15..=300;
/// RFC 6238, 5.2: at most one step of delay; and one ahead, for a client whose clock is.
const WINDOW: u64 = 1;
const PREFIX: &str = "$totp$";

/// The hash that codes are made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum TotpAlgorithm {
    /// What every authenticator knows. HMAC needs no collision resistance.
    #[default]
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
}

impl TotpAlgorithm {
    const ALL: [TotpAlgorithm; 3] = [TotpAlgorithm::Sha1, TotpAlgorithm::Sha256, TotpAlgorithm::Sha512];

    /// The name, as an `otpauth` URI has it.
    pub fn name(self) -> &'static str {
        match self {
            TotpAlgorithm::Sha1 => "SHA1",
            TotpAlgorithm::Sha256 => "SHA256",
            TotpAlgorithm::Sha512 => "SHA512",
        }
    }

    fn hmac(self) -> hmac::Algorithm {
        match self {
            TotpAlgorithm::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            TotpAlgorithm::Sha256 => hmac::HMAC_SHA256,
            TotpAlgorithm::Sha512 => hmac::HMAC_SHA512,
        }
    }
}

impl FromStr for TotpAlgorithm {
    type Err = Error;

    fn from_str(text: &str) -> Result<TotpAlgorithm, Error> {
        let known = TotpAlgorithm::ALL.into_iter().find(|one| one.name().eq_ignore_ascii_case(text));
        known.ok_or_else(|| Error::Value("a TOTP algorithm is SHA1, SHA256 or SHA512".into()))
    }
}

/// The secret that a client and the node share, and how codes are made of it. No `Debug`.
#[derive(Clone)]
pub struct Totp {
    algorithm: TotpAlgorithm,
    digits: u8,
    period_s: u32,
    secret: Secret,
}

impl Totp {
    /// A new secret of 160 random bits; SHA-1, six digits, thirty seconds: what every authenticator understands.
    pub fn create() -> Result<Totp, Error> {
        Totp::new(TotpAlgorithm::Sha1, 6, 30, Secret::new(random::<20>()?))
    }

    /// A secret of 16 to 128 bytes with 6 to 8 digits and a period of 15 to 300 seconds.
    pub fn new(algorithm: TotpAlgorithm, digits: u8, period_s: u32, secret: Secret) -> Result<Totp, Error> {
        let wrong = |what: &str| Err(Error::Value(what.into()));
        if !DIGITS.contains(&digits) {
            return wrong("a TOTP code has 6 to 8 digits");
        }
        if !PERIOD_S.contains(&period_s) {
            return wrong("the period of TOTP is 15 to 300 seconds");
        }
        if !SECRET_BYTES.contains(&secret.expose().len()) {
            return wrong("a TOTP secret has 16 to 128 bytes");
        }
        Ok(Totp { algorithm, digits, period_s, secret })
    }

    /// The same with the secret in base32, as authenticators show it.
    pub fn from_base32(
        algorithm: TotpAlgorithm,
        digits: u8,
        period_s: u32,
        secret: &str,
    ) -> Result<Totp, Error> {
        let secret =
            base32::decode(secret).ok_or_else(|| Error::Value("the TOTP secret is not base32".into()))?;
        Totp::new(algorithm, digits, period_s, secret)
    }

    /// What a client without a secret is verified against, at the same cost.
    pub(crate) fn made_up(identity: &str, secret: &NodeSecret) -> Totp {
        let secret = Secret::new(&secret.derive("totp", identity)[..20]);
        Totp { algorithm: TotpAlgorithm::Sha1, digits: 6, period_s: 30, secret }
    }

    /// Seconds that a code is valid for, not counting the window.
    pub fn period_s(&self) -> u32 {
        self.period_s
    }

    /// The step at a time in seconds since the Unix epoch.
    pub fn step(&self, now_s: u64) -> u64 {
        now_s / u64::from(self.period_s)
    }

    /// The code of a step.
    pub fn code(&self, step: u64) -> Zeroizing<String> {
        let key = hmac::Key::new(self.algorithm.hmac(), self.secret.expose());
        let tag = hmac::sign(&key, &step.to_be_bytes());
        // RFC 4226, 5.3: the last four bits say where the 31 bits of the code are.
        let tag = tag.as_ref();
        let offset = usize::from(tag.last().copied().unwrap_or_default() & 15);
        let bytes: [u8; 4] =
            tag.get(offset..offset + 4).and_then(|four| four.try_into().ok()).unwrap_or_default();
        let number = u32::from_be_bytes(bytes) & 0x7FFF_FFFF;
        let digits = usize::from(self.digits);
        Zeroizing::new(format!("{:0digits$}", number % 10u32.pow(digits as u32)))
    }

    /// The step that `code` is of, if it is one that is accepted at `now_s`. All steps of the window are computed
    /// whatever the code is. The step must then be used up in a [`Ledger`].
    pub fn verify(&self, code: &[u8], now_s: u64) -> Option<u64> {
        let now = self.step(now_s);
        let mut found = None;
        for step in now.saturating_sub(WINDOW)..=now.saturating_add(WINDOW) {
            let expected = self.code(step);
            if constant_time::verify_slices_are_equal(expected.as_bytes(), code).is_ok() {
                found = Some(step);
            }
        }
        found
    }

    /// When a code of `step` is accepted no longer, in seconds since the Unix epoch.
    pub fn over_s(&self, step: u64) -> u64 {
        step.saturating_add(WINDOW + 1).saturating_mul(u64::from(self.period_s))
    }

    /// The URI that authenticators read, as a QR code or pasted. It holds the secret.
    pub fn uri(&self, issuer: &str, account: &str) -> Zeroizing<String> {
        let mut uri = Zeroizing::new(String::with_capacity(512));
        let (issuer, account) = (percent(issuer), percent(account));
        let _ = write!(
            uri,
            "otpauth://totp/{issuer}:{account}?secret={}&issuer={issuer}&algorithm={}&digits={}&period={}",
            *self.base32(),
            self.algorithm.name(),
            self.digits,
            self.period_s
        );
        uri
    }

    /// The secret in base32.
    pub fn base32(&self) -> Zeroizing<String> {
        base32::encode(self.secret.expose())
    }

    /// The form in which it stands in a file. It holds the secret.
    pub fn to_entry(&self) -> Zeroizing<String> {
        let mut entry = Zeroizing::new(String::with_capacity(320));
        let (digits, period_s) = (self.digits, self.period_s);
        let algorithm = self.algorithm.name();
        let _ =
            write!(entry, "{PREFIX}alg={algorithm},digits={digits},period={period_s},s={}", *self.base32());
        entry
    }

    /// Reads that form; `None` if it is no TOTP entry at all.
    pub(crate) fn parse(text: &str) -> Option<Result<Totp, String>> {
        Some(Totp::parse_fields(text.strip_prefix(PREFIX)?).map_err(|error| error.to_string()))
    }

    fn parse_fields(text: &str) -> Result<Totp, Error> {
        let form = || Error::Value("a TOTP entry is written `$totp$alg=SHA1,digits=6,period=30,s=..`".into());
        let mut fields = text.split(',');
        let mut next = |key: &str| fields.next().and_then(|field| field.strip_prefix(key)).ok_or_else(form);
        let algorithm = next("alg=")?.parse()?;
        let digits = next("digits=")?.parse().map_err(|_| form())?;
        let period_s = next("period=")?.parse().map_err(|_| form())?;
        let secret = next("s=")?;
        if fields.next().is_some() {
            Err(form())
        } else {
            Totp::from_base32(algorithm, digits, period_s, secret)
        }
    }
}

/// Reads the form in which it stands in a file.
impl FromStr for Totp {
    type Err = Error;

    fn from_str(text: &str) -> Result<Totp, Error> {
        Totp::parse(text).unwrap_or_else(|| Err("not a TOTP entry".into())).map_err(Error::Value)
    }
}

/// All but the unreserved characters of RFC 3986, percent-encoded.
fn percent(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            byte => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

impl fmt::Debug for Totp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Totp")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totp(algorithm: TotpAlgorithm, digits: u8, bytes: usize) -> Totp {
        let secret: Vec<u8> = b"1234567890".iter().copied().cycle().take(bytes).collect();
        Totp::new(algorithm, digits, 30, Secret::new(secret)).unwrap()
    }

    /// RFC 6238, appendix B.
    #[test]
    fn the_vectors_of_rfc_6238() {
        let (sha1, sha256, sha512) = (
            totp(TotpAlgorithm::Sha1, 8, 20),
            totp(TotpAlgorithm::Sha256, 8, 32),
            totp(TotpAlgorithm::Sha512, 8, 64),
        );
        for (at_s, one, two, three) in [
            (59, "94287082", "46119246", "90693936"),
            (1_111_111_109, "07081804", "68084774", "25091201"),
            (1_111_111_111, "14050471", "67062674", "99943326"),
            (1_234_567_890, "89005924", "91819424", "93441116"),
            (2_000_000_000, "69279037", "90698825", "38618901"),
            (20_000_000_000, "65353130", "77737706", "47863826"),
        ] {
            for (totp, code) in [(&sha1, one), (&sha256, two), (&sha512, three)] {
                assert_eq!(*totp.code(totp.step(at_s)), code, "{at_s}");
                assert_eq!(totp.verify(code.as_bytes(), at_s), Some(at_s / 30));
            }
        }
    }

    /// RFC 4226, appendix D.
    #[test]
    fn the_vectors_of_rfc_4226() {
        let totp = totp(TotpAlgorithm::Sha1, 6, 20);
        for (step, code) in [(0, "755224"), (1, "287082"), (2, "359152"), (8, "399871"), (9, "520489")] {
            assert_eq!(*totp.code(step), code);
        }
    }

    #[test]
    fn one_step_to_each_side_is_accepted_and_no_more() {
        let totp = totp(TotpAlgorithm::Sha1, 6, 20);
        let now_s = 1_800_000_000;
        let now = totp.step(now_s);
        for (step, accepted) in
            [(now - 2, false), (now - 1, true), (now, true), (now + 1, true), (now + 2, false)]
        {
            assert_eq!(totp.verify(totp.code(step).as_bytes(), now_s), accepted.then_some(step));
        }
        assert_eq!(totp.over_s(now), (now + 2) * 30);
        assert_eq!(totp.verify(totp.code(now).as_bytes(), totp.over_s(now) - 1), Some(now));
        assert_eq!(totp.verify(totp.code(now).as_bytes(), totp.over_s(now)), None);
        let code = totp.code(now);
        for wrong in ["", "0", &code[1..], &format!("0{}", *code), &format!("{} ", *code), "12345\u{0665}"] {
            assert_eq!(totp.verify(wrong.as_bytes(), now_s), None, "{wrong:?}");
        }
        // The first seconds of the epoch have no step before.
        assert_eq!(totp.verify(totp.code(0).as_bytes(), 0), Some(0));
    }

    #[test]
    fn an_entry_and_a_uri_are_written_and_read() {
        let totp = totp(TotpAlgorithm::Sha256, 7, 32);
        let entry = totp.to_entry();
        let again: Totp = entry.parse().unwrap();
        assert_eq!(again.code(77), totp.code(77));
        assert_eq!(
            *totp.uri("Plant 7", "meter:7"),
            format!(
                "otpauth://totp/Plant%207:meter%3A7?secret={}&issuer=Plant%207&algorithm=SHA256&digits=7&period=30",
                *totp.base32()
            )
        );
        for bad in [
            "$totp$",
            "$totp$alg=MD5,digits=6,period=30,s=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ",
            "$totp$alg=SHA1,digits=5,period=30,s=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ",
            "$totp$alg=SHA1,digits=6,period=0,s=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ",
            "$totp$alg=SHA1,digits=6,period=30,s=GEZDGNBV",
            "$totp$alg=SHA1,digits=6,period=30,s=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJ!",
            "$totp$alg=SHA1,digits=6,period=30,s=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ,x=1",
        ] {
            assert!(matches!(Totp::parse(bad), Some(Err(_))), "{bad}");
        }
        assert!(Totp::parse("$argon2id$").is_none());
        assert_eq!(Totp::create().unwrap().secret.expose().len(), 20);
    }
}
