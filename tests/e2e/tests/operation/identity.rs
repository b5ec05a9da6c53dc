//! Second factors and tokens, with clients that know nothing of Ravelin.

use crate::{mosquitto, publish, subscribe, succeed};
use ravelin_e2e::{Deployment, Node, Process, Provider, code, output, ravelin};
use std::process::Command;

/// A deployment with one more listener, before any other section.
fn with_listener(keys: &str) -> Deployment {
    let deployment = Deployment::new();
    deployment.append(&format!(
        "[[listener]]\nname = \"more\"\ntransport = \"tls\"\naddress = \"127.0.0.1:0\"\ncertificate = \"tls/server.crt\"\n\
         key = \"tls/server.key\"\nbind_client_id = \"prefix\"\n{keys}\n"
    ));
    deployment
}

fn with_tokens(provider: &Provider, keys: &str) -> Deployment {
    let deployment = with_listener("client_certificate = \"none\"\nauthentication = [\"jwt\"]");
    deployment.append(&format!(
        "[[jwt]]\nissuer = \"https://id.plant\"\naudience = [\"ravelin\"]\njwks_url = \"{}\"\nleeway = \"0s\"\n{keys}\n",
        provider.url()
    ));
    deployment
}

/// mosquitto_pub or mosquitto_sub with a secret in the password field.
fn bearer(what: &str, node: &Node, deployment: &Deployment, user: &str, secret: &str) -> Command {
    let mut command = Command::new(format!("mosquitto_{what}"));
    command.args(["-h", "127.0.0.1", "-p", &node.port("more").to_string(), "-V", "mqttv5", "-i", user]);
    command.arg("--cafile").arg(deployment.ca()).args(["-u", user, "-P", secret]);
    command
}

#[test]
fn a_token_lets_in_until_it_expires() {
    let provider = Provider::new();
    let deployment = with_tokens(&provider, "");
    std::fs::write(
        deployment.path("access.rules"),
        "user operator\ntopic readwrite #\nuser meter-7\ntopic write meters/#\ntopic read commands/#\n",
    )
    .expect("the rules");
    let node = Node::serve(&deployment);
    node.wait_for(0, "issuer.keys_changed", |fields| fields["keys"] == 1);
    let live = subscribe(&node, &deployment, "operator", "meters/#", &[]);
    let send = |token: &str| {
        let mut command = bearer("pub", &node, &deployment, "meter-7", token);
        output(command.args(["-q", "1", "-t", "meters/7", "-m", "reading"]), b"")
    };
    succeed(send(&provider.token_for("meter-7", 60)));
    assert_eq!(live.wait_for_lines(1), ["meters/7 reading"]);
    // What is wrong is in the log, and the token is not.
    let other = Provider::new();
    for (token, what) in [
        (provider.token_for("meter-7", -1), "has expired"),
        (other.token_for("meter-7", 60), "signature is wrong"),
        (provider.token_for("meter-8", 60), "another identity than the user name"),
        (provider.token_for("meter-7", 600_000), "for longer than is accepted"),
    ] {
        let start = node.mark();
        assert!(!send(&token).status.success(), "{what}");
        let told = node.wait_for(start, "credential.refused", |fields| fields["credential"] == "jwt");
        assert!(told["fields"]["what"].as_str().is_some_and(|said| said.contains(what)), "{told}");
        let signature = token.rsplit('.').next().expect("a signature");
        assert!(node.process().lines(0).iter().all(|line| !line.contains(signature)), "a token in the log");
    }
    let start = node.mark();
    let mut waiting = bearer("sub", &node, &deployment, "meter-7", &provider.token_for("meter-7", 4));
    let _waiting = Process::start(waiting.args(["-t", "commands/#"]));
    node.wait_subscribed(start, "meter-7", "commands/#");
    let ended = node.wait_for(start, "client.disconnected", |fields| fields["client_id"] == "meter-7");
    assert_eq!(ended["fields"]["cause"], "expired", "{ended}");
}

