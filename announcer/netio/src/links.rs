//! The interfaces of the computer, their addresses and the routes over them, by netlink.
#![expect(clippy::wildcard_enum_match_arm, reason = "each kernel brings further netlink attributes")]

use std::{future::Future, io, net::Ipv4Addr, path::Path, time::Duration};

use futures::{Stream, TryStreamExt};
use rtnetlink::{
    Handle, RouteMessageBuilder,
    packet_route::{
        AddressFamily,
        address::{AddressAttribute, AddressMessage},
        link::{LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage},
        route::RouteAttribute,
    },
};
use tokio::task::JoinHandle;

use crate::fenced;

/// The kernel answers at once; an answer that was lost never comes.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its index, which no other interface gets while this one lives.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its hardware address, if it is an Ethernet interface.
    pub mac: Option<[u8; 6]>,
    /// It was set up.
    pub admin_up: bool,
    /// ARP is not turned off on it (`IFF_NOARP`).
    pub arp: bool,
    /// It is up, has a carrier, and may carry frames (`IFF_LOWER_UP` and `IFF_RUNNING`).
    pub carrier: bool,
    /// The bond, bridge or VRF that it is part of.
    pub master: Option<u32>,
    /// What kind of virtual interface it is (`veth`, `bridge`, `vlan`...), or `wlan` if it is Wi-Fi; an ordinary
    /// physical one has none.
    pub kind: Option<String>,
    /// Its IPv4 addresses with the lengths of their prefixes, in the kernel's order: the primary one first. Those of
    /// [`Netlink::keep_address`] are not among them.
    pub addresses: Vec<(Ipv4Addr, u8)>,
}

/// Why the kernel did not tell.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// The socket could not be made.
    #[error("cannot open a netlink socket: {0}")]
    Open(#[source] io::Error),
    /// The socket has failed; a new one is needed.
    #[error("the netlink socket has failed")]
    Closed,
    /// No answer.
    #[error("the kernel did not answer a netlink request for {what} in {TIMEOUT:?}")]
    Timeout {
        /// What was asked for.
        what: &'static str,
    },
    /// A refusal, or an answer that makes no sense.
    #[error("the netlink request for {what} failed: {source}")]
    Request {
        /// What was asked for.
        what: &'static str,
        /// The cause.
        source: rtnetlink::Error,
    },
}

/// A netlink connection for requests.
#[derive(Debug)]
pub struct Netlink {
    handle: Handle,
    _connection: Task,
}

