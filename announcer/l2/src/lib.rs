//! ARP: answering, probing, announcing and resolving, without sockets or clock.
