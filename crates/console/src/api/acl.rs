//! Who may do what: why, which grants nobody uses, and whom new rules would refuse.

use super::Api;
use crate::body::{Json, Query};
use crate::problem::Problem;
use crate::state::aside;
use axum::extract::State;
use ravelin_node::config::parse_duration;
use ravelin_node::control::{Control, DryRun, OwnedAction};
use ravelin_protect::directory::{Grant, WouldRefuse};
use ravelin_protect::rights::Explanation;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

pub(super) fn routes(api: Api) -> Api {
    api.viewer(routes!(why)).viewer(routes!(unused)).viewer(routes!(dry_run))
}

/// What somebody wants to do.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct WhyQuery {
    /// The Client Identifier. Of a client that has a session, its certificate counts too.
    client: String,
    /// The identity, of a client that has no session; empty for an anonymous one [default: the Client Identifier].
    #[param(required = false)]
    identity: Option<String>,
    /// `publish`, `receive`, `subscribe` or `unsubscribe`.
    action: String,
    /// The topic, or the filter with `$share/group/` if it is shared.
    topic: String,
    /// The QoS of a publish or a subscription [default: 0].
    #[param(minimum = 0, maximum = 2, required = false)]
    #[serde(default)]
    qos: u8,
    /// Whether the message is to be retained.
    #[param(required = false)]
    #[serde(default)]
    retain: bool,
}

/// A decision with all its reasons.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Why {
    /// Whether it is allowed.
    pub allowed: bool,
    /// Who asked.
    pub client_id: String,
    /// Its identity.
    pub identity: Option<String>,
    /// The action.
    pub action: String,
    /// The topic or filter.
    pub topic: String,
    /// Everything that was looked at, in order.
    pub steps: Vec<WhyStep>,
    /// The same as text.
    pub text: String,
}

/// One thing that was looked at.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct WhyStep {
    /// `file` or `directory`.
    pub source: String,
    /// The role that the rule is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The group by which the client has the role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The rule, or what else was looked at.
    pub what: String,
    /// What came of it.
    pub outcome: String,
    /// Whether it decided.
    pub decides: bool,
}

/// Why a client may do something, or may not.
#[utoipa::path(get, path = "/v1/acl/why", tag = "access", params(WhyQuery),
    responses((status = 200, description = "The decision and its reasons.", body = Why)))]
async fn why(State(control): State<Control>, Query(query): Query<WhyQuery>) -> Result<Json<Why>, Problem> {
    let WhyQuery { client, identity, action, topic, qos, retain } = query;
    if qos > 2 {
        return Err(Problem::invalid("`qos` is 0, 1 or 2"));
    }
    let action = match action.as_str() {
        "publish" => OwnedAction::Publish { topic, qos, retain },
        "receive" => OwnedAction::Receive { topic },
        "subscribe" => OwnedAction::Subscribe { filter: topic, qos },
        "unsubscribe" => OwnedAction::Unsubscribe { filter: topic },
        _ => return Err(Problem::invalid("`action` is `publish`, `receive`, `subscribe` or `unsubscribe`")),
    };
    Ok(Json(Why::of(control.explain(&client, identity.as_deref(), action).await?)))
}

impl Why {
    fn of(explanation: Explanation) -> Why {
        let text = explanation.to_string();
        let step = |step: ravelin_protect::directory::Step| WhyStep {
            source: step.source.into(),
            role: step.role,
            group: step.group,
            what: step.what,
            outcome: step.outcome,
            decides: step.decides,
        };
        Why {
            allowed: explanation.allowed,
            client_id: explanation.client_id,
            identity: explanation.identity,
            action: explanation.action.into(),
            topic: explanation.topic,
            steps: explanation.steps.into_iter().map(step).collect(),
            text,
        }
    }
}

/// Since when a grant must not have been used.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct UnusedQuery {
    /// For how long nobody used it (`30d`, `12h`) [default: since the node started].
    #[param(required = false)]
    r#for: Option<String>,
}

/// The grants that nobody used.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Unused {
    /// Since when use is counted: since the node started, in seconds since the Unix epoch.
    pub counted_since_s: u64,
    /// The grants.
    pub grants: Vec<UnusedGrant>,
}

