//! The one table of who may call what. Every operation of the API has its row here, by hand, and each row is tried by
//! everyone: a handler that is registered with another role, or that nobody thought about, fails these tests.

use super::{all, operations};
use crate::frame;
use crate::peer::Peer;
use crate::settings::Settings;
use crate::state::ApiState;
use crate::tokens::NewToken;
use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use ravelin_node::Node;
use ravelin_node::config::Config;
use ravelin_node::control::Role;
use std::path::Path;
use tower::ServiceExt;

/// Method, path, and the least role. `None`: open to everyone.
const TABLE: &[(&str, &str, Option<Role>)] = &[
    ("GET", "/healthz", None),
    ("GET", "/readyz", None),
    ("GET", "/metrics", Some(Role::Viewer)),
    ("GET", "/v1/status", Some(Role::Viewer)),
    ("GET", "/v1/whoami", Some(Role::Viewer)),
    ("GET", "/v1/openapi.json", Some(Role::Viewer)),
    ("GET", "/v1/listeners", Some(Role::Viewer)),
    ("GET", "/v1/limits", Some(Role::Viewer)),
    ("GET", "/v1/events", Some(Role::Viewer)),
    ("GET", "/v1/certificates", Some(Role::Viewer)),
    ("POST", "/v1/certificates", Some(Role::Operator)),
    // Whoever holds a certificate proves it by a signature.
    ("POST", "/v1/certificates/renew", None),
    ("GET", "/v1/revocations", Some(Role::Viewer)),
    ("POST", "/v1/revocations", Some(Role::Operator)),
    ("DELETE", "/v1/revocations/identity/{identity}", Some(Role::Operator)),
    ("GET", "/v1/ca", Some(Role::Viewer)),
    ("GET", "/crl", None),
    ("GET", "/v1/clients", Some(Role::Viewer)),
    ("GET", "/v1/clients/{client_id}", Some(Role::Viewer)),
    ("GET", "/v1/clients/{client_id}/subscriptions", Some(Role::Viewer)),
    ("POST", "/v1/clients/{client_id}/disconnect", Some(Role::Operator)),
    ("DELETE", "/v1/sessions/{client_id}", Some(Role::Operator)),
    ("GET", "/v1/bans", Some(Role::Viewer)),
    ("POST", "/v1/bans", Some(Role::Operator)),
    ("DELETE", "/v1/bans/{subject}", Some(Role::Operator)),
    ("GET", "/v1/lockouts", Some(Role::Viewer)),
    ("DELETE", "/v1/lockouts", Some(Role::Operator)),
    ("GET", "/v1/rates", Some(Role::Viewer)),
    ("GET", "/v1/ladder", Some(Role::Viewer)),
    ("GET", "/v1/directory/identities", Some(Role::Viewer)),
    ("GET", "/v1/directory/identities/{name}", Some(Role::Viewer)),
    ("PUT", "/v1/directory/identities/{name}", Some(Role::Admin)),
    ("DELETE", "/v1/directory/identities/{name}", Some(Role::Admin)),
    ("POST", "/v1/directory/identities/{name}/totp", Some(Role::Admin)),
    ("DELETE", "/v1/directory/identities/{name}/totp", Some(Role::Admin)),
    ("GET", "/v1/directory/groups", Some(Role::Viewer)),
    ("GET", "/v1/directory/groups/{name}", Some(Role::Viewer)),
    ("PUT", "/v1/directory/groups/{name}", Some(Role::Admin)),
    ("DELETE", "/v1/directory/groups/{name}", Some(Role::Admin)),
    ("GET", "/v1/directory/roles", Some(Role::Viewer)),
    ("GET", "/v1/directory/roles/{name}", Some(Role::Viewer)),
    ("PUT", "/v1/directory/roles/{name}", Some(Role::Admin)),
    ("DELETE", "/v1/directory/roles/{name}", Some(Role::Admin)),
    ("GET", "/v1/directory/classes", Some(Role::Viewer)),
    ("GET", "/v1/directory/classes/{name}", Some(Role::Viewer)),
    ("PUT", "/v1/directory/classes/{name}", Some(Role::Admin)),
    ("DELETE", "/v1/directory/classes/{name}", Some(Role::Admin)),
    ("GET", "/v1/directory/settings", Some(Role::Viewer)),
    ("PUT", "/v1/directory/settings", Some(Role::Admin)),
    ("POST", "/v1/directory/commands", Some(Role::Admin)),
    ("POST", "/v1/directory/import", Some(Role::Admin)),
    ("GET", "/v1/acl/why", Some(Role::Viewer)),
    ("GET", "/v1/acl/unused", Some(Role::Viewer)),
    ("POST", "/v1/acl/dry-run", Some(Role::Viewer)),
    ("GET", "/v1/record", Some(Role::Viewer)),
    ("GET", "/v1/outward", Some(Role::Viewer)),
    ("POST", "/v1/outward/{name}/test", Some(Role::Operator)),
    ("GET", "/v1/loglevel", Some(Role::Viewer)),
    ("PUT", "/v1/loglevel", Some(Role::Admin)),
    ("PUT", "/v1/drain", Some(Role::Admin)),
    ("GET", "/v1/firewall", Some(Role::Viewer)),
    ("GET", "/v1/drill", Some(Role::Viewer)),
    ("POST", "/v1/drill", Some(Role::Admin)),
    ("POST", "/v1/drill/end", Some(Role::Admin)),
    ("POST", "/v1/reload", Some(Role::Admin)),
    ("POST", "/v1/shutdown", Some(Role::Admin)),
    ("GET", "/v1/tokens", Some(Role::Admin)),
    ("POST", "/v1/tokens", Some(Role::Admin)),
    ("DELETE", "/v1/tokens/{id}", Some(Role::Admin)),
    ("GET", "/v1/inventory/devices", Some(Role::Viewer)),
    ("GET", "/v1/inventory/devices/{device}", Some(Role::Viewer)),
    ("DELETE", "/v1/inventory/devices/{device}", Some(Role::Operator)),
    ("POST", "/v1/inventory/devices/{device}/state", Some(Role::Operator)),
    ("GET", "/v1/inventory/summary", Some(Role::Viewer)),
    ("GET", "/v1/inventory/findings", Some(Role::Viewer)),
    ("GET", "/v1/inventory/difference", Some(Role::Viewer)),
    ("GET", "/v1/inventory/declared", Some(Role::Viewer)),
    ("POST", "/v1/inventory/import", Some(Role::Operator)),
    ("PUT", "/v1/inventory/declared/{name}", Some(Role::Operator)),
    ("DELETE", "/v1/inventory/declared/{name}", Some(Role::Operator)),
    ("GET", "/v1/alarms", Some(Role::Viewer)),
    ("GET", "/v1/alarms/{id}", Some(Role::Viewer)),
    ("POST", "/v1/alarms/{id}/verification", Some(Role::Operator)),
    ("GET", "/v1/suppressions", Some(Role::Viewer)),
    ("POST", "/v1/suppressions", Some(Role::Operator)),
    ("DELETE", "/v1/suppressions/{id}", Some(Role::Operator)),
    ("GET", "/v1/trust", Some(Role::Viewer)),
    ("GET", "/v1/trust/{client_id}", Some(Role::Viewer)),
    ("GET", "/v1/detectors", Some(Role::Viewer)),
    ("GET", "/v1/inspections", Some(Role::Viewer)),
    ("POST", "/v1/inspections", Some(Role::Operator)),
    ("GET", "/v1/flows", Some(Role::Viewer)),
    ("GET", "/v1/flows/authorised", Some(Role::Viewer)),
    ("GET", "/v1/map", Some(Role::Viewer)),
    ("GET", "/v1/places", Some(Role::Viewer)),
    ("GET", "/v1/cbom", Some(Role::Viewer)),
    ("GET", "/v1/sbom", Some(Role::Viewer)),
    ("GET", "/v1/orders", Some(Role::Viewer)),
    ("POST", "/v1/orders", Some(Role::Operator)),
    ("POST", "/v1/orders/preview", Some(Role::Operator)),
    ("GET", "/v1/orders/{id}", Some(Role::Viewer)),
    // Whether the action's policy asks for an admin is the desk's business.
    ("POST", "/v1/orders/{id}/approve", Some(Role::Operator)),
    ("POST", "/v1/orders/{id}/reject", Some(Role::Operator)),
    ("POST", "/v1/orders/{id}/undo", Some(Role::Operator)),
    ("GET", "/v1/playbooks", Some(Role::Viewer)),
    ("GET", "/v1/posture", Some(Role::Viewer)),
    ("GET", "/v1/handshakes", Some(Role::Viewer)),
];

