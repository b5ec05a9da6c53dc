//! The endpoints. How to add one: the crate's documentation.

pub mod acl;
pub mod alarms;
#[cfg(test)]
mod authorization;
pub mod bans;
pub mod certificates;
pub mod clients;
pub mod directory;
pub mod drill;
pub mod events;
pub mod firewall;
mod health;
pub mod inventory;
pub mod limits;
pub mod map;
mod metrics;
pub mod node;
#[cfg(test)]
mod openapi;
pub mod orders;
pub mod outward;
pub mod record;
pub mod tokens;

use crate::auth;
use crate::problem::ProblemBody;
use crate::state::ApiState;
use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::IntoResponse;
use ravelin_node::control::Role;
use std::sync::Arc;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    ContentBuilder, Info, OpenApi, OpenApiBuilder, PathItem, Ref, ResponseBuilder, SecurityRequirement,
};
use utoipa::{PartialSchema, ToSchema};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter, UtoipaMethodRouterExt};

/// Endpoints in the making: each is registered with the role that it takes, or as open to everyone.
pub struct Api(OpenApiRouter<ApiState>);

/// Every endpoint.
pub fn all() -> Api {
    let api = Api(OpenApiRouter::with_openapi(document()));
    let api = health::routes(api);
    let api = node::routes(api);
    let api = limits::routes(api);
    let api = clients::routes(api);
    let api = bans::routes(api);
    let api = drill::routes(api);
    let api = firewall::routes(api);
    let api = directory::routes(api);
    let api = acl::routes(api);
    let api = certificates::routes(api);
    let api = events::routes(api);
    let api = record::routes(api);
    let api = outward::routes(api);
    let api = tokens::routes(api);
    let api = inventory::routes(api);
    let api = map::routes(api);
    let api = alarms::routes(api);
    let api = orders::routes(api);
    metrics::routes(api)
}

/// What the separate listener for metrics serves: `/metrics`, to whoever reaches it.
pub(crate) fn metrics_only() -> Router<ApiState> {
    metrics::open()
}

/// The API's document, as `GET /v1/openapi.json` gives it.
pub fn openapi() -> OpenApi {
    all().0.into_openapi()
}

impl Api {
    /// Endpoints that whoever can see the node may call.
    #[must_use]
    pub fn viewer(self, routes: UtoipaMethodRouter<ApiState>) -> Api {
        self.with_role(routes, Role::Viewer)
    }

    /// Endpoints that act on clients.
    #[must_use]
    pub fn operator(self, routes: UtoipaMethodRouter<ApiState>) -> Api {
        self.with_role(routes, Role::Operator)
    }

    /// Endpoints that change who may do what, or the node itself.
    #[must_use]
    pub fn admin(self, routes: UtoipaMethodRouter<ApiState>) -> Api {
        self.with_role(routes, Role::Admin)
    }

    /// Endpoints that everyone may call who reaches the listener: they tell nothing.
    fn open(self, mut routes: UtoipaMethodRouter<ApiState>) -> Api {
        routes.1.paths.iter_mut().for_each(|(path, item)| name_operations(path, item));
        Api(self.0.routes(routes))
    }

    fn with_role(self, routes: UtoipaMethodRouter<ApiState>, role: Role) -> Api {
        let guard =
            middleware::from_fn(move |request: Request, next: Next| auth::require(role, request, next));
        let (schemas, mut paths, methods) = routes.layer(guard);
        for (path, item) in &mut paths.paths {
            name_operations(path, item);
            describe_role(item, role);
        }
        Api(self.0.routes((schemas, paths, methods)))
    }

    /// The router. What is at no path takes the role of a viewer: who is not known learns not even what there is.
    pub(crate) fn into_router(self) -> Router<ApiState> {
        let (router, document) = self.0.split_for_parts();
        let document: Arc<str> = document.to_json().unwrap_or_default().into();
        let guard = |request: Request, next: Next| auth::require(Role::Viewer, request, next);
        let nothing = axum::routing::any(|| async { axum::http::StatusCode::NOT_FOUND })
            .layer(middleware::from_fn(guard));
        router.layer(axum::Extension(node::Document(document))).fallback_service(nothing.with_state::<()>(()))
    }
}

/// The operations of a path, by method.
fn operations_of(item: &mut PathItem) -> impl Iterator<Item = (&'static str, &mut Operation)> {
    let all = [
        ("get", &mut item.get),
        ("put", &mut item.put),
        ("post", &mut item.post),
        ("delete", &mut item.delete),
        ("patch", &mut item.patch),
    ];
    all.into_iter().filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

/// Names an operation by its method and path: one name each, whatever the handlers are called.
fn name_operations(path: &str, item: &mut PathItem) {
    let words =
        path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty() && *word != "v1");
    let words: Vec<_> = words.collect();
    for (method, operation) in operations_of(item) {
        operation.operation_id = Some(format!("{method}_{}", words.join("_")));
    }
}

/// Says in the document which role an operation takes, and what it answers to those who lack it.
fn describe_role(item: &mut PathItem, role: Role) {
    for (_, operation) in operations_of(item) {
        let requirement = |scheme: &str| SecurityRequirement::new(scheme, [role.name()]);
        operation.security = Some(vec![requirement("certificate"), requirement("token")]);
        let problem = |description: &str| {
            ResponseBuilder::new()
                .description(description)
                .content(
                    crate::problem::MEDIA_TYPE,
                    ContentBuilder::new().schema(Some(Ref::from_schema_name("ProblemBody"))).build(),
                )
                .build()
        };
        for (status, description) in [
            ("401", "Who asks is not known."),
            ("403", "Who asks has not the role that this takes."),
            ("default", "Anything else that is wrong."),
        ] {
            operation.responses.responses.insert(status.into(), problem(description).into());
        }
    }
}

fn document() -> OpenApi {
    let mut info = Info::new("Ravelin control lane", "1");
    info.description = Some(
        "Administers a running Ravelin node. Every request is made with a client certificate that has a role in \
         `[control]` of the configuration, or with a bearer token; each operation names the role that it takes \
         (`viewer` < `operator` < `admin`). Errors are `application/problem+json` (RFC 9457). Lists come in pages: \
         `?limit=&after=`, answered by `{items, next}`."
            .into(),
    );
    let mut document = OpenApiBuilder::new().info(info).build();
    let mut components = utoipa::openapi::Components::new();
    components.schemas.insert(ProblemBody::name().into_owned(), ProblemBody::schema());
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
    components.security_schemes.insert("token".into(), SecurityScheme::Http(bearer).into());
    let description = Some("A client certificate that has a role.".into());
    let certificate = SecurityScheme::MutualTls { description, extensions: None, deprecated: None };
    components.security_schemes.insert("certificate".into(), certificate.into());
    document.components = Some(components);
    document
}

/// Every operation of the document: method and path.
#[cfg(test)]
fn operations(document: &OpenApi) -> Vec<(utoipa::openapi::HttpMethod, String)> {
    use utoipa::openapi::HttpMethod;
    let mut all = Vec::new();
    for (path, item) in &document.paths.paths {
        for (method, operation) in [
            (HttpMethod::Get, &item.get),
            (HttpMethod::Put, &item.put),
            (HttpMethod::Post, &item.post),
            (HttpMethod::Delete, &item.delete),
            (HttpMethod::Patch, &item.patch),
        ] {
            if operation.is_some() {
                all.push((method, path.clone()));
            }
        }
    }
    all
}

/// An answer without a body.
pub(crate) fn no_content() -> axum::response::Response {
    axum::http::StatusCode::NO_CONTENT.into_response()
}
