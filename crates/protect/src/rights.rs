//! What a client may do, by the access-rules file and the directory together.
//!
//! What is taken from a client for a time ([`crate::restraints`]) it has not, whatever rules say. Else, in this order:
//! 1. a denial in the file holds, whatever the directory says;
//! 2. what a rule of the directory says holds (and that an identity is disabled, or that a topic is for administrators);
//! 3. what a rule of the file allows is allowed;
//! 4. what the directory's default for its own identities allows is allowed;
//! 5. everything else is denied. Everyone may unsubscribe where no rule of the directory denies it.

use crate::access::{self, AccessRules};
use crate::directory::{Action, Directory, Step};
use crate::restraints::Restraints;
use ravelin_event::Principal;
use serde::Serialize;
use std::sync::Arc;

/// What clients may do. A snapshot, cheap to copy.
#[derive(Clone)]
pub struct Rights {
    /// The access-rules file.
    pub access: Arc<AccessRules>,
    /// The directory.
    pub directory: Directory,
    /// What is taken from clients for a time. It only takes.
    pub restraints: Restraints,
}

/// A decision with all its reasons.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// Whether the action is allowed.
    pub allowed: bool,
    /// Who asked.
    pub client_id: String,
    /// Its identity.
    pub identity: Option<String>,
    /// The action: `publish`, `receive`, `subscribe` or `unsubscribe`.
    pub action: &'static str,
    /// The topic or filter.
    pub topic: String,
    /// Everything that was looked at, in order.
    pub steps: Vec<Step>,
}

/// What the file says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum File {
    Denies,
    Allows,
    Silent,
}

impl Rights {
    /// Whether `who` may do that. Nothing is allocated.
    pub fn may(&self, who: &Principal, action: Action<'_>) -> bool {
        if self.restraints.denies(who, action, &self.directory).is_some() {
            return false;
        }
        let file = self.file(who, action);
        if file == File::Denies {
            return false;
        }
        let verdict = self.directory.decide(who, action);
        match verdict.explicit {
            true => verdict.allowed,
            false => file == File::Allows || verdict.allowed,
        }
    }

    fn file(&self, who: &Principal, action: Action<'_>) -> File {
        let Some((action, topic)) = in_file(action) else { return File::Silent };
        match self.access.decide(who, action, topic) {
            Some(true) => File::Allows,
            Some(false) => File::Denies,
            None => File::Silent,
        }
    }

    /// The decision, and everything that was looked at. Slower than [`Rights::may`], always of the same opinion; marks
    /// nothing as used.
    pub fn explain(&self, who: &Principal, action: Action<'_>) -> Explanation {
        let mut steps = Vec::new();
        let mut file = File::Silent;
        if let Some((access, topic)) = in_file(action) {
            let decision = self.access.explain(who, access, topic);
            file = match (decision.allowed, decision.rule) {
                (true, _) => File::Allows,
                (false, Some(_)) => File::Denies,
                (false, None) => File::Silent,
            };
            let (what, outcome) = match (decision.rule, file) {
                (Some(rule), File::Denies) => (format!("line {}: {}", rule.line, rule.text), "denies"),
                (Some(rule), _) => {
                    (format!("line {}: {}", rule.line, rule.text), "allows, unless the directory denies")
                }
                (None, File::Allows) => {
                    ("dangerous_allow_everything".into(), "allows, unless the directory denies")
                }
                (None, _) => ("access rules".into(), "no rule of the file is about this"),
            };
            steps.push(Step {
                source: "file",
                role: None,
                group: None,
                what,
                outcome: outcome.into(),
                decides: file == File::Denies,
            });
        }
        let mut allowed = false;
        if file != File::Denies {
            let reasoning = self.directory.explain(who, action);
            allowed = reasoning.allowed;
            steps.extend(reasoning.steps);
            if !reasoning.explicit && file == File::Allows {
                allowed = true;
                // The file has the word where the directory has no rule.
                if let Some(last) = steps.last_mut() {
                    last.decides = false;
                }
                if let Some(first) = steps.first_mut() {
                    first.decides = true;
                    first.outcome = "allows".into();
                }
            }
        }
        if let Some(restraint) = self.restraints.denies(who, action, &self.directory) {
            allowed = false;
            steps.iter_mut().for_each(|step| step.decides = false);
            let (what, outcome) = (restraint.to_string(), "denies, whatever rules say".into());
            steps.push(Step { source: "restraint", role: None, group: None, what, outcome, decides: true });
        }
        Explanation {
            allowed,
            client_id: who.client_id.to_string(),
            identity: who.identity.as_deref().map(String::from),
            action: action.name(),
            topic: action.topic().into(),
            steps,
        }
    }
}

/// The question as the file knows it. It has nothing on unsubscribing.
fn in_file(action: Action<'_>) -> Option<(access::Action, &str)> {
    match action {
        Action::Publish { topic, .. } => Some((access::Action::Publish, topic)),
        Action::Receive { topic } => Some((access::Action::Receive, topic)),
        Action::Subscribe { filter, .. } => Some((access::Action::Subscribe, filter)),
        Action::Unsubscribe { .. } => None,
    }
}

/// As text: the answer first, then a line for each step.
impl std::fmt::Display for Explanation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let answer = if self.allowed { "allowed" } else { "denied" };
        let identity = self.identity.as_deref().unwrap_or("anonymous");
        writeln!(f, "{answer}: client {:?} ({identity}) {} {:?}", self.client_id, self.action, self.topic)?;
        for step in &self.steps {
            let mark = if step.decides { "=>" } else { "  " };
            write!(f, "{mark} {}", step.source)?;
            if let Some(group) = &step.group {
                write!(f, " group {group}")?;
            }
            if let Some(role) = &step.role {
                write!(f, " role {role}")?;
            }
            writeln!(f, ": {}: {}", step.what, step.outcome)?;
        }
        Ok(())
    }
}
