//! Planes to DaemonSets, Services to claims, claims to Service status.
