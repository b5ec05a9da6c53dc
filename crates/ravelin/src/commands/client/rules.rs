//! Changes an access-rules file for one client; what the operator wrote is kept as it is.

use anyhow::Context;
use ravelin_protect::{AccessRules, file};
use std::path::Path;

/// The rules file with rules for `name` added, or an error that says which of them is wrong.
pub fn with_added(
    path: &Path,
    name: &str,
    publish: &[String],
    subscribe: &[String],
) -> anyhow::Result<String> {
    let mut text = read(path)?;
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text += &format!("\nuser {name}\n");
    for (access, filters) in [("write", publish), ("read", subscribe)] {
        for filter in filters {
            // One line each: a filter cannot bring a rule of its own.
            if filter.contains(|c: char| c.is_control()) || filter.trim() != filter || filter.is_empty() {
                anyhow::bail!("{filter:?} is not a topic filter");
            }
            text += &format!("topic {access} {filter}\n");
        }
    }
    AccessRules::parse(&text, &path.display().to_string())
        .map_err(|errors| anyhow::anyhow!("the rules would not be accepted:\n{errors}"))?;
    Ok(text)
}

/// The rules file with the sections of `name` commented out, and how many lines that were.
pub fn without(path: &Path, name: &str) -> anyhow::Result<(String, usize)> {
    let mut out = String::new();
    let (mut inside, mut count) = (false, 0);
    for line in read(path)?.lines() {
        let user =
            line.trim().strip_prefix("user").filter(|rest| rest.starts_with([' ', '\t'])).map(str::trim);
        if let Some(user) = user {
            inside = user == name;
        }
        let is_rule = user.is_some() || line.trim_start().starts_with("topic");
        if inside && is_rule {
            out.push('#');
            count += 1;
        }
        out.push_str(line);
        out.push('\n');
    }
    let name = path.display().to_string();
    AccessRules::parse(&out, &name).context("the access rules have errors; nothing was changed")?;
    Ok((out, count))
}

/// The users that have a section of rules.
pub fn users(path: &Path) -> Vec<String> {
    let text = read(path).unwrap_or_default();
    let user = |line: &str| line.trim().strip_prefix("user ").map(|name| name.trim().to_owned());
    text.lines().filter_map(user).collect()
}

fn read(path: &Path) -> anyhow::Result<String> {
    Ok(file::read_text(path, ravelin_protect::access::FILE_BYTES_MAX)?.to_string())
}
