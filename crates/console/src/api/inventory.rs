//! The inventory: devices seen and declared, their life, what differs, what was found.

use super::{Api, no_content};
use crate::auth::Caller;
use crate::body::{Json, Path, Query, body};
use crate::page::{Listing, Page, PageQuery};
use crate::problem::Problem;
use crate::state::aside;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use ravelin_identify::declared::{export_csv, export_json, import_csv, import_json};
use ravelin_identify::{Declared, Error, Filter};
use ravelin_node::control::{Control, InventoryFailure};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

/// Differences of each kind in one answer, unless asked otherwise, and at most.
const DIFFERENCES: usize = 1_000;
const DIFFERENCES_MAX: usize = 100_000;

pub(super) fn routes(api: Api) -> Api {
    api.viewer(routes!(devices))
        .viewer(routes!(device))
        .operator(routes!(forget))
        .operator(routes!(state))
        .viewer(routes!(summary))
        .viewer(routes!(findings))
        .viewer(routes!(difference))
        .viewer(routes!(declarations))
        .operator(routes!(import))
        .operator(routes!(declare, undeclare))
}

/// Which devices a list is of.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct DeviceQuery {
    /// Their state: `registered`, `active`, `dormant`, `retired`, `lost`.
    #[param(required = false)]
    state: Option<String>,
    /// Only those that are declared, or that are not.
    #[param(required = false)]
    declared: Option<bool>,
    /// Only those that are connected, or that are not.
    #[param(required = false)]
    connected: Option<bool>,
    /// Only those at this site.
    #[param(required = false)]
    site: Option<String>,
    /// Only those of this class.
    #[param(required = false)]
    class: Option<String>,
    /// Only those with this in one of their names.
    #[param(required = false)]
    text: Option<String>,
}

/// The order to change the state of a device.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StateOrder {
    /// `retired`, `lost`, or `active` to reinstate it.
    #[schema(example = "retired")]
    pub state: String,
    /// Why, for the record.
    #[serde(default)]
    pub reason: String,
}

/// What an import did.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Imported {
    /// Devices that were declared, or declared anew.
    pub declared: usize,
}

/// How declarations are written.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct FormatQuery {
    /// `json` or `csv` [default: json].
    #[param(required = false)]
    format: Option<String>,
}

/// How much of a difference.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct DifferenceQuery {
    /// Entries of each kind, up to 100000 [default: 1000].
    #[param(required = false, minimum = 1, maximum = 100_000)]
    max: Option<usize>,
}

impl From<InventoryFailure> for Problem {
    fn from(failure: InventoryFailure) -> Problem {
        match failure {
            InventoryFailure::Inventory(error) => problem(&error),
            InventoryFailure::Records(error) => error.into(),
            InventoryFailure::Unavailable(error) => error.into(),
            other => Problem::internal(other.to_string()),
        }
    }
}

fn problem(error: &Error) -> Problem {
    match error {
        Error::Unknown(_) => Problem::not_found(error.to_string()).help("see GET /v1/inventory/devices"),
        Error::Transition { .. } => Problem::conflict(error.to_string()),
        Error::LimitExceeded { .. } => {
            Problem::unavailable(error.to_string()).help("raise the limit in `[inventory]`")
        }
        _ => Problem::invalid(error.to_string()),
    }
}

/// All devices, seen or declared, by key. A page may have fewer items than asked for and still have a `next`.
#[utoipa::path(get, path = "/v1/inventory/devices", tag = "inventory", params(PageQuery, DeviceQuery),
    responses((status = 200, description = "A page of them.", body = Listing<Object>)))]
async fn devices(
    State(control): State<Control>,
    page: Page,
    Query(query): Query<DeviceQuery>,
) -> Result<Response, Problem> {
    let state = query.state.map(|state| state.parse().map_err(Problem::bad_request)).transpose()?;
    let DeviceQuery { declared, connected, site, class, text, .. } = query;
    let filter = Filter { state, declared, connected, site, class, text };
    let found = aside(move || {
        control
            .inventory(|inventory, now_ms| inventory.page(page.after.as_deref(), page.limit, &filter, now_ms))
    });
    let found = found.await?;
    Ok(Json(Listing::at(found.devices, found.next)).into_response())
}

/// One device, by its key (`identity:..`, `client:..`) or the name that it is declared by.
#[utoipa::path(get, path = "/v1/inventory/devices/{device}", tag = "inventory",
    params(("device" = String, Path, description = "Its key or name, percent-encoded.")),
    responses((status = 200, description = "The device.", body = Object)))]
async fn device(State(control): State<Control>, Path(device): Path<String>) -> Result<Response, Problem> {
    let found = control.inventory(|inventory, now_ms| inventory.device(&device, now_ms));
    found.map(|view| Json(view).into_response()).map_err(|error| problem(&error))
}

