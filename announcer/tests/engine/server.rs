//! A DHCP server, as far as one claim after the other asks it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use foghorn_l2::Mac;

use crate::network::{NIC, ROUTER};

pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);
pub(crate) const SERVER_MAC: Mac = [2, 0, 0, 0, 0, 0x02];
pub(crate) const DISCOVER: u8 = 1;
pub(crate) const REQUEST: u8 = 3;
pub(crate) const DECLINE: u8 = 4;
pub(crate) const RELEASE: u8 = 7;
const OFFER: u8 = 2;
const ACK: u8 = 5;
const NAK: u8 = 6;

/// A DHCP server with one lease for each client identifier.
pub(crate) struct Server {
    pub(crate) alive: bool,
    /// Addresses that it gives, in this order.
    pub(crate) pool: Vec<Ipv4Addr>,
    pub(crate) leases: BTreeMap<Vec<u8>, Ipv4Addr>,
    /// The hardware address in the last acknowledged message for an address.
    pub(crate) chaddrs: BTreeMap<Ipv4Addr, Mac>,
    pub(crate) lease_time: u32,
    pub(crate) declined: BTreeSet<Ipv4Addr>,
    /// Option 54 of its replies.
    pub(crate) identifier: Ipv4Addr,
    /// Further octets of options in offers and acknowledgements.
    pub(crate) extra: Vec<u8>,
    /// Answers to an address in use go to the node's hardware address, as ARP tells it.
    pub(crate) to_node: bool,
    /// Knows clients by their hardware addresses alone.
    pub(crate) by_hardware_address: bool,
    /// Messages received: type and whether the frame was a broadcast.
    pub(crate) received: Vec<(u8, bool)>,
}

impl Server {
    pub(crate) fn new() -> Self {
        Self {
            alive: true,
            pool: (50..150).map(|last| Ipv4Addr::new(203, 0, 113, last)).collect(),
            leases: BTreeMap::new(),
            chaddrs: BTreeMap::new(),
            lease_time: 3600,
            declined: BTreeSet::new(),
            identifier: SERVER,
            extra: Vec::new(),
            to_node: false,
            by_hardware_address: false,
            received: Vec::new(),
        }
    }

    pub(crate) fn count(&self, kind: u8) -> usize {
        self.received.iter().filter(|(received, _)| *received == kind).count()
    }

    pub(crate) fn answer(&mut self, frame: &[u8]) -> Option<Vec<u8>> {
        if !self.alive {
            return None;
        }
        let message = &frame[42..];
        let options = options(&message[240..]);
        let kind = options[&53][0];
        let client = if self.by_hardware_address { message[28..34].to_vec() } else { options[&61].clone() };
        self.received.push((kind, frame[..6] == [0xff; 6]));
        let ciaddr = Ipv4Addr::from(<[u8; 4]>::try_from(&message[12..16]).unwrap());
        let asked = options.get(&50).map(|o| Ipv4Addr::from(<[u8; 4]>::try_from(&o[..]).unwrap()));
        match kind {
            DISCOVER => {
                let offered = self.lease(&client)?;
                self.leases.insert(client, offered);
                Some(self.reply(message, OFFER, offered))
            }
            REQUEST => {
                let wanted = asked.unwrap_or(ciaddr);
                if self.lease(&client) != Some(wanted) {
                    return Some(self.reply(message, NAK, Ipv4Addr::UNSPECIFIED));
                }
                self.leases.insert(client, wanted);
                self.chaddrs.insert(wanted, message[28..34].try_into().unwrap());
                Some(self.reply(message, ACK, wanted))
            }
            DECLINE => {
                self.leases.remove(&client);
                self.declined.extend(asked);
                None
            }
            RELEASE => {
                assert_eq!(self.leases.remove(&client), Some(ciaddr), "release of what is not leased");
                None
            }
            other => panic!("message type {other} from a client"),
        }
    }

    fn lease(&self, client: &[u8]) -> Option<Ipv4Addr> {
        let free = |address: &&Ipv4Addr| {
            !self.declined.contains(address) && !self.leases.values().any(|leased| leased == *address)
        };
        self.leases.get(client).or_else(|| self.pool.iter().find(free)).copied()
    }

    fn reply(&self, request: &[u8], kind: u8, address: Ipv4Addr) -> Vec<u8> {
        let mut message = request[..240].to_vec();
        message[0] = 2;
        message[12..16].fill(0);
        message[16..20].copy_from_slice(&address.octets());
        message.extend([53, 1, kind, 54, 4]);
        message.extend(self.identifier.octets());
        if kind != NAK {
            message.extend(&self.extra);
            message.extend([51, 4]);
            message.extend(self.lease_time.to_be_bytes());
            message.extend([1, 4, 255, 255, 255, 0, 3, 4]);
            message.extend(ROUTER.octets());
        }
        message.push(255);
        message.resize(300, 0);
        let broadcast = request[10] & 0x80 != 0;
        let in_use = request[12..16] != [0; 4];
        let destination = match (broadcast, self.to_node && in_use) {
            (true, _) => [0xff; 6],
            (false, true) => NIC,
            (false, false) => <Mac>::try_from(&request[28..34]).unwrap(),
        };
        from_server(&message, destination)
    }
}

/// A frame from the server that carries a message.
pub(crate) fn from_server(message: &[u8], destination: Mac) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.extend(destination);
    frame.extend(SERVER_MAC);
    frame.extend([8, 0]);
    let total = u16::try_from(28 + message.len()).unwrap();
    let mut ip = vec![0x45, 0];
    ip.extend(total.to_be_bytes());
    ip.extend([0, 0, 0, 0, 64, 17, 0, 0]);
    ip.extend(SERVER.octets());
    ip.extend(if destination == [0xff; 6] { [255; 4] } else { message[16..20].try_into().unwrap() });
    let sum: u32 = ip.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let sum = !u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    frame.extend(ip);
    frame.extend([0, 67, 0, 68]);
    frame.extend((total - 20).to_be_bytes());
    frame.extend([0, 0]);
    frame.extend(message);
    frame
}

fn options(mut octets: &[u8]) -> BTreeMap<u8, Vec<u8>> {
    let mut options = BTreeMap::new();
    while let [code, rest @ ..] = octets {
        match (code, rest) {
            (255, _) => break,
            (0, _) => octets = rest,
            (_, [length, rest @ ..]) => {
                let (value, rest) = rest.split_at(usize::from(*length));
                options.insert(*code, value.to_vec());
                octets = rest;
            }
            _ => panic!("an option without length"),
        }
    }
    options
}
