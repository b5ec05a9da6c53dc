//! The REST API of the control lane, and a client of it.
//!
//! The lane has a listener, a thread and a runtime of its own: nothing that happens on the data plane can make it wait, and
//! what a request asks of a shard is dealt with before the shard's sockets. [`Console::start`] opens it beside a running
//! node; [`client`] speaks to it, for `ravelin ctl`.
//!
//! # How to add an endpoint
//!
//! 1. Write `src/api/<subject>.rs` with a handler that has a `#[utoipa::path]` (its doc comment is what the API's
//!    document says), takes its arguments by [`Page`](page::Page), [`Query`](body::Query), [`Path`](body::Path) and
//!    [`Json`](body::Json), the node by `State<Control>`, who asks by [`Caller`](auth::Caller), and returns
//!    `Result<Json<T>, Problem>`. `T` derives `Serialize` and `ToSchema`.
//! 2. Register it in `pub(super) fn routes(api: Api) -> Api` of that file with the role that it takes
//!    (`api.viewer(routes!(list, show))`, `.operator(..)`, `.admin(..)`), and call that in [`api::all`]. Handlers that are
//!    given to one `routes!` have one path and different methods. There is no way to register one without a role.
//! 3. Add its row to the table in `src/api/authorization.rs`.
//! 4. Write the document again: `RAVELIN_WRITE=1 cargo test -p ravelin-console openapi`.
//! 5. Add its command in `crates/ravelin/src/commands/ctl/<subject>.rs`.
//!
//! Whatever changes something hands the [`Actor`](ravelin_node::control::Actor) to the node, which leaves an event of
//! who did it. Whatever may wait (a durable record, a large computation) runs in [`aside`](state::aside). A list is a
//! [`Listing`](page::Listing). What a client chose (a Client Identifier, a topic) goes into JSON and nowhere else.

// utoipa's macros write whole paths.
#![allow(unused_qualifications)]

pub mod api;
pub mod auth;
pub mod body;
mod buckets;
pub mod client;
mod console;
mod error;
mod events;
mod frame;
pub mod metrics;
pub mod page;
mod peer;
pub mod problem;
mod server;
mod settings;
pub mod state;
mod stream;
pub mod tokens;

pub use console::Console;
pub use error::Error;
