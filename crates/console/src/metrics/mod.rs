//! `/metrics`: what the node counts, in the text format of Prometheus.
//!
//! Names begin with `ravelin_` and end with their unit; counters end with `_total`. Every label has few values: none of
//! them was chosen by a client. A subject adds its own file here and a line in `text.rs`.

mod calls;
mod detect;
mod limits;
mod node;
mod outward;
mod respond;
mod store;
mod text;

pub(crate) use calls::Calls;
pub(crate) use limits::uses;
pub use text::{Exposition, Kind};

use crate::state::ApiState;

/// The media type of the format.
pub const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Everything, as of now.
pub(crate) fn text(state: &ApiState) -> String {
    let mut out = Exposition::default();
    node::write(&mut out, &state.control);
    store::write(&mut out, &state.control);
    limits::write(&mut out, &state.control);
    outward::write(&mut out, &state.control);
    detect::write(&mut out, &state.control);
    respond::write(&mut out, &state.control);
    calls::write(&mut out, state);
    out.finish()
}
