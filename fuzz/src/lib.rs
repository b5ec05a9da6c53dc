//! Fuzz targets, one per parser, and their corpus.
//!
//! A target is a plain function that takes any bytes, returns, and panics if the parser breaks a promise: not only "it does
//! not panic", but also "what it accepts can be written and read again". `tests/corpus.rs` replays the corpus and many
//! mutations of it with every `cargo test`; `libfuzzer/` runs the same functions for as long as one likes.
//!
//! A new target: a function in the module of its crate, a line in [`TARGETS`], seeds in `corpus/{target}/`.

pub mod audit;
pub mod broker;
pub mod directory;
pub mod identify;
pub mod mqtt;
pub mod node;
pub mod protect;
pub mod replay;
pub mod store;

/// A fuzz target.
pub type Target = fn(&[u8]);

/// All targets: the name, which is also that of the folder in `corpus/`, and the function.
pub const TARGETS: &[(&str, Target)] = &[
    ("packet_client", mqtt::packet_client),
    ("packet_server", mqtt::packet_server),
    ("peek", mqtt::peek),
    ("publish", mqtt::publish),
    ("properties", mqtt::properties),
    ("text", mqtt::text),
    ("topic", mqtt::topic),
    ("store", store::store),
    ("audit", audit::audit),
    ("passwords", protect::passwords),
    ("access_rules", protect::access_rules),
    ("directory_commands", directory::directory_commands),
    ("directory_import", directory::directory_import),
    ("directory_rules", directory::directory_rules),
    ("scram_server", protect::scram_server),
    ("scram_client", protect::scram_client),
    ("certificate", protect::certificate),
    ("certificate_request", protect::certificate_request),
    ("ocsp_answer", protect::ocsp_answer),
    ("revocation_list", protect::revocation_list),
    ("token", protect::token),
    ("key_set", protect::key_set),
    ("configuration", node::configuration),
    ("websocket_handshake", node::websocket_handshake),
    ("websocket_frames", node::websocket_frames),
    ("proxy", node::proxy),
    ("firewall_request", node::firewall_request),
    ("broker_restore", broker::broker_restore),
    ("broker_frames", broker::broker_frames),
    ("sparkplug", identify::sparkplug),
    ("devices_csv", identify::devices_csv),
    ("devices_json", identify::devices_json),
    ("inventory_record", identify::inventory_record),
    ("replay_events", replay::events),
    ("replay_capture", replay::capture),
];

/// The target of this name.
pub fn target(name: &str) -> Option<Target> {
    TARGETS.iter().find(|(target, _)| *target == name).map(|&(_, function)| function)
}
