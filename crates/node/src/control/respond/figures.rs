//! What is counted of response.

use ravelin_respond::{ActionKind, DeskFigures};
use std::sync::atomic::{AtomicU64, Ordering};

/// Upper bounds of the histogram of how long an order took to be in force, in seconds.
pub const TOOK_BUCKETS_S: [f64; 11] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// What was counted of response.
#[derive(Clone, Debug)]
pub struct RespondFigures {
    /// The desk.
    pub desk: DeskFigures,
    /// By action: how many took how long ([`TOOK_BUCKETS_S`], the last is beyond), and the sum in microseconds.
    pub took: Vec<(&'static str, [u64; TOOK_BUCKETS_S.len() + 1], u64)>,
    /// Notices that the playbooks did not see because too many waited.
    pub notices_dropped: u64,
}

/// How long orders took.
#[derive(Default)]
pub(super) struct Meter([Took; ActionKind::ALL.len()]);

#[derive(Default)]
struct Took {
    buckets: [AtomicU64; TOOK_BUCKETS_S.len() + 1],
    sum_us: AtomicU64,
}

impl Meter {
    pub fn took(&self, action: &str, took_us: u64) {
        let kinds = ActionKind::ALL.iter().zip(&self.0);
        let Some((_, took)) = kinds.into_iter().find(|(kind, _)| kind.name() == action) else { return };
        let seconds = took_us as f64 / 1e6;
        let at = TOOK_BUCKETS_S.iter().position(|bound| seconds <= *bound).unwrap_or(TOOK_BUCKETS_S.len());
        took.buckets[at].fetch_add(1, Ordering::Relaxed);
        took.sum_us.fetch_add(took_us, Ordering::Relaxed);
    }

    pub fn figures(&self) -> Vec<(&'static str, [u64; TOOK_BUCKETS_S.len() + 1], u64)> {
        let figures = ActionKind::ALL.iter().zip(&self.0).map(|(kind, took)| {
            let buckets = std::array::from_fn(|at| took.buckets[at].load(Ordering::Relaxed));
            (kind.name(), buckets, took.sum_us.load(Ordering::Relaxed))
        });
        figures.filter(|(_, buckets, _)| buckets.iter().any(|count| *count > 0)).collect()
    }
}
