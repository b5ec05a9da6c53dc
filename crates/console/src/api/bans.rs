//! Bans, lock-outs, rates, and the rungs of the accept ladder: who is kept out, why, and what that costs.

use super::Api;
use crate::auth::Caller;
use crate::body::{Json, Path, Query};
use crate::page::{Listing, Page, PageQuery};
use crate::problem::Problem;
use axum::extract::State;
use axum::http::StatusCode;
use ravelin_node::Rung;
use ravelin_node::config::parse_duration;
use ravelin_node::control::{BanFailure, Control};
use ravelin_protect::{Ban, BanError, BanSubject};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

/// Lock-outs that are listed.
const LOCKOUTS_MAX: usize = 1000;

pub(super) fn routes(api: Api) -> Api {
    api.viewer(routes!(list))
        .operator(routes!(add))
        .operator(routes!(remove))
        .viewer(routes!(lockouts))
        .operator(routes!(clear_lockouts))
        .viewer(routes!(rates))
        .viewer(routes!(ladder))
}

/// A ban.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct BanEntry {
    /// Who is banned: `client_id:NAME`, `identity:NAME`, `certificate:SHA-256` or `network:CIDR`.
    #[schema(example = "network:192.0.2.0/24")]
    pub subject: String,
    /// Why.
    pub reason: String,
    /// Who banned.
    pub by: String,
    /// Since when, in seconds since the Unix epoch.
    pub at_s: u64,
    /// Until when, in seconds since the Unix epoch; null: until it is lifted.
    pub until_s: Option<u64>,
}

/// What to ban.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BanRequest {
    /// Who: `client_id:NAME`, `identity:NAME`, `certificate:SHA-256` or `network:CIDR` (of IPv6 a /64 at the finest).
    #[schema(example = "client_id:meter-7")]
    pub subject: String,
    /// Why, for whoever reads the list.
    #[serde(default)]
    pub reason: String,
    /// For how long (`15m`, `7d`) [default: until it is lifted].
    #[serde(default)]
    #[schema(example = "1h")]
    pub duration: Option<String>,
}

/// What a ban did.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct BanMade {
    /// The ban as it is in force.
    pub ban: BanEntry,
    /// Sessions that were disconnected.
    pub disconnected: u64,
    /// Microseconds from the order until the last of them was.
    pub took_us: u64,
}

/// Something that failed logins are counted for.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct LockoutItem {
    /// `pair` (a user name from one address), `address` (all names from it), `user` (a name from all addresses where it never
    /// logged in) or `device` (a client that logged in before).
    pub scope: String,
    /// The user name, where one is counted.
    pub user: Option<String>,
    /// The address, where one is counted; of IPv6 the first of its /64.
    pub address: Option<String>,
    /// Failures that are not forgotten.
    pub failures: u32,
    /// For how many milliseconds it still waits; 0: it does not.
    pub locked_ms: u64,
}

/// A configured rate.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct RateItem {
    /// Its name.
    pub name: String,
    /// Who shares one.
    pub scope: String,
    /// Only for this one; null: each has one of its own.
    pub of: Option<String>,
    /// What is limited, and to what: `messages 10/s 100/m`.
    pub limits: Vec<String>,
    /// What happens beyond.
    pub on_exceed: String,
    /// How often it was exceeded since it is in force.
    pub exceeded: u64,
    /// Clients, identities, classes and addresses that are remembered for it.
    pub buckets: u64,
}

/// A rung of the accept ladder.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct RungItem {
    /// Its name.
    pub rung: String,
    /// Connections that it refused since the start.
    pub refused: u64,
    /// What a refusal takes of a worker's time, in microseconds, as far as one was timed. The verification of a password has
    /// threads of its own and is not in it.
    pub cost_us: Option<f64>,
}

fn entry(ban: Ban) -> BanEntry {
    BanEntry {
        subject: ban.subject.key(),
        reason: ban.reason.to_string(),
        by: ban.by.to_string(),
        at_s: ban.at_s,
        until_s: ban.until_s,
    }
}

fn subject(text: &str) -> Result<BanSubject, Problem> {
    BanSubject::parse(text).map_err(|error| Problem::invalid(error.to_string()))
}

