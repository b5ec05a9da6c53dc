//! Orders: what is done about alarms, by hand and by playbooks; approval, undo, and whom an order would meet.

mod playbooks;

pub use playbooks::{PlaybookItem, PostureItem, StageItem, StepItem};

use super::Api;
use crate::auth::Caller;
use crate::body::{Json, Path, Query};
use crate::page::{Listing, Page, PageQuery};
use crate::problem::Problem;
use axum::extract::State;
use axum::http::StatusCode;
use ravelin_node::config::parse_duration;
use ravelin_node::control::{Control, RespondFailure};
use ravelin_respond::{Action, Error, OrderView, Request, State as OrderState};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

pub(super) fn routes(api: Api) -> Api {
    let api = api
        .viewer(routes!(list))
        .operator(routes!(make))
        .operator(routes!(preview))
        .viewer(routes!(show))
        .operator(routes!(approve))
        .operator(routes!(reject))
        .operator(routes!(undo));
    playbooks::routes(api)
}

/// An order.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct OrderItem {
    /// Its number.
    pub id: u64,
    /// What is done, as it was ordered: `{"action":"ban","subject":"client_id:meter-7"}`.
    #[schema(value_type = Object)]
    pub action: Action,
    /// Whom or what it meets.
    pub subject: String,
    /// `proposed`, `running`, `in_force`, `done`, `undone`, `expired`, `refused` or `failed`.
    #[schema(value_type = String)]
    pub state: OrderState,
    /// Who ordered it: a name, or `playbook:NAME`.
    pub by: String,
    /// The playbook, if one did.
    pub playbook: Option<String>,
    /// The alarm that it answers.
    pub alarm: Option<u64>,
    /// Why.
    pub why: String,
    /// How many different people must stand behind it.
    pub needs: u8,
    /// Who does; whoever ordered it by hand comes first.
    pub approvals: Vec<ApprovalItem>,
    /// How it is taken back, in words; also that it cannot be.
    pub undo: String,
    /// When it was ordered, in milliseconds since the Unix epoch.
    pub requested_ms: u64,
    /// When the last approval that it needed came.
    pub approved_ms: Option<u64>,
    /// When it was in force.
    pub effective_ms: Option<u64>,
    /// Until when; null: until it is taken back, or nothing of it stays.
    pub until_ms: Option<u64>,
    /// When it had ended.
    pub ended_ms: Option<u64>,
    /// Who ended or refused it.
    pub ended_by: Option<String>,
    /// Why it ended or was refused.
    pub ended_why: Option<String>,
    /// Microseconds from the order, or the last approval, until it was in force.
    pub took_us: Option<u64>,
    /// What it met.
    pub effect: Option<String>,
    /// What went wrong.
    pub error: Option<String>,
    /// How often the same was ordered while it was in force.
    pub refreshed: u32,
    /// Time to detect: from the first event of the alarm until it was raised.
    pub detect_ms: Option<u64>,
    /// Time to contain: from the alarm until the order was in force.
    pub contain_ms: Option<u64>,
    /// Time to recover: from when it was in force until it had ended.
    pub recover_ms: Option<u64>,
}

/// Somebody's agreement.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ApprovalItem {
    /// Who.
    pub by: String,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
}

/// What is to be done.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OrderRequest {
    /// `{"action": "disconnect", "client_id"}`, `{"action": "ban", "subject"}`, `{"action": "quarantine", "client_id"}`,
    /// `{"action": "revoke_certificate", "certificate"}`, `{"action": "revoke_credential", "identity"}`, `{"action": "freeze",
    /// "filter", "messages", "direction", "retained"}`, `{"action": "throttle", "client_id", "messages_per_s"}`,
    /// `{"action": "posture", "level"}`, `{"action": "firewall", "network"}`, `{"action": "stop_listener", "listener"}` or
    /// `{"action": "stop_node"}`.
    #[schema(value_type = Object, example = json!({"action": "ban", "subject": "client_id:meter-7"}))]
    pub action: Action,
    /// For how long (`15m`), or `until_lifted` where that is allowed [default: as the action's policy has it].
    #[serde(default)]
    #[schema(example = "15m")]
    pub duration: Option<String>,
    /// Why, for the record.
    #[serde(default)]
    pub why: String,
    /// The alarm that it answers.
    #[serde(default)]
    pub alarm: Option<u64>,
    /// It may cut off clients that must never be; then a second person approves.
    #[serde(default)]
    pub override_never_cut: bool,
}

/// Why an order is refused or taken back.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OrderWhy {
    /// For the record.
    #[serde(default)]
    pub why: String,
}

