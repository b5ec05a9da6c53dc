//! Roles and their rules.

use super::{Api, boxed, change, put_status, unknown};
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

pub(in crate::api) fn routes(api: Api) -> Api {
    api.viewer(routes!(list)).viewer(routes!(show)).admin(routes!(put)).admin(routes!(delete))
}

/// A role.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Role {
    /// Its name.
    pub rolename: String,
    /// What it is called by people.
    pub textname: Option<String>,
    /// What it is.
    pub textdescription: Option<String>,
    /// Whether filters with wildcards may be subscribed to.
    pub allowwildcardsubs: bool,
    /// Its rules.
    pub acls: Vec<Rule>,
}

/// What a role shall be. What is left out is empty.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RoleRequest {
    /// What it is called by people.
    #[serde(default)]
    pub textname: Option<String>,
    /// What it is.
    #[serde(default)]
    pub textdescription: Option<String>,
    /// Whether filters with wildcards may be subscribed to.
    #[serde(default = "yes")]
    #[schema(default = true)]
    pub allowwildcardsubs: bool,
    /// Its rules.
    #[serde(default)]
    pub acls: Vec<Rule>,
}

fn yes() -> bool {
    true
}

/// A rule of a role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// What it is about: `publishClientSend`, `publishClientReceive`, `subscribeLiteral`, `subscribePattern`,
    /// `unsubscribeLiteral` or `unsubscribePattern`.
    #[schema(value_type = String, example = "publishClientSend")]
    pub acltype: directory::RuleType,
    /// The topic or filter. A level may be `%c`, `%u`, `%g` or `%{cert.ou}` and the like.
    #[schema(example = "meters/%u/#")]
    pub topic: String,
    /// The higher, the earlier it is asked within its role.
    #[serde(default)]
    pub priority: i32,
    /// Whether it allows or denies.
    pub allow: bool,
    /// For publishing and subscribing: it allows up to this QoS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qosmax: Option<u8>,
    /// For publishing: it is only about messages with (or without) the retain flag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retain: Option<bool>,
    /// For subscribing: it is only about shared subscriptions of this group; empty, only about those that are not shared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sharedgroup: Option<String>,
}

impl Rule {
    fn of(rule: &directory::Rule) -> Rule {
        Rule {
            acltype: rule.rule_type,
            topic: rule.topic.to_string(),
            priority: rule.priority,
            allow: rule.allow,
            qosmax: rule.qos_max,
            retain: rule.retain,
            sharedgroup: rule.shared_group.as_deref().map(String::from),
        }
    }

    fn into_rule(self) -> directory::Rule {
        let mut rule = directory::Rule::new(self.acltype, self.topic, self.allow);
        rule.priority = self.priority;
        rule.qos_max = self.qosmax;
        rule.retain = self.retain;
        rule.shared_group = self.sharedgroup.map(Into::into);
        rule
    }
}

impl Role {
    fn of(role: &directory::Role) -> Role {
        Role {
            rolename: role.name.to_string(),
            textname: role.text_name.as_deref().map(String::from),
            textdescription: role.text_description.as_deref().map(String::from),
            allowwildcardsubs: role.allow_wildcard_subscriptions,
            acls: role.rules.iter().map(Rule::of).collect(),
        }
    }
}

/// All roles, by name; the built-in one among them.
#[utoipa::path(get, path = "/v1/directory/roles", tag = "directory", params(PageQuery),
    responses((status = 200, description = "A page of them.", body = Listing<Role>)))]
async fn list(State(control): State<Control>, page: Page) -> Json<Listing<Role>> {
    let directory = control.directory();
    Json(Listing::from_all(directory.roles().map(Role::of), &page, |role| &role.rolename))
}

/// One role.
#[utoipa::path(get, path = "/v1/directory/roles/{name}", tag = "directory",
    params(("name" = String, Path, description = "Its name, percent-encoded.")),
    responses((status = 200, description = "The role.", body = Role)))]
async fn show(State(control): State<Control>, Path(name): Path<String>) -> Result<Json<Role>, Problem> {
    let directory = control.directory();
    directory.role(&name).map(Role::of).map(Json).ok_or_else(|| unknown("role", &name))
}

/// Makes a role, or changes it. When this answers, what is subscribed, queued and under way was checked by it.
#[utoipa::path(put, path = "/v1/directory/roles/{name}", tag = "directory", request_body = RoleRequest,
    params(("name" = String, Path, description = "Its name, percent-encoded.")),
    responses((status = 200, description = "It was changed.", body = Role),
        (status = 201, description = "It was made.", body = Role)))]
async fn put(
    State(control): State<Control>,
    caller: Caller,
    Path(name): Path<String>,
    Json(request): Json<RoleRequest>,
) -> Result<(StatusCode, Json<Role>), Problem> {
    let was_there = control.directory().role(&name).is_some();
    let mut new = directory::Role::new(name.as_str());
    new.text_name = boxed(request.textname);
    new.text_description = boxed(request.textdescription);
    new.allow_wildcard_subscriptions = request.allowwildcardsubs;
    new.rules = request.acls.into_iter().map(Rule::into_rule).collect();
    change(control.clone(), caller, "directory.role.set", name.clone(), move |edit| {
        let which = new.name.clone();
        match edit.role(&which) {
            None => edit.create_role(new)?,
            Some(_) => edit.modify_role(&which, |known| {
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

/// Deletes a role; whoever had it has it no more.
#[utoipa::path(delete, path = "/v1/directory/roles/{name}", tag = "directory",
    params(("name" = String, Path, description = "Its name, percent-encoded.")),
    responses((status = 204, description = "It is gone, on disk too.")))]
async fn delete(
    State(control): State<Control>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    control.directory().role(&name).ok_or_else(|| unknown("role", &name))?;
    let which = name.clone();
    change(control, caller, "directory.role.delete", name, move |edit| {
        edit.delete_role(&which)?;
        Ok(Ends::new())
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}
