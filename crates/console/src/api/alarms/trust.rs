//! How far each client is trusted and why, and what each detector looks for.

use super::super::Api;
use crate::body::{Json, Path};
use crate::page::{Listing, Page, PageQuery};
use crate::problem::Problem;
use crate::state::aside;
use axum::extract::State;
use ravelin_detect::{Engine, Trust};
use ravelin_node::control::Control;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

pub(super) fn routes(api: Api) -> Api {
    api.viewer(routes!(list)).viewer(routes!(show)).viewer(routes!(detectors))
}

/// How far a client is trusted.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TrustItem {
    /// The client.
    pub client_id: String,
    /// 0 to 100.
    pub score: u8,
    /// `red` (below 30), `amber`, or `green` (from 80 on).
    pub band: String,
    /// The score is at least this, with a certainty of 95 %.
    pub lower: u8,
    /// How little is known of the client: 1 is nothing.
    pub uncertainty: f64,
    /// What counts most against it and for it.
    pub reasons: Vec<TrustReasonItem>,
}

/// One reason of a score.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TrustReasonItem {
    /// What it was.
    pub what: String,
    /// How much it counts.
    pub weight: f64,
    /// When it last was, in milliseconds since the Unix epoch.
    pub at_ms: u64,
}

/// A detector.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct DetectorItem {
    /// What it is called in alarms, suppressions and the configuration.
    #[schema(example = "repeated_authentication")]
    pub name: String,
    /// The subcategory of the Core that it serves.
    pub subcategory: String,
    /// The technique of ATT&CK, where one fits.
    pub technique: Option<String>,
    /// What is counted for: each client, each source, ...
    pub entity: String,
    /// The test.
    pub statistic: String,
    /// From where on it is an alarm.
    pub threshold: String,
    /// What keeps false alarms away, and how often one is expected.
    pub false_alarms: String,
    /// What it looks for.
    pub description: String,
}

fn item(client_id: &str, trust: &Trust) -> TrustItem {
    TrustItem {
        client_id: client_id.into(),
        score: trust.score,
        band: match trust.score {
            0..30 => "red",
            30..80 => "amber",
            _ => "green",
        }
        .into(),
        lower: trust.lower,
        uncertainty: trust.uncertainty.into(),
        reasons: (trust.reasons.iter())
            .map(|reason| TrustReasonItem {
                what: reason.what.to_string(),
                weight: reason.weight.into(),
                at_ms: reason.at_ms,
            })
            .collect(),
    }
}

/// How far each known client is trusted, in the order in which they became known.
#[utoipa::path(get, path = "/v1/trust", tag = "alarms", params(PageQuery),
    responses((status = 200, description = "A page of them.", body = Listing<TrustItem>)))]
async fn list(State(control): State<Control>, page: Page) -> Result<Json<Listing<TrustItem>>, Problem> {
    let from: u32 = match page.after.as_deref().map(str::parse) {
        None => 0,
        Some(Ok(place)) => place,
        Some(Err(_)) => return Err(Problem::bad_request("`after` is not a cursor of this list")),
    };
    let fetch = page.fetch();
    let items = aside(move || {
        control.detection(|engine, _| {
            let trusts = engine.trusts_from(from).take(fetch);
            trusts.map(|(client_id, trust)| item(client_id, &trust)).collect::<Vec<_>>()
        })
    });
    let mut items = items.await?;
    let more = items.len() > page.limit;
    items.truncate(page.limit);
    let next = more.then(|| (from as usize + items.len()).to_string());
    Ok(Json(Listing::at(items, next)))
}

/// How far one client is trusted, and why.
#[utoipa::path(get, path = "/v1/trust/{client_id}", tag = "alarms",
    params(("client_id" = String, Path, description = "The Client Identifier, percent-encoded.")),
    responses((status = 200, description = "Its trust.", body = TrustItem)))]
async fn show(
    State(control): State<Control>,
    Path(client_id): Path<String>,
) -> Result<Json<TrustItem>, Problem> {
    let found = control.detection(|engine, _| engine.trust(&client_id));
    let found = found.map(|trust| Json(item(&client_id, &trust)));
    found.ok_or_else(|| Problem::not_found("nothing is known of this client").help("see GET /v1/trust"))
}

/// Every detector: what it looks for, how, and how often it is wrong.
#[utoipa::path(get, path = "/v1/detectors", tag = "alarms",
    responses((status = 200, description = "All of them.", body = [DetectorItem])))]
async fn detectors() -> Json<Vec<DetectorItem>> {
    let all = Engine::detectors().iter().map(|one| DetectorItem {
        name: one.name.into(),
        subcategory: one.subcategory.into(),
        technique: one.technique.map(Into::into),
        entity: one.entity.into(),
        statistic: one.statistic.into(),
        threshold: one.threshold.into(),
        false_alarms: one.false_alarms.into(),
        description: one.description.into(),
    });
    Json(all.collect())
}
