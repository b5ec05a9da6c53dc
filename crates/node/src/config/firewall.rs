//! `[firewall]`: the operating system's firewall, as far as Ravelin may change it.

use super::Network;
use super::read::{Table, Typed};
use crate::firewall::rules::is_table_name;
use std::path::PathBuf;
use toml::de::DeValue;

/// `[firewall]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirewallConfig {
    /// Whether there is one. It takes CAP_NET_ADMIN at the start, and `nft`.
    pub enabled: bool,
    /// The one table that is Ravelin's.
    pub table: String,
    /// The program.
    pub nft: PathBuf,
    /// Networks that are never blocked, whoever asks for it.
    pub never: Vec<Network>,
    /// Whether the table stays when the node stops: what is blocked stays blocked until its time is over.
    pub leave: bool,
}

impl Default for FirewallConfig {
    fn default() -> FirewallConfig {
        FirewallConfig {
            enabled: false,
            table: "ravelin".into(),
            nft: "/usr/sbin/nft".into(),
            never: Vec::new(),
            leave: true,
        }
    }
}

/// A name of a table that is ours.
struct TableName(String);

impl Typed for TableName {
    fn read(value: &DeValue<'_>) -> Result<TableName, String> {
        let name = String::read(value)?;
        if !is_table_name(&name) {
            return Err("`ravelin`, then letters, digits and `_`, at most 31 in all".into());
        }
        Ok(TableName(name))
    }
}

/// Networks that are not blocked.
struct Never(Vec<Network>);

impl Typed for Never {
    fn read(value: &DeValue<'_>) -> Result<Never, String> {
        let texts = Vec::<String>::read(value)?;
        let networks = texts.iter().map(|text| {
            text.parse().map_err(|()| format!("a list of networks (\"10.0.0.0/8\"); {text:?} is none"))
        });
        networks.collect::<Result<_, _>>().map(Never)
    }
}

impl FirewallConfig {
    pub(super) fn read(table: &mut Table<'_, '_>) -> FirewallConfig {
        let default = FirewallConfig::default();
        FirewallConfig {
            enabled: table.take("enabled").unwrap_or(default.enabled),
            table: table.take::<TableName>("table").map_or(default.table, |name| name.0),
            nft: table.take::<String>("nft").map_or(default.nft, PathBuf::from),
            never: table.take::<Never>("never").map_or(default.never, |never| never.0),
            leave: table.take("leave").unwrap_or(default.leave),
        }
    }
}
