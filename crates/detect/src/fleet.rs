//! The fleet guard: if many raise the same within a short time, one cause is likelier than many, and one alarm says so.

use crate::cx::Cx;
use crate::entities::source_of;
use crate::episodes::{KeyRef, PerDetector};
use crate::{EpisodeSettings, Raise};
use ravelin_event::{Alarm, Counted, Subject};
use std::net::IpAddr;
use std::sync::Arc;

/// Raises of one detector that the guard looks at.
const RECENT_MAX: usize = 1_024;
/// Subjects that a fleet alarm names.
const NAMED_MAX: usize = Alarm::COUNTED_MAX;

/// When somebody raised something, who, and from which source.
pub(crate) type Recent = (u64, Subject, Option<IpAddr>);

impl Cx {
    /// Looks whether others raise the same as `raise` does. Returns the number of the one alarm that stands for all.
    pub(crate) fn fold(&mut self, at_ms: u64, raise: &Raise) -> Option<u64> {
        let settings = Arc::clone(&self.settings);
        let population = match raise.subject {
            Subject::Client(_) | Subject::Device(_) => self.clients.len(),
            Subject::Source(_) => self.sources.len(),
            _ => return None,
        };
        let detector = self.episodes.detector(raise.detector());
        let known = detector.fleet.clone();
        note_recent(detector, at_ms, raise, &settings.episodes);
        let needed = needed_for_fleet(&settings.episodes, population);
        if let Some(subject) = known {
            let many = detector.recent.len();
            // When it is over for most, who still raises it has a reason of its own.
            if many < needed.div_ceil(2) {
                return None;
            }
            let many = many as f64;
            if self.goes_on(at_ms, raise.detector(), &subject, many, raise.severity) {
                let key = KeyRef { detector: raise.detector(), subject: &subject };
                return self.episodes.open.get(&key).map(|episode| episode.id);
            }
            self.episodes.detector(raise.detector()).fleet = None;
        }
        let detector = self.episodes.detector(raise.detector());
        if detector.recent.len() < needed {
            return None;
        }
        let recent: Vec<_> = detector.recent.iter().cloned().collect();
        let fleet = fleet_raise(raise, &recent, population, needed, &settings.episodes);
        detector.fleet = Some(fleet.subject.clone());
        let id = self.open(at_ms, fleet);
        self.clear_folded(at_ms, raise.detector(), &recent);
        id
    }

    /// What was raised before it became clear that it is one thing is over.
    fn clear_folded(&mut self, at_ms: u64, detector: &str, recent: &[Recent]) {
        self.episodes.gathered.retain(|gathered| gathered.raise.detector() != detector);
        for (_, subject, _) in recent {
            self.close(at_ms, detector, subject);
        }
    }
}

fn needed_for_fleet(settings: &EpisodeSettings, population: usize) -> usize {
    let share = population as u64 * u64::from(settings.fleet_percent) / 100 + 1;
    share.max(settings.fleet_min.into()).min(RECENT_MAX as u64) as usize
}

/// Remembers who raised something lately, each once.
fn note_recent(detector: &mut PerDetector, at_ms: u64, raise: &Raise, settings: &EpisodeSettings) {
    let recent = &mut detector.recent;
    let is_old = |(then, ..): &Recent| *then + settings.fleet_window_ms < at_ms;
    while recent.front().is_some_and(is_old) {
        recent.pop_front();
    }
    if !recent.iter().any(|(_, subject, _)| *subject == raise.subject) {
        if recent.len() >= RECENT_MAX {
            recent.pop_front();
        }
        let source = raise.address.map(|address| source_of(address.ip()));
        recent.push_back((at_ms, raise.subject.clone(), source));
    }
}

/// The one alarm that stands for many: about their source, if they have one in common.
fn fleet_raise(
    raise: &Raise,
    recent: &[Recent],
    population: usize,
    needed: usize,
    settings: &EpisodeSettings,
) -> Raise {
    let many = recent.len();
    let first_source = recent.first().and_then(|(_, _, source)| *source);
    let in_common = first_source.filter(|source| recent.iter().all(|(_, _, other)| *other == Some(*source)));
    let subject = in_common.map_or(Subject::Fleet, Subject::Source);
    let of = if matches!(raise.subject, Subject::Source(_)) { "sources" } else { "clients" };
    let (name, seconds) = (raise.detector(), settings.fleet_window_ms / 1_000);
    let whence = in_common.map_or(String::new(), |source| format!(", all at {source}"));
    let summary = format!(
        "{many} of {population} known {of}{whence} raised {name} within {seconds} s: one cause is likelier than \
         {many}. The last: {}",
        raise.summary
    );
    let counted = recent.iter().take(NAMED_MAX / 2).chain(recent.iter().rev().take(NAMED_MAX / 2).rev());
    let counted =
        counted.map(|(at_ms, subject, _)| Counted { at_ms: *at_ms, what: subject.to_string().into() });
    let mut fleet = Raise::new(raise.info, subject, raise.severity, raise.confidence);
    fleet.name = raise.name.clone();
    fleet.first_ms = recent.first().map_or(0, |(at_ms, ..)| *at_ms);
    fleet.statistic = Some(format!("distinct {of} that raise {name} in {seconds} s"));
    (fleet.value, fleet.threshold) = (many as f64, needed as f64);
    fleet.baseline = Some(0.0);
    fleet.unit = of;
    fleet.window_ms = settings.fleet_window_ms;
    fleet.events = many as u64;
    fleet.counted = counted.collect();
    fleet.figures = raise.figures.clone();
    fleet.summary = summary;
    fleet.topic = raise.topic.clone();
    fleet.address = in_common.and(raise.address);
    fleet.quiet_ms = raise.quiet_ms;
    fleet
}