/// Forgets what was seen of a device that is not declared.
#[utoipa::path(delete, path = "/v1/inventory/devices/{device}", tag = "inventory",
    params(("device" = String, Path, description = "Its key, percent-encoded.")),
    responses((status = 204, description = "It is forgotten.")))]
async fn forget(
    State(control): State<Control>,
    Caller(actor): Caller,
    Path(device): Path<String>,
) -> Result<Response, Problem> {
    control.forget_device(&actor, &device).await?;
    Ok(no_content())
}

/// Retires a device, reports it as lost, or reinstates it. Its connections end if it is refused from now on.
#[utoipa::path(post, path = "/v1/inventory/devices/{device}/state", tag = "inventory", request_body = StateOrder,
    params(("device" = String, Path, description = "Its key or name, percent-encoded.")),
    responses((status = 204, description = "It is so, and will be after a restart.")))]
async fn state(
    State(control): State<Control>,
    Caller(actor): Caller,
    Path(device): Path<String>,
    Json(order): Json<StateOrder>,
) -> Result<Response, Problem> {
    let state = order.state.parse().map_err(Problem::invalid)?;
    control.set_device_state(&actor, &device, state, &order.reason).await?;
    Ok(no_content())
}

/// The inventory in figures.
#[utoipa::path(get, path = "/v1/inventory/summary", tag = "inventory",
    responses((status = 200, description = "Counts by state and version.", body = Object)))]
async fn summary(State(control): State<Control>) -> Result<Response, Problem> {
    let summary = aside(move || control.inventory(|inventory, now_ms| inventory.summary(now_ms))).await?;
    Ok(Json(summary).into_response())
}

/// Duplicate Client Identifiers, cloned certificates, moved devices; the latest first.
#[utoipa::path(get, path = "/v1/inventory/findings", tag = "inventory",
    responses((status = 200, description = "All of them, in `items`.", body = Listing<Object>)))]
async fn findings(State(control): State<Control>) -> Response {
    let findings = control.inventory(|inventory, _| inventory.findings());
    Json(Listing::at(findings, None)).into_response()
}

/// What was declared against what was seen: missing, unknown, mismatched.
#[utoipa::path(get, path = "/v1/inventory/difference", tag = "inventory", params(DifferenceQuery),
    responses((status = 200, description = "The difference.", body = Object)))]
async fn difference(
    State(control): State<Control>,
    Query(query): Query<DifferenceQuery>,
) -> Result<Response, Problem> {
    let max = query.max.unwrap_or(DIFFERENCES).clamp(1, DIFFERENCES_MAX);
    let difference = aside(move || control.inventory(|inventory, _| inventory.difference(max))).await?;
    Ok(Json(difference).into_response())
}

/// All declarations, as a file that can be imported again.
#[utoipa::path(get, path = "/v1/inventory/declared", tag = "inventory", params(FormatQuery),
    responses((status = 200, description = "The file.", body = String, content_type = "application/json")))]
async fn declarations(
    State(control): State<Control>,
    Query(query): Query<FormatQuery>,
) -> Result<Response, Problem> {
    let csv = is_csv(query.format.as_deref())?;
    let text = aside(move || {
        let all: Vec<Declared> = control.inventory(|inventory, _| inventory.declarations().collect());
        if csv { export_csv(all.iter()) } else { export_json(all.iter()) }
    });
    let media = if csv { "text/csv; charset=utf-8; header=present" } else { "application/json" };
    Ok(([(CONTENT_TYPE, media)], text.await?).into_response())
}

fn is_csv(format: Option<&str>) -> Result<bool, Problem> {
    match format {
        None | Some("json") => Ok(false),
        Some("csv") => Ok(true),
        Some(_) => Err(Problem::bad_request("`format` is json or csv")),
    }
}

/// Declares all devices of a file, in JSON or CSV by its `Content-Type`. All or none; an error has its line, column and field.
#[utoipa::path(post, path = "/v1/inventory/import", tag = "inventory",
    request_body(content = String, content_type = "text/csv", description = "The file; or JSON."),
    responses((status = 200, description = "How many.", body = Imported)))]
async fn import(
    State(control): State<Control>,
    Caller(actor): Caller,
    request: Request,
) -> Result<Json<Imported>, Problem> {
    let media = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let csv = match media.split(';').next().unwrap_or_default().trim() {
        "text/csv" => true,
        "application/json" => false,
        _ => {
            let what = Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body is neither CSV nor JSON");
            return Err(what.help("send `Content-Type: text/csv` or `application/json`"));
        }
    };
    let bytes = body(request, &()).await?;
    let text = String::from_utf8(bytes.to_vec())
        .map_err(|_| Problem::bad_request("the body is not UTF-8").help("save the file as UTF-8"))?;
    let devices = aside(move || if csv { import_csv(&text) } else { import_json(&text) }).await?;
    let devices = devices.map_err(|error| problem(&error))?;
    let declared = control.declare_devices(&actor, devices).await?;
    Ok(Json(Imported { declared }))
}

