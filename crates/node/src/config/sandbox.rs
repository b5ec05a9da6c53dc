//! `[sandbox]`: what the process gives up before it serves.

use super::read::Table;

/// How much of the sandbox there must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum SandboxMode {
    /// What the kernel has; the rest is said.
    #[default]
    On,
    /// All of it, or the node does not start.
    Require,
    /// None.
    Off,
}

/// `[sandbox]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SandboxConfig {
    /// How much of it there must be.
    pub mode: SandboxMode,
    /// The user to become, when started as root: a name, or `uid:gid`.
    pub user: Option<String>,
}

impl SandboxConfig {
    pub(super) fn read(table: &mut Table<'_, '_>) -> SandboxConfig {
        let modes = [("on", SandboxMode::On), ("require", SandboxMode::Require), ("off", SandboxMode::Off)];
        SandboxConfig {
            mode: table.choice("mode", &modes).unwrap_or_default(),
            user: table.take::<String>("user").filter(|user| !user.is_empty()),
        }
    }
}
