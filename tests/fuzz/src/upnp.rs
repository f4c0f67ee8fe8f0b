//! What strangers say by UPnP: answers to searches, descriptions, answers to questions.

use std::{
    cell::RefCell,
    net::Ipv4Addr,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use foghorn_gateway::{
    Alive, Place,
    description::{Kind, Service, services},
    igd, soap, ssdp,
};
use foghorn_portmap::{Answer, Ask, Fault, Mapping, Port, Transport};
use igd_next::{RequestError, aio::Provider};

const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const PORT: Port = Port { transport: Transport::Tcp, number: 80 };

thread_local! {
    /// What a gateway answers; igd-next's provider has no self to keep it in.
    static ANSWER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Reads the octets as a datagram, as a description, as an answer, and as the body of an answer that is right but for it.
pub fn fuzz(octets: &[u8]) {
    datagram(octets);
    description(octets);
    answer(octets);
    let envelope = [b"<s:Envelope xmlns:s='s'><s:Body>", octets, b"</s:Body></s:Envelope>"];
    answer(&envelope.concat());
}

fn datagram(octets: &[u8]) {
    let location = ssdp::location(octets).and_then(|location| Place::parse(GATEWAY, location).ok());
    assert!(location.is_none_or(|place| *place.address().ip() == GATEWAY));
    if let Some(said) = ssdp::notify(octets) {
        let mut alive = Alive::default();
        assert!(alive.hear(GATEWAY, said).is_some(), "the first word is news");
        assert!(alive.hear(GATEWAY, said).is_none(), "the second is not");
    }
}

fn description(octets: &[u8]) {
    let Ok(at) = Place::parse(GATEWAY, "http://192.0.2.1:5000/desc.xml") else { return };
    let Ok(services) = services(&at, octets) else { return };
    assert!(!services.is_empty() && services.len() <= 4);
    assert!(services.is_sorted_by_key(|service| service.kind));
    for Service { control, .. } in services {
        assert!(*control.address().ip() == GATEWAY && control.path().starts_with('/'), "{control}");
        assert!(control.path().len() <= 1024);
    }
}

fn answer(octets: &[u8]) {
    ANSWER.set(octets.to_vec());
    let mapping = || Mapping {
        port: PORT,
        external: 8080,
        lease: Some(Duration::from_secs(60)),
        description: "Foghorn".to_owned(),
        nonce: [0; 12],
    };
    let asks = [Ask::Outer, Ask::Map(mapping()), Ask::Unmap(mapping()), Ask::Entry(PORT), Ask::List(0)];
    let Ok(control) = Place::parse(GATEWAY, "http://192.0.2.1:5000/ctl") else { return };
    let service = Service { kind: Kind::Ip1, control };
    for ask in asks {
        let asking = pin!(igd::ask(&service, Given, GATEWAY, &ask));
        let Poll::Ready(answer) = asking.poll(&mut Context::from_waker(Waker::noop())) else {
            unreachable!("nothing is waited for")
        };
        match (&ask, answer) {
            (Ask::Outer, Ok(Answer::Found { outer, epoch: None })) => {
                assert!(outer.is_none_or(|outer| !outer.is_unspecified()));
            }
            (Ask::Map(_), Ok(Answer::Mapped { external: 8080, outer: None, epoch: None, .. }))
            | (Ask::Unmap(_), Ok(Answer::Unmapped))
            | (Ask::Entry(_) | Ask::List(_), Ok(Answer::Entry(None))) => {}
            (Ask::Entry(_) | Ask::List(_), Ok(Answer::Entry(Some(entry)))) => {
                shown(&entry.description);
                shown(&entry.client.to_string());
            }
            (
                _,
                Err(
                    Fault::Unsupported(text)
                    | Fault::Arguments(text)
                    | Fault::Refused(text)
                    | Fault::Broken(text),
                ),
            ) => shown(&text),
            (_, Err(Fault::Taken | Fault::SamePortOnly | Fault::PermanentOnly | Fault::Full)) => {}
            other => unreachable!("{other:?}"),
        }
    }
}

/// People are shown it.
fn shown(text: &str) {
    assert!(text.chars().count() <= 300 && !text.contains(char::is_control), "{text:?}");
}

/// Answers what is set.
struct Given;

impl Provider for Given {
    async fn send_async(url: &str, _action: &str, body: &str) -> Result<String, RequestError> {
        assert!(url == "http://192.0.2.1:5000/ctl" && body.contains("Envelope"));
        soap::reply(&ANSWER.with_borrow(Clone::clone))
    }
}
