//! Holds the addresses of one network plane on one node.
