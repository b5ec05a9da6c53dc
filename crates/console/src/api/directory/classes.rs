//! Classes of identities.

use super::{Api, boxed, change, put_status, unknown};
use crate::auth::Caller;
use crate::body::{Json, Path};
use crate::page::{Listing, Page, PageQuery};
use crate::problem::Problem;
use axum::extract::State;
use axum::http::StatusCode;
use ravelin_node::control::{Control, Ends};
use ravelin_protect::{SecondFactor, directory};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

pub(in crate::api) fn routes(api: Api) -> Api {
    api.viewer(routes!(list)).viewer(routes!(show)).admin(routes!(put)).admin(routes!(delete))
}

/// A class of identities: what they must show, and how they are treated.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Class {
    /// Its name.
    pub classname: String,
    /// The rest of it.
    #[serde(flatten)]
    pub terms: ClassRequest,
}

/// What a class shall be. What is left out is as in the default class.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ClassRequest {
    /// What must be proven beside the certificate: `none`, `password`, `jwt` or `totp`.
    #[schema(value_type = String, example = "totp")]
    pub secondfactor: SecondFactor,
    /// The name of the set of rate limits that holds for it.
    pub limits: Option<String>,
    /// Whether its clients are kept apart.
    pub quarantine: bool,
    /// Whether its clients are never cut off to save resources.
    pub nevercut: bool,
    /// How old the keys of a connection may become, in seconds.
    pub keyage_s: Option<u32>,
    /// What it is.
    pub textdescription: Option<String>,
}

impl Class {
    fn of(class: &directory::Class) -> Class {
        Class {
            classname: class.name.to_string(),
            terms: ClassRequest {
                secondfactor: class.second_factor,
                limits: class.limits.as_deref().map(String::from),
                quarantine: class.quarantine,
                nevercut: class.never_cut,
                keyage_s: class.key_age_max_s,
                textdescription: class.text_description.as_deref().map(String::from),
            },
        }
    }
}

/// All classes, by name.
#[utoipa::path(get, path = "/v1/directory/classes", tag = "directory", params(PageQuery),
    responses((status = 200, description = "A page of them.", body = Listing<Class>)))]
async fn list(State(control): State<Control>, page: Page) -> Json<Listing<Class>> {
    Json(Listing::from_all(control.directory().classes().map(Class::of), &page, |class| &class.classname))
}

/// One class.
#[utoipa::path(get, path = "/v1/directory/classes/{name}", tag = "directory",
    params(("name" = String, Path, description = "Its name, percent-encoded.")),
    responses((status = 200, description = "The class.", body = Class)))]
async fn show(State(control): State<Control>, Path(name): Path<String>) -> Result<Json<Class>, Problem> {
    control.directory().class(&name).map(Class::of).map(Json).ok_or_else(|| unknown("class", &name))
}

/// Makes a class, or changes it. Connections that were let in by less than it demands now end.
#[utoipa::path(put, path = "/v1/directory/classes/{name}", tag = "directory", request_body = ClassRequest,
    params(("name" = String, Path, description = "Its name, percent-encoded.")),
    responses((status = 200, description = "It was changed.", body = Class),
        (status = 201, description = "It was made.", body = Class)))]
async fn put(
    State(control): State<Control>,
    caller: Caller,
    Path(name): Path<String>,
    Json(request): Json<ClassRequest>,
) -> Result<(StatusCode, Json<Class>), Problem> {
    let was_there = control.directory().class(&name).is_some();
    let new = directory::Class {
        name: name.as_str().into(),
        second_factor: request.secondfactor,
        limits: boxed(request.limits),
        quarantine: request.quarantine,
        never_cut: request.nevercut,
        key_age_max_s: request.keyage_s,
        text_description: boxed(request.textdescription),
    };
    change(control.clone(), caller, "directory.class.set", name.clone(), move |edit| {
        edit.set_class(new)?;
        Ok(Ends::new())
    })
    .await?;
    let shown = show(State(control), Path(name)).await?;
    Ok((put_status(was_there), shown))
}

/// Deletes a class that nobody is of.
#[utoipa::path(delete, path = "/v1/directory/classes/{name}", tag = "directory",
    params(("name" = String, Path, description = "Its name, percent-encoded.")),
    responses((status = 204, description = "It is gone, on disk too.")))]
async fn delete(
    State(control): State<Control>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    control.directory().class(&name).ok_or_else(|| unknown("class", &name))?;
    let which = name.clone();
    change(control, caller, "directory.class.delete", name, move |edit| {
        edit.delete_class(&which)?;
        Ok(Ends::new())
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}
