//! Certificates: revoked, issued, renewed; the private CA and its revocation list.

use super::Api;
use crate::auth::Caller;
use crate::body::{Json, Path};
use crate::page::{Listing, Page, PageQuery};
use crate::peer::Peer;
use crate::problem::Problem;
use crate::state::aside;
use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ravelin_node::config::parse_duration;
use ravelin_node::control::{CertificateDone, Control, IssuedCertificate, KeysFailure, Sessions};
use ravelin_protect::{RevocationError, RevocationSubject};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

pub(super) fn routes(api: Api) -> Api {
    api.viewer(routes!(list))
        .operator(routes!(enrol))
        .open(routes!(renew))
        .viewer(routes!(revocations))
        .operator(routes!(revoke))
        .operator(routes!(lift))
        .viewer(routes!(ca))
        .open(routes!(crl))
}

/// A certificate that the CA issued while the node ran.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Certificate {
    /// Serial number, in hex.
    pub serial: String,
    /// Whose it is.
    pub identity: String,
    /// SHA-256 of it, in hex.
    pub fingerprint: String,
    /// Kind of its key.
    pub key: String,
    /// Begin of validity, in seconds since the Unix epoch.
    pub not_before_s: i64,
    /// End of validity, in seconds since the Unix epoch.
    pub not_after_s: i64,
    /// Who ordered it.
    pub by: String,
    /// When it was revoked, in seconds since the Unix epoch.
    pub revoked_s: Option<u64>,
}

/// A certificate that is asked for.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Enrolment {
    /// Whose it shall be.
    #[schema(example = "meter-7")]
    pub identity: String,
    /// The request, PKCS#10 in PEM. It proves that the requester has the key.
    pub request: String,
    /// How long it shall be valid (`12h`, `7d`), at most as long as configured.
    #[serde(default)]
    pub validity: Option<String>,
}

/// The holder of a certificate asks for the next one.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Renewal {
    /// The certificate that it has, in PEM.
    pub certificate: String,
    /// The request for the next one, PKCS#10 in PEM.
    pub request: String,
    /// In base64, the signature by the key of that certificate over the text `ravelin certificate renewal, version 1`, a
    /// zero byte, and the request in DER.
    pub signature: String,
}

/// A certificate that was just issued.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct NewCertificate {
    /// The certificate, in PEM.
    pub certificate: String,
    /// The CA's certificate, in PEM.
    pub ca: String,
    /// What is remembered of it.
    pub issued: Certificate,
}

/// What is to be revoked: exactly one of `serial`, `fingerprint`, `certificates_of` and `identity`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Selector {
    /// The certificate with this serial number, in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// With `serial`: only that of this issuer (distinguished name).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// The certificate with this SHA-256 fingerprint, in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// All certificates that this identity has so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificates_of: Option<String>,
    /// This identity, however it proves itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
}

/// An order to revoke.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct RevokeOrder {
    /// What.
    pub what: Selector,
    /// Why.
    #[serde(default)]
    pub reason: String,
    /// Whether the sessions go with their subscriptions and queued messages; otherwise they stay.
    #[serde(default)]
    pub wipe: bool,
}

/// A revocation that is in force.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Revoked {
    /// Its name: `serial/...`, `fingerprint/...`, `certificates/...` or `identity/...`.
    pub key: String,
    /// Why.
    pub reason: String,
    /// By whom.
    pub by: String,
    /// When, in seconds since the Unix epoch.
    pub at_s: u64,
}

/// What a revocation did.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct RevokeReport {
    /// The revocation.
    pub revocation: Revoked,
    /// Connections that were ended.
    pub disconnected: u64,
    /// Sessions that were wiped.
    pub wiped: u64,
    /// Microseconds from the order until the last connection was ended.
    pub took_us: u64,
    /// What became of the CA's revocation list.
    pub list: String,
}

/// The private CA.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct CaInfo {
    /// Its distinguished name.
    pub name: String,
    /// End of its validity, in seconds since the Unix epoch.
    pub not_after_s: i64,
    /// Certificates that are remembered.
    pub issued: u64,
    /// When its revocation list was made, in seconds since the Unix epoch.
    pub list_this_update_s: Option<i64>,
    /// When the next one is due, in seconds since the Unix epoch.
    pub list_next_update_s: Option<i64>,
}

