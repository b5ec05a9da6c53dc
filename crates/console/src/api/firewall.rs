//! The operating system's firewall, as far as Ravelin changes it.

use super::Api;
use crate::body::Json;
use crate::problem::Problem;
use crate::state::aside;
use axum::extract::State;
use ravelin_node::control::Control;
use ravelin_node::firewall::Dropped;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

pub(super) fn routes(api: Api) -> Api {
    api.viewer(routes!(show))
}

/// How the firewall is.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct FirewallStatus {
    /// `off`, `active`, or `dry_run`: nothing is really dropped.
    pub state: String,
    /// Why it runs dry.
    pub why: Option<String>,
    /// The nftables table (family inet) that is Ravelin's.
    pub table: String,
    /// The ports at which packets are dropped: those of the listeners.
    pub ports: Vec<u16>,
    /// What is (or would be) dropped. A network that lies in another one of the list is not listed beside it.
    pub blocked: Vec<BlockedNetwork>,
    /// Packets that were dropped since the table was made.
    pub packets: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// What `nft -f` is (or would be) given.
    pub text: String,
}

/// A network that is blocked.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct BlockedNetwork {
    /// Which.
    #[schema(example = "192.0.2.7/32")]
    pub network: String,
    /// For how many more seconds; null: until it is taken back.
    pub seconds: Option<u32>,
    /// Packets of it that were dropped.
    pub packets: u64,
    /// Bytes of them.
    pub bytes: u64,
}

/// What the firewall drops, and how much it has dropped.
#[utoipa::path(get, path = "/v1/firewall", tag = "respond",
    responses((status = 200, description = "How it is.", body = FirewallStatus)))]
async fn show(State(control): State<Control>) -> Result<Json<FirewallStatus>, Problem> {
    // The agent runs a program to answer.
    let view = aside(move || control.firewall()).await?;
    let blocked = view.blocked.iter().map(|one| {
        let Dropped { network, seconds, packets, bytes } = *one;
        BlockedNetwork { network: network.to_string(), seconds, packets, bytes }
    });
    Ok(Json(FirewallStatus {
        state: view.state.into(),
        why: view.why,
        table: view.table,
        ports: view.ports,
        blocked: blocked.collect(),
        packets: view.packets,
        bytes: view.bytes,
        text: view.text,
    }))
}
