//! Clients and their sessions: seen, disconnected, ended.

use super::{Api, no_content};
use crate::auth::Caller;
use crate::body::{Json, Path, Query};
use crate::page::{Listing, Page, PageQuery};
use crate::problem::Problem;
use axum::extract::State;
use axum::response::Response;
use ravelin_broker::{SessionInfo, home_shard};
use ravelin_mqtt::{ReasonCode, Version};
use ravelin_node::control::Control;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

/// Questions to shards for one page at most: a page may have fewer items than asked for, and a next one.
const QUESTIONS_MAX: usize = 64;

pub(super) fn routes(api: Api) -> Api {
    api.viewer(routes!(list))
        .viewer(routes!(show))
        .viewer(routes!(subscriptions))
        .operator(routes!(disconnect))
        .operator(routes!(end_session))
}

/// A client: its session, and its connection if it has one.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Client {
    /// Its Client Identifier.
    pub client_id: String,
    /// Who it proved to be.
    pub identity: Option<String>,
    /// The class of the identity.
    pub class: Option<String>,
    /// SHA-256 of its certificate, in hex.
    pub certificate: Option<String>,
    /// From where it connected last; null if that was before the node started.
    pub address: Option<String>,
    /// `3.1.1` or `5.0`.
    pub version: String,
    /// Whether it is connected.
    pub connected: bool,
    /// The connection, if it is.
    pub connection: Option<Connection>,
    /// How long the session outlives a connection, in seconds; 4294967295 is without end.
    pub session_expiry_s: u32,
    /// When it ends if the client does not come back, in milliseconds since the Unix epoch.
    pub expires_ms: Option<u64>,
    /// Subscriptions, shared ones included.
    pub subscriptions: u64,
    /// Messages that wait to be sent.
    pub queued: u64,
    /// Bytes of them.
    pub queued_bytes: u64,
    /// Messages sent and not yet acknowledged.
    pub inflight: u64,
    /// Whether it has a will.
    pub will: bool,
    /// Messages for it that were dropped.
    pub dropped: u64,
}

/// A connection.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Connection {
    /// When it began, in milliseconds since the Unix epoch.
    pub since_ms: u64,
    /// Keep Alive in force, in seconds.
    pub keep_alive_s: u16,
    /// Clean Start.
    pub clean_start: bool,
    /// PUBLISH packets received.
    pub messages_in: u64,
    /// Bytes of them.
    pub bytes_in: u64,
    /// PUBLISH packets sent.
    pub messages_out: u64,
    /// Bytes of them.
    pub bytes_out: u64,
    /// Bytes that wait for the socket.
    pub outbound_bytes: u64,
}

/// A subscription.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Subscription {
    /// The filter, with `$share/group/` if it is shared.
    pub filter: String,
    /// The greatest QoS that is sent.
    pub qos: u8,
    /// Whether the client's own messages are left out.
    pub no_local: bool,
    /// Whether RETAIN is sent as it was published.
    pub retain_as_published: bool,
    /// The Subscription Identifier.
    pub id: Option<u32>,
}

/// All clients, in no order that means anything. A page may have fewer items than asked for and still have a `next`.
#[utoipa::path(get, path = "/v1/clients", tag = "clients", params(PageQuery),
    responses((status = 200, description = "A page of them.", body = Listing<Client>)))]
async fn list(State(control): State<Control>, page: Page) -> Result<Json<Listing<Client>>, Problem> {
    let (mut shard, mut slot) = place(page.after.as_deref())?;
    let (mut items, mut next) = (Vec::new(), None);
    for _ in 0..QUESTIONS_MAX {
        if shard >= control.shards() {
            next = None;
            break;
        }
        let room = page.limit - items.len();
        let found = control
            .ask(shard, move |view| {
                let now = view.now();
                view.broker().sessions_page(now, slot, room)
            })
            .await?;
        items.extend(found.sessions.into_iter().map(client));
        (shard, slot) = match found.next {
            Some(at) => (shard, Some(at)),
            None => (shard + 1, None),
        };
        next = Some(format!("{shard}.{}", slot.unwrap_or(0)));
        if items.len() >= page.limit {
            break;
        }
    }
    Ok(Json(Listing::at(items, next.filter(|_| shard < control.shards()))))
}

/// `shard.slot`, as a cursor has it.
fn place(after: Option<&str>) -> Result<(u16, Option<u32>), Problem> {
    let Some(after) = after else { return Ok((0, None)) };
    let parts =
        after.split_once('.').and_then(|(shard, slot)| Some((shard.parse().ok()?, Some(slot.parse().ok()?))));
    parts.ok_or_else(|| Problem::bad_request("`after` is not a cursor of this list"))
}

fn client(info: SessionInfo) -> Client {
    let who = info.who;
    let connection = info.link.map(|link| Connection {
        since_ms: link.since_ms,
        keep_alive_s: link.keep_alive_s,
        clean_start: link.clean_start,
        messages_in: link.messages_in,
        bytes_in: link.bytes_in,
        messages_out: link.messages_out,
        bytes_out: link.bytes_out,
        outbound_bytes: link.outbound_bytes as u64,
    });
    Client {
        client_id: who.client_id.to_string(),
        identity: who.identity.map(|name| name.to_string()),
        class: who.class.map(|name| name.to_string()),
        certificate: who.certificate.map(|print| print.to_string()),
        address: who.address.map(|address| address.to_string()),
        version: if info.version == Version::V5 { "5.0" } else { "3.1.1" }.into(),
        connected: connection.is_some(),
        connection,
        session_expiry_s: info.expiry_s,
        expires_ms: info.expires_wall_ms,
        subscriptions: info.subscriptions as u64,
        queued: info.queued as u64,
        queued_bytes: info.queued_bytes as u64,
        inflight: info.inflight as u64,
        will: info.will,
        dropped: info.dropped,
    }
}

