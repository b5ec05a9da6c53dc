//! Prints the table of detectors for the guide: `cargo run -p ravelin-detect --example detectors`.

fn main() {
    print!("{}", ravelin_detect::detectors_table());
}