/// What an order would come to.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct PreviewItem {
    /// The action in its one form.
    #[schema(value_type = Object)]
    pub action: Action,
    /// How many different people must stand behind it.
    pub needs: u8,
    /// For how many seconds; null: until it is taken back, or nothing of it stays.
    pub time_s: Option<u64>,
    /// How it is taken back, in words; also that it cannot be.
    pub undo: String,
    /// The order of the same that waits or is in force, and would be refreshed instead.
    pub refreshes: Option<u64>,
    /// Connected clients that it would meet.
    pub clients: u64,
    /// Sessions, connected or not.
    pub sessions: u64,
    /// Subscriptions of them; of a freeze, those that overlap with its filter.
    pub subscriptions: u64,
    /// Some of the clients.
    pub names: Vec<String>,
    /// Some that must never be cut off.
    pub never_cut: Vec<String>,
    /// Connected clients in all.
    pub connected: u64,
}

impl From<OrderView> for OrderItem {
    fn from(view: OrderView) -> OrderItem {
        let approvals = view.approvals.into_iter();
        OrderItem {
            id: view.id,
            action: view.action,
            subject: view.subject,
            state: view.state,
            by: view.by,
            playbook: view.playbook,
            alarm: view.alarm,
            why: view.why,
            needs: view.needs,
            approvals: approvals
                .map(|one| ApprovalItem { by: one.by.to_string(), at_ms: one.at_ms })
                .collect(),
            undo: view.undo,
            requested_ms: view.requested_ms,
            approved_ms: view.approved_ms,
            effective_ms: view.effective_ms,
            until_ms: view.until_ms,
            ended_ms: view.ended_ms,
            ended_by: view.ended_by,
            ended_why: view.ended_why,
            took_us: view.took_us,
            effect: view.effect,
            error: view.error,
            refreshed: view.refreshed,
            detect_ms: view.detect_ms,
            contain_ms: view.contain_ms,
            recover_ms: view.recover_ms,
        }
    }
}

impl From<RespondFailure> for Problem {
    fn from(failure: RespondFailure) -> Problem {
        let text = failure.to_string();
        match failure {
            RespondFailure::Records(error) => error.into(),
            RespondFailure::Unavailable(error) => error.into(),
            RespondFailure::Desk(Error::Unknown(_)) => Problem::not_found(text).help("see GET /v1/orders"),
            RespondFailure::Desk(Error::NotAllowed { .. }) => Problem::new(StatusCode::FORBIDDEN, text),
            RespondFailure::Desk(Error::Full { .. }) => Problem::unavailable(text),
            RespondFailure::Desk(
                Error::NeverCut(_)
                | Error::Conflict { .. }
                | Error::Ending(_)
                | Error::NotProposed { .. }
                | Error::SamePerson { .. }
                | Error::NotInForce { .. }
                | Error::Final { .. },
            ) => Problem::conflict(text),
            _ => Problem::invalid(text),
        }
    }
}

fn request(order: OrderRequest) -> Result<Request, Problem> {
    let until_lifted = order.duration.as_deref() == Some("until_lifted");
    let time_s = match order.duration.as_deref().filter(|_| !until_lifted) {
        None => None,
        Some(text) => {
            let time = parse_duration(text).filter(|time| time.as_secs() > 0);
            let time = time.ok_or_else(|| {
                Problem::invalid("`duration` is a duration from 1s on, or `until_lifted`")
                    .help("write \"15m\" or \"7d\"")
            })?;
            Some(time.as_secs())
        }
    };
    Ok(Request {
        action: order.action,
        time_s,
        until_lifted,
        why: order.why,
        alarm: order.alarm,
        override_never_cut: order.override_never_cut,
    })
}

/// What has become of an order; one that failed is a problem.
fn answer(view: OrderView) -> Result<(StatusCode, Json<OrderItem>), Problem> {
    let status = match view.state {
        OrderState::Failed => {
            let error = view.error.clone().unwrap_or_default();
            return Err(Problem::conflict(format!("order {} failed: {error}", view.id)));
        }
        OrderState::Proposed => StatusCode::ACCEPTED,
        _ => StatusCode::OK,
    };
    Ok((status, Json(view.into())))
}

/// Which orders.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct OrderQuery {
    /// Only those in this state, or `live`: proposed, running or in force.
    #[param(required = false)]
    state: Option<String>,
    /// Only those of this action.
    #[param(required = false)]
    action: Option<String>,
    /// Only those of this playbook.
    #[param(required = false)]
    playbook: Option<String>,
    /// Only those that answer this alarm.
    #[param(required = false)]
    alarm: Option<u64>,
}

/// Orders, newest first.
#[utoipa::path(get, path = "/v1/orders", tag = "respond", params(PageQuery, OrderQuery),
    responses((status = 200, description = "A page of them.", body = Listing<OrderItem>)))]