#[test]
fn keys_that_are_withdrawn_end_what_they_let_in() {
    let mut provider = Provider::new();
    let deployment = with_tokens(&provider, "refresh = \"1m\"");
    std::fs::write(deployment.path("access.rules"), "user meter-7\ntopic readwrite meters/#\n")
        .expect("the rules");
    let node = Node::serve(&deployment);
    node.wait_for(0, "issuer.keys_changed", |_| true);
    let start = node.mark();
    let mut old = bearer("sub", &node, &deployment, "meter-7", &provider.token_for("meter-7", 600));
    let _old = Process::start(old.args(["-t", "meters/#"]));
    node.wait_subscribed(start, "meter-7", "meters/#");
    provider.rotate();
    // A token by the new key is refused, and makes for a fetch: not for one each, because anyone can name a key.
    let start = node.mark();
    let asked = provider.asked();
    for _ in 0..3 {
        let mut new = bearer("pub", &node, &deployment, "meter-7", &provider.token_for("meter-7", 600));
        assert!(!output(new.args(["-q", "1", "-t", "meters/7", "-m", "x"]), b"").status.success());
    }
    let told = node.wait_for(start, "credential.refused", |_| true);
    assert!(told["fields"]["what"].as_str().is_some_and(|what| what.contains("no such key")), "{told}");
    assert_eq!(provider.asked(), asked, "fetched half a minute ago at most");
    // A reload does not forget keys that were fetched.
    assert_eq!(node.reload()["id"], "node.reloaded");
    assert_eq!(node.events(start, "client.disconnected").len(), 0);
    // As an operator does who cannot wait: the new keys as a file.
    std::fs::write(deployment.path("jwks.json"), provider.jwks().to_string()).expect("the keys");
    let start = node.mark();
    deployment.edit(&format!("jwks_url = \"{}\"", provider.url()), "jwks_file = \"jwks.json\"");
    deployment.edit("refresh = \"1m\"", "");
    assert_eq!(node.reload()["id"], "node.reloaded");
    let ended = node.wait_for(start, "client.disconnected", |fields| fields["client_id"] == "meter-7");
    let detail = ended["fields"]["detail"].as_str().unwrap_or_default();
    assert!(detail.contains("key that signed its token"), "{ended}");
    let mut new = bearer("pub", &node, &deployment, "meter-7", &provider.token_for("meter-7", 600));
    succeed(output(new.args(["-q", "1", "-t", "meters/7", "-m", "x"]), b""));
}

#[test]
fn an_issuer_that_cannot_be_reached_lets_nobody_in_and_others_stay() {
    let provider = Provider::new();
    provider.serve("503 Service Unavailable", "later");
    let deployment = with_tokens(&provider, "");
    let node = Node::serve(&deployment);
    let told = node.wait_for(0, "issuer.keys_stale", |_| true);
    assert_eq!(told["fields"]["trusted"], false, "{told}");
    let mut refused = bearer("pub", &node, &deployment, "operator", &provider.token_for("operator", 60));
    assert!(!output(refused.args(["-q", "1", "-t", "t", "-m", "x"]), b"").status.success());
    let told = node.wait_for(0, "credential.refused", |_| true);
    assert!(told["fields"]["what"].as_str().is_some_and(|what| what.contains("no keys")), "{told}");
    publish(&node, &deployment, &["-q", "1", "-t", "by/certificate", "-m", "x"]);
    // It is tried again by itself, in seconds.
    let start = node.mark();
    provider.serve("200 OK", &provider.jwks().to_string());
    node.wait_for(start, "issuer.keys_changed", |_| true);
    let mut taken = bearer("pub", &node, &deployment, "operator", &provider.token_for("operator", 60));
    succeed(output(taken.args(["-q", "1", "-t", "t", "-m", "x"]), b""));
}

