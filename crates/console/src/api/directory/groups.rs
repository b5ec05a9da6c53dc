//! Groups.

use super::{Api, RoleRef, boxed, change, put_status, unknown};
use crate::auth::Caller;
use crate::body::{Json, Path};
use crate::page::{Listing, Page, PageQuery};
use crate::problem::Problem;
use axum::extract::State;
use axum::http::StatusCode;
use ravelin_node::control::{Control, Ends};
use ravelin_protect::directory;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

/// Members that are shown with a group.
const MEMBERS_MAX: usize = 1000;

pub(in crate::api) fn routes(api: Api) -> Api {
    api.viewer(routes!(list)).viewer(routes!(show)).admin(routes!(put)).admin(routes!(delete))
}

/// A group.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Group {
    /// Its name.
    pub groupname: String,
    /// What it is called by people.
    pub textname: Option<String>,
    /// What it is.
    pub textdescription: Option<String>,
    /// Its roles, in the order in which they are asked.
    pub roles: Vec<RoleRef>,
}

/// A group and who is in it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct GroupWithMembers {
    /// The group.
    #[serde(flatten)]
    pub group: Group,
    /// The identities in it, at most 1000 of them.
    pub clients: Vec<String>,
    /// How many there are.
    pub client_count: u64,
}

/// What a group shall be. What is left out is empty. Who is in it is said of each identity.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GroupRequest {
    /// What it is called by people.
    pub textname: Option<String>,
    /// What it is.
    pub textdescription: Option<String>,
    /// Its roles.
    pub roles: Vec<RoleRef>,
}

impl Group {
    fn of(group: &directory::Group) -> Group {
        Group {
            groupname: group.name.to_string(),
            textname: group.text_name.as_deref().map(String::from),
            textdescription: group.text_description.as_deref().map(String::from),
            roles: group.roles.iter().map(RoleRef::of).collect(),
        }
    }
}

/// All groups, by name.
#[utoipa::path(get, path = "/v1/directory/groups", tag = "directory", params(PageQuery),
    responses((status = 200, description = "A page of them.", body = Listing<Group>)))]
async fn list(State(control): State<Control>, page: Page) -> Json<Listing<Group>> {
    let directory = control.directory();
    Json(Listing::from_all(directory.groups().map(Group::of), &page, |group| &group.groupname))
}

/// One group, and who is in it.
#[utoipa::path(get, path = "/v1/directory/groups/{name}", tag = "directory",
    params(("name" = String, Path, description = "Its name, percent-encoded.")),
    responses((status = 200, description = "The group.", body = GroupWithMembers)))]
async fn show(
    State(control): State<Control>,
    Path(name): Path<String>,
) -> Result<Json<GroupWithMembers>, Problem> {
    let directory = control.directory();
    let group = Group::of(directory.group(&name).ok_or_else(|| unknown("group", &name))?);
    let members = directory.members(&name).map(|identity| identity.name.to_string());
    let mut clients: Vec<String> = members.collect();
    let client_count = clients.len() as u64;
    clients.truncate(MEMBERS_MAX);
    Ok(Json(GroupWithMembers { group, clients, client_count }))
}

/// Makes a group, or changes it.
#[utoipa::path(put, path = "/v1/directory/groups/{name}", tag = "directory", request_body = GroupRequest,
    params(("name" = String, Path, description = "Its name, percent-encoded.")),
    responses((status = 200, description = "It was changed.", body = GroupWithMembers),
        (status = 201, description = "It was made.", body = GroupWithMembers)))]
async fn put(
    State(control): State<Control>,
    caller: Caller,
    Path(name): Path<String>,
    Json(request): Json<GroupRequest>,
) -> Result<(StatusCode, Json<GroupWithMembers>), Problem> {
    let was_there = control.directory().group(&name).is_some();
    let mut new = directory::Group::new(name.as_str());
    new.text_name = boxed(request.textname);
    new.text_description = boxed(request.textdescription);
    new.roles = request.roles.into_iter().map(RoleRef::into_membership).collect();
    change(control.clone(), caller, "directory.group.set", name.clone(), move |edit| {
        let which = new.name.clone();
        match edit.group(&which) {
            None => edit.create_group(new)?,
            Some(_) => edit.modify_group(&which, |known| {
                *known = new;
                Ok(())
            })?,
        }
        Ok(Ends::new())
    })
    .await?;
    let shown = show(State(control), Path(name)).await?;
    Ok((put_status(was_there), shown))
}

/// Deletes a group; who was in it is in it no more.
#[utoipa::path(delete, path = "/v1/directory/groups/{name}", tag = "directory",
    params(("name" = String, Path, description = "Its name, percent-encoded.")),
    responses((status = 204, description = "It is gone, on disk too.")))]
async fn delete(
    State(control): State<Control>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    control.directory().group(&name).ok_or_else(|| unknown("group", &name))?;
    let which = name.clone();
    change(control, caller, "directory.group.delete", name, move |edit| {
        edit.delete_group(&which)?;
        Ok(Ends::new())
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}
