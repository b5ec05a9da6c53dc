//! Targets for the record, `ravelin-audit`.

/// Everything that is read of a record: entries, the head, a public key, an export; and as each file of a sound record, and
/// over a part of its segment (two bytes say where), which must be noticed.
pub fn audit(data: &[u8]) {
    ravelin_audit::testing::fuzz(data);
}
