//! Nothing that a client said stands readable on disk.

use crate::{files, mosquitto, publish, subscribe, succeed};
use ravelin_e2e::{Deployment, Node, output};
use std::os::unix::fs::PermissionsExt;

#[test]
fn no_file_of_the_data_directory_has_a_word_of_a_message() {
    let deployment = Deployment::new();
    deployment.add_client("vault-client", &["--publish", "vault/#", "--subscribe", "vault/#"]);
    let node = Node::serve(&deployment);

    // A session that is kept, with a filter, a queue, and a retained message with a property.
    let mut kept = mosquitto("sub", node.port("mutual-tls"), &deployment, "vault-client", "vault-client");
    kept.args(["-c", "-x", "3600", "-q", "2", "-t", "vault/secret-filter/#", "-E"]);
    succeed(output(&mut kept, b""));
    for qos in ["1", "2"] {
        publish(&node, &deployment, &["-q", qos, "-t", "vault/secret-filter/topic", "-m", "queued-payload"]);
    }
    let property = ["-D", "publish", "user-property", "secret-name", "secret-value"];
    let retained = ["-q", "1", "-r", "-t", "vault/secret-topic", "-m", "retained-payload"];
    publish(&node, &deployment, &[&retained[..], &property].concat());
    // And one that is connected, with a will.
    let will = ["--will-topic", "vault/secret-will", "--will-payload", "will-payload", "-c", "-x", "3600"];
    let _live = subscribe(&node, &deployment, "operator", "vault/#", &will);

    let words = ["vault", "secret", "queued-payload", "retained-payload", "will-payload", "operator"];
    let mut bytes = 0;
    let data = deployment.path("data");
    let mut search = |when: &str| {
        let files = files(&data);
        for (path, content) in &files {
            bytes += content.len();
            for word in words {
                let found = content.windows(word.len()).any(|window| window == word.as_bytes());
                assert!(!found, "{}: {} has {word:?}", when, path.display());
            }
        }
        assert!(!files.is_empty(), "{} is empty", data.display());
    };
    search("while it runs");
    assert!(node.stop().success());
    search("after it has stopped");
    assert!(bytes > 1000, "{bytes} bytes in all: nothing was stored");
}

#[test]
fn what_is_secret_is_for_the_owner_only() {
    let deployment = Deployment::new();
    deployment.add_client("meter", &["--certificate", "--password"]);
    let node = Node::serve(&deployment);
    publish(&node, &deployment, &["-q", "1", "-r", "-t", "a", "-m", "b"]);
    let public = [deployment.path("ca"), deployment.path("tls"), deployment.path("clients")];
    for (path, _) in files(&deployment.dir()) {
        let mode = std::fs::metadata(&path).expect("a file").permissions().mode() & 0o777;
        let may_be_read = public.iter().any(|folder| path.starts_with(folder))
            && path.extension().is_some_and(|kind| kind == "crt" || kind == "crl");
        let allowed = if may_be_read { 0o644 } else { 0o600 };
        assert_eq!(mode & !allowed, 0, "{} has mode {mode:o}", path.display());
    }
}
