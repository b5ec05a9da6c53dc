//! The tests that detectors use. Each is a few bytes of state, and says how often it errs.

mod cusum;
mod decayed;
mod gap;
mod hll;
mod poisson;
mod top;

pub use cusum::{Cusum, CusumTest};
pub use decayed::Decayed;
pub use gap::Gap;
pub use hll::Hll;
pub use poisson::{poisson_tail, poisson_threshold};
pub use top::{Top, Topped};
