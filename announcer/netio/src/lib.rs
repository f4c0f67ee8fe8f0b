//! Packet sockets, netlink and the clock: the only crate with unsafe code.
