//! What the container that changes the node's network reads: lines from the announcer, and comments of tables.

use arbitrary::{Arbitrary, Unstructured};
use foghorn_datapath::{
    ruleset::ruleset,
    trace::Trace,
    wanted::{Address, Guard, Interface, Message, Protocol, ReturnPath, Wanted},
};
use foghorn_netio::Family;

/// The tables that every kernel has besides those that people make: default, main and local.
const OF_THE_KERNEL: [u32; 4] = [0, 253, 254, 255];

/// A message that an announcer which lies could send, in the words of JSON.
#[derive(Arbitrary, Debug)]
struct Said<'a> {
    interface: &'a str,
    other_interface: &'a str,
    mark: u32,
    mask: u32,
    table: u8,
    priority: u16,
    ports: u16,
    guard: Option<bool>,
}

/// Reads the bytes as a line, as a comment, and as what a line could say.
pub fn fuzz(bytes: &[u8]) {
    line(bytes);
    if let Ok(text) = str::from_utf8(bytes) {
        comment(text);
    }
    if let Ok(said) = Said::arbitrary(&mut Unstructured::new(bytes)) {
        let message = Message { planes: ["a".to_owned()].into(), wanted: Some(said.wanted()) };
        line(&serde_json::to_vec(&message).unwrap_or_default());
    }
}

/// What is taken from a line has no more in it than what was checked, and is text that says one thing.
fn line(line: &[u8]) {
    let Ok(Message { wanted: Some(wanted), .. }) = Message::read(line) else { return };
    assert_eq!(wanted.check(), Ok(()));
    let mut again = wanted.clone();
    again.bound();
    assert_eq!(again, wanted, "bounded once is bounded");
    let rules = wanted.return_path.iter().flat_map(|path| Family::ALL.map(|family| path.rule(family)));
    let trace = Trace { filter: Some((wanted.interface.name.clone(), 1)), rules: rules.collect() };
    comment(&trace.to_string());
    assert_eq!(Trace::read(&trace.to_string()), trace);
    let text = ruleset("a", &wanted, &trace).whole();
    let count = |letter: char| text.chars().filter(|it| *it == letter).count();
    assert_eq!(count('{'), count('}'), "{text}");
    assert_eq!(count('"') % 2, 0, "{text}");
    assert_eq!(text.matches("table inet foghorn-a {\n").count(), 1, "{text}");
}

/// What a comment says is ours, and is read again as it is written.
fn comment(text: &str) {
    let trace = Trace::read(text);
    assert_eq!(Trace::read(&trace.to_string()), trace);
    for rule in &trace.rules {
        assert!(!OF_THE_KERNEL.contains(&rule.table), "{rule:?}");
        assert!(rule.mark != 0 && rule.mark & rule.mask == rule.mark, "{rule:?}");
    }
}

impl Said<'_> {
    fn wanted(&self) -> Wanted {
        let services = (0..self.ports).map(|port| (Protocol::Tcp, port)).collect();
        let address = Address { services, ..Address::default() };
        Wanted {
            interface: Interface { name: self.interface.to_owned(), index: 3, mac: None },
            other_interfaces: [self.other_interface.to_owned()].into(),
            addresses: [([203, 0, 113, 50].into(), address)].into(),
            guard: self.guard.map(|drops| if drops { Guard::Drop } else { Guard::Reject }),
            return_path: Some(ReturnPath {
                mark: self.mark,
                mask: self.mask,
                table: self.table.into(),
                priority: self.priority.into(),
                routes: [].into(),
            }),
        }
    }
}
