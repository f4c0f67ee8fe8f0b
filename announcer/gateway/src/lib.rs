//! Speaks to gateways: UPnP IGD, NAT-PMP and PCP, from an address of a Service.
