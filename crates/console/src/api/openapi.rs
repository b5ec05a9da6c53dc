//! The API's document in the tree is the API's document; and what the endpoints answer, called one by one.

use super::authorization::Lab;
use ravelin_node::control::Role;
use std::collections::BTreeSet;

#[test]
fn openapi_in_the_tree_is_what_is_served() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
    let now = super::openapi().to_pretty_json().unwrap() + "\n";
    if std::env::var_os("RAVELIN_WRITE").is_some() {
        std::fs::write(path, &now).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        kept == now,
        "openapi.json is out of date: `RAVELIN_WRITE=1 cargo test -p ravelin-console openapi`"
    );
}

#[test]
fn every_operation_is_described_and_every_reference_leads_somewhere() {
    let document = serde_json::to_value(super::openapi()).unwrap();
    let mut ids = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let has = |key: &str| operation[key].as_str().is_some_and(|text| !text.is_empty());
            assert!(has("summary"), "{method} {path} has no doc comment");
            assert!(operation["tags"].is_array(), "{method} {path} has no tag");
            let id = operation["operationId"].as_str().unwrap_or_default();
            assert!(ids.insert(id.to_owned()), "{method} {path}: {id} twice");
        }
    }
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"#/").skip(1) {
        let pointer = format!("/{}", reference.split('"').next().unwrap());
        assert!(document.pointer(&pointer).is_some(), "{pointer} leads nowhere");
    }
}

#[test]
fn errors_have_places_and_limits_hold() {
    Lab::run_with("body_bytes_max = \"2KiB\"", async |lab| {
        let (status, problem) = lab.send("PUT", "/v1/loglevel", "{\n \"level\": }").await;
        assert_eq!(status, 400);
        assert!(problem["detail"].as_str().unwrap().starts_with("line 2, column"), "{problem}");
        let (status, problem) = lab.send("PUT", "/v1/loglevel", "{\"level\": \"loud\"}").await;
        assert!(status == 422 && problem["type"] == "urn:ravelin:problem:unprocessable-entity", "{problem}");
        let (status, _) =
            lab.send("PUT", "/v1/loglevel", &format!("{{\"level\": \"{}\"}}", "x".repeat(4096))).await;
        assert_eq!(status, 413);
        let (status, _, _) =
            lab.call(Some(Role::Admin), "PUT", "/v1/loglevel", &[], "{\"level\":\"warn\"}").await;
        assert_eq!(status, 415, "no content type");
        let (status, headers, _) = lab.call(Some(Role::Admin), "PATCH", "/v1/loglevel", &[], "").await;
        assert!(status == 405 && headers.contains_key("allow"), "{headers:?}");
        for bad in
            ["/v1/clients?limit=0", "/v1/clients?after=!", "/v1/events?wait_s=99", "/v1/events?levl=warn"]
        {
            assert_eq!(lab.get(bad).await.0, 400, "{bad}");
        }
    });
}

#[test]
fn status_limits_listeners_and_whoami_tell_what_is() {
    Lab::run(async |lab| {
        let (_, status) = lab.get("/v1/status").await;
        assert_eq!(status["ready"], true);
        assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
        let (_, limits) = lab.get("/v1/limits").await;
        let all = limits.as_array().unwrap();
        assert_eq!(all.len(), ravelin_node::config::LIMITS.len());
        let packet = all.iter().find(|one| one["name"] == "packet_bytes_max").unwrap();
        assert!(packet["limit"] == 1_048_576.0 && packet["configured"] == "1MiB", "{packet}");
        let (_, listeners) = lab.get("/v1/listeners").await;
        assert_eq!(listeners[0]["transport"], "tcp");
        let (_, who) = lab.get("/v1/whoami").await;
        assert!(who["name"] == "token:admin" && who["role"] == "admin", "{who}");
    });
}

#[test]
fn the_log_level_changes_and_draining_shows_in_readiness() {
    Lab::run(async |lab| {
        assert_eq!(lab.send("PUT", "/v1/loglevel", "{\"level\":\"warn\"}").await.0, 204);
        assert_eq!(lab.get("/v1/loglevel").await.1["level"], "warn");
        assert_eq!(lab.send("PUT", "/v1/drain", "{\"draining\":true}").await.0, 204);
        let (status, _, body) = lab.call(None, "GET", "/readyz", &[], "").await;
        assert!(status == 503 && body == "not ready\n", "{body}");
        assert_eq!(lab.send("PUT", "/v1/drain", "{\"draining\":false}").await.0, 204);
        assert_eq!(lab.call(None, "GET", "/readyz", &[], "").await.0, 200);
        let (_, events) = lab.get("/v1/events?id=admin.order&wait_s=5").await;
        let first = &events["items"][0]["fields"];
        assert!(first["action"] == "log.level" && first["actor"] == "token:admin", "{events}");
    });
}

