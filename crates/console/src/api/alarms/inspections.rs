//! Inspections of devices and their vicinity by people: what was recorded, and what is due.

use super::super::{Api, no_content};
use crate::auth::Caller;
use crate::body::Json;
use crate::page::{Listing, Page, PageQuery};
use crate::problem::Problem;
use crate::state::aside;
use axum::extract::State;
use axum::response::Response;
use ravelin_detect::traffic::Inspection;
use ravelin_node::control::Control;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

pub(super) fn routes(api: Api) -> Api {
    api.viewer(routes!(list)).operator(routes!(record))
}

/// The last inspection of a device.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct InspectionItem {
    /// The device.
    pub device: String,
    /// Its class.
    pub class: Option<String>,
    /// Who inspected it; null: nobody yet.
    pub by: Option<String>,
    /// When, or since when the device is known, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Where the report is.
    pub document: Option<String>,
    /// When the next one is due, in milliseconds since the Unix epoch; null: its class has no rounds.
    pub due_ms: Option<u64>,
    /// Whether that is over.
    pub overdue: bool,
}

/// An inspection to be recorded.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InspectionOrder {
    /// The device: its Client Identifier.
    #[schema(example = "meter-7")]
    pub device: String,
    /// Who inspected it [default: who records it].
    #[serde(default)]
    pub by: Option<String>,
    /// When, in milliseconds since the Unix epoch [default: now].
    #[serde(default)]
    pub at_ms: Option<u64>,
    /// Where the report is: a file, a ticket, a URL.
    #[serde(default)]
    pub document: String,
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.into())
}

/// The last inspection of each device that has rounds or was inspected, by device.
#[utoipa::path(get, path = "/v1/inspections", tag = "alarms", params(PageQuery),
    responses((status = 200, description = "A page of them.", body = Listing<InspectionItem>)))]
async fn list(State(control): State<Control>, page: Page) -> Result<Json<Listing<InspectionItem>>, Problem> {
    let found = aside(move || {
        let items: Vec<InspectionItem> = control.detection(|engine, now_ms| {
            let after = page.after.as_deref();
            let later = engine.inspections().filter(|one| after.is_none_or(|after| *one.device > *after));
            let item = |one: &Inspection| {
                let due_ms = engine.inspection_due_ms(&one.device);
                InspectionItem {
                    device: one.device.to_string(),
                    class: one.class.as_deref().map(Into::into),
                    by: some(&one.by),
                    at_ms: one.at_ms,
                    document: some(&one.document),
                    due_ms,
                    overdue: due_ms.is_some_and(|due_ms| now_ms > due_ms),
                }
            };
            later.take(page.fetch()).map(item).collect()
        });
        Listing::of(items, &page, |item| &item.device)
    });
    Ok(Json(found.await?))
}

/// Records that somebody has inspected a device and its vicinity. An alarm that this was overdue is over.
#[utoipa::path(post, path = "/v1/inspections", tag = "alarms", request_body = InspectionOrder,
    responses((status = 204, description = "It is kept, also after a restart.")))]
async fn record(
    State(control): State<Control>,
    Caller(actor): Caller,
    Json(order): Json<InspectionOrder>,
) -> Result<Response, Problem> {
    let now_ms = control.now().wall_ms;
    if order.device.is_empty() || order.at_ms.is_some_and(|at_ms| at_ms > now_ms) {
        return Err(Problem::invalid("`device` is not empty, and `at_ms` is not in the future"));
    }
    let inspection = Inspection {
        device: order.device.into(),
        class: None,
        by: order.by.filter(|by| !by.is_empty()).unwrap_or_else(|| actor.name.clone()).into(),
        at_ms: order.at_ms.unwrap_or(now_ms),
        document: order.document.into(),
    };
    aside(move || control.record_inspection(&actor, inspection)).await??;
    Ok(no_content())
}

#[cfg(test)]
mod tests {
    use crate::api::authorization::Lab;
    use serde_json::json;

    #[test]
    fn an_inspection_is_recorded_and_listed() {
        Lab::run(async |lab| {
            assert_eq!(lab.get("/v1/inspections").await.1, json!({ "items": [], "next": null }));
            for device in ["meter-2", "meter-1"] {
                let order = json!({ "device": device, "document": "round 7" }).to_string();
                assert_eq!(lab.send("POST", "/v1/inspections", &order).await.0, 204);
            }
            let (_, page) = lab.get("/v1/inspections?limit=1").await;
            let first = &page["items"][0];
            assert_eq!((&first["device"], &first["by"]), (&json!("meter-1"), &json!("token:admin")));
            assert_eq!((&first["document"], &first["due_ms"]), (&json!("round 7"), &json!(null)));
            let rest = format!("/v1/inspections?limit=1&after={}", page["next"].as_str().unwrap());
            assert_eq!(lab.get(&rest).await.1["items"][0]["device"], "meter-2");
            for wrong in [json!({ "device": "" }), json!({ "device": "a", "at_ms": u64::MAX }), json!({})] {
                assert_eq!(lab.send("POST", "/v1/inspections", &wrong.to_string()).await.0, 422, "{wrong}");
            }
        });
    }
}
