//! Password files: Mosquitto's own tool, malformed files, and what verification costs.

use ravelin_protect::password::{Argon2Params, DeleteOutcome, Edit, StoredHash};
use ravelin_protect::{NodeSecret, PasswordFile, Secret};
use std::process::Command;

fn secret() -> NodeSecret {
    NodeSecret::new([7; 32])
}

fn verify(file: &PasswordFile, user: &str, password: &str) -> bool {
    file.job(user, Secret::new(password), &secret()).run().is_ok()
}

#[test]
fn files_of_mosquitto_passwd_are_read() {
    let dir = tempfile::tempdir().unwrap();
    for (scheme, name) in [("sha512", "sha512"), ("sha512-pbkdf2", "sha512-pbkdf2")] {
        let path = dir.path().join(scheme);
        for (user, create) in [("alice", true), ("bob", false)] {
            let mut command = Command::new("mosquitto_passwd");
            command.args(["-H", scheme, "-b"]);
            if create {
                command.arg("-c");
            }
            let status = command.arg(&path).args([user, &format!("{user}'s päss:word")]).output().unwrap();
            assert!(status.status.success(), "{status:?}");
        }
        let file = PasswordFile::load(&path).unwrap();
        assert!(verify(&file, "alice", "alice's päss:word") && verify(&file, "bob", "bob's päss:word"));
        assert!(!verify(&file, "alice", "bob's päss:word") && !verify(&file, "alice", "alice's päss:wor"));
        let stored = file.user("alice").unwrap().password.clone().unwrap();
        assert_eq!(stored.scheme(), name);
        assert!(stored.is_weak(), "101 iterations and plain SHA-512 are reported");
    }
}

#[test]
fn what_is_written_is_read_and_other_lines_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("passwords");
    std::fs::write(&path, "# ours\nbob:$6$c2FsdHNhbHQ=$").unwrap();
    assert!(Edit::open(&path).is_err(), "a file with an error is not rewritten");
    let bob = format!("bob:$6$c2FsdHNhbHQ=${}==", "A".repeat(86));
    std::fs::write(&path, format!("# ours\n{bob}\n")).unwrap();
    let mut edit = Edit::open(&path).unwrap();
    assert!(edit.set("alice", &Secret::new("correct horse")).unwrap());
    assert!(!edit.set("carol", &Secret::new("schlüssel")).unwrap(), "no SCRAM for what is not ASCII");
    edit.save().unwrap();
    let mut edit = Edit::open(&path).unwrap();
    edit.set("alice", &Secret::new("battery staple")).unwrap();
    edit.save().unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.starts_with(&format!("# ours\n{bob}\nalice:$argon2id$v=19$m=19456,t=2,p=1$")), "{text}");
    assert_eq!(text.lines().count(), 6);
    let file = PasswordFile::load(&path).unwrap();
    assert!(verify(&file, "alice", "battery staple") && !verify(&file, "alice", "correct horse"));
    assert!(verify(&file, "carol", "schlüssel"));
    assert!(
        file.user("alice").unwrap().scram_sha_256.is_some()
            && file.user("alice").unwrap().scram_sha_512.is_some()
    );
    let mut edit = Edit::open(&path).unwrap();
    assert_eq!(edit.delete("alice"), DeleteOutcome::Deleted);
    assert_eq!(edit.delete("alic"), DeleteOutcome::NoSuchUser);
    edit.save().unwrap();
    assert!(PasswordFile::load(&path).unwrap().user("alice").is_none());
}

#[test]
fn an_empty_password_never_succeeds() {
    // CVE-2016-9877. Even against a hash that was made of the empty password.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("p");
    assert!(StoredHash::create(&Secret::new("")).is_err());
    Command::new("mosquitto_passwd").args(["-c", "-b"]).arg(&path).args(["alice", ""]).output().unwrap();
    if let Ok(file) = PasswordFile::load(&path) {
        assert!(!verify(&file, "alice", ""));
    }
    // SHA-512 of nothing but the salt.
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA512, b"saltsalt");
    use base64::Engine;
    let hash = base64::engine::general_purpose::STANDARD.encode(digest);
    let file = PasswordFile::parse(&format!("alice:$6$c2FsdHNhbHQ=${hash}"), "f").unwrap();
    assert!(!verify(&file, "alice", ""));
    assert!(!verify(&PasswordFile::empty(), "alice", "") && !verify(&PasswordFile::empty(), "", ""));
}

