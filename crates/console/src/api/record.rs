//! The record of transmissions: how it is. Its entries are read where they lie, by `ravelin audit`.

use super::Api;
use crate::body::Json;
use crate::problem::Problem;
use axum::extract::State;
use ravelin_node::control::Control;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

pub(super) fn routes(api: Api) -> Api {
    api.viewer(routes!(status))
}

/// How the record is.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct RecordStatus {
    /// Its id, in hex.
    pub record: String,
    /// The first entry that is kept.
    pub first: u64,
    /// The last entry.
    pub last: u64,
    /// The last entry that is signed for. Kept elsewhere with `head`, it proves that the record was not cut or replaced.
    pub signed: u64,
    /// The head of the chain after it, in hex.
    pub head: String,
    /// SHA-256 of the key that signs, in hex.
    pub key_fingerprint: String,
    /// Bytes on disk.
    pub bytes: u64,
    /// Segments.
    pub segments: u64,
    /// Bytes that wait for the disk.
    pub queued_bytes: u64,
    /// Entries that were lost since the start, as the record itself says.
    pub lost: u64,
    /// Whether publishes to recorded topics are refused at the moment.
    pub refusing: bool,
    /// Why the record cannot be written; null: it can.
    pub failure: Option<String>,
}

/// How the record of transmissions is.
#[utoipa::path(get, path = "/v1/record", tag = "record",
    responses((status = 200, description = "How it is.", body = RecordStatus)))]
async fn status(State(control): State<Control>) -> Result<Json<RecordStatus>, Problem> {
    let nothing = || Problem::not_found("the node keeps no state, so it has no record");
    let status = control.record_status().ok_or_else(nothing)?;
    Ok(Json(RecordStatus {
        record: status.record,
        first: status.first,
        last: status.sequence,
        signed: status.signed,
        head: status.head,
        key_fingerprint: status.key_fingerprint,
        bytes: status.bytes,
        segments: status.segments,
        queued_bytes: status.queued_bytes,
        lost: status.lost,
        refusing: status.refusing,
        failure: status.failure,
    }))
}
