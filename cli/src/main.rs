//! The `polylite` binary.
fn main() {}
