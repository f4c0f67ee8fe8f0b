//! The custom resources of Foghorn and the contract its programs share.
