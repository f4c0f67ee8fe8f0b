//! A gateway of UPnP as old routers have it: mappings without an end only, which outlive whoever asked for them.

use std::{
    net::Ipv4Addr,
    sync::{Arc, Mutex, PoisonError, mpsc},
};

use foghorn_lab::upnp::{description, envelope, fault, found, http, is_whole};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UdpSocket},
    select,
};

use crate::{SOON, gateway::GATEWAY, task::Task, world::World};

const SERVICE: &str = "urn:schemas-upnp-org:service:WANIPConnection:1";
const SSDP: (Ipv4Addr, u16) = (Ipv4Addr::new(239, 255, 255, 250), 1900);
/// Among the ports that are recorded.
const HTTP: u16 = 8080;

/// One mapping: the gateway's port, the host and port that it is forwarded to, and whose it is. All are of TCP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The gateway's port.
    pub external: String,
    /// The host.
    pub client: String,
    /// That host's port.
    pub internal: String,
    /// Whose it is, as whoever made it says.
    pub description: String,
}

/// The gateway. It ends with this.
#[derive(Debug)]
pub struct OldRouter {
    table: Arc<Mutex<Vec<Row>>>,
    _serving: Task,
}

impl OldRouter {
    /// Starts one on the router of the world.
    #[must_use]
    pub fn start(world: &World) -> Self {
        let host = world.host("router", 1);
        let table = Arc::<Mutex<Vec<Row>>>::default();
        let rows = Arc::clone(&table);
        let (ready, open) = mpsc::channel();
        let serving = Task::start(&host, move |mut stop| async move {
            let http = TcpListener::bind((GATEWAY, HTTP)).await.unwrap();
            let ssdp = UdpSocket::bind(SSDP).await.unwrap();
            ssdp.join_multicast_v4(SSDP.0, GATEWAY).unwrap();
            ready.send(()).unwrap();
            let mut search = [0; 1500];
            loop {
                select! {
                    heard = ssdp.recv_from(&mut search) => {
                        let found = found(SERVICE, &format!("http://{GATEWAY}:{HTTP}/root.xml"));
                        ssdp.send_to(found.as_bytes(), heard.unwrap().1).await.unwrap();
                    }
                    stream = http.accept() => converse(stream.unwrap().0, &rows).await,
                    _stop = &mut stop => return,
                }
            }
        });
        open.recv_timeout(SOON).unwrap();
        Self { table, _serving: serving }
    }

    /// What it forwards.
    #[must_use]
    pub fn table(&self) -> Vec<Row> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Somebody else has it forward something.
    pub fn forward(&self, row: Row) {
        self.table.lock().unwrap_or_else(PoisonError::into_inner).push(row);
    }
}

/// One question and its answer. Whoever asked may be gone by then.
async fn converse(mut stream: TcpStream, table: &Mutex<Vec<Row>>) {
    let (mut asked, mut buffer) = (String::new(), [0; 4096]);
    while !is_whole(&asked) {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(length) => asked.push_str(&String::from_utf8_lossy(&buffer[..length])),
        }
    }
    let said = answer(&asked, &mut table.lock().unwrap_or_else(PoisonError::into_inner));
    let _gone = stream.write_all(said.as_bytes()).await;
}

fn answer(asked: &str, table: &mut Vec<Row>) -> String {
    if asked.starts_with("GET ") {
        return http("200 OK", &description(SERVICE, "/ctl"));
    }
    let external = argument(asked, "NewExternalPort");
    let place = table.iter().position(|row| row.external == external);
    let action = asked.split_once(&format!("{SERVICE}#")).map_or("", |(_, rest)| rest);
    match action.split_once('"').map_or("", |(action, _)| action) {
        "GetExternalIPAddress" => {
            said("GetExternalIPAddress", "<NewExternalIPAddress>198.51.100.1</NewExternalIPAddress>")
        }
        "AddPortMapping" => {
            let row = Row {
                external,
                client: argument(asked, "NewInternalClient"),
                internal: argument(asked, "NewInternalPort"),
                description: argument(asked, "NewPortMappingDescription"),
            };
            if argument(asked, "NewLeaseDuration") != "0" {
                return failed(725, "OnlyPermanentLeasesSupported");
            }
            match place.and_then(|place| table.get_mut(place)) {
                Some(present) if present.client != row.client => {
                    return failed(718, "ConflictInMappingEntry");
                }
                Some(present) => *present = row,
                None => table.push(row),
            }
            said("AddPortMapping", "")
        }
        "DeletePortMapping" => match place {
            Some(place) => {
                table.remove(place);
                said("DeletePortMapping", "")
            }
            None => failed(714, "NoSuchEntryInArray"),
        },
        "GetSpecificPortMappingEntry" => match place.and_then(|place| table.get(place)) {
            Some(row) => said("GetSpecificPortMappingEntry", &of_row(row)),
            None => failed(714, "NoSuchEntryInArray"),
        },
        "GetGenericPortMappingEntry" => {
            let number: usize = argument(asked, "NewPortMappingIndex").parse().unwrap();
            match table.get(number) {
                Some(row) => {
                    let key = format!(
                        "<NewRemoteHost></NewRemoteHost><NewExternalPort>{}</NewExternalPort><NewProtocol>TCP</NewProtocol>",
                        row.external
                    );
                    said("GetGenericPortMappingEntry", &format!("{key}{}", of_row(row)))
                }
                None => failed(713, "SpecifiedArrayIndexInvalid"),
            }
        }
        _ => failed(401, "Invalid Action"),
    }
}

fn of_row(row: &Row) -> String {
    let Row { client, internal, description, .. } = row;
    format!(
        "<NewInternalPort>{internal}</NewInternalPort><NewInternalClient>{client}</NewInternalClient>\
         <NewEnabled>1</NewEnabled><NewPortMappingDescription>{description}</NewPortMappingDescription>\
         <NewLeaseDuration>0</NewLeaseDuration>"
    )
}

/// What an element of the question says; nothing if there is none.
fn argument(asked: &str, name: &str) -> String {
    let (_, rest) = asked.split_once(&format!("<{name}>")).unwrap_or_default();
    rest.split_once("</").unwrap_or_default().0.to_owned()
}

fn said(action: &str, arguments: &str) -> String {
    let body = format!("<u:{action}Response xmlns:u=\"{SERVICE}\">{arguments}</u:{action}Response>");
    http("200 OK", &envelope(&body))
}

fn failed(code: u16, text: &str) -> String {
    fault(code, &format!("<errorDescription>{text}</errorDescription>"))
}