#[test]
fn a_certificate_and_a_code_and_no_code_twice() {
    let deployment =
        with_listener("client_ca = \"ca/ca.crt\"\ncrl = [\"ca/ca.crl\"]\nsecond_factor = \"totp\"");
    deployment.add_client("meter", &["--certificate", "--publish", "meters/#"]);
    let mut enrol = ravelin(["passwd"]);
    enrol.arg(deployment.path("passwords")).args(["meter", "--totp"]);
    let uri = succeed(output(&mut enrol, b"")).trim().to_owned();
    assert!(uri.starts_with("otpauth://totp/Ravelin:meter?secret="), "{uri}");
    let node = Node::serve(&deployment);
    let send = |node: &Node, secret: Option<&str>| {
        let mut command = mosquitto("pub", node.port("more"), &deployment, "meter", "meter");
        command.args(["-q", "1", "-t", "meters/m", "-m", "x", "-u", "meter"]);
        if let Some(secret) = secret {
            command.args(["-P", secret]);
        }
        output(&mut command, b"").status.success()
    };
    let now = code(&uri, 0);
    assert!(!send(&node, None), "the certificate is not enough");
    assert!(!send(&node, Some("000000")) || now == "000000");
    assert!(send(&node, Some(&now)));
    let start = node.mark();
    assert!(!send(&node, Some(&now)), "used");
    let told = node.wait_for(start, "credential.refused", |fields| fields["credential"] == "totp");
    assert!(told["fields"]["what"].as_str().is_some_and(|what| what.contains("used before")), "{told}");
    assert!(node.process().lines(0).iter().all(|line| !line.contains(&now)), "a code in the log");
    // Not after a crash either: its use was on disk before the client was let in.
    node.process().signal(rustix::process::Signal::KILL);
    drop(node);
    let node = Node::serve(&deployment);
    let start = node.mark();
    assert!(!send(&node, Some(&now)), "used before the crash");
    node.wait_for(start, "credential.refused", |fields| fields["credential"] == "totp");
    assert!(send(&node, Some(&code(&uri, 1))), "the next one is good");
    // And by a code without the certificate nobody gets in.
    let mut bare = bearer("pub", &node, &deployment, "meter", &code(&uri, 1));
    assert!(!output(bare.args(["-q", "1", "-t", "meters/m", "-m", "x"]), b"").status.success());
}

#[test]
fn a_certificate_and_a_token_must_be_of_one_identity() {
    let provider = Provider::new();
    let deployment =
        with_listener("client_ca = \"ca/ca.crt\"\ncrl = [\"ca/ca.crl\"]\nsecond_factor = \"jwt\"");
    deployment.append(&format!(
        "[[jwt]]\nissuer = \"https://id.plant\"\naudience = [\"ravelin\"]\njwks_url = \"{}\"\n",
        provider.url()
    ));
    deployment.add_client("meter", &["--certificate", "--publish", "meters/#"]);
    let node = Node::serve(&deployment);
    node.wait_for(0, "issuer.keys_changed", |_| true);
    let send = |token: &str| {
        let mut command = mosquitto("pub", node.port("more"), &deployment, "meter", "meter");
        command.args(["-q", "1", "-t", "meters/m", "-m", "x", "-u", "meter", "-P", token]);
        output(&mut command, b"").status.success()
    };
    assert!(send(&provider.token_for("meter", 60)));
    assert!(!send(&provider.token_for("operator", 60)));
    let mut bare = bearer("pub", &node, &deployment, "meter", &provider.token_for("meter", 60));
    assert!(!output(bare.args(["-q", "1", "-t", "meters/m", "-m", "x"]), b"").status.success());
}

#[test]
fn scram_sha_512_and_a_password_that_is_changed() {
    let deployment = Deployment::new();
    let added =
        deployment.add_client("tablet", &["--password", "--subscribe", "meters/#", "--publish", "meters/#"]);
    let password = added["password"].as_str().expect("a password").to_owned();
    let node = Node::serve(&deployment);
    let scram = |what: &str, option: &str, password: &str| {
        let mut command = ravelin([what, "-h", "127.0.0.1", "-p", &node.port("password-tls").to_string()]);
        command
            .arg("--cafile")
            .arg(deployment.ca())
            .args(["-i", "tablet", "-u", "tablet", "-t", "meters/1", option]);
        command.env("RAVELIN_PASSWORD", password);
        command
    };
    for option in ["--scram", "--scram=sha-256", "--scram=sha-512"] {
        succeed(output(scram("pub", option, &password).args(["-m", "x"]), b""));
        let wrong = output(scram("pub", option, "wrong").args(["-m", "x"]), b"");
        assert!(!wrong.status.success(), "{option}");
    }
    let start = node.mark();
    let _live = Process::start(&mut scram("sub", "--scram=sha-512", &password));
    node.wait_subscribed(start, "tablet", "meters/1");
    let mut change = ravelin(["passwd"]);
    succeed(output(change.arg(deployment.path("passwords")).arg("tablet"), b"another password\n"));
    assert_eq!(node.reload()["id"], "node.reloaded");
    let ended =
        node.wait_for(start, "client.disconnected", |fields| fields["detail"] == "its password was changed");
    assert_eq!(ended["fields"]["client_id"], "tablet");
}
