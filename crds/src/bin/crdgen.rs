//! Prints the custom resource definitions as YAML documents, as they are committed with the chart.

use std::io::{self, Write};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut out = io::stdout().lock();
    for definition in foghorn_crds::definitions() {
        write!(out, "---\n{}", serde_saphyr::to_string(&definition)?)?;
    }
    Ok(())
}