impl From<BanFailure> for Problem {
    fn from(failure: BanFailure) -> Problem {
        match failure {
            BanFailure::Ban(error @ BanError::Full(_)) => Problem::conflict(error.to_string()),
            BanFailure::Ban(error) => Problem::invalid(error.to_string()),
            BanFailure::Records(error) => error.into(),
            BanFailure::Unavailable(error) => error.into(),
            other => Problem::internal(other.to_string()),
        }
    }
}

/// All bans.
#[utoipa::path(get, path = "/v1/bans", tag = "bans", params(PageQuery),
    responses((status = 200, description = "A page of them.", body = Listing<BanEntry>)))]
async fn list(State(control): State<Control>, page: Page) -> Result<Json<Listing<BanEntry>>, Problem> {
    let after = page.after.as_deref().map(subject).transpose()?;
    let bans = control.bans(after.as_ref(), page.fetch()).into_iter().map(entry).collect();
    Ok(Json(Listing::of(bans, &page, |ban: &BanEntry| &ban.subject)))
}

/// Bans somebody, or changes the ban. When this answers, whoever it is for is disconnected, and it is on disk.
#[utoipa::path(post, path = "/v1/bans", tag = "bans", request_body = BanRequest,
    responses((status = 201, description = "It is in force.", body = BanMade)))]
async fn add(
    State(control): State<Control>,
    Caller(actor): Caller,
    Json(request): Json<BanRequest>,
) -> Result<(StatusCode, Json<BanMade>), Problem> {
    let at_s = control.now().wall_ms / 1000;
    let until_s = match &request.duration {
        None => None,
        Some(text) => {
            let duration = parse_duration(text).filter(|duration| duration.as_secs() > 0);
            let duration = duration.ok_or_else(|| {
                Problem::invalid("`duration` is a duration from 1s on").help("write \"15m\" or \"7d\"")
            })?;
            Some(at_s.saturating_add(duration.as_secs()))
        }
    };
    let ban = Ban {
        subject: subject(&request.subject)?,
        reason: request.reason.into(),
        by: actor.name.as_str().into(),
        at_s,
        until_s,
    };
    let done = control.ban(&actor, ban).await?;
    let made = BanMade {
        ban: entry(done.ban),
        disconnected: done.disconnected as u64,
        took_us: done.took.as_micros() as u64,
    };
    Ok((StatusCode::CREATED, Json(made)))
}

/// Lifts a ban.
#[utoipa::path(delete, path = "/v1/bans/{subject}", tag = "bans",
    params(("subject" = String, Path, description = "Who is banned, as the list says, percent-encoded.")),
    responses((status = 204, description = "It is lifted, on disk too.")))]
async fn remove(
    State(control): State<Control>,
    Caller(actor): Caller,
    Path(text): Path<String>,
) -> Result<StatusCode, Problem> {
    match control.unban(&actor, &subject(&text)?).await? {
        Some(_) => Ok(StatusCode::NO_CONTENT),
        None => Err(Problem::not_found("there is no such ban").help("see GET /v1/bans")),
    }
}

/// Failed log-ins that are counted, those that wait longest first; at most 1000.
#[utoipa::path(get, path = "/v1/lockouts", tag = "bans",
    responses((status = 200, description = "What is counted.", body = [LockoutItem])))]
async fn lockouts(State(control): State<Control>) -> Json<Vec<LockoutItem>> {
    let all = control.lockouts(LOCKOUTS_MAX).into_iter().map(|one| LockoutItem {
        scope: one.scope.name().into(),
        user: one.user.map(|user| user.to_string()),
        address: one.address.map(|address| address.to_string()),
        failures: one.failures,
        locked_ms: one.locked_ms,
    });
    Json(all.collect())
}

/// Whose failed log-ins are meant.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct LockoutQuery {
    /// Of this user name.
    #[param(required = false)]
    user: Option<String>,
    /// From this address.
    #[param(required = false, value_type = Option<String>)]
    address: Option<IpAddr>,
}

/// How many entries were forgotten.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Cleared {
    /// Entries.
    pub cleared: u64,
}

/// Forgets failed log-ins: of a user name, from an address, of both together, or all.
#[utoipa::path(delete, path = "/v1/lockouts", tag = "bans", params(LockoutQuery),
    responses((status = 200, description = "They are forgotten.", body = Cleared)))]
async fn clear_lockouts(
    State(control): State<Control>,
    Caller(actor): Caller,
    Query(query): Query<LockoutQuery>,
) -> Json<Cleared> {
    let cleared = control.clear_lockouts(&actor, query.user.as_deref(), query.address);
    Json(Cleared { cleared: cleared as u64 })
}

