//! Which ports a gateway is to forward, and what it takes to have it so: a pure machine, without sockets or clock.

mod io;

pub use io::{
    Answer, Ask, Config, Entry, Fault, Input, Mapping, Notice, Output, Port, Protocol, Report, Request,
    Standing, Transport, Trouble, Wanted,
};
