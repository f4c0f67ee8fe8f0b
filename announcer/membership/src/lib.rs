//! Who may announce a plane's addresses, without sockets, clock or API.