impl From<KeysFailure> for Problem {
    fn from(error: KeysFailure) -> Problem {
        let detail = error.to_string();
        match error {
            KeysFailure::Revocation(RevocationError::Full) => Problem::conflict(detail),
            KeysFailure::Revocation(_) | KeysFailure::Request(_) => Problem::invalid(detail),
            KeysFailure::Revoked(_) => Problem::new(StatusCode::FORBIDDEN, detail),
            KeysFailure::NoCa => Problem::not_found(detail)
                .help("add `[ca]` with `certificate` and `key` to the configuration"),
            KeysFailure::Ca(_) => Problem::internal(detail).help("see `[ca]` of the configuration"),
            KeysFailure::TooMany(_) => Problem::conflict(detail),
            KeysFailure::Unavailable(error) => error.into(),
            KeysFailure::Records(_) => Problem::unavailable(detail),
            _ => Problem::internal(detail),
        }
    }
}

fn certificate(issued: IssuedCertificate) -> Certificate {
    Certificate {
        serial: issued.serial,
        identity: issued.identity,
        fingerprint: issued.fingerprint,
        key: issued.key,
        not_before_s: issued.not_before_s,
        not_after_s: issued.not_after_s,
        by: issued.by,
        revoked_s: issued.revoked_s,
    }
}

fn issued(done: CertificateDone) -> (StatusCode, Json<NewCertificate>) {
    let CertificateDone { certificate: pem, ca, issued } = done;
    (StatusCode::CREATED, Json(NewCertificate { certificate: pem, ca, issued: certificate(issued) }))
}

fn revoked(revocation: &ravelin_protect::Revocation) -> Revoked {
    Revoked {
        key: revocation.subject.key(),
        reason: revocation.reason.clone(),
        by: revocation.by.clone(),
        at_s: revocation.at_s,
    }
}

/// The certificates that the CA issued while the node ran, by serial number.
#[utoipa::path(get, path = "/v1/certificates", tag = "certificates", params(PageQuery),
    responses((status = 200, description = "A page of them.", body = Listing<Certificate>)))]
async fn list(State(control): State<Control>, page: Page) -> Result<Json<Listing<Certificate>>, Problem> {
    let (after, max) = (page.after.clone(), page.fetch());
    let all = aside(move || control.certificates(after.as_deref(), max)).await?;
    Ok(Json(Listing::of(all.into_iter().map(certificate).collect(), &page, |one: &Certificate| &one.serial)))
}

/// Issues a certificate for a request. The key is the requester's own and never comes here.
#[utoipa::path(post, path = "/v1/certificates", tag = "certificates", request_body = Enrolment,
    responses((status = 201, description = "The certificate.", body = NewCertificate),
        (status = 422, description = "The request, its key or a name in it is not acceptable.", body = crate::problem::ProblemBody)))]
async fn enrol(
    State(control): State<Control>,
    Caller(actor): Caller,
    Json(order): Json<Enrolment>,
) -> Result<(StatusCode, Json<NewCertificate>), Problem> {
    let validity = match &order.validity {
        None => None,
        Some(text) => {
            Some(parse_duration(text).filter(|validity| validity.as_secs() >= 60).ok_or_else(|| {
                Problem::invalid("`validity` is a duration of a minute or more").help("write \"7d\"")
            })?)
        }
    };
    let done =
        aside(move || control.enrol(&actor, &order.identity, order.request.as_bytes(), validity)).await??;
    Ok(issued(done))
}

/// Renews a certificate: whoever holds it proves that by a signature, and needs no role.
#[utoipa::path(post, path = "/v1/certificates/renew", tag = "certificates", request_body = Renewal,
    responses((status = 201, description = "The next certificate.", body = NewCertificate),
        (status = 422, description = "The certificate, the signature or the request is not acceptable.", body = crate::problem::ProblemBody)))]
async fn renew(
    State(control): State<Control>,
    peer: Option<Extension<Peer>>,
    Json(order): Json<Renewal>,
) -> Result<(StatusCode, Json<NewCertificate>), Problem> {
    let signature =
        STANDARD.decode(&order.signature).map_err(|_| Problem::invalid("`signature` is not base64"))?;
    let address = peer.map(|Extension(peer)| peer.address());
    let done = aside(move || {
        control.renew(address, order.certificate.as_bytes(), order.request.as_bytes(), &signature)
    })
    .await??;
    Ok(issued(done))
}

/// What is revoked, by key.
#[utoipa::path(get, path = "/v1/revocations", tag = "certificates", params(PageQuery),
    responses((status = 200, description = "A page of it.", body = Listing<Revoked>)))]