const ROLES: [Option<Role>; 4] = [None, Some(Role::Viewer), Some(Role::Operator), Some(Role::Admin)];

/// A node with a lane in plain HTTP, which is called without a socket.
pub(in crate::api) struct Lab {
    node: Option<Node>,
    pub state: ApiState,
    pub router: Router,
    tokens: Vec<(Role, String)>,
}

impl Lab {
    pub fn new(keys: &str) -> Lab {
        let text = format!(
            "[[listener]]\ntransport = \"tcp\"\naddress = \"127.0.0.1:0\"\nbind_client_id = \"none\"\n\
             dangerous_anonymous = true\n[access]\ndangerous_allow_everything = true\n\
             [control]\naddress = \"127.0.0.1:0\"\ndangerous_plaintext = true\n{keys}\n"
        );
        let config = Config::parse(&text, Path::new("")).unwrap();
        let settings = Settings::load(&config, 0, 1_800_000_000).unwrap().unwrap();
        let node = Node::start_with_log(config, Box::new(std::io::sink())).unwrap();
        let state = ApiState::new(node.control(), settings);
        let router = frame::around(all().into_router(), &state);
        let make = |role: Role| {
            let new =
                NewToken { name: role.name().into(), role, expires_s: u64::MAX, created_by: "test".into() };
            (role, state.lane.tokens.create(new, state.now_s(), 100).unwrap().0)
        };
        let tokens = [Role::Viewer, Role::Operator, Role::Admin].into_iter().map(make).collect();
        Lab { node: Some(node), state, router, tokens }
    }