fn unknown(client_id: &str) -> Problem {
    Problem::not_found(format!("there is no session with the Client Identifier {client_id:?}"))
        .help("see GET /v1/clients")
}

fn shard_of(control: &Control, client_id: &str) -> u16 {
    home_shard(client_id, control.shards())
}

/// One client.
#[utoipa::path(get, path = "/v1/clients/{client_id}", tag = "clients",
    params(("client_id" = String, Path, description = "The Client Identifier, percent-encoded.")),
    responses((status = 200, description = "The client.", body = Client)))]
async fn show(
    State(control): State<Control>,
    Path(client_id): Path<String>,
) -> Result<Json<Client>, Problem> {
    let wanted = client_id.clone();
    let ask = control.ask(shard_of(&control, &client_id), move |view| {
        let now = view.now();
        view.broker().session(now, &wanted)
    });
    ask.await?.map(client).map(Json).ok_or_else(|| unknown(&client_id))
}

/// The subscriptions of a client, by filter.
#[utoipa::path(get, path = "/v1/clients/{client_id}/subscriptions", tag = "clients",
    params(("client_id" = String, Path, description = "The Client Identifier, percent-encoded."), PageQuery),
    responses((status = 200, description = "A page of them.", body = Listing<Subscription>)))]
async fn subscriptions(
    State(control): State<Control>,
    Path(client_id): Path<String>,
    page: Page,
) -> Result<Json<Listing<Subscription>>, Problem> {
    let wanted = client_id.clone();
    let all = control
        .ask(shard_of(&control, &client_id), move |view| view.broker().subscriptions_of(&wanted))
        .await?
        .ok_or_else(|| unknown(&client_id))?;
    let all = all.into_iter().map(|one| Subscription {
        filter: one.filter,
        qos: one.options.qos as u8,
        no_local: one.options.no_local,
        retain_as_published: one.options.retain_as_published,
        id: one.id,
    });
    Ok(Json(Listing::from_all(all, &page, |one| &one.filter)))
}

/// Ends a client's connection. It may come back: to keep it away, ban it.
#[utoipa::path(post, path = "/v1/clients/{client_id}/disconnect", tag = "clients",
    params(("client_id" = String, Path, description = "The Client Identifier, percent-encoded.")),
    responses((status = 204, description = "The connection is closed."),
        (status = 409, description = "It is not connected.",
            body = crate::problem::ProblemBody, content_type = "application/problem+json")))]
async fn disconnect(
    State(control): State<Control>,
    Caller(actor): Caller,
    Path(client_id): Path<String>,
) -> Result<Response, Problem> {
    let wanted = client_id.clone();
    let by = format!("by {}", actor.name);
    let (known, done) = control
        .ask(shard_of(&control, &client_id), move |view| {
            let now = view.now();
            let known = view.broker().session(now, &wanted).is_some();
            let reason = ReasonCode::ADMINISTRATIVE_ACTION;
            (known, view.broker().disconnect_session(now, &wanted, reason, Some(by)))
        })
        .await?;
    if !known {
        return Err(unknown(&client_id));
    }
    let outcome = if done { Ok("") } else { Err("it is not connected") };
    control.administered(&actor, "client.disconnect", &client_id, outcome);
    if done { Ok(no_content()) } else { Err(Problem::conflict("the client is not connected")) }
}

/// What becomes of the session.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct EndQuery {
    /// Whether its queue and subscriptions go too, on disk as well [default: false, the connection only].
    #[param(required = false)]
    #[serde(default)]
    wipe: bool,
}

/// Ends a client's connection, and with `wipe=true` its session.
#[utoipa::path(delete, path = "/v1/sessions/{client_id}", tag = "clients",
    params(("client_id" = String, Path, description = "The Client Identifier, percent-encoded."), EndQuery),
    responses((status = 204, description = "It is ended.")))]
async fn end_session(
    State(control): State<Control>,
    Caller(actor): Caller,
    Path(client_id): Path<String>,
    Query(query): Query<EndQuery>,
) -> Result<Response, Problem> {
    let wanted = client_id.clone();
    let done = control
        .ask(shard_of(&control, &client_id), move |view| {
            let now = view.now();
            view.broker().end_session(now, &wanted, query.wipe)
        })
        .await?;
    if !done {
        return Err(unknown(&client_id));
    }
    let detail = if query.wipe { "wiped" } else { "kept" };
    control.administered(&actor, "session.end", &client_id, Ok(detail));
    Ok(no_content())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_a_place_or_an_error() {
        assert_eq!(place(None).unwrap(), (0, None));
        assert_eq!(place(Some("3.70")).unwrap(), (3, Some(70)));
        for bad in ["", "3", "3.", ".7", "a.b", "70000.1", "1.-1"] {
            assert_eq!(place(Some(bad)).unwrap_err().status(), 400, "{bad}");
        }
    }
}
