//! DHCPv4 client state machine, without sockets or clock.