/// A rule that allows something, and when it was last used.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct UnusedGrant {
    /// `file` or `directory`.
    pub source: String,
    /// The role it is of; of a file, the user of its section.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The rule.
    pub rule: String,
    /// When it was last used, in seconds since the Unix epoch; null: not since the node started.
    pub last_s: Option<u32>,
}

/// The grants that nobody used: of the access-rules file and of the directory.
#[utoipa::path(get, path = "/v1/acl/unused", tag = "access", params(UnusedQuery),
    responses((status = 200, description = "The grants.", body = Unused)))]
async fn unused(
    State(control): State<Control>,
    Query(query): Query<UnusedQuery>,
) -> Result<Json<Unused>, Problem> {
    let now = control.now();
    let counted_since_s = now.wall_ms.saturating_sub(now.mono_ms) / 1000;
    let since_s = match query.r#for.as_deref().map(parse_duration) {
        None => counted_since_s,
        Some(Some(unused)) => (now.wall_ms / 1000).saturating_sub(unused.as_secs()),
        Some(None) => return Err(Problem::invalid("`for` is a duration").help("write `for=30d`")),
    };
    let rights = control.rights();
    let since_s = u32::try_from(since_s).unwrap_or(u32::MAX);
    let grants = aside(move || rights.unused(since_s)).await?;
    let grants = grants.into_iter().map(|Grant { source, role, rule, last_s, .. }| UnusedGrant {
        source: source.into(),
        role,
        rule,
        last_s,
    });
    Ok(Json(Unused { counted_since_s, grants: grants.collect() }))
}

/// New rules, to be tried on what clients did. What is left out stays as it is.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DryRunRequest {
    /// The text of a new access-rules file.
    pub rules: Option<String>,
    /// Commands of dynamic security, to be applied to a copy of the directory.
    #[schema(value_type = Vec<Object>)]
    pub commands: Vec<Value>,
    /// Only what was done within so long (`1h`) [default: all that is remembered].
    pub within: Option<String>,
}

/// Whom the new rules would refuse.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct DryRunResult {
    /// Publishes, deliveries and subscriptions that were tried.
    pub tried: u64,
    /// What would be refused and is allowed now, the most frequent first; at most 10000.
    pub refused: Vec<Refused>,
    /// The answers to the commands.
    #[schema(value_type = Vec<Object>)]
    pub responses: Vec<Value>,
}

/// What new rules would refuse that was done.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Refused {
    /// The Client Identifier.
    pub client_id: String,
    /// The identity.
    pub identity: Option<String>,
    /// `publish`, `receive` or `subscribe`.
    pub action: String,
    /// The topic or filter.
    pub topic: String,
    /// How often it did.
    pub count: u64,
    /// When last, in seconds since the Unix epoch.
    pub last_s: u32,
    /// What would refuse it.
    pub why: String,
}

/// Whom new rules would refuse: tries them on what clients published, subscribed to and were sent. Nothing changes.
#[utoipa::path(post, path = "/v1/acl/dry-run", tag = "access", request_body = DryRunRequest,
    responses((status = 200, description = "What would be refused.", body = DryRunResult)))]
async fn dry_run(
    State(control): State<Control>,
    Json(request): Json<DryRunRequest>,
) -> Result<Json<DryRunResult>, Problem> {
    let within = match request.within.as_deref() {
        None => None,
        Some(text) => Some(parse_duration(text).ok_or_else(|| Problem::invalid("`within` is a duration"))?),
    };
    let dry_run = DryRun { rules: request.rules, commands: request.commands, within };
    let done = aside(move || control.dry_run(dry_run)).await?;
    let done = done.map_err(|failure| Problem::invalid(failure.to_string()))?;
    let refused = done.refused.into_iter().map(|one: WouldRefuse| Refused {
        client_id: one.client_id,
        identity: one.identity,
        action: one.action.name().into(),
        topic: one.topic,
        count: one.count,
        last_s: one.last_s,
        why: one.why,
    });
    Ok(Json(DryRunResult { tried: done.tried, refused: refused.collect(), responses: done.responses }))
}
