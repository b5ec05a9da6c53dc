//! Flows, the network map, places, and the bills of materials.

use super::Api;
use crate::body::{Json, Query};
use crate::problem::Problem;
use crate::state::aside;
use axum::extract::State;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use ravelin_identify::flows::{Flow, FlowOptions, Permission};
use ravelin_identify::map::{self, MapOptions};
use ravelin_node::control::Control;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::routes;

/// The frame around the handlers lets nothing in a document of this type run.
const SVG: &str = "image/svg+xml";

pub(super) fn routes(api: Api) -> Api {
    api.viewer(routes!(flows))
        .viewer(routes!(authorised))
        .viewer(routes!(network))
        .viewer(routes!(places))
        .viewer(routes!(cbom))
        .viewer(routes!(sbom))
        .viewer(routes!(handshakes))
}

/// How a matrix of flows is shown.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct FlowQuery {
    /// `json` or `svg` [default: json].
    #[param(required = false)]
    format: Option<String>,
    /// Up to so many devices each has rows of its own; above, they are grouped by class and site [default: 100].
    #[param(required = false)]
    devices_max: Option<usize>,
    /// Levels of topics; what is below is `#` [default: 8].
    #[param(required = false, minimum = 1, maximum = 128)]
    depth: Option<usize>,
    /// Different topics; beyond, they are generalised [default: 200].
    #[param(required = false, minimum = 1, maximum = 100_000)]
    topics_max: Option<usize>,
    /// Rows [default: 5000].
    #[param(required = false, minimum = 1, maximum = 100_000)]
    rows_max: Option<usize>,
}

impl FlowQuery {
    fn options(&self) -> FlowOptions {
        let default = FlowOptions::default();
        FlowOptions {
            devices_max: self.devices_max.unwrap_or(default.devices_max),
            depth: self.depth.unwrap_or(default.depth).clamp(1, 128),
            topics_max: self.topics_max.unwrap_or(default.topics_max).clamp(1, 100_000),
            rows_max: self.rows_max.unwrap_or(default.rows_max).clamp(1, 100_000),
        }
    }
}

/// How the map is shown.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct MapQuery {
    /// `json`, `svg`, `dot` or `graphml` [default: json].
    #[param(required = false)]
    format: Option<String>,
    /// Up to so many devices each is drawn; above, they are grouped by class within their subnet [default: 500].
    #[param(required = false)]
    devices_max: Option<usize>,
    /// Only devices that are connected [default: false].
    #[param(required = false)]
    #[serde(default)]
    connected_only: bool,
}

/// Who sends what to whom: publisher, topic, subscriber, with rates, bytes and QoS.
#[utoipa::path(get, path = "/v1/flows", tag = "map", params(FlowQuery),
    responses((status = 200, description = "The matrix, or a drawing of it.", body = Object)))]
async fn flows(State(control): State<Control>, Query(query): Query<FlowQuery>) -> Result<Response, Problem> {
    let options = query.options();
    let flows =
        aside(move || control.inventory(|inventory, now_ms| inventory.flows(&options, now_ms))).await?;
    match query.format.as_deref() {
        None | Some("json") => Ok(Json(flows).into_response()),
        Some("svg") => Ok(drawing(SVG, "flows.svg", map::flows_svg(&flows))),
        Some(_) => Err(Problem::bad_request("`format` is json or svg")),
    }
}

/// What may flow against what does: undeclared, disallowed, between zones without a conduit, and never seen.
#[utoipa::path(get, path = "/v1/flows/authorised", tag = "map", params(FlowQuery),
    responses((status = 200, description = "What differs.", body = Object)))]
async fn authorised(
    State(control): State<Control>,
    Query(query): Query<FlowQuery>,
) -> Result<Response, Problem> {
    let options = query.options();
    let judged = aside(move || {
        let flows = control.inventory(|inventory, now_ms| inventory.flows(&options, now_ms));
        // The access rules are asked without the inventory's lock.
        let allowed: Vec<Permission> = flows.flows.iter().map(|flow| permission(&control, flow)).collect();
        let mut allowed = allowed.into_iter();
        control.inventory(|inventory, _| {
            inventory.authorised(&flows, |_| allowed.next().unwrap_or(Permission::NotAsked))
        })
    });
    Ok(Json(judged.await?).into_response())
}

fn permission(control: &Control, flow: &Flow) -> Permission {
    let names = control.inventory(|inventory, _| inventory.names_of(&flow.publisher.name));
    let Some((client_id, identity, class)) = names.filter(|_| flow.publisher.devices <= 1) else {
        return Permission::NotAsked;
    };
    match control.may_publish_now(&client_id, identity.as_deref(), class.as_deref(), &flow.topic) {
        true => Permission::By("the access rules in force".into()),
        false => Permission::Nothing,
    }
}

/// The network map: zones, subnets, devices, listeners, and what flows between zones.
#[utoipa::path(get, path = "/v1/map", tag = "map", params(MapQuery),
    responses((status = 200, description = "The map in the format asked for.", body = Object)))]