impl Netlink {
    /// Opens a connection to the kernel, in the network namespace of this thread and for as long as the runtime runs.
    ///
    /// # Errors
    /// [`NetlinkError::Open`].
    pub fn open() -> Result<Self, NetlinkError> {
        let (connection, handle, _messages) = rtnetlink::new_connection().map_err(NetlinkError::Open)?;
        Ok(Self { handle, _connection: Task::spawn(connection) })
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// All interfaces, by index.
    ///
    /// # Errors
    /// If the kernel does not answer.
    pub async fn links(&self) -> Result<Vec<Link>, NetlinkError> {
        let mut request = self.handle.address().get();
        request.message_mut().header.family = AddressFamily::Inet;
        let addresses = collect("addresses", request.execute()).await?;
        let links = collect("interfaces", self.handle.link().get().execute()).await?;
        let mut links: Vec<_> = links.into_iter().map(|link| Link::new(link, &addresses)).collect();
        for link in links.iter_mut().filter(|link| link.kind.is_none() && is_wifi(&link.name)) {
            link.kind = Some(WIFI.to_owned());
        }
        links.sort_by_key(|link| link.index);
        Ok(links)
    }

    /// The index of the interface over which packets to `destination` leave; nothing if there is no route.
    ///
    /// # Errors
    /// If the kernel does not answer.
    pub async fn route_interface(&self, destination: Ipv4Addr) -> Result<Option<u32>, NetlinkError> {
        let message = RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(destination, 32).build();
        let routes = match collect("a route", self.handle.route().get(message).execute()).await {
            Ok(routes) => routes,
            Err(NetlinkError::Request { source: rtnetlink::Error::NetlinkError(error), .. })
                if is_no_route(&error.to_io()) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let attributes = routes.into_iter().flat_map(|route| route.attributes);
        Ok(attributes.into_iter().find_map(|attribute| match attribute {
            RouteAttribute::Oif(index) => Some(index),
            _ => None,
        }))
    }
}

impl Link {
    fn new(message: LinkMessage, addresses: &[AddressMessage]) -> Self {
        let LinkMessage { header, attributes, .. } = message;
        let running = LinkFlags::LowerUp | LinkFlags::Running;
        let mut link = Self {
            index: header.index,
            name: String::new(),
            mac: None,
            admin_up: header.flags.contains(LinkFlags::Up),
            arp: !header.flags.contains(LinkFlags::Noarp),
            carrier: header.flags.contains(running),
            master: None,
            kind: None,
            addresses: addresses
                .iter()
                .filter(|a| a.header.index == header.index && !fenced::is_kept(a))
                .filter_map(address)
                .collect(),
        };
        for attribute in attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name = name,
                LinkAttribute::Address(mac) if header.link_layer_type == LinkLayerType::Ether => {
                    link.mac = mac.try_into().ok();
                }
                LinkAttribute::Controller(index) => link.master = Some(index).filter(|index| *index != 0),
                LinkAttribute::LinkInfo(infos) => link.kind = infos.into_iter().find_map(kind),
                _ => {}
            }
        }
        link
    }
}

/// What sysfs calls a Wi-Fi interface; netlink does not tell.
const WIFI: &str = "wlan";

fn is_wifi(name: &str) -> bool {
    let uevent = std::fs::read_to_string(Path::new("/sys/class/net").join(name).join("uevent"));
    uevent.is_ok_and(|text| device_type(&text) == Some(WIFI))
}

fn device_type(uevent: &str) -> Option<&str> {
    uevent.lines().find_map(|line| line.strip_prefix("DEVTYPE="))
}

fn kind(info: LinkInfo) -> Option<String> {
    match info {
        LinkInfo::Kind(kind) => Some(kind.to_string()),
        _ => None,
    }
}

fn address(message: &AddressMessage) -> Option<(Ipv4Addr, u8)> {
    Some((local(message)?, message.header.prefix_len))
}

/// The local address; `Address` is the other end's on a point-to-point interface.
pub(crate) fn local(message: &AddressMessage) -> Option<Ipv4Addr> {
    message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(std::net::IpAddr::V4(address)) => Some(*address),
        _ => None,
    })
}

fn is_no_route(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENETUNREACH | libc::EHOSTUNREACH))
}

pub(crate) async fn collect<T>(
    what: &'static str,
    answers: impl Stream<Item = Result<T, rtnetlink::Error>>,
) -> Result<Vec<T>, NetlinkError> {
    once(what, answers.try_collect()).await
}

pub(crate) async fn once<T>(
    what: &'static str,
    answer: impl Future<Output = Result<T, rtnetlink::Error>>,
) -> Result<T, NetlinkError> {
    match tokio::time::timeout(TIMEOUT, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(rtnetlink::Error::RequestFailed)) => Err(NetlinkError::Closed),
        Ok(Err(source)) => Err(NetlinkError::Request { what, source }),
        Err(_) => Err(NetlinkError::Timeout { what }),
    }
}

/// A task that ends with its owner.
#[derive(Debug)]
pub(crate) struct Task(JoinHandle<()>);

impl Task {
    pub(crate) fn spawn(future: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(future))
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sysfs_tells_which_interface_is_wifi() {
        assert_eq!(device_type("DEVTYPE=wlan\nINTERFACE=wlp2s0\nIFINDEX=3\n"), Some(WIFI));
        assert_eq!(device_type("INTERFACE=eth0\nIFINDEX=2\n"), None);
        assert!(!is_wifi("lo"));
    }
}
