//! A gateway that answers as the test says.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use foghorn_gateway::{Ports, Speaker};
use foghorn_lab::upnp::{self, is_whole};
pub(crate) use foghorn_lab::upnp::{description, envelope, found};
use foghorn_portmap::{Answer, Ask, Fault, Mapping, Port, Protocol, Request, Transport};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UdpSocket},
    time::sleep,
};

pub(crate) const GATEWAY: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);
pub(crate) const SOURCE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 5);
pub(crate) const OTHER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
pub(crate) const IP1: &str = "urn:schemas-upnp-org:service:WANIPConnection:1";
pub(crate) const IP2: &str = "urn:schemas-upnp-org:service:WANIPConnection:2";

/// What comes back on a connection.
#[derive(Clone)]
pub(crate) enum Reply {
    /// These octets, and the end.
    Say(Vec<u8>),
    /// An octet each 100 ms.
    Drip(Vec<u8>),
    /// These octets again and again.
    Flood(Vec<u8>),
    /// Nothing.
    Hang,
}

/// Who asked what: the head of the question and its body.
type Asked = Arc<Mutex<Vec<(SocketAddr, String)>>>;

/// UPnP of a gateway, by HTTP and SSDP.
pub(crate) struct Double {
    pub(crate) speaker: Speaker,
    pub(crate) ports: Ports,
    pub(crate) http: u16,
    asked: Asked,
}

impl Double {
    /// One that answers questions by HTTP so; searches are answered with the location of `/desc.xml`.
    pub(crate) async fn new(answer: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Self {
        Self::found_at(
            |http| vec![(GATEWAY, found(IP1, &format!("http://{GATEWAY}:{http}/desc.xml")))],
            answer,
        )
        .await
    }

    /// One that answers searches with these datagrams from these addresses.
    pub(crate) async fn found_at(
        found: impl Fn(u16) -> Vec<(Ipv4Addr, String)>,
        answer: impl Fn(&str) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let (http, asked) = serve(GATEWAY, 0, answer).await;
        let ssdp = UdpSocket::bind((GATEWAY, 0)).await.unwrap();
        let ports = Ports { ssdp: ssdp.local_addr().unwrap().port(), server: 1, announcements: 1 };
        let found = found(http);
        tokio::spawn(async move {
            let mut buffer = [0; 1500];
            loop {
                let (length, from) = ssdp.recv_from(&mut buffer).await.unwrap();
                assert!(buffer[..length].starts_with(b"M-SEARCH * HTTP/1.1\r\n"));
                for (address, datagram) in &found {
                    if *address == GATEWAY {
                        ssdp.send_to(datagram.as_bytes(), from).await.unwrap();
                    } else {
                        let other = UdpSocket::bind((*address, 0)).await.unwrap();
                        other.send_to(datagram.as_bytes(), from).await.unwrap();
                    }
                }
            }
        });
        Self { speaker: Speaker::with(None, ports), ports, http, asked }
    }

    /// One that describes itself as it should, and answers SOAP so.
    pub(crate) async fn of_service(
        service: &'static str,
        answer: impl Fn(&str) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::new(move |asked| match asked {
            asked if asked.starts_with("GET /desc.xml ") => ok(&description(service, "/ctl")),
            asked if asked.contains("#GetExternalIPAddress\"") => ok(&outer("198.51.100.7")),
            asked => answer(asked),
        })
        .await
    }

    /// Asks by UPnP, and gives the answer and how long it took.
    pub(crate) async fn ask(&mut self, ask: Ask) -> (Result<Answer, Fault>, Duration) {
        let started = Instant::now();
        let answer = self.speaker.ask(&request(Protocol::Igd, ask)).await;
        (answer, started.elapsed())
    }

    /// Finds it, and asks.
    pub(crate) async fn find_and_ask(&mut self, question: Ask) -> Result<Answer, Fault> {
        self.ask(Ask::Find).await.0.unwrap();
        self.ask(question).await.0
    }

    /// The questions by HTTP, each of which came from the source.
    pub(crate) fn asked(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        assert!(asked.iter().all(|(from, _)| from.ip() == SOURCE), "{asked:?}");
        asked.iter().map(|(_, question)| question.clone()).collect()
    }
}

/// Serves HTTP, and tells its port and what was asked.
pub(crate) async fn serve(
    address: Ipv4Addr,
    port: u16,
    answer: impl Fn(&str) -> Reply + Send + Sync + 'static,
) -> (u16, Asked) {
    let listener = TcpListener::bind((address, port)).await.unwrap();
    let (port, asked) = (listener.local_addr().unwrap().port(), Asked::default());
    let (answer, log) = (Arc::new(answer), Arc::clone(&asked));
    tokio::spawn(async move {
        loop {
            let (stream, from) = listener.accept().await.unwrap();
            let (answer, log) = (Arc::clone(&answer), Arc::clone(&log));
            tokio::spawn(async move { converse(stream, from, &log, &*answer).await });
        }
    });
    (port, asked)
}

/// The peer may be gone before all is said.
async fn converse(
    mut stream: TcpStream,
    from: SocketAddr,
    log: &Asked,
    answer: &(dyn Fn(&str) -> Reply + Sync),
) {
    let question = question(&mut stream).await;
    log.lock().unwrap().push((from, question.clone()));
    match answer(&question) {
        Reply::Say(octets) => {
            let _gone = stream.write_all(&octets).await;
        }
        Reply::Drip(octets) => {
            for octet in octets {
                sleep(Duration::from_millis(100)).await;
                if stream.write_all(&[octet]).await.is_err() {
                    return;
                }
            }
        }
        Reply::Flood(octets) => while stream.write_all(&octets).await.is_ok() {},
        Reply::Hang => sleep(Duration::from_secs(60)).await,
    }
}

async fn question(stream: &mut TcpStream) -> String {
    let (mut read, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let text = String::from_utf8_lossy(&read).into_owned();
        if is_whole(&text) {
            return text;
        }
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return text,
            Ok(length) => read.extend(&buffer[..length]),
        }
    }
}

pub(crate) fn request(protocol: Protocol, ask: Ask) -> Request {
    Request { number: 1, gateway: GATEWAY, protocol, source: SOURCE, claim: "web".into(), ask }
}

pub(crate) fn mapping() -> Mapping {
    Mapping {
        port: Port { transport: Transport::Tcp, number: 80 },
        external: 8080,
        lease: Some(Duration::from_secs(3600)),
        description: "Foghorn <web>".to_owned(),
        nonce: [7; 12],
    }
}

pub(crate) fn http(status: &str, body: &str) -> Reply {
    Reply::Say(upnp::http(status, body).into())
}

pub(crate) fn ok(body: &str) -> Reply {
    http("200 OK", body)
}

pub(crate) fn outer(address: &str) -> String {
    envelope(&format!(
        "<u:GetExternalIPAddressResponse xmlns:u=\"{IP1}\"><NewExternalIPAddress>{address}</NewExternalIPAddress>\
         </u:GetExternalIPAddressResponse>"
    ))
}

pub(crate) fn fault(code: u16, description: &str) -> Reply {
    Reply::Say(upnp::fault(code, description).into())
}