async fn network(State(control): State<Control>, Query(query): Query<MapQuery>) -> Result<Response, Problem> {
    let default = MapOptions::default();
    let devices_max = query.devices_max.unwrap_or(default.devices_max);
    let options = MapOptions { devices_max, connected_only: query.connected_only };
    let graph = aside(move || control.inventory(|inventory, now_ms| inventory.map(&options, now_ms))).await?;
    match query.format.as_deref() {
        None | Some("json") => Ok(Json(graph).into_response()),
        Some("svg") => Ok(drawing(SVG, "map.svg", map::svg(&graph))),
        Some("dot") => Ok(drawing("text/vnd.graphviz; charset=utf-8", "map.dot", map::dot(&graph))),
        Some("graphml") => Ok(drawing("application/graphml+xml", "map.graphml", map::graphml(&graph))),
        Some(_) => Err(Problem::bad_request("`format` is json, svg, dot or graphml")),
    }
}

fn drawing(media: &'static str, name: &str, text: String) -> Response {
    let disposition = format!("inline; filename=\"{name}\"");
    let headers = [(CONTENT_TYPE, media.to_owned()), (CONTENT_DISPOSITION, disposition)];
    (headers, text).into_response()
}

/// Sites, infrastructure, the node and devices with a place, as GeoJSON (RFC 7946).
#[utoipa::path(get, path = "/v1/places", tag = "map",
    responses((status = 200, description = "A FeatureCollection.", body = Object, content_type = "application/geo+json")))]
async fn places(State(control): State<Control>) -> Result<Response, Problem> {
    let places = aside(move || control.inventory(|inventory, now_ms| inventory.geojson(now_ms))).await?;
    Ok(([(CONTENT_TYPE, "application/geo+json")], places.to_string()).into_response())
}

/// The cryptography in use, from real handshakes: a CycloneDX 1.6 bill of materials.
#[utoipa::path(get, path = "/v1/cbom", tag = "map",
    responses((status = 200, description = "The document.", body = Object,
        content_type = "application/vnd.cyclonedx+json; version=1.6")))]
async fn cbom(State(control): State<Control>) -> Result<Response, Problem> {
    let version = control.status().version;
    let bill = aside(move || control.inventory(|inventory, now_ms| inventory.cbom(version, now_ms))).await?;
    Ok(([(CONTENT_TYPE, "application/vnd.cyclonedx+json; version=1.6")], bill.to_string()).into_response())
}

/// What the node is made of: a CycloneDX 1.6 bill of materials.
#[utoipa::path(get, path = "/v1/sbom", tag = "map",
    responses((status = 200, description = "The document.", body = Object,
        content_type = "application/vnd.cyclonedx+json; version=1.6")))]
async fn sbom() -> Response {
    ([(CONTENT_TYPE, "application/vnd.cyclonedx+json; version=1.6")], ravelin_node::SBOM).into_response()
}

/// Handshakes since the start, by listener, version, suite and group.
#[utoipa::path(get, path = "/v1/handshakes", tag = "map",
    responses((status = 200, description = "All kinds, in `items`.", body = Object)))]
async fn handshakes(State(control): State<Control>) -> Response {
    let handshakes = control.inventory(|inventory, _| inventory.handshakes());
    Json(crate::page::Listing::at(handshakes, None)).into_response()
}

#[cfg(test)]
mod tests {
    use super::super::authorization::Lab;
    use ravelin_node::control::Role;

    #[test]
    fn every_format_is_served_and_no_drawing_may_run_anything() {
        Lab::run(async |lab| {
            for (path, media, begin) in [
                ("/v1/map", "application/json", "{"),
                ("/v1/map?format=svg", "image/svg+xml", "<svg"),
                ("/v1/map?format=dot", "text/vnd.graphviz; charset=utf-8", "digraph"),
                ("/v1/map?format=graphml", "application/graphml+xml", "<?xml"),
                ("/v1/flows", "application/json", "{"),
                ("/v1/flows?format=svg&depth=3", "image/svg+xml", "<svg"),
                ("/v1/flows/authorised", "application/json", "{"),
                ("/v1/places", "application/geo+json", "{"),
                ("/v1/cbom", "application/vnd.cyclonedx+json; version=1.6", "{"),
                ("/v1/sbom", "application/vnd.cyclonedx+json; version=1.6", "{"),
                ("/v1/handshakes", "application/json", "{"),
            ] {
                let (status, headers, body) = lab.call(Some(Role::Viewer), "GET", path, &[], "").await;
                assert_eq!(status, 200, "{path}: {body}");
                assert_eq!(headers["content-type"], media, "{path}");
                assert!(body.starts_with(begin), "{path}: {body}");
                if media.contains("svg") {
                    let policy = headers["content-security-policy"].to_str().unwrap();
                    assert!(policy.contains("default-src 'none'") && policy.contains("sandbox"), "{policy}");
                }
            }
            let wrong = lab.get("/v1/map?format=pdf").await;
            assert_eq!(wrong.0, 400, "{}", wrong.1);
        });
    }
}
