//! What the tests need of the machine, installed where it is missing.
//!
//! Debian's packages by apt-get; Paho in a virtual environment and MQTT.js in a folder, both under `target/`, so that
//! nothing of them stays behind.

use crate::command::{cargo, root, run, target, works};
use anyhow::{Context, bail};
use std::path::Path;
use std::process::Command;

/// Debian's packages, each with the file that it brings.
const PACKAGES: [(&str, &str); 9] = [
    ("mosquitto", "/usr/sbin/mosquitto"),
    ("mosquitto-clients", "/usr/bin/mosquitto_pub"),
    ("nftables", "/usr/sbin/nft"),
    ("iproute2", "/sbin/ip"),
    ("nodejs", "/usr/bin/node"),
    ("npm", "/usr/bin/npm"),
    ("fail2ban", "/usr/bin/fail2ban-regex"),
    ("rsyslog", "/usr/sbin/rsyslogd"),
    ("rsyslog-gnutls", "/usr/share/doc/rsyslog-gnutls/copyright"),
];

/// What attackers use, each with the file that it brings.
const ATTACK_TOOLS: [(&str, &str); 2] = [("ncrack", "/usr/bin/ncrack"), ("nmap", "/usr/bin/nmap")];

/// Other brokers and clients, for the tests that need them.
pub fn peers() -> anyhow::Result<()> {
    let missing: Vec<&str> =
        PACKAGES.iter().filter(|(_, file)| !Path::new(file).exists()).map(|(package, _)| *package).collect();
    if !missing.is_empty() {
        install(&missing)?;
    }
    paho()?;
    mqtt_js()
}

/// Tools of attackers, for the figures of detection. Without them those tests say so, and the others go on.
pub fn attack_tools() {
    let missing: Vec<&str> = ATTACK_TOOLS
        .iter()
        .filter(|(_, file)| !Path::new(file).exists())
        .map(|(package, _)| *package)
        .collect();
    if !missing.is_empty()
        && let Err(error) = install(&missing)
    {
        println!("attack tools are missing: {error:#}");
    }
}

/// cargo-deny, built from source the first time: some minutes.
pub fn cargo_deny() -> anyhow::Result<()> {
    if works("cargo-deny", ["--version"]) {
        return Ok(());
    }
    println!("cargo-deny is missing and is built now; it stays in cargo's own folder");
    run(&mut cargo(["install", "--locked", "cargo-deny"]))
}

fn install(packages: &[&str]) -> anyhow::Result<()> {
    println!("installing {}", packages.join(", "));
    let prefix: &[&str] = if works("test", ["-w", "/var/lib/dpkg"]) {
        &[]
    } else if works("sudo", ["-n", "true"]) {
        &["sudo", "-n"]
    } else {
        bail!(
            "{} must be installed, and neither root nor sudo is at hand; as an administrator:\n  \
             apt-get install --no-install-recommends {}",
            packages.join(", "),
            packages.join(" ")
        );
    };
    let apt = |arguments: &[&str]| {
        let mut words = prefix.iter().copied().chain(["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]);
        let mut command = Command::new(words.next().unwrap_or("env"));
        command.args(words).args(arguments);
        run(&mut command)
    };
    apt(&["update", "-q"])?;
    let arguments = ["install", "-q", "-y", "--no-install-recommends"];
    apt(&[&arguments[..], packages].concat())?;
    // Debian starts a broker with the package: the tests run their own.
    if packages.contains(&"mosquitto") && works("systemctl", ["is-active", "--quiet", "mosquitto"]) {
        let mut words = prefix.iter().copied().chain(["systemctl", "disable", "--now", "mosquitto"]);
        run(Command::new(words.next().unwrap_or("systemctl")).args(words))?;
    }
    Ok(())
}

/// Paho for Python, in `target/e2e-python`.
fn paho() -> anyhow::Result<()> {
    let wanted = root().join("tests/e2e/python/requirements.txt");
    let folder = target().join("e2e-python");
    if is_current(&folder, &wanted) {
        return Ok(());
    }
    println!("installing Paho for Python in {}", folder.display());
    let create = || run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder));
    if create().is_err() {
        install(&["python3", "python3-venv"])?;
        create()?;
    }
    run(Command::new(folder.join("bin/pip")).args(["install", "--quiet", "--requirement"]).arg(&wanted))?;
    set_current(&folder, &wanted)
}

/// MQTT.js, in `target/e2e-node`.
fn mqtt_js() -> anyhow::Result<()> {
    let source = root().join("tests/e2e/node");
    let lock = source.join("package-lock.json");
    let folder = target().join("e2e-node");
    if is_current(&folder, &lock) {
        return Ok(());
    }
    println!("installing MQTT.js in {}", folder.display());
    std::fs::create_dir_all(&folder).with_context(|| format!("failed to create {}", folder.display()))?;
    for name in ["package.json", "package-lock.json"] {
        let (from, to) = (source.join(name), folder.join(name));
        std::fs::copy(&from, &to).with_context(|| format!("failed to copy {}", from.display()))?;
    }
    let arguments = ["ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"];
    run(Command::new("npm").args(arguments).current_dir(&folder))?;
    set_current(&folder, &lock)
}

/// Whether what was installed in `folder` is what `wanted` asks for.
fn is_current(folder: &Path, wanted: &Path) -> bool {
    let installed = std::fs::read(folder.join("installed"));
    installed.is_ok_and(|text| std::fs::read(wanted).is_ok_and(|wanted| wanted == text))
}

fn set_current(folder: &Path, wanted: &Path) -> anyhow::Result<()> {
    let mark = folder.join("installed");
    std::fs::copy(wanted, &mark).with_context(|| format!("failed to write {}", mark.display()))?;
    Ok(())
}
