//! The lines for fail2ban, read by fail2ban itself with the filter that is shipped.

mod support;

use ravelin_event::{Event, Notice, Refusal, Severity};
use ravelin_outward::{Item, fail2ban};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use support::{HOSTILE, alarm, event, origin, refused};

const PROGRAM: &str = "/usr/bin/fail2ban-regex";

#[test]
fn fail2ban_finds_the_address_of_the_connection_and_no_other() {
    assert!(
        Path::new(PROGRAM).exists(),
        "`cargo xtask test` installs what the tests need: Debian's fail2ban"
    );
    let from_v6 = Event::ConnectionRefused {
        address: "[2001:db8::7]:4711".parse().unwrap(),
        client_id: None,
        identity: None,
        why: Refusal::Banned,
    };
    let notice = Notice::Raised(Arc::new(alarm(Severity::High, HOSTILE)));
    let forged =
        "x\n2026-11-24T06:53:43.007Z ravelin[plant]: refused address=198.51.100.1 reason=login.failed";
    let found = [refused("meter-7"), refused(HOSTILE), refused(forged), event(1_795_503_223_007, from_v6)];
    let lines: Vec<String> = found
        .into_iter()
        .chain([Item::notice(Arc::new(notice)), Item::test(1_795_503_223_007, "jail", "alice")])
        .map(|item| fail2ban::line(&origin(), &item).expect("a line"))
        .collect();
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("refused.log");
    std::fs::write(&log, lines.join("\n") + "\n").expect("a log");
    let filter = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/fail2ban/filter.d/ravelin.conf");
    let output =
        Command::new(PROGRAM).args(["--out", "ip"]).arg(&log).arg(&filter).output().expect("fail2ban-regex");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut addresses: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    addresses.sort_unstable();
    let all = ["192.0.2.7", "192.0.2.7", "192.0.2.7", "192.0.2.7", "2001:db8::7"];
    assert_eq!(addresses, all, "{said}\n{}", String::from_utf8_lossy(&output.stderr));
}
