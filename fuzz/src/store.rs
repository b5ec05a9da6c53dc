//! Targets for the log, `ravelin-store`.

/// Everything that is read from disk. The bytes are read as every structure of a segment, the manifest and the key file;
/// written over a part of a sound log (bit 0 of the first: of its manifest; bit 1: what follows stays; two bytes say
/// where); and sealed into a frame, as records.
pub fn store(data: &[u8]) {
    ravelin_store::testing::fuzz_open(data);
}
