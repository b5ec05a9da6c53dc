//! The signature of a webhook, as Standard Webhooks 1.0 has it: HMAC-SHA256 over `id.timestamp.body`.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

/// Shortest secret, in bytes.
pub const SECRET_BYTES_MIN: usize = 16;

/// A secret that both sides know. No `Debug`: it reaches no log.
#[derive(Clone)]
pub struct Secret(hmac::Key);

impl Secret {
    /// Out of the text of a file: `whsec_` and base64, or the text itself without white space around it.
    pub fn parse(text: &str) -> Result<Secret, &'static str> {
        let text = text.trim();
        let bytes = match text.strip_prefix("whsec_") {
            Some(encoded) => {
                BASE64_STANDARD.decode(encoded).map_err(|_| "it is not base64 after `whsec_`")?
            }
            None => text.as_bytes().to_vec(),
        };
        if bytes.len() < SECRET_BYTES_MIN {
            return Err("it is shorter than 16 bytes");
        }
        Ok(Secret(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
    }

    /// `v1,` and the signature in base64.
    pub fn sign(&self, id: &str, timestamp_s: u64, body: &[u8]) -> String {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(format!("{id}.{timestamp_s}.").as_bytes());
        context.update(body);
        format!("v1,{}", BASE64_STANDARD.encode(context.sign()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_standard_webhooks_comes_out() {
        // The test vector of the specification's libraries.
        let secret = Secret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n");
        let Ok(secret) = secret else { panic!("it is a secret") };
        let signature =
            secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn short_or_broken_secrets_are_refused() {
        assert!(Secret::parse("short").is_err() && Secret::parse("whsec_???").is_err());
    }
}