async fn list(
    State(control): State<Control>,
    page: Page,
    Query(query): Query<OrderQuery>,
) -> Result<Json<Listing<OrderItem>>, Problem> {
    let known = |name: &str| name == "live" || OrderState::ALL.iter().any(|state| state.name() == name);
    if query.state.as_deref().is_some_and(|name| !known(name)) {
        return Err(Problem::bad_request("`state` is live, or a state of an order"));
    }
    let before = match page.after.as_deref().map(str::parse::<u64>) {
        None => u64::MAX,
        Some(Ok(before)) => before,
        Some(Err(_)) => return Err(Problem::bad_request("`after` is not a cursor of this list")),
    };
    let items: Vec<OrderItem> = control.respond(|desk, _| {
        let wanted = desk.orders().filter(|order| {
            let state = query.state.as_deref().is_none_or(|name| match name {
                "live" => order.state.is_live(),
                name => order.state.name() == name,
            });
            order.id < before
                && state
                && query.action.as_deref().is_none_or(|name| order.action.name() == name)
                && query.playbook.as_deref().is_none_or(|name| order.playbook.as_deref() == Some(name))
                && query.alarm.is_none_or(|alarm| order.alarm.is_some_and(|one| one.id == alarm))
        });
        wanted.take(page.fetch()).map(|order| order.view().into()).collect()
    });
    let more = items.len() > page.limit;
    let items: Vec<OrderItem> = items.into_iter().take(page.limit).collect();
    let next = items.last().filter(|_| more).map(|last| last.id.to_string());
    Ok(Json(Listing::at(items, next)))
}

/// Orders an action. When this answers, it is in force and on disk (200), or waits for approval (202).
#[utoipa::path(post, path = "/v1/orders", tag = "respond", request_body = OrderRequest,
    responses((status = 200, description = "It is in force, or done.", body = OrderItem),
        (status = 202, description = "It waits for approval.", body = OrderItem),
        (status = 409, description = "It could not be done, something is in the way, or it meets who must never be cut off.",
            body = crate::problem::ProblemBody, content_type = "application/problem+json")))]
async fn make(
    State(control): State<Control>,
    Caller(actor): Caller,
    Json(order): Json<OrderRequest>,
) -> Result<(StatusCode, Json<OrderItem>), Problem> {
    answer(control.order(&actor, request(order)?).await?)
}

/// What an order would come to, and whom it would meet. Nothing is done.
#[utoipa::path(post, path = "/v1/orders/preview", tag = "respond", request_body = OrderRequest,
    responses((status = 200, description = "What it would come to.", body = PreviewItem)))]
async fn preview(
    State(control): State<Control>,
    Caller(actor): Caller,
    Json(order): Json<OrderRequest>,
) -> Result<Json<PreviewItem>, Problem> {
    let found = control.preview_order(&actor, request(order)?).await?;
    let (preview, reach) = (found.preview, found.reach);
    let names = |names: Vec<std::sync::Arc<str>>| names.iter().map(ToString::to_string).collect();
    Ok(Json(PreviewItem {
        undo: preview.action.undo_text().into(),
        action: preview.action,
        needs: preview.needs,
        time_s: preview.time_s,
        refreshes: preview.refreshes,
        clients: reach.clients,
        sessions: reach.sessions,
        subscriptions: reach.subscriptions,
        names: names(reach.names),
        never_cut: names(reach.never_cut),
        connected: reach.connected,
    }))
}

/// One order.
#[utoipa::path(get, path = "/v1/orders/{id}", tag = "respond",
    params(("id" = u64, Path, description = "Its number.")),
    responses((status = 200, description = "The order.", body = OrderItem)))]
async fn show(State(control): State<Control>, Path(id): Path<u64>) -> Result<Json<OrderItem>, Problem> {
    let view = control.respond(|desk, _| desk.order(id).map(|order| order.view()));
    let view = view.ok_or(RespondFailure::Desk(Error::Unknown(id)))?;
    Ok(Json(view.into()))
}

/// Agrees to an order that waits: another person than whoever ordered it. Takes the role that the action's policy names.
#[utoipa::path(post, path = "/v1/orders/{id}/approve", tag = "respond",
    params(("id" = u64, Path, description = "Its number.")),
    responses((status = 200, description = "It is in force, or done.", body = OrderItem),
        (status = 202, description = "It waits for more approvals.", body = OrderItem)))]
async fn approve(
    State(control): State<Control>,
    Caller(actor): Caller,
    Path(id): Path<u64>,
) -> Result<(StatusCode, Json<OrderItem>), Problem> {
    answer(control.approve_order(&actor, id).await?)
}

/// Refuses an order that waits.
#[utoipa::path(post, path = "/v1/orders/{id}/reject", tag = "respond", request_body = OrderWhy,
    params(("id" = u64, Path, description = "Its number.")),
    responses((status = 200, description = "It is refused.", body = OrderItem)))]
