//! What detectors go by.

/// Settings of all detectors.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Settings {}
