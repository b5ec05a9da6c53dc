//! Identities.

use super::{Api, GroupRef, RoleRef, boxed, change, put_status, unknown};
use crate::auth::Caller;
use crate::body::{Json, Path};
use crate::page::{Listing, Page, PageQuery};
use crate::problem::Problem;
use crate::state::aside;
use axum::extract::State;
use axum::http::StatusCode;
use ravelin_node::control::{Control, Ends};
use ravelin_protect::{Secret, directory};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

pub(in crate::api) fn routes(api: Api) -> Api {
    api.viewer(routes!(list)).viewer(routes!(show)).admin(routes!(put)).admin(routes!(delete))
}

/// An identity, without what proves it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Identity {
    /// Its name: the user name of a log-in, or the name that its certificate gives.
    pub username: String,
    /// The only Client Identifier that it may use.
    pub clientid: Option<String>,
    /// What it is called by people.
    pub textname: Option<String>,
    /// What it is.
    pub textdescription: Option<String>,
    /// Whether it is refused whatever it proves.
    pub disabled: bool,
    /// Its own roles, in the order in which they are asked.
    pub roles: Vec<RoleRef>,
    /// Its groups, in the order in which they are asked.
    pub groups: Vec<GroupRef>,
    /// Its class.
    pub class: Option<String>,
    /// SHA-256 fingerprints of certificates that are its own.
    pub fingerprints: Vec<String>,
    /// By what it can prove itself beside a certificate: `argon2id`, `scram-sha-256`, `totp`, ...
    pub credentials: Vec<String>,
    /// Whether it administers the node over MQTT.
    pub administrator: bool,
}

/// What an identity shall be. What is left out is empty; only the password stays where none is given.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct IdentityRequest {
    /// The only Client Identifier that it may use.
    pub clientid: Option<String>,
    /// What it is called by people.
    pub textname: Option<String>,
    /// What it is.
    pub textdescription: Option<String>,
    /// Whether it is refused whatever it proves.
    pub disabled: bool,
    /// Its own roles.
    pub roles: Vec<RoleRef>,
    /// Its groups.
    pub groups: Vec<GroupRef>,
    /// Its class.
    pub class: Option<String>,
    /// SHA-256 fingerprints of certificates that are its own, in lower-case hex.
    pub fingerprints: Vec<String>,
    /// A new password.
    pub password: Option<String>,
}

impl Identity {
    fn of(directory: &directory::Directory, identity: &directory::Identity) -> Identity {
        Identity {
            username: identity.name.to_string(),
            clientid: identity.client_id.as_deref().map(String::from),
            textname: identity.text_name.as_deref().map(String::from),
            textdescription: identity.text_description.as_deref().map(String::from),
            disabled: identity.disabled,
            roles: identity.roles.iter().map(RoleRef::of).collect(),
            groups: identity.groups.iter().map(GroupRef::of).collect(),
            class: identity.class.as_deref().map(String::from),
            fingerprints: identity.fingerprints.iter().map(|print| print.to_string()).collect(),
            credentials: identity.credentials.schemes().map(String::from).collect(),
            administrator: directory.is_administrator(&identity.name),
        }
    }
}

/// All identities of the directory, by name.
#[utoipa::path(get, path = "/v1/directory/identities", tag = "directory", params(PageQuery),
    responses((status = 200, description = "A page of them.", body = Listing<Identity>)))]
async fn list(State(control): State<Control>, page: Page) -> Json<Listing<Identity>> {
    let directory = control.directory();
    let items = directory.identities_after(page.after.as_deref()).take(page.fetch());
    let items = items.map(|identity| Identity::of(&directory, identity)).collect();
    Json(Listing::of(items, &page, |identity| &identity.username))
}

/// One identity.
#[utoipa::path(get, path = "/v1/directory/identities/{name}", tag = "directory",
    params(("name" = String, Path, description = "Its name, percent-encoded.")),
    responses((status = 200, description = "The identity.", body = Identity)))]
async fn show(State(control): State<Control>, Path(name): Path<String>) -> Result<Json<Identity>, Problem> {
    let directory = control.directory();
    let identity = directory.identity(&name).ok_or_else(|| unknown("identity", &name))?;
    Ok(Json(Identity::of(&directory, identity)))
}

/// Makes an identity, or changes it. When this answers, it is on disk, rights were checked again, and connections that
/// must not go on have ended.
#[utoipa::path(put, path = "/v1/directory/identities/{name}", tag = "directory", request_body = IdentityRequest,
    params(("name" = String, Path, description = "Its name, percent-encoded.")),
    responses((status = 200, description = "It was changed.", body = Identity),
        (status = 201, description = "It was made.", body = Identity)))]
async fn put(
    State(control): State<Control>,
    caller: Caller,
    Path(name): Path<String>,
    Json(request): Json<IdentityRequest>,
) -> Result<(StatusCode, Json<Identity>), Problem> {
    let password = request.password.clone().map(|password| Secret::new(password.into_bytes()));
    let credentials = match password {
        None => None,
        Some(password) => {
            Some(aside(move || Control::hash_password(&password)).await?.map_err(super::problem)?)
        }
    };
    let was_there = control.directory().identity(&name).is_some();
    let new = request.into_identity(&name);
    let who = name.clone();
    change(control.clone(), caller, "directory.identity.set", name.clone(), move |edit| {
        let mut new = new;
        let mut ends = Ends::new();
        let before = edit.identity(&who).cloned();
        if let Some(before) = &before {
            new.credentials = before.credentials.clone();
            if credentials.is_some() || new.disabled || !new.is_bound_as(before) {
                ends.insert(before.name.clone(), "the identity was changed");
            }
        }
        if let Some(credentials) = &credentials {
            new.credentials = new.credentials.with_password_of(credentials)?;
        }
        match before {
            None => edit.create_identity(new)?,
            Some(_) => edit.modify_identity(&who, |known| {
                *known = new;
                Ok(())
            })?,
        }
        Ok(ends)
    })
    .await?;
    let shown = show(State(control), Path(name)).await?;
    Ok((put_status(was_there), shown))
}

/// Deletes an identity, and ends its connections.
#[utoipa::path(delete, path = "/v1/directory/identities/{name}", tag = "directory",
    params(("name" = String, Path, description = "Its name, percent-encoded.")),
    responses((status = 204, description = "It is gone, on disk too.")))]
async fn delete(
    State(control): State<Control>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    control.directory().identity(&name).ok_or_else(|| unknown("identity", &name))?;
    let who = name.clone();
    change(control, caller, "directory.identity.delete", name, move |edit| {
        let removed = edit.delete_identity(&who)?;
        Ok(Ends::from([(removed.name, "the identity was deleted")]))
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

impl IdentityRequest {
    fn into_identity(self, name: &str) -> directory::Identity {
        let mut identity = directory::Identity::new(name);
        identity.client_id = self.clientid.filter(|bound| !bound.is_empty()).map(Into::into);
        identity.text_name = boxed(self.textname);
        identity.text_description = boxed(self.textdescription);
        identity.disabled = self.disabled;
        identity.roles = self.roles.into_iter().map(RoleRef::into_membership).collect();
        identity.groups = self.groups.into_iter().map(GroupRef::into_membership).collect();
        identity.class = self.class.map(Into::into);
        identity.fingerprints = self.fingerprints.into_iter().map(Into::into).collect();
        identity
    }
}