#[test]
fn a_token_is_shown_once_and_ends_when_it_is_revoked_or_expires() {
    Lab::run(async |lab| {
        let request = "{\"name\":\"scraper\",\"role\":\"viewer\",\"expires_in\":\"30d\"}";
        let (status, created) = lab.send("POST", "/v1/tokens", request).await;
        assert_eq!(status, 201, "{created}");
        let secret = created["secret"].as_str().unwrap().to_owned();
        assert_eq!(secret.len(), "ravelin_".len() + 43, "256 bits");
        let header = format!("Bearer {secret}");
        let as_scraper = [("authorization", header.as_str())];
        assert_eq!(lab.call(None, "GET", "/metrics", &as_scraper, "").await.0, 200);
        assert_eq!(lab.call(None, "GET", "/v1/tokens", &as_scraper, "").await.0, 403);
        let (_, listed) = lab.get("/v1/tokens").await;
        assert_eq!(listed["items"].as_array().unwrap().len(), 4);
        assert!(!listed.to_string().contains(&secret[8..]) && !listed.to_string().contains("digest"));
        let one = listed["items"].as_array().unwrap().iter().find(|one| one["name"] == "scraper").unwrap();
        assert!(one["last_used_s"].is_u64() && one["last_address"] == "127.0.0.1", "{one}");
        let path = format!("/v1/tokens/{}", created["token"]["id"].as_str().unwrap());
        assert_eq!(lab.send("DELETE", &path, "").await.0, 204);
        assert_eq!(lab.send("DELETE", &path, "").await.0, 404);
        assert_eq!(lab.call(None, "GET", "/metrics", &as_scraper, "").await.0, 401);
        for bad in [
            "{\"name\":\"\",\"role\":\"viewer\"}",
            "{\"name\":\"x\",\"role\":\"root\"}",
            "{\"name\":\"x\",\"role\":\"viewer\",\"expires_in\":\"0s\"}",
            "{\"name\":\"x\",\"role\":\"viewer\",\"expires_in\":\"99999d\"}",
        ] {
            assert_eq!(lab.send("POST", "/v1/tokens", bad).await.0, 422, "{bad}");
        }
        let now_s = lab.state.now_s();
        let new = crate::tokens::NewToken {
            name: "old".into(),
            role: Role::Admin,
            expires_s: now_s,
            created_by: "test".into(),
        };
        let (old, ..) = lab.state.lane.tokens.create(new, now_s, 100).unwrap();
        let header = format!("Bearer {old}");
        assert_eq!(lab.call(None, "GET", "/metrics", &[("authorization", header.as_str())], "").await.0, 401);
    });
}

#[test]
fn metrics_are_well_formed_and_bounded() {
    Lab::run(async |lab| {
        for i in 0..50 {
            lab.call(Some(Role::Viewer), "GET", &format!("/v1/clients/random-{i}"), &[], "").await;
            lab.call(Some(Role::Viewer), "GET", &format!("/random-{i}"), &[], "").await;
        }
        let (status, headers, text) = lab.call(Some(Role::Viewer), "GET", "/metrics", &[], "").await;
        assert_eq!(status, 200);
        assert_eq!(headers["content-type"], crate::metrics::MEDIA_TYPE);
        let samples = parse(&text);
        assert!(samples > 100, "{samples}");
        assert!(!text.contains("random-"), "a label that a client chose");
        assert!(text.contains("ravelin_control_request_duration_seconds_count{method=\"GET\",route=\"/v1/clients/{client_id}\"} 50"), "{text}");
        assert!(text.contains("ravelin_limit{limit=\"packet_bytes_max\"} 1048576"));
        assert!(text.contains("ravelin_store_sync_duration_seconds_count "), "{text}");
    });
}

#[test]
fn a_failure_of_a_handler_is_one_requests_and_told() {
    Lab::run(async |lab| {
        async fn failing() -> &'static str {
            panic!("a failure of a test")
        }
        let router = axum::Router::new().route("/fails", axum::routing::get(failing));
        let router = crate::frame::around(router, &lab.state);
        let mut request = axum::http::Request::get("/fails").body(axum::body::Body::empty()).unwrap();
        let address = "127.0.0.1:5".parse().unwrap();
        request.extensions_mut().insert(crate::peer::Peer::new(address, Vec::new(), 0));
        let response = tower::ServiceExt::oneshot(router, request).await.unwrap();
        assert_eq!(response.status(), 500);
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        let (_, events) = lab.get("/v1/events?id=node.internal_error&wait_s=5").await;
        assert_eq!(events["items"][0]["fields"]["what"], "a request to /fails", "{events}");
    });
}

/// Reads the text format strictly; how many samples there are.
fn parse(text: &str) -> usize {
    let (mut families, mut seen, mut current, mut count) = (BTreeSet::new(), BTreeSet::new(), ("", ""), 0);
    assert!(text.ends_with('\n'));
    let name_ok = |name: &str| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_' || b.is_ascii_digit())
    };
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(name.starts_with("ravelin_") && name_ok(name) && !help.is_empty(), "{line}");
            assert!(families.insert(name), "{name} twice");
            current = (name, "");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert_eq!(name, current.0, "{line}");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            current.1 = kind;
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let name = series.split('{').next().unwrap();
            let suffix =
                name.strip_prefix(current.0).unwrap_or_else(|| panic!("{line} is not of {}", current.0));
            let allowed: &[&str] =
                if current.1 == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
            assert!(allowed.contains(&suffix), "{line}");
            assert!(value.parse::<f64>().is_ok(), "{line}");
            assert!(seen.insert(series.to_owned()), "{series} twice");
            if let Some(labels) = series.strip_prefix(name).and_then(|rest| rest.strip_prefix('{')) {
                for label in labels.strip_suffix('}').unwrap().split("\",") {
                    let (key, value) = label.split_once("=\"").unwrap_or_else(|| panic!("{line}"));
                    assert!(name_ok(key) && !value.contains('\n'), "{line}");
                }
            }
            count += 1;
        }
    }
    count
}
