//! One-time codes: a secret is made for an identity of the directory and shown once.

use super::{Api, change, unknown};
use crate::auth::Caller;
use crate::body::{Json, Path};
use crate::problem::Problem;
use axum::extract::State;
use axum::http::StatusCode;
use ravelin_node::control::{Control, Ends};
use ravelin_protect::totp::Totp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

pub(in crate::api) fn routes(api: Api) -> Api {
    api.admin(routes!(enrol, withdraw))
}

/// A secret that was just made. It is shown this once.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct TotpEnrolled {
    /// What authenticators read, as a QR code or pasted: `otpauth://totp/...`.
    pub uri: String,
    /// The secret alone, in base32, to be typed.
    pub secret: String,
}

/// Makes a secret of one-time codes for an identity; one that it had is good no more. When this answers, it is on disk.
#[utoipa::path(post, path = "/v1/directory/identities/{name}/totp", tag = "directory",
    params(("name" = String, Path, description = "The identity, percent-encoded.")),
    responses((status = 201, description = "The secret, shown once.", body = TotpEnrolled)))]
async fn enrol(
    State(control): State<Control>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<(StatusCode, Json<TotpEnrolled>), Problem> {
    let issuer = control.config().node.name.clone();
    let totp = Totp::create().map_err(|error| Problem::internal(error.to_string()))?;
    let shown = TotpEnrolled { uri: totp.uri(&issuer, &name).to_string(), secret: totp.base32().to_string() };
    set(control, caller, "directory.totp.enrol", name, Some(totp)).await?;
    Ok((StatusCode::CREATED, Json(shown)))
}

/// Takes an identity's secret of one-time codes away: where a code is demanded of it, it is refused.
#[utoipa::path(delete, path = "/v1/directory/identities/{name}/totp", tag = "directory",
    params(("name" = String, Path, description = "The identity, percent-encoded.")),
    responses((status = 204, description = "It is gone, on disk too.")))]
async fn withdraw(
    State(control): State<Control>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    set(control, caller, "directory.totp.withdraw", name, None).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn set(
    control: Control,
    caller: Caller,
    action: &'static str,
    name: String,
    totp: Option<Totp>,
) -> Result<(), Problem> {
    control.directory().identity(&name).ok_or_else(|| unknown("identity", &name))?;
    let which = name.clone();
    change(control, caller, action, name, move |edit| {
        edit.modify_identity(&which, |identity| {
            identity.credentials = identity.credentials.with_totp(totp.as_ref())?;
            Ok(())
        })?;
        // Whoever is connected by a code of the old secret is met by the check of all connections.
        Ok(Ends::new())
    })
    .await
}

#[cfg(test)]
mod tests {
    use crate::api::authorization::Lab;
    use axum::http::StatusCode;
    use ravelin_node::control::Role;
    use ravelin_protect::totp::{Totp, TotpAlgorithm};
    use serde_json::Value;

    #[test]
    fn a_secret_is_shown_once_and_is_the_one_that_counts() {
        Lab::run(async |lab| {
            let call = async |method: &str, path: &str, body: &str| {
                let headers = [("content-type", "application/json")];
                let (status, _, body) = lab.call(Some(Role::Admin), method, path, &headers, body).await;
                (status, body)
            };
            let path = "/v1/directory/identities/meter-7/totp";
            assert_eq!(call("POST", path, "").await.0, StatusCode::NOT_FOUND);
            let (status, _) =
                call("PUT", "/v1/directory/identities/meter-7", r#"{"password":"correct horse"}"#).await;
            assert_eq!(status, StatusCode::CREATED);
            let (status, body) = call("POST", path, "").await;
            assert_eq!(status, StatusCode::CREATED);
            let shown: Value = serde_json::from_str(&body).unwrap();
            let secret = shown["secret"].as_str().unwrap();
            let uri = shown["uri"].as_str().unwrap();
            assert!(
                uri.starts_with("otpauth://totp/ravelin:meter-7?secret=") && uri.contains(secret),
                "{uri}"
            );
            let kept = || {
                let directory = lab.state.control.directory();
                directory.identity("meter-7").unwrap().credentials.user().clone()
            };
            let totp = Totp::from_base32(TotpAlgorithm::Sha1, 6, 30, secret).unwrap();
            assert_eq!(kept().totp.unwrap().code(7), totp.code(7));
            let (_, body) = call("GET", "/v1/directory/identities/meter-7", "").await;
            assert!(body.contains("totp") && !body.contains(secret), "{body}");
            let (_, second) = call("POST", path, "").await;
            assert!(!second.contains(secret), "another secret each time");
            assert_eq!(call("DELETE", path, "").await.0, StatusCode::NO_CONTENT);
            assert!(kept().totp.is_none() && kept().password.is_some(), "the password stays");
        });
    }
}