async fn reject(
    State(control): State<Control>,
    Caller(actor): Caller,
    Path(id): Path<u64>,
    Json(order): Json<OrderWhy>,
) -> Result<(StatusCode, Json<OrderItem>), Problem> {
    answer(control.reject_order(&actor, id, &order.why).await?)
}

/// Takes an order back; what was there before is put back. If that fails, it is tried again until it is done.
#[utoipa::path(post, path = "/v1/orders/{id}/undo", tag = "respond", request_body = OrderWhy,
    params(("id" = u64, Path, description = "Its number.")),
    responses((status = 200, description = "How it is now.", body = OrderItem)))]
async fn undo(
    State(control): State<Control>,
    Caller(actor): Caller,
    Path(id): Path<u64>,
    Json(order): Json<OrderWhy>,
) -> Result<(StatusCode, Json<OrderItem>), Problem> {
    answer(control.undo_order(&actor, id, &order.why).await?)
}

#[cfg(test)]
mod tests {
    use crate::api::authorization::Lab;
    use ravelin_node::control::Role;
    use serde_json::json;

    #[test]
    fn an_order_is_made_shown_approved_and_undone() {
        Lab::run(async |lab| {
            let order = json!({ "action": { "action": "ban", "subject": "network:192.0.2.7/24" }, "duration": "1h", "why": "scans" });
            let (_, preview) = lab.send("POST", "/v1/orders/preview", &order.to_string()).await;
            assert_eq!((&preview["needs"], &preview["time_s"]), (&json!(0), &json!(3600)), "{preview}");
            let (status, made) = lab.send("POST", "/v1/orders", &order.to_string()).await;
            assert_eq!((status.as_u16(), &made["state"]), (200, &json!("in_force")), "{made}");
            assert_eq!(made["subject"], "network:192.0.2.0/24");
            let stop = json!({ "action": { "action": "stop_node" } });
            let (status, stop) = lab.send("POST", "/v1/orders", &stop.to_string()).await;
            assert_eq!((status.as_u16(), &stop["needs"]), (202, &json!(2)), "{stop}");
            let path = format!("/v1/orders/{}", stop["id"]);
            let (status, same) = lab.send("POST", &format!("{path}/approve"), "").await;
            assert_eq!(status, 409, "{same}");
            let headers = [("content-type", "application/json")];
            let reject = format!("{path}/reject");
            let (status, _, body) = lab.call(Some(Role::Operator), "POST", &reject, &headers, "{}").await;
            assert_eq!(status, 200, "{body}");
            let (_, page) = lab.get("/v1/orders?state=live").await;
            assert_eq!(page["items"].as_array().map(Vec::len), Some(1), "{page}");
            let undo = format!("/v1/orders/{}/undo", made["id"]);
            let (_, undone) = lab.send("POST", &undo, "{\"why\":\"over\"}").await;
            assert_eq!((&undone["state"], &undone["ended_why"]), (&json!("undone"), &json!("over")));
            assert_eq!(lab.send("POST", &undo, "{}").await.0, 409);
            assert_eq!(lab.get("/v1/orders/99").await.0, 404);
            for wrong in [
                json!({ "action": { "action": "ban", "subject": "pump" } }),
                json!({ "action": { "action": "freeze", "filter": "a/#" }, "duration": "until_lifted" }),
                json!({ "action": { "action": "disconnect", "client_id": "a" }, "duration": "1h" }),
                json!({ "action": { "action": "nuke" } }),
            ] {
                assert_eq!(lab.send("POST", "/v1/orders", &wrong.to_string()).await.0, 422, "{wrong}");
            }
        });
    }

    #[test]
    fn playbooks_and_the_posture_are_shown() {
        Lab::run(async |lab| {
            let (_, playbooks) = lab.get("/v1/playbooks").await;
            let all = playbooks.as_array().unwrap();
            assert!(
                all.iter().any(|one| one["name"] == "topic-scan" && one["mode"] == "observe"),
                "{playbooks}"
            );
            let (_, posture) = lab.get("/v1/posture").await;
            assert_eq!(posture["posture"], "normal", "{posture}");
            let raise = json!({ "action": { "action": "posture", "level": "elevated" } });
            assert_eq!(lab.send("POST", "/v1/orders", &raise.to_string()).await.0, 200);
            assert_eq!(lab.get("/v1/posture").await.1["posture"], "elevated");
            let lower = json!({ "action": { "action": "posture", "level": "normal" } });
            let (_, lowered) = lab.send("POST", "/v1/orders", &lower.to_string()).await;
            assert_eq!(
                (&lowered["state"], &lowered["effect"]),
                (&json!("done"), &json!("the posture is normal"))
            );
        });
    }
}