    pub fn run<T>(test: impl AsyncFnOnce(&Lab) -> T) -> T {
        Lab::run_with("request_burst_per_address = 1_000_000\nfailure_burst_per_address = 1_000_000", test)
    }

    pub fn run_with<T>(keys: &str, test: impl AsyncFnOnce(&Lab) -> T) -> T {
        let mut lab = Lab::new(keys);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let result = runtime.block_on(test(&lab));
        drop(runtime);
        lab.node.take().unwrap().shutdown().unwrap();
        result
    }

    pub fn token(&self, role: Role) -> &str {
        &self.tokens.iter().find(|(of, _)| *of == role).unwrap().1
    }

    /// A request of somebody with the role's token, with headers and a body.
    pub async fn call(
        &self,
        role: Option<Role>,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> (StatusCode, axum::http::HeaderMap, String) {
        let mut request = Request::builder().method(method).uri(path).header("host", "localhost");
        if let Some(role) = role {
            request = request.header("authorization", format!("Bearer {}", self.token(role)));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(Body::from(body.to_owned())).unwrap();
        request.extensions_mut().insert(Peer::new("127.0.0.1:5".parse().unwrap(), Vec::new(), 0));
        let (parts, body) = self.router.clone().oneshot(request).await.unwrap().into_parts();
        let body = axum::body::to_bytes(body, 16 << 20).await.unwrap();
        (parts.status, parts.headers, String::from_utf8(body.to_vec()).unwrap())
    }

    pub async fn get(&self, path: &str) -> (StatusCode, serde_json::Value) {
        let (status, _, body) = self.call(Some(Role::Admin), "GET", path, &[], "").await;
        (status, serde_json::from_str(&body).unwrap_or_default())
    }

    pub async fn send(&self, method: &str, path: &str, body: &str) -> (StatusCode, serde_json::Value) {
        let json = [("content-type", "application/json")];
        let (status, _, body) = self.call(Some(Role::Admin), method, path, &json, body).await;
        (status, serde_json::from_str(&body).unwrap_or_default())
    }
}

#[test]
fn every_operation_has_its_row_and_every_row_its_operation() {
    let mut documented: Vec<_> = operations(&super::openapi())
        .into_iter()
        .map(|(method, path)| (serde_json::to_value(method).unwrap().as_str().unwrap().to_uppercase(), path))
        .collect();
    let mut rows: Vec<_> =
        TABLE.iter().map(|(method, path, _)| ((*method).to_owned(), (*path).to_owned())).collect();
    documented.sort();
    rows.sort();
    assert_eq!(documented, rows, "the API's document (left) and the table of this test (right) differ");
}

#[test]
fn the_document_says_the_role_that_the_table_says() {
    let document = serde_json::to_value(super::openapi()).unwrap();
    for (method, path, role) in TABLE {
        let security = &document["paths"][path][method.to_lowercase()]["security"];
        match role {
            None => assert!(security.is_null(), "{method} {path}"),
            Some(role) => assert_eq!(security[1]["token"][0], role.name(), "{method} {path}"),
        }
    }
}

#[test]
fn everyone_is_told_exactly_what_his_role_allows() {
    Lab::run(async |lab| {
        for (method, path, least) in TABLE {
            let path = path.replace("{client_id}", "nobody").replace(['{', '}'], "");
            for role in ROLES {
                let (status, headers, body) = lab.call(role, method, &path, &[], "").await;
                let case = format!("{method} {path} as {role:?}: {status} {body}");
                match (least, role) {
                    (None, _) => assert!(status != 401 && status != 403, "{case}"),
                    (Some(_), None) => assert_eq!(status, StatusCode::UNAUTHORIZED, "{case}"),
                    (Some(least), Some(role)) if role < *least => {
                        assert_eq!(status, StatusCode::FORBIDDEN, "{case}");
                    }
                    _ => assert!(status != 401 && status != 403, "{case}"),
                }
                assert_eq!(headers["cache-control"], "no-store", "{case}");
                if status.is_client_error() || status.is_server_error() {
                    assert_eq!(headers["content-type"], "application/problem+json", "{case}");
                    let problem: serde_json::Value = serde_json::from_str(&body).unwrap();
                    assert_eq!(problem["instance"], path, "{case}");
                    assert_eq!(problem["status"], status.as_u16(), "{case}");
                }
            }
        }
    });
}

#[test]
fn who_is_not_known_learns_nothing_not_even_what_there_is() {
    Lab::run(async |lab| {
        let (status, _, there) = lab.call(None, "GET", "/v1/status", &[], "").await;
        assert_eq!(status, 401);
        let (status, _, nowhere) = lab.call(None, "GET", "/v1/nowhere", &[], "").await;
        assert_eq!(status, 401);
        assert_eq!(there.replace("/v1/status", "X"), nowhere.replace("/v1/nowhere", "X"));
        for (path, answer) in [("/healthz", "ok\n"), ("/readyz", "ready\n")] {
            let (_, headers, body) = lab.call(None, "GET", path, &[], "").await;
            assert_eq!(body, answer);
            let all = format!("{headers:?}{body}").to_lowercase();
            assert!(!all.contains("ravelin") && !all.contains(env!("CARGO_PKG_VERSION")), "{all}");
        }
        let (status, _, body) = lab.call(Some(Role::Viewer), "GET", "/v1/nowhere", &[], "").await;
        assert!(status == 404 && body.contains("openapi.json"), "{body}");
    });
}

#[test]
fn a_wrong_token_is_refused_whatever_part_of_it_is_right() {
    Lab::run(async |lab| {
        let good = lab.token(Role::Admin).to_owned();
        let almost = format!("{}A", &good[..good.len() - 1]);
        let other = format!("{}B", &good[..good.len() - 1]);
        let cut = &good[..good.len() - 1];
        for bad in ["", "x", "ravelin_", cut, &format!("{good}x"), &good.to_uppercase(), "ravelin_é"] {
            let header = format!("Bearer {bad}");
            let (status, headers, body) =
                lab.call(None, "GET", "/v1/status", &[("authorization", &header)], "").await;
            assert_eq!(status, 401, "{bad}");
            assert!(headers.contains_key("www-authenticate"));
            assert!(!body.contains(&good), "{body}");
        }
        let pass = |token: String| async move {
            let header = format!("Bearer {token}");
            lab.call(None, "GET", "/v1/status", &[("authorization", &header)], "").await.0
        };
        assert!(pass(almost).await == 401 || pass(other).await == 401);
        assert_eq!(pass(good).await, 200);
        let basic = [("authorization", "Basic YTpi")];
        assert_eq!(lab.call(None, "GET", "/v1/status", &basic, "").await.0, 401);
    });
}

#[test]
fn failures_of_an_address_are_limited_and_the_good_pass_all_the_same() {
    Lab::run_with("failure_burst_per_address = 3", async |lab| {
        let mut seen = Vec::new();
        for _ in 0..5 {
            let wrong = [("authorization", "Bearer ravelin_wrong")];
            seen.push(lab.call(None, "GET", "/v1/status", &wrong, "").await.0.as_u16());
        }
        assert_eq!(seen, [401, 401, 401, 429, 429]);
        let (status, headers, _) = lab.call(None, "GET", "/v1/status", &[], "").await;
        assert_eq!(status, 429);
        assert!(headers.contains_key("retry-after"));
        assert_eq!(lab.call(Some(Role::Viewer), "GET", "/v1/status", &[], "").await.0, 200);
        // They come in batches.
        let (_, mut events) = lab.get("/v1/events?id=admin.refused&wait_s=5").await;
        while events["items"].as_array().unwrap().len() < 3 {
            let path = format!("/v1/events?id=admin.refused&wait_s=5&after={}", events["next"]);
            assert!(
                !lab.get(&path).await.1["items"].as_array().unwrap().is_empty(),
                "three events, not {events}"
            );
            events = lab.get("/v1/events?id=admin.refused").await.1;
        }
        assert_eq!(events["items"].as_array().unwrap().len(), 3, "{events}");
        assert_eq!(events["items"][0]["fields"]["path"], "/v1/status");
    });
}

#[test]
fn requests_of_an_address_are_limited() {
    Lab::run_with("request_burst_per_address = 3\nrequest_rate_per_address = \"1/h\"", async |lab| {
        for expected in [200, 200, 200, 429] {
            assert_eq!(lab.call(Some(Role::Viewer), "GET", "/v1/status", &[], "").await.0, expected);
        }
    });
}

#[test]
fn a_page_of_another_origin_cannot_act_with_a_browsers_certificate() {
    Lab::run(async |lab| {
        let foreign = [("origin", "https://evil.example")];
        for (method, path) in [("POST", "/v1/reload"), ("POST", "/v1/shutdown"), ("DELETE", "/v1/tokens/x")] {
            assert_eq!(lab.call(Some(Role::Admin), method, path, &foreign, "").await.0, 403, "{path}");
        }
        let (_, headers, _) = lab.call(Some(Role::Admin), "GET", "/v1/status", &foreign, "").await;
        assert!(!headers.contains_key("access-control-allow-origin"));
        for role in ROLES {
            let (status, headers, _) = lab.call(role, "OPTIONS", "/v1/status", &foreign, "").await;
            assert!(
                status.is_client_error() && !headers.contains_key("access-control-allow-origin"),
                "a preflight"
            );
        }
    });
}
