//! An identity provider: keys and signatures by OpenSSL, the key set over HTTP, and one-time codes by Python. Nothing of it
//! is the node's own code.

use crate::output;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What a provider answers: the status line and the body.
type Answer = Arc<Mutex<(String, String)>>;

/// A provider that serves its keys on a port of loopback until the process ends.
pub struct Provider {
    directory: tempfile::TempDir,
    address: SocketAddr,
    answer: Answer,
    asked: Arc<AtomicUsize>,
    key: usize,
}

impl Provider {
    /// A provider with an RSA key that is called `k1`.
    pub fn new() -> Provider {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        let (answer, asked) = (Answer::default(), Arc::<AtomicUsize>::default());
        let (answers, counter) = (answer.clone(), asked.clone());
        std::thread::spawn(move || {
            for mut socket in listener.incoming().map_while(Result::ok) {
                let mut request = [0; 4096];
                let _ = socket.read(&mut request);
                counter.fetch_add(1, Ordering::Relaxed);
                let (status, body) = answers.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let length = body.len();
                let _ = write!(
                    socket,
                    "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
                );
            }
        });
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut provider = Provider { directory, address, answer, asked, key: 0 };
        provider.rotate();
        provider
    }

    /// Where its keys are.
    pub fn url(&self) -> String {
        format!("http://{}/jwks.json", self.address)
    }

    /// How often it was asked for them.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    /// A new key takes the place of the old one.
    pub fn rotate(&mut self) {
        self.key += 1;
        let mut make = Command::new("openssl");
        make.args(["genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out"]);
        run(make.arg(self.key_file()));
        self.serve("200 OK", &self.jwks().to_string());
    }

    /// From now on it answers this.
    pub fn serve(&self, status: &str, body: &str) {
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner) = (status.into(), body.into());
    }

    /// The key set.
    pub fn jwks(&self) -> Value {
        let modulus =
            run(Command::new("openssl").args(["rsa", "-noout", "-modulus", "-in"]).arg(self.key_file()));
        let hex = String::from_utf8(modulus).expect("text");
        let hex = hex.trim().trim_start_matches("Modulus=");
        let bytes: Vec<u8> = (0..hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex"))
            .collect();
        let kid = format!("k{}", self.key);
        json!({"keys": [{"kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid, "n": base64url(&bytes), "e": "AQAB"}]})
    }

    /// A token with these claims.
    pub fn token(&self, claims: &Value) -> String {
        let header = json!({"alg": "RS256", "typ": "JWT", "kid": format!("k{}", self.key)});
        let part = |value: &Value| base64url(value.to_string().as_bytes());
        let signed = format!("{}.{}", part(&header), part(claims));
        let mut sign = Command::new("openssl");
        let signature =
            output(sign.args(["dgst", "-sha256", "-sign"]).arg(self.key_file()), signed.as_bytes());
        assert!(signature.status.success(), "{}", String::from_utf8_lossy(&signature.stderr));
        format!("{signed}.{}", base64url(&signature.stdout))
    }

    /// A token for `identity` that is valid for so many seconds.
    pub fn token_for(&self, identity: &str, seconds: i64) -> String {
        let now_s = crate::now_s();
        let (issuer, audience) = ("https://id.plant", "ravelin");
        self.token(&json!({"iss": issuer, "aud": audience, "sub": identity, "iat": now_s, "exp": now_s as i64 + seconds}))
    }

    fn key_file(&self) -> PathBuf {
        self.directory.path().join(format!("{}.pem", self.key))
    }
}

impl Default for Provider {
    fn default() -> Provider {
        Provider::new()
    }
}

/// The one-time code of an `otpauth` URI, `steps` from now.
pub fn code(uri: &str, steps: i64) -> String {
    const PROGRAM: &str = "\
import base64, hmac, struct, sys, time, urllib.parse
query = dict(urllib.parse.parse_qsl(urllib.parse.urlparse(sys.argv[1]).query))
key = base64.b32decode(query['secret'])
step = int(time.time()) // int(query['period']) + int(sys.argv[2])
tag = hmac.new(key, struct.pack('>Q', step), query['algorithm'].lower()).digest()
at = tag[-1] & 15
number = struct.unpack('>I', tag[at:at + 4])[0] & 0x7fffffff
print(str(number % 10 ** int(query['digits'])).zfill(int(query['digits'])))
";
    let printed = run(Command::new("python3").args(["-c", PROGRAM, uri, &steps.to_string()]));
    String::from_utf8(printed).expect("text").trim().to_owned()
}

fn run(command: &mut Command) -> Vec<u8> {
    let output = output(command, b"");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn base64url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word =
            chunk.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..=chunk.len() {
            text.push(char::from(ALPHABET[(word >> (18 - 6 * place) & 63) as usize]));
        }
    }
    text
}
