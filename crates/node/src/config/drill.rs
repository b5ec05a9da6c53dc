//! `[drill]`: whether attacks may be rehearsed on this node.

use super::read::Table;

/// `[drill]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DrillConfig {
    /// Whether `ravelin drill` may attack this node. It is a rehearsal with labelled clients, and still an attack.
    pub allow: bool,
    /// Identities of real clients that a drill may play, where somebody has their certificates: their messages reach whoever
    /// subscribes to them.
    pub play: Vec<String>,
}

impl DrillConfig {
    pub(super) fn read(table: &mut Table<'_, '_>) -> DrillConfig {
        DrillConfig {
            allow: table.take("allow").unwrap_or_default(),
            play: table.take("play").unwrap_or_default(),
        }
    }
}
