//! The files that a node needs, with landlock: what it writes, what its configuration names, and what the system's
//! libraries read to resolve a name. Nothing can be executed.

use crate::config::Config;
use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetStatus, Scope,
};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What the newest kernel that is known can restrict.
const NEWEST: ABI = ABI::V6;
/// Read by the standard library, by the C library when it resolves a name, and for `$SYS`.
const SYSTEM: [&str; 14] = [
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/nsswitch.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/etc/ssl/certs",
    "/run/systemd/resolve",
    "/usr/lib",
    "/lib",
    "/lib64",
    "/proc/self",
    "/proc/meminfo",
    "/sys/fs/cgroup",
];
/// Where programs and their libraries are.
const PROGRAMS: [&str; 5] = ["/usr", "/bin", "/sbin", "/lib", "/lib64"];
const DEVICES: [&str; 2] = ["/dev/null", "/dev/urandom"];

/// Restricts this thread, and those that it starts. `Ok(false)`: the kernel has only a part of it.
pub(super) fn restrict(config: &Config) -> Result<bool, String> {
    let told = |error: landlock::RulesetError| error.to_string();
    let rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))
        .map_err(told)?
        // No signal to another process.
        .scope(Scope::Signal)
        .map_err(told)?
        .create()
        .map_err(told)?;
    let write = AccessFs::from_all(NEWEST) & !AccessFs::Execute;
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let mut rules = rules;
    for path in writable(config)? {
        rules = allow(rules, &path, write)?;
    }
    // Others' lines are not read, and no other name is taken away: a file is made, appended to, and cut after a torn write.
    let append = AccessFs::WriteFile | AccessFs::MakeReg | AccessFs::Truncate;
    for path in config.outward.iter().filter_map(|destination| destination.file()) {
        rules = allow(rules, &folder_of(path), append)?;
    }
    for path in readable(config) {
        rules = allow(rules, &path, read)?;
    }
    for path in DEVICES.map(Path::new) {
        rules = allow(rules, path, AccessFs::ReadFile | AccessFs::WriteFile)?;
    }
    match rules.restrict_self().map_err(told)?.ruleset {
        RulesetStatus::FullyEnforced => Ok(true),
        RulesetStatus::PartiallyEnforced => Ok(false),
        RulesetStatus::NotEnforced => Err("the kernel does not have it".into()),
    }
}

/// For the firewall's agent: programs, and what they read of the system.
pub(super) fn restrict_to_programs(nft: &Path) -> Result<(), String> {
    let told = |error: landlock::RulesetError| error.to_string();
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))
        .map_err(told)?
        .scope(Scope::Signal)
        .map_err(told)?
        .create()
        .map_err(told)?;
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    for path in PROGRAMS.map(Path::new) {
        rules = allow(rules, path, read | AccessFs::Execute)?;
    }
    rules = allow(rules, nft, read | AccessFs::Execute)?;
    for path in ["/etc", "/proc"].map(Path::new) {
        rules = allow(rules, path, read)?;
    }
    for path in DEVICES.map(Path::new) {
        rules = allow(rules, path, AccessFs::ReadFile | AccessFs::WriteFile)?;
    }
    rules.restrict_self().map(|_| ()).map_err(told)
}

/// What does not exist cannot be allowed, and need not be.
fn allow(
    rules: RulesetCreated,
    path: &Path,
    access: landlock::BitFlags<AccessFs>,
) -> Result<RulesetCreated, String> {
    let Ok(opened) = PathFd::new(path) else { return Ok(rules) };
    let access = if path.is_dir() { access } else { access & AccessFs::from_file(NEWEST) };
    rules.add_rule(PathBeneath::new(opened, access)).map_err(|error| error.to_string())
}

/// Directories that the node writes to; they are made, so that they can be allowed.
fn writable(config: &Config) -> Result<BTreeSet<PathBuf>, String> {
    let mut paths = BTreeSet::new();
    for directory in [config.node.data.clone(), config.record_directory()].into_iter().flatten() {
        use std::os::unix::fs::DirBuilderExt;
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory);
        made.map_err(|error| format!("{}: {error}", directory.display()))?;
        paths.insert(directory);
    }
    if config.node.data.is_none() {
        paths.insert(std::env::temp_dir());
    }
    // A key that nothing is encrypted with any more is taken out of the file, which is replaced.
    paths.extend(config.store.key_file.as_deref().map(folder_of));
    // The CA's revocation list is replaced whenever it changes.
    let list = config.ca.as_ref().and_then(|ca| ca.crl.as_deref());
    paths.extend(list.map(folder_of));
    Ok(paths)
}

/// The folders of all files that the configuration names, and of itself: a file that is replaced is another one.
fn readable(config: &Config) -> BTreeSet<PathBuf> {
    let files = config.mentioned().iter().filter(|path| path.is_file());
    let mut paths: BTreeSet<PathBuf> = files.map(|path| folder_of(path)).collect();
    paths.extend(SYSTEM.map(PathBuf::from));
    paths
}

fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.into(),
        _ => ".".into(),
    }
}
