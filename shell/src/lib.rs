//! What both programs need around their logic: logs, probes, metrics, the Lease adapter.
