//! How the plane's members behave, by the plane's configuration.

use foghorn_crds::{ApiOutage, PlacementMode, PlaneConfig};
use foghorn_membership::{Placement, Preference, Settings, Timings, TimingsError};

/// Figures of a plane that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("failureDetection of plane {plane} cannot be used: {source}")]
pub struct SettingsError {
    plane: String,
    source: TimingsError,
}

/// The settings of the plane's members.
///
/// # Errors
/// If the plane's figures for failure detection cannot be used; its schema refuses those.
pub fn of(config: &PlaneConfig) -> Result<Settings, SettingsError> {
    let (interval, missed) = config.failure_detection.figures();
    let timings = Timings::new(interval, missed)
        .map_err(|source| SettingsError { plane: config.plane.clone(), source })?;
    let preference = |(node, preference): (&String, &foghorn_crds::NodePreference)| {
        (node.clone(), Preference { weight: preference.weight, avoid: !preference.avoid.is_empty() })
    };
    Ok(Settings {
        timings,
        placement: match config.placement {
            PlacementMode::Spread => Placement::Spread,
            PlacementMode::Single => Placement::Single,
        },
        quorum: config.api_outage.map(|outage| outage == ApiOutage::Quorum),
        nodes: config.nodes.iter().map(preference).collect(),
        rebalance: config.rebalance.clone(),
    })
}
