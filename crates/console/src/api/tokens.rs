//! API tokens: made, listed, revoked. A token is shown once, when it is made.

use super::Api;
use crate::auth::Caller;
use crate::body::{Json, Path};
use crate::page::{Listing, Page, PageQuery};
use crate::problem::Problem;
use crate::state::{ApiState, aside};
use crate::tokens::{NewToken, Token, TokensError};
use axum::extract::State;
use axum::http::StatusCode;
use ravelin_node::config::{format_duration, parse_duration};
use ravelin_node::control::Role;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use utoipa::ToSchema;
use utoipa_axum::routes;

/// A token lasts so long unless asked otherwise, and at most ten years.
const LIFE_DEFAULT: Duration = Duration::from_secs(90 * 86_400);
const LIFE_MAX: Duration = Duration::from_secs(3650 * 86_400);

pub(super) fn routes(api: Api) -> Api {
    api.admin(routes!(list, create)).admin(routes!(revoke))
}

/// What a token shall be.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// What it is for: 1 to 64 characters.
    #[schema(example = "prometheus")]
    pub name: String,
    /// `viewer`, `operator` or `admin`.
    #[schema(value_type = String, example = "viewer")]
    pub role: Role,
    /// How long it lasts (`12h`, `30d`) [default: 90d, at most 3650d].
    #[serde(default)]
    #[schema(example = "30d")]
    pub expires_in: Option<String>,
}

/// A token that was just made.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct TokenCreated {
    /// The secret: `Authorization: Bearer SECRET`. It is shown this once.
    pub secret: String,
    /// The token.
    pub token: Token,
}

/// All tokens, without what proves them.
#[utoipa::path(get, path = "/v1/tokens", tag = "tokens", params(PageQuery),
    responses((status = 200, description = "A page of them, by id.", body = Listing<Token>)))]
async fn list(State(state): State<ApiState>, page: Page) -> Json<Listing<Token>> {
    Json(Listing::from_all(state.lane.tokens.list(), &page, |token| &token.id))
}

/// Makes a token. When this answers, it is on disk.
#[utoipa::path(post, path = "/v1/tokens", tag = "tokens", request_body = TokenRequest,
    responses((status = 201, description = "Its secret, shown once.", body = TokenCreated)))]
async fn create(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Json(request): Json<TokenRequest>,
) -> Result<(StatusCode, Json<TokenCreated>), Problem> {
    let name = request.name.clone();
    if ravelin_protect::check_identity(&name).is_err() || name.chars().count() > 64 {
        return Err(Problem::invalid("`name` is 1 to 64 characters, without control characters and + # /"));
    }
    let life = match &request.expires_in {
        None => LIFE_DEFAULT,
        Some(text) => parse_duration(text)
            .filter(|life| (Duration::from_secs(1)..=LIFE_MAX).contains(life))
            .ok_or_else(|| {
                Problem::invalid("`expires_in` is a duration from 1s to 3650d").help("write \"30d\"")
            })?,
    };
    let now_s = state.now_s();
    let new = NewToken {
        name,
        role: request.role,
        expires_s: now_s + life.as_secs(),
        created_by: actor.name.clone(),
    };
    let (tokens, max) = (state.lane.tokens.clone(), state.settings().limits.tokens_max as usize);
    let (secret, token, number) =
        aside(move || tokens.create(new, now_s, max)).await?.map_err(|error| match error {
            TokensError::TooMany(_) => {
                Problem::conflict(error.to_string()).help("revoke one that nobody uses")
            }
            TokensError::Random => Problem::internal(error.to_string()),
            TokensError::Records(error) => error.into(),
        })?;
    state.control.records().settled(number).await?;
    let detail = format!("{} as {}, for {}", token.name, token.role.name(), format_duration(life));
    state.control.administered(&actor, "token.create", &token.id, Ok(&detail));
    Ok((StatusCode::CREATED, Json(TokenCreated { secret, token })))
}

/// Revokes a token: the next request with it is refused.
#[utoipa::path(delete, path = "/v1/tokens/{id}", tag = "tokens",
    params(("id" = String, Path, description = "The token's id.")),
    responses((status = 204, description = "It is revoked, on disk too.")))]
async fn revoke(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let (tokens, which) = (state.lane.tokens.clone(), id.clone());
    let revoked = aside(move || tokens.revoke(&which)).await??;
    let (token, number) = revoked
        .ok_or_else(|| Problem::not_found("there is no token with this id").help("see GET /v1/tokens"))?;
    state.control.administered(&actor, "token.revoke", &id, Ok(&token.name));
    state.control.records().settled(number).await?;
    Ok(StatusCode::NO_CONTENT)
}