#[test]
fn argon2id_of_other_implementations_is_verified() {
    // From the reference implementation's test.c: argon2id, t=2, m=65536, p=1.
    let line = "u:$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
    let file = PasswordFile::parse(line, "f").unwrap();
    assert!(verify(&file, "u", "password") && !verify(&file, "u", "Password"));
}

#[test]
fn a_malformed_line_is_an_error_at_its_place() {
    // CVE-2018-12551: such lines let anyone in.
    let hash = StoredHash::create_with(&Secret::new("x"), b"saltsalt", Argon2Params::default()).unwrap();
    let good = format!("good:{hash}");
    for (line, column, what) in [
        ("", 1, "blank"),
        ("   ", 1, "blank"),
        ("alice", 1, "no `:`"),
        (":$6$a$b", 1, "user name"),
        ("alice:", 7, "empty"),
        ("alice:plain", 7, "not hashed"),
        ("alice:$", 7, "scheme is missing"),
        ("alice:$6$", 7, "salt is missing"),
        ("alice:$6$c2FsdA==$", 7, "hash is missing"),
        ("alice:$6$c2FsdA==$c2FsdA==", 7, "64 bytes"),
        ("alice:$6$!!!!$c2FsdA==", 7, "not base64"),
        ("alice:$7$0$c2FsdA==$c2FsdA==", 7, "iterations"),
        ("alice:$7$99999999$c2FsdA==$c2FsdA==", 7, "iterations"),
        ("alice:$5$c2FsdA==$c2FsdA==", 7, "not a known scheme"),
        ("alice:$argon2id$v=16$m=19456,t=2,p=1$c29tZXNhbHQ$aaaa", 7, "version"),
        ("alice:$argon2id$v=19$m=19456,t=2$c29tZXNhbHQ$aaaa", 7, "cost"),
        ("alice:$argon2id$v=19$m=4000000,t=2,p=1$c29tZXNhbHQ$aaaa", 7, "4000000"),
        ("alice:$argon2id$v=19$m=262144,t=16,p=1$c29tZXNhbHQ$aaaa", 7, "too much"),
        ("alice:$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$aaaa", 7, "not within"),
        ("alice:$scram-sha-256$i=1,s=AAAA,sk=AAAA,server=AAAA", 7, "iterations"),
        ("alice:$scram-sha-256$i=4096,s=AAAA", 7, "8 to 64"),
        (" alice:$6$a$b", 1, "user name"),
        ("al\tice:$6$a$b", 1, "user name"),
    ] {
        let text = format!("# comment\n{good}\n{line}\n# end\n");
        let errors =
            PasswordFile::parse(&text, "passwords").err().unwrap_or_else(|| panic!("{line:?} accepted"));
        assert_eq!(errors.0.len(), 1, "{line:?}");
        let error = &errors.0[0];
        assert_eq!((error.line, error.column), (3, column), "{line:?}: {error}");
        assert!(error.what.contains(what), "{line:?}: {error}");
        assert!(error.to_string().starts_with("passwords:3:"), "{error}");
    }
    let twice = PasswordFile::parse(&format!("{good}\n{good}\n"), "f").err().unwrap();
    assert_eq!(twice.0[0].line, 2);
    let several = PasswordFile::parse("a\nb\n\nc:\n", "f").err().unwrap();
    assert_eq!(several.0.iter().map(|error| error.line).collect::<Vec<_>>(), [1, 2, 3, 4]);
}

#[test]
fn an_error_never_shows_a_hash() {
    let text = "alice:$6$c2VjcmV0c2FsdA==$c2VjcmV0aGFzaA==\nbob:hunter2\n";
    let errors = PasswordFile::parse(text, "f").err().unwrap().to_string();
    assert!(!errors.contains("c2VjcmV0") && !errors.contains("hunter2"), "{errors}");
}

#[test]
fn an_unknown_user_costs_what_a_known_one_costs() {
    let known = StoredHash::create(&Secret::new("right")).unwrap();
    let file = PasswordFile::parse(&format!("alice:{known}"), "f").unwrap();
    let time = |user: &str| {
        let job = file.job(user, Secret::new("wrong"), &secret());
        let start = std::time::Instant::now();
        assert!(job.run().is_err());
        start.elapsed().as_secs_f64()
    };
    // The fastest of several, taken in turns: the machine has other things to do.
    let (mut known, mut unknown) = (f64::MAX, f64::MAX);
    for _ in 0..12 {
        known = known.min(time("alice"));
        unknown = unknown.min(time("nobody"));
    }
    assert!(known / unknown < 2.0 && unknown / known < 2.0, "{known} {unknown}");
}
