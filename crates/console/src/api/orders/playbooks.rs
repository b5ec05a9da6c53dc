//! Playbooks, what they did, and the posture.

use super::super::Api;
use crate::body::Json;
use axum::extract::State;
use ravelin_node::control::Control;
use ravelin_respond::{Action, Posture, State as OrderState};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

pub(super) fn routes(api: Api) -> Api {
    api.viewer(routes!(playbooks)).viewer(routes!(posture))
}

/// A playbook.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct PlaybookItem {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// The rows of the Core that it serves.
    pub core: Vec<String>,
    /// `automatic`, `ask` or `observe`.
    pub mode: String,
    /// The detectors that it answers; none: all.
    pub detectors: Vec<String>,
    /// What it does.
    pub steps: Vec<StepItem>,
    /// Alarms that met its conditions since the start.
    pub matched: u64,
    /// Actions that it would have taken.
    pub observed: u64,
    /// Actions that it asked for.
    pub asked: u64,
    /// Actions that it took.
    pub acted: u64,
    /// Actions that it may not take, or that an alarm had no names for.
    pub refused: u64,
    /// The last alarm that met its conditions.
    pub last_alarm: Option<u64>,
    /// When that was, in milliseconds since the Unix epoch.
    pub last_ms: Option<u64>,
}

/// One action of a playbook.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct StepItem {
    /// What is done; `{...}` is filled from the alarm.
    #[schema(value_type = Object)]
    pub action: Action,
    /// For how many seconds; null: as the action's policy has it.
    pub time_s: Option<u64>,
}

/// How strict the node is.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct PostureItem {
    /// `normal`, `elevated` or `lockdown`.
    pub posture: String,
    /// What that closes, in words.
    pub closes: String,
    /// The orders that raise it; the strictest counts.
    pub orders: Vec<u64>,
    /// What each level closes.
    pub stages: Vec<StageItem>,
}

/// What a level closes.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct StageItem {
    /// The level.
    pub level: String,
    /// What it closes, in words.
    pub closes: String,
}

/// The playbooks, and what each has done since the start.
#[utoipa::path(get, path = "/v1/playbooks", tag = "respond",
    responses((status = 200, description = "All of them.", body = [PlaybookItem])))]
async fn playbooks(State(control): State<Control>) -> Json<Vec<PlaybookItem>> {
    let text = |names: &[std::sync::Arc<str>]| names.iter().map(ToString::to_string).collect();
    Json(control.respond(|desk, _| {
        let item = |(playbook, figures): (&ravelin_respond::Playbook, &ravelin_respond::PlaybookFigures)| {
            let steps = playbook.steps.iter();
            PlaybookItem {
                name: playbook.name.to_string(),
                description: playbook.description.to_string(),
                core: text(&playbook.core),
                mode: playbook.mode.name().into(),
                detectors: text(&playbook.when.detectors),
                steps: steps
                    .map(|step| StepItem { action: step.action.clone(), time_s: step.time_s })
                    .collect(),
                matched: figures.matched,
                observed: figures.observed,
                asked: figures.asked,
                acted: figures.acted,
                refused: figures.refused,
                last_alarm: figures.last_alarm,
                last_ms: figures.last_ms,
            }
        };
        desk.playbooks().map(item).collect()
    }))
}

/// How strict the node is, and what each level closes.
#[utoipa::path(get, path = "/v1/posture", tag = "respond",
    responses((status = 200, description = "How it is.", body = PostureItem)))]
async fn posture(State(control): State<Control>) -> Json<PostureItem> {
    let posture = control.posture();
    let raises = |action: &Action| matches!(action, Action::Posture { .. });
    let orders = control.respond(|desk, _| {
        let raised = desk.orders().filter(|one| one.state == OrderState::InForce && raises(&one.action));
        raised.map(|order| order.id).collect()
    });
    let stages = [Posture::Normal, Posture::Elevated, Posture::Lockdown];
    Json(PostureItem {
        posture: posture.name().into(),
        closes: control.posture_closes(posture),
        orders,
        stages: stages
            .map(|level| StageItem { level: level.name().into(), closes: control.posture_closes(level) })
            .into(),
    })
}