/// The configured rates, and how often each was exceeded.
#[utoipa::path(get, path = "/v1/rates", tag = "bans",
    responses((status = 200, description = "All of them.", body = [RateItem])))]
async fn rates(State(control): State<Control>) -> Json<Vec<RateItem>> {
    let item = |one: ravelin_node::RateFigures| RateItem {
        name: one.rule.name.to_string(),
        scope: one.rule.scope.name().into(),
        of: one.rule.of.as_ref().map(ToString::to_string),
        limits: (one.rule.limits.iter())
            .map(|(measure, windows)| {
                let quotas: Vec<String> = windows.quotas().iter().map(ToString::to_string).collect();
                format!("{} {}", measure.name(), quotas.join(" "))
            })
            .collect(),
        on_exceed: one.rule.on_exceed.name().into(),
        exceeded: one.exceeded,
        buckets: one.buckets as u64,
    };
    Json(control.rates().into_iter().map(item).collect())
}

/// The rungs of the accept ladder in the order in which they are climbed: what each refused, and what a refusal costs.
#[utoipa::path(get, path = "/v1/ladder", tag = "bans",
    responses((status = 200, description = "All of them.", body = [RungItem])))]
async fn ladder(State(control): State<Control>) -> Json<Vec<RungItem>> {
    let rungs = control.figures().rungs;
    let item = |rung: &Rung| {
        let figures = rungs.of(*rung);
        RungItem { rung: rung.name().into(), refused: figures.refused, cost_us: figures.cost_us() }
    };
    Json(Rung::ALL.iter().map(item).collect())
}

#[cfg(test)]
mod tests {
    use crate::api::authorization::Lab;
    use crate::client::segment;
    use serde_json::json;

    #[test]
    fn a_ban_is_made_listed_and_lifted() {
        Lab::run(async |lab| {
            let ban = json!({ "subject": "network:192.0.2.7/24", "reason": "scans", "duration": "1h" });
            let (status, made) = lab.send("POST", "/v1/bans", &ban.to_string()).await;
            assert_eq!((status.as_u16(), &made["ban"]["subject"]), (201, &json!("network:192.0.2.0/24")));
            assert_eq!(
                (&made["ban"]["by"], &made["disconnected"]),
                (&json!("token:admin"), &json!(0)),
                "{made}"
            );
            for client in 0..5 {
                let ban = json!({ "subject": format!("client_id:c/{client}") });
                assert_eq!(lab.send("POST", "/v1/bans", &ban.to_string()).await.0, 201);
            }
            let (_, page) = lab.get("/v1/bans?limit=4").await;
            assert_eq!(page["items"].as_array().map(Vec::len), Some(4));
            let rest = format!("/v1/bans?limit=4&after={}", page["next"].as_str().unwrap());
            let (_, page) = lab.get(&rest).await;
            assert_eq!((page["items"].as_array().map(Vec::len), &page["next"]), (Some(2), &json!(null)));
            let path = format!("/v1/bans/{}", segment("client_id:c/3"));
            assert_eq!(lab.send("DELETE", &path, "").await.0, 204);
            assert_eq!(lab.send("DELETE", &path, "").await.0, 404);
            for wrong in [
                json!({ "subject": "pump" }),
                json!({ "subject": "network:0.0.0.0/0" }),
                json!({ "subject": "client_id:a", "duration": "soon" }),
                json!({ "subject": "client_id:a", "duration": "0s" }),
            ] {
                let (status, problem) = lab.send("POST", "/v1/bans", &wrong.to_string()).await;
                assert_eq!(status, 422, "{wrong}: {problem}");
            }
        });
    }

    #[test]
    fn rungs_rates_and_lockouts_are_shown() {
        Lab::run(async |lab| {
            let (_, rungs) = lab.get("/v1/ladder").await;
            assert_eq!(rungs[0], json!({ "rung": "banned_address", "refused": 0, "cost_us": null }));
            assert_eq!(lab.get("/v1/rates").await.1, json!([]));
            assert_eq!(lab.get("/v1/lockouts").await.1, json!([]));
            let cleared = lab.send("DELETE", "/v1/lockouts?address=192.0.2.1", "").await;
            assert_eq!((cleared.0.as_u16(), cleared.1), (200, json!({ "cleared": 0 })));
            assert_eq!(lab.send("DELETE", "/v1/lockouts?address=nowhere", "").await.0, 400);
        });
    }
}
