//! The directory as a whole: its settings, batches of commands, and what is taken over from Mosquitto.

use super::{Api, change};
use crate::auth::Caller;
use crate::body::Json;
use crate::problem::Problem;
use crate::state::aside;
use axum::extract::State;
use ravelin_node::control::{Control, Ends};
use ravelin_protect::directory::{self, ImportOptions};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::routes;

pub(in crate::api) fn routes(api: Api) -> Api {
    api.viewer(routes!(settings)).admin(routes!(set)).admin(routes!(commands)).admin(routes!(import))
}

/// What holds for the directory as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The group of clients without an identity.
    pub anonymous_group: Option<String>,
    /// The group that everyone with an identity is in, after all of its own.
    pub default_group: Option<String>,
    /// What holds where no rule says anything.
    pub defaults: Defaults,
}

/// What holds for identities of the directory where no rule says anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Defaults {
    /// Whether a client may publish.
    pub publish_client_send: bool,
    /// Whether a client is delivered what neither a rule on receiving nor one on subscribing speaks of.
    pub publish_client_receive: bool,
    /// Whether a client may subscribe.
    pub subscribe: bool,
    /// Whether a client may unsubscribe.
    pub unsubscribe: bool,
}

/// A `dynamic-security.json` of Mosquitto, and how it is taken over.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportRequest {
    /// The file's content.
    #[schema(value_type = Object)]
    pub file: Value,
    /// Take the place of what has the same name; otherwise that is an error.
    #[serde(default)]
    pub replace: bool,
    /// Give the role `admin` to whoever administered Mosquitto.
    #[serde(default)]
    pub administrators: bool,
    /// Take over the defaults where nothing says anything.
    #[serde(default)]
    pub defaults: bool,
}

/// What was taken over.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Imported {
    /// Identities.
    pub clients: u64,
    /// Groups.
    pub groups: u64,
    /// Roles.
    pub roles: u64,
    /// Those who administered Mosquitto: they have the role `admin` now if that was asked for.
    pub administrators: Vec<String>,
    /// What is worth knowing.
    pub notes: Vec<String>,
}

/// The settings of the directory.
#[utoipa::path(get, path = "/v1/directory/settings", tag = "directory",
    responses((status = 200, description = "The settings.", body = Settings)))]
async fn settings(State(control): State<Control>) -> Json<Settings> {
    let directory = control.directory();
    let defaults = directory.defaults();
    Json(Settings {
        anonymous_group: directory.anonymous_group().map(String::from),
        default_group: directory.default_group().map(String::from),
        defaults: Defaults {
            publish_client_send: defaults.publish_client_send,
            publish_client_receive: defaults.publish_client_receive,
            subscribe: defaults.subscribe,
            unsubscribe: defaults.unsubscribe,
        },
    })
}

/// Changes the settings of the directory.
#[utoipa::path(put, path = "/v1/directory/settings", tag = "directory", request_body = Settings,
    responses((status = 200, description = "The settings.", body = Settings)))]
async fn set(
    State(control): State<Control>,
    caller: Caller,
    Json(new): Json<Settings>,
) -> Result<Json<Settings>, Problem> {
    change(control.clone(), caller, "directory.settings.set", "settings".into(), move |edit| {
        edit.set_anonymous_group(new.anonymous_group.as_deref())?;
        edit.set_default_group(new.default_group.as_deref())?;
        edit.set_defaults(directory::Defaults {
            publish_client_send: new.defaults.publish_client_send,
            publish_client_receive: new.defaults.publish_client_receive,
            subscribe: new.defaults.subscribe,
            unsubscribe: new.defaults.unsubscribe,
        });
        Ok(Ends::new())
    })
    .await?;
    Ok(settings(State(control)).await)
}

/// Carries out commands of Mosquitto's dynamic security, as on `$CONTROL/dynamic-security/v1`: `{"commands":[..]}` is answered
/// by `{"responses":[..]}`, each command on its own.
#[utoipa::path(post, path = "/v1/directory/commands", tag = "directory",
    request_body(content = Object, description = "The commands."),
    responses((status = 200, description = "The answers, in their order.", body = Object)))]
async fn commands(
    State(control): State<Control>,
    Caller(actor): Caller,
    Json(request): Json<Value>,
) -> Result<Json<Value>, Problem> {
    Ok(Json(aside(move || control.dynamic_security(&actor, request.to_string().as_bytes())).await?))
}

/// Takes over a `dynamic-security.json` of Mosquitto: all of it, or nothing.
#[utoipa::path(post, path = "/v1/directory/import", tag = "directory", request_body = ImportRequest,
    responses((status = 200, description = "What was taken over.", body = Imported)))]
async fn import(
    State(control): State<Control>,
    Caller(actor): Caller,
    Json(request): Json<ImportRequest>,
) -> Result<Json<Imported>, Problem> {
    let ImportRequest { file, replace, administrators, defaults } = request;
    let options = ImportOptions { replace, administrators, defaults };
    let done = aside(move || control.import_directory(&actor, file.to_string().as_bytes(), options)).await?;
    let done = done.map_err(super::problem)?;
    Ok(Json(Imported {
        clients: done.clients as u64,
        groups: done.groups as u64,
        roles: done.roles as u64,
        administrators: done.administrators,
        notes: done.notes,
    }))
}
