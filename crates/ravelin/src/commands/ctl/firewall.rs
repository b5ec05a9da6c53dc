//! The operating system's firewall, as far as Ravelin changes it.

use super::Ctl;
use super::table::{Table, or_dash};
use ravelin_console::api::firewall::{BlockedNetwork, FirewallStatus};
use ravelin_console::client::ClientError;

/// Runs `firewall`.
pub fn run(ctl: &Ctl) -> Result<(), ClientError> {
    let status: FirewallStatus = ctl.client.get("/v1/firewall")?;
    ctl.print_text(&status, |status| {
        let mut table = Table::pairs();
        table.pair("state", &status.state);
        table.pair("why", or_dash(&status.why));
        table.pair("table", format!("inet {}", status.table));
        let ports: Vec<_> = status.ports.iter().map(ToString::to_string).collect();
        table.pair("ports", ports.join(", "));
        table.pair("dropped", format!("{} packets, {} bytes", status.packets, status.bytes));
        let row = |one: &BlockedNetwork| {
            let left =
                one.seconds.map_or_else(|| "until taken back".into(), |seconds| format!("{seconds} s"));
            [one.network.clone(), left, one.packets.to_string()]
        };
        format!("{table}{}", Table::new(&["BLOCKED", "FOR", "PACKETS"]).with(status.blocked.iter().map(row)))
    });
    Ok(())
}