/// Declares one device, or declares it anew. The fields are those of an import.
#[utoipa::path(put, path = "/v1/inventory/declared/{name}", tag = "inventory", request_body = Object,
    params(("name" = String, Path, description = "What it is called, percent-encoded.")),
    responses((status = 204, description = "It is declared, and will be after a restart.")))]
async fn declare(
    State(control): State<Control>,
    Caller(actor): Caller,
    Path(name): Path<String>,
    Json(mut fields): Json<serde_json::Map<String, serde_json::Value>>,
) -> Result<Response, Problem> {
    if fields.get("name").is_some_and(|other| *other != name.as_str()) {
        return Err(Problem::invalid("`name` is another one than that of the path"));
    }
    fields.insert("name".into(), name.into());
    // The same way as a file, so that the same fields mean the same.
    let text = serde_json::Value::Array(vec![serde_json::Value::Object(fields)]).to_string();
    let devices = import_json(&text).map_err(|error| match error {
        Error::Import { place, what } => Problem::invalid(format!("field {:?}: {what}", place.field)),
        other => problem(&other),
    })?;
    control.declare_devices(&actor, devices).await?;
    Ok(no_content())
}

/// Takes a declaration back. The device is unknown from now on.
#[utoipa::path(delete, path = "/v1/inventory/declared/{name}", tag = "inventory",
    params(("name" = String, Path, description = "What it is called, percent-encoded.")),
    responses((status = 204, description = "It is no longer declared.")))]
async fn undeclare(
    State(control): State<Control>,
    Caller(actor): Caller,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    control.undeclare_device(&actor, &name).await?;
    Ok(no_content())
}

#[cfg(test)]
mod tests {
    use super::super::authorization::Lab;
    use ravelin_node::control::Role;

    #[test]
    fn devices_are_declared_listed_exported_and_taken_back() {
        Lab::run(async |lab| {
            let (status, body) = lab
                .send(
                    "PUT",
                    "/v1/inventory/declared/Meter%201",
                    r#"{"owner":"grid","networks":["10.0.0.0/8"]}"#,
                )
                .await;
            assert_eq!(status, 204, "{body}");
            let (_, list) = lab.get("/v1/inventory/devices?state=registered").await;
            assert_eq!(list["items"][0]["declared"], "Meter 1", "{list}");
            let (_, _, csv) =
                lab.call(Some(Role::Viewer), "GET", "/v1/inventory/declared?format=csv", &[], "").await;
            assert!(csv.contains("Meter 1,,,grid"), "{csv}");
            let csv = csv.replace("Meter 1", "Meter 2");
            let header = [("content-type", "text/csv")];
            let (status, _, body) =
                lab.call(Some(Role::Operator), "POST", "/v1/inventory/import", &header, &csv).await;
            assert_eq!((status.as_u16(), &*body), (200, r#"{"declared":1}"#));
            let bad = "name,networks\nm1,10.0.0.0/99\n";
            let (status, _, body) =
                lab.call(Some(Role::Operator), "POST", "/v1/inventory/import", &header, bad).await;
            assert!(status == 422 && body.contains("line 2, column 4, field \\\"networks\\\""), "{body}");
            let (status, body) =
                lab.send("PUT", "/v1/inventory/declared/x", r#"{"networks":["10.0.0.0/99"]}"#).await;
            assert!(
                status == 422 && body["detail"].as_str().unwrap().starts_with("field \"networks\""),
                "{body}"
            );
            let (_, difference) = lab.get("/v1/inventory/difference").await;
            assert_eq!(difference["missing"].as_array().unwrap().len(), 2);
            assert_eq!(lab.send("DELETE", "/v1/inventory/declared/Meter%201", "").await.0, 204);
            assert_eq!(lab.send("DELETE", "/v1/inventory/declared/Meter%201", "").await.0, 404);
            let order = r#"{"state":"retired","reason":"scrapped"}"#;
            assert_eq!(lab.send("POST", "/v1/inventory/devices/Meter%202/state", order).await.0, 204);
            let dormant = r#"{"state":"dormant"}"#;
            assert_eq!(lab.send("POST", "/v1/inventory/devices/Meter%202/state", dormant).await.0, 409);
            assert_eq!(lab.get("/v1/inventory/devices/Meter%202").await.1["state"], "retired");
            assert_eq!(lab.get("/v1/inventory/summary").await.1["states"]["retired"], 1);
            assert_eq!(lab.get("/v1/inventory/findings").await.0, 200);
        });
    }
}