async fn revocations(State(control): State<Control>, page: Page) -> Result<Json<Listing<Revoked>>, Problem> {
    let (after, max) = (page.after.clone(), page.fetch());
    let all = aside(move || control.revocations(after.as_deref(), max)).await?;
    Ok(Json(Listing::of(all.iter().map(revoked).collect(), &page, |one: &Revoked| &one.key)))
}

/// Revokes certificates or an identity. When this answers, its sessions are closed, its tickets resume nothing, and the
/// revocation is on disk.
#[utoipa::path(post, path = "/v1/revocations", tag = "certificates", request_body = RevokeOrder,
    responses((status = 201, description = "It is in force.", body = RevokeReport),
        (status = 422, description = "It cannot be meant.", body = crate::problem::ProblemBody)))]
async fn revoke(
    State(control): State<Control>,
    Caller(actor): Caller,
    Json(order): Json<RevokeOrder>,
) -> Result<(StatusCode, Json<RevokeReport>), Problem> {
    let subject = subject(&order.what)?;
    let sessions = if order.wipe { Sessions::Wipe } else { Sessions::Keep };
    let done = aside(move || control.revoke_certificate(&actor, subject, &order.reason, sessions)).await??;
    let report = RevokeReport {
        revocation: revoked(&done.revocation),
        disconnected: done.disconnected as u64,
        wiped: done.wiped as u64,
        took_us: done.took.as_micros() as u64,
        list: done.list.to_string(),
    };
    Ok((StatusCode::CREATED, Json(report)))
}

fn subject(what: &Selector) -> Result<RevocationSubject, Problem> {
    let Selector { serial, issuer, fingerprint, certificates_of, identity } = what;
    if issuer.is_some() && serial.is_none() {
        return Err(Problem::invalid("`issuer` goes with `serial`"));
    }
    let subject = match (serial, fingerprint, certificates_of, identity) {
        (Some(serial), None, None, None) => RevocationSubject::serial(serial, issuer.as_deref()),
        (None, Some(fingerprint), None, None) => RevocationSubject::fingerprint(fingerprint),
        (None, None, Some(identity), None) => RevocationSubject::certificates_of(identity),
        (None, None, None, Some(identity)) => RevocationSubject::identity(identity),
        _ => {
            let what = "exactly one of `serial`, `fingerprint`, `certificates_of` and `identity` is revoked";
            return Err(Problem::invalid(what));
        }
    };
    subject.map_err(|error| Problem::invalid(error.to_string()))
}

/// Takes the revocation of an identity back. Certificates stay revoked: the lists that say so are everywhere.
#[utoipa::path(delete, path = "/v1/revocations/identity/{identity}", tag = "certificates",
    params(("identity" = String, Path, description = "The identity, percent-encoded.")),
    responses((status = 204, description = "It is lifted, on disk too.")))]
async fn lift(
    State(control): State<Control>,
    Caller(actor): Caller,
    Path(identity): Path<String>,
) -> Result<StatusCode, Problem> {
    let subject =
        RevocationSubject::identity(&identity).map_err(|error| Problem::invalid(error.to_string()))?;
    match aside(move || control.lift_revocation(&actor, &subject)).await?? {
        true => Ok(StatusCode::NO_CONTENT),
        false => {
            Err(Problem::not_found(format!("{identity:?} is not revoked")).help("see GET /v1/revocations"))
        }
    }
}

/// The private CA, and how current its revocation list is.
#[utoipa::path(get, path = "/v1/ca", tag = "certificates",
    responses((status = 200, description = "The CA.", body = CaInfo)))]
async fn ca(State(control): State<Control>) -> Result<Json<CaInfo>, Problem> {
    let status = aside(move || control.ca_status()).await??;
    Ok(Json(CaInfo {
        name: status.name,
        not_after_s: status.not_after_s,
        issued: status.issued as u64,
        list_this_update_s: status.list.as_ref().map(|list| list.this_update_s),
        list_next_update_s: status.list.and_then(|list| list.next_update_s),
    }))
}

/// The CA's revocation list in PEM, for whoever verifies its certificates: it is signed, and no secret.
#[utoipa::path(get, path = "/crl", tag = "certificates",
    responses((status = 200, description = "The list.", body = String, content_type = "application/x-pem-file")))]
async fn crl(State(control): State<Control>) -> Result<Response, Problem> {
    let list = aside(move || control.ca_list()).await??;
    Ok(([(CONTENT_TYPE, "application/x-pem-file")], list).into_response())
}
