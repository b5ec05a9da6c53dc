//! The directory: identities, groups, roles, classes, in the words of Mosquitto's dynamic security.

pub mod classes;
pub mod groups;
pub mod identities;
pub mod roles;
pub mod totp;
pub mod whole;

use super::Api;
use crate::auth::Caller;
use crate::problem::Problem;
use crate::state::aside;
use axum::http::StatusCode;
use ravelin_node::control::{Control, DirectoryFailure, Ends};
use ravelin_protect::directory::{DirectoryError, Edit, Membership, PRIORITY_DEFAULT};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub(super) fn routes(api: Api) -> Api {
    let api = identities::routes(api);
    let api = groups::routes(api);
    let api = roles::routes(api);
    let api = classes::routes(api);
    let api = totp::routes(api);
    whole::routes(api)
}

/// A role that somebody has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RoleRef {
    /// The role.
    pub rolename: String,
    /// The higher, the earlier it is asked.
    #[serde(default = "priority_default")]
    #[schema(default = -1)]
    pub priority: i32,
}

/// A group that somebody is in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GroupRef {
    /// The group.
    pub groupname: String,
    /// The higher, the earlier it is asked.
    #[serde(default = "priority_default")]
    #[schema(default = -1)]
    pub priority: i32,
}

fn priority_default() -> i32 {
    PRIORITY_DEFAULT
}

impl RoleRef {
    fn of(membership: &Membership) -> RoleRef {
        RoleRef { rolename: membership.name.to_string(), priority: membership.priority }
    }

    fn into_membership(self) -> Membership {
        Membership { name: self.rolename.into(), priority: self.priority }
    }
}

impl GroupRef {
    fn of(membership: &Membership) -> GroupRef {
        GroupRef { groupname: membership.name.to_string(), priority: membership.priority }
    }

    fn into_membership(self) -> Membership {
        Membership { name: self.groupname.into(), priority: self.priority }
    }
}

/// Changes the directory on a thread that may wait.
async fn change(
    control: Control,
    caller: Caller,
    action: &'static str,
    subject: String,
    change: impl FnOnce(&mut Edit) -> Result<Ends, DirectoryFailure> + Send + 'static,
) -> Result<(), Problem> {
    let done = aside(move || control.change_directory(&caller.0, action, &subject, change)).await?;
    done.map_err(problem)
}

/// What a failure is over HTTP.
fn problem(failure: DirectoryFailure) -> Problem {
    use DirectoryError as E;
    let text = failure.to_string();
    match failure {
        DirectoryFailure::Records(error) => error.into(),
        DirectoryFailure::Unavailable(error) => error.into(),
        DirectoryFailure::Directory(
            E::IdentityExists
            | E::GroupExists
            | E::RoleExists
            | E::ClassExists
            | E::ClassInUse
            | E::AnonymousGroup
            | E::BuiltInRole
            | E::FingerprintTaken
            | E::LimitExceeded { .. },
        ) => Problem::conflict(text),
        _ => Problem::invalid(text),
    }
}

/// What is not there.
fn unknown(what: &str, name: &str) -> Problem {
    Problem::not_found(format!("there is no {what} {name:?} in the directory"))
}

/// 201 for what is new, 200 for what took its place.
fn put_status(was_there: bool) -> StatusCode {
    if was_there { StatusCode::OK } else { StatusCode::CREATED }
}

fn boxed(text: Option<String>) -> Option<Box<str>> {
    text.map(String::into_boxed_str)
}

#[cfg(test)]
mod tests {
    use crate::api::authorization::Lab;
    use axum::http::StatusCode;
    use serde_json::{Value, json};

