//! Another user than root. While there is one thread only: the kernel's calls are for one thread.

use rustix::process::{Gid, Uid};
use rustix::thread::{CapabilitySet, CapabilitySets};

/// Becomes the user `name` (a name, or `uid:gid`). `keep`: what it still needs of root's rights.
pub(super) fn become_user(name: &str, keep: CapabilitySet) -> Result<(), String> {
    let (uid, gid) = find(name)?;
    let own = rustix::process::getuid();
    if own == uid && rustix::process::getgid() == gid {
        return Ok(());
    }
    if !own.is_root() {
        return Err(format!("only root can become {name}"));
    }
    let told = |what: &'static str| move |error: rustix::io::Errno| format!("failed to {what}: {error}");
    if !keep.is_empty() {
        rustix::thread::set_keep_capabilities(true).map_err(told("keep a capability"))?;
    }
    rustix::thread::set_thread_groups(&[gid]).map_err(told("leave the groups of root"))?;
    rustix::thread::set_thread_res_gid(gid, gid, gid).map_err(told("become the group"))?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(told("become the user"))?;
    if !keep.is_empty() {
        rustix::thread::set_keep_capabilities(false).map_err(told("keep no more capabilities"))?;
        let held = rustix::thread::capabilities(None).map_err(told("read the capabilities"))?;
        let keep = held.permitted & keep;
        let sets = CapabilitySets { effective: keep, permitted: keep, inheritable: CapabilitySet::empty() };
        rustix::thread::set_capabilities(None, sets).map_err(told("keep a capability"))?;
    }
    if rustix::process::getuid() != uid || rustix::thread::set_thread_uid(Uid::ROOT).is_ok() {
        return Err("the process could become root again".into());
    }
    Ok(())
}

fn find(name: &str) -> Result<(Uid, Gid), String> {
    if let Some((uid, gid)) = name.split_once(':')
        && let (Ok(uid), Ok(gid)) = (uid.parse(), gid.parse())
    {
        return Ok((Uid::from_raw(uid), Gid::from_raw(gid)));
    }
    // Not getpwnam: what that loads and asks depends on the machine.
    let text = std::fs::read_to_string("/etc/passwd").map_err(|error| format!("/etc/passwd: {error}"))?;
    parse(&text, name).ok_or_else(|| format!("/etc/passwd has no user {name}"))
}

fn parse(passwd: &str, name: &str) -> Option<(Uid, Gid)> {
    let mut fields = passwd.lines().map(|line| line.split(':')).find_map(|mut fields| {
        let found = fields.next() == Some(name);
        found.then_some(fields)
    })?;
    let (_, uid, gid) = (fields.next()?, fields.next()?, fields.next()?);
    Some((Uid::from_raw(uid.parse().ok()?), Gid::from_raw(gid.parse().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_name() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nravelin:x:990:991::/:/usr/sbin/nologin\nodd:x\n";
        assert_eq!(parse(passwd, "ravelin"), Some((Uid::from_raw(990), Gid::from_raw(991))));
        assert_eq!(parse(passwd, "ravel"), None);
        assert_eq!(parse(passwd, "odd"), None);
        assert_eq!(find("7:8"), Ok((Uid::from_raw(7), Gid::from_raw(8))));
        assert!(find("nobody who exists").is_err());
    }
}