    #[test]
    fn roles_groups_and_identities_are_made_changed_and_deleted() {
        Lab::run(async |lab: &Lab| {
            let role = r#"{"acls":[{"acltype":"publishClientSend","topic":"meters/%u/#","allow":true}]}"#;
            let (status, shown) = lab.send("PUT", "/v1/directory/roles/meter", role).await;
            assert_eq!((status, &shown["acls"][0]["priority"]), (StatusCode::CREATED, &json!(0)));
            let (status, _) = lab.send("PUT", "/v1/directory/roles/meter", role).await;
            assert_eq!(status, StatusCode::OK);
            let (status, _) =
                lab.send("PUT", "/v1/directory/groups/g", r#"{"roles":[{"rolename":"meter"}]}"#).await;
            assert_eq!(status, StatusCode::CREATED);
            let identity = r#"{"groups":[{"groupname":"g","priority":3}],"password":"secret"}"#;
            let (status, shown) = lab.send("PUT", "/v1/directory/identities/m%2F1", identity).await;
            assert_eq!((status, &shown["username"]), (StatusCode::CREATED, &json!("m/1")));
            assert!(shown["credentials"].as_array().unwrap().contains(&json!("argon2id")), "{shown}");
            assert!(!shown.to_string().contains("secret"));
            let (_, shown) = lab.send("PUT", "/v1/directory/identities/m%2F1", r#"{"disabled":true}"#).await;
            assert!(
                shown["credentials"].as_array().unwrap().contains(&json!("argon2id")),
                "the password stays"
            );
            let (_, group) = lab.get("/v1/directory/groups/g").await;
            assert_eq!((&group["client_count"], &group["clients"]), (&json!(0), &json!([])));
            let (_, list) = lab.get("/v1/directory/roles").await;
            let names: Vec<&Value> =
                list["items"].as_array().unwrap().iter().map(|one| &one["rolename"]).collect();
            assert_eq!(names, [&json!("admin"), &json!("meter")]);
            let (status, _) = lab.send("PUT", "/v1/directory/classes/c", r#"{"secondfactor":"totp"}"#).await;
            assert_eq!(status, StatusCode::CREATED);

            for (method, path, body, expected) in [
                ("PUT", "/v1/directory/identities/a", r#"{"roles":[{"rolename":"x"}]}"#, 422),
                ("PUT", "/v1/directory/identities/a", r#"{"password":""}"#, 422),
                ("PUT", "/v1/directory/roles/admin", role, 409),
                (
                    "PUT",
                    "/v1/directory/roles/r",
                    r#"{"acls":[{"acltype":"publishClientSend","topic":"a#","allow":true}]}"#,
                    422,
                ),
                (
                    "PUT",
                    "/v1/directory/roles/r",
                    r#"{"acls":[{"acltype":"publishClientSend","topic":"a","allow":true,"x":1}]}"#,
                    422,
                ),
                ("DELETE", "/v1/directory/roles/nobody", "", 404),
                ("GET", "/v1/directory/identities/nobody", "", 404),
                ("DELETE", "/v1/directory/identities/m%2F1", "", 204),
                ("DELETE", "/v1/directory/groups/g", "", 204),
                ("DELETE", "/v1/directory/classes/c", "", 204),
            ] {
                assert_eq!(lab.send(method, path, body).await.0.as_u16(), expected, "{method} {path} {body}");
            }
        });
    }

    #[test]
    fn commands_files_and_settings_are_taken() {
        Lab::run(async |lab: &Lab| {
            let request = r#"{"commands":[{"command":"createGroup","groupname":"anyone"},{"command":"getGroup","groupname":"x"}]}"#;
            let (status, answer) = lab.send("POST", "/v1/directory/commands", request).await;
            assert_eq!(status, StatusCode::OK);
            assert_eq!(answer["responses"][1]["error"], "Group not found");
            let settings = r#"{"anonymous_group":"anyone","default_group":null,"defaults":{"publishClientSend":true,
                "publishClientReceive":false,"subscribe":false,"unsubscribe":true}}"#;
            let (status, shown) = lab.send("PUT", "/v1/directory/settings", settings).await;
            assert_eq!((status, &shown["anonymous_group"]), (StatusCode::OK, &json!("anyone")));
            let file = r#"{"file":{"clients":[{"username":"u","roles":[{"rolename":"admin"}]}]}}"#;
            let (status, done) = lab.send("POST", "/v1/directory/import", file).await;
            assert_eq!((status, &done["administrators"]), (StatusCode::OK, &json!(["u"])), "{done}");
            let (_, shown) = lab.get("/v1/directory/identities/u").await;
            assert_eq!(shown["administrator"], false);
            assert_eq!(lab.send("POST", "/v1/directory/import", file).await.0, StatusCode::CONFLICT);
        });
    }

    #[test]
    fn decisions_are_explained_and_new_rules_tried() {
        Lab::run(async |lab: &Lab| {
            let role = r#"{"acls":[{"acltype":"publishClientSend","topic":"a/#","allow":false}]}"#;
            lab.send("PUT", "/v1/directory/roles/r", role).await;
            lab.send("PUT", "/v1/directory/identities/u", r#"{"roles":[{"rolename":"r"}]}"#).await;
            let (status, why) =
                lab.get("/v1/acl/why?client=c&identity=u&action=publish&topic=a%2Fb&qos=1").await;
            assert_eq!((status, &why["allowed"]), (StatusCode::OK, &json!(false)), "{why}");
            assert!(why["text"].as_str().unwrap().contains("role r: deny publishClientSend a/#"), "{why}");
            let (_, why) = lab.get("/v1/acl/why?client=c&identity=u&action=publish&topic=b").await;
            assert_eq!(why["allowed"], true, "the file allows everything");
            let (_, unused) = lab.get("/v1/acl/unused?for=30d").await;
            assert_eq!(unused["grants"], json!([]), "a denial is no grant");
            let (status, result) = lab.send("POST", "/v1/acl/dry-run", r#"{"rules":"topic read a\n"}"#).await;
            assert_eq!((status, &result["refused"]), (StatusCode::OK, &json!([])), "nobody did anything");
            for (path, expected) in [
                ("/v1/acl/why?client=c&action=fly&topic=a", 422),
                ("/v1/acl/why?client=c&action=publish&topic=a&qos=3", 422),
                ("/v1/acl/why?client=c", 400),
                ("/v1/acl/unused?for=ever", 422),
            ] {
                assert_eq!(lab.get(path).await.0.as_u16(), expected, "{path}");
            }
            let (status, problem) =
                lab.send("POST", "/v1/acl/dry-run", r#"{"rules":"topic fly\nfly"}"#).await;
            assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
            assert!(problem["detail"].as_str().unwrap().contains("rules:2:1"), "{problem}");
        });
    }
}
