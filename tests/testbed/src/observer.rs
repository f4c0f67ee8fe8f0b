//! A host that asks by ARP again and again who has some addresses, and hears whatever is said of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::sleep,
    time::{Duration, Instant},
};

use foghorn_l2::ArpFrame;
use foghorn_lab::{Error, Lab, Result, topology::Network};
use foghorn_netio::{Netlink, PacketSocket};
use jiff::Timestamp;
use tokio::time::interval;

use crate::{
    answers::{Answers, Heard, Mac},
    background::{Background, Stop},
};

/// The last octet of an address that no host has: it asks from that.
const ASKER: u8 = 240;
/// It asks by turns as so many hosts that do not exist: one host is not answered more than a few times in a second, and its own
/// ARP cache learns nothing.
const ASKERS: usize = 64;
/// An answer that comes later says something of the moment at which it comes.
const FRESH: Duration = Duration::from_millis(100);

/// A running observer.
#[derive(Debug)]
pub struct Observer {
    /// When times begin to count.
    pub began: Timestamp,
    record: Arc<Mutex<Record>>,
    work: Background,
}

#[derive(Debug)]
struct Record {
    began: Instant,
    /// When the latest ask of each asker was sent, and which it was.
    asked: BTreeMap<Mac, (Instant, usize)>,
    asks: usize,
    answers: BTreeMap<Ipv4Addr, Answers>,
}

impl Observer {
    /// Starts asking for each of the addresses at this interval, by broadcast from the client of their network, as hosts with an address
    /// that no host has.
    ///
    /// # Errors
    /// If the client's namespace cannot be opened.
    pub fn start(lab: &Lab, network: Network, addresses: &[Ipv4Addr], interval: Duration) -> Result<Self> {
        let answers = addresses.iter().map(|address| (*address, Answers::new(interval))).collect();
        let record = Record { began: Instant::now(), asked: BTreeMap::new(), asks: 0, answers };
        let (began, record) = (Timestamp::now(), Arc::new(Mutex::new(record)));
        let shared = Arc::clone(&record);
        let asker = network.address(ASKER);
        let work =
            Background::start(&lab.client(network), move |stop| observe(asker, interval, shared, stop))?;
        Ok(Self { began, record, work })
    }

    /// What was said so far of an address that it asks for.
    ///
    /// # Errors
    /// If it does not ask for that address.
    pub fn answers(&self, address: Ipv4Addr) -> Result<Answers> {
        let record = locked(&self.record);
        let answers = record.answers.get(&address).cloned();
        let answers = answers.ok_or_else(|| Error::Config(format!("nobody asks for {address}")))?;
        Ok(Answers { asks: record.asks, ..answers })
    }

    /// How long it has been running.
    #[must_use]
    pub fn ran(&self) -> Duration {
        locked(&self.record).began.elapsed()
    }

    /// Ends it, and gives what was said of each address.
    ///
    /// # Errors
    /// If it could not ask.
    pub fn finish(self) -> Result<BTreeMap<Ipv4Addr, Answers>> {
        self.work.finish()?;
        let record = locked(&self.record);
        let all = record.answers.iter();
        Ok(all
            .map(|(address, answers)| (*address, Answers { asks: record.asks, ..answers.clone() }))
            .collect())
    }
}

/// The hosts that claim each of these addresses by ARP within half a second, asked as [`Observer`] asks: by the lab's names, a host that
/// the lab does not know by its MAC address.
///
/// # Errors
/// If the client of the network cannot ask.
pub fn who_answers(
    lab: &Lab,
    network: Network,
    addresses: &[Ipv4Addr],
) -> Result<BTreeMap<Ipv4Addr, BTreeSet<String>>> {
    let observer = Observer::start(lab, network, addresses, Duration::from_millis(150))?;
    sleep(Duration::from_millis(500));
    let all = observer.finish()?;
    Ok(all.into_iter().map(|(address, answers)| (address, claimants(lab, answers))).collect())
}

fn claimants(lab: &Lab, answers: Answers) -> BTreeSet<String> {
    let macs: BTreeSet<Mac> = answers.heard.into_iter().map(|heard| heard.mac).collect();
    let host = |mac: Mac| {
        let mac = mac.map(|octet| format!("{octet:02x}")).join(":");
        lab.host_of_mac(&mac).unwrap_or(mac)
    };
    macs.into_iter().map(host).collect()
}

async fn observe(asker: Ipv4Addr, pause: Duration, record: Arc<Mutex<Record>>, mut stop: Stop) -> Result<()> {
    let socket = open().await?;
    let mut ticks = interval(pause);
    let mut buffer = [0; 256];
    loop {
        tokio::select! {
            _ = &mut stop => return Ok(()),
            _ = ticks.tick() => ask(&socket, asker, &mut locked(&record)),
            ready = socket.readable() => {
                ready.map_err(failed)?;
                while let Some(received) = socket.recv(&mut buffer).map_err(failed)? {
                    let frame = buffer.get(..received.length).map(ArpFrame::parse);
                    if let Some(Ok(frame)) = frame {
                        locked(&record).hear(&frame, Instant::now() - received.age);
                    }
                }
            }
        }
    }
}

async fn open() -> Result<PacketSocket> {
    let links = Netlink::open().map_err(failed)?.links().await.map_err(failed)?;
    let link =
        links.into_iter().find(|link| link.name == "eth0").ok_or_else(|| failed("there is no eth0"))?;
    PacketSocket::open(link.index).map_err(failed)
}

fn ask(socket: &PacketSocket, asker: Ipv4Addr, record: &mut Record) {
    let mac = mac_of(record.asks);
    record.asked.insert(mac, (Instant::now(), record.asks));
    record.asks += 1;
    for address in record.answers.keys() {
        // A frame that is lost is an ask without an answer, as on any cable.
        let _lost = socket.send(&ArpFrame::request(mac, asker, *address).build());
    }
}

impl Record {
    fn hear(&mut self, frame: &ArpFrame, came: Instant) {
        let Some(answers) = self.answers.get_mut(&frame.sender_ip) else { return };
        let asked = self.asked.get(&frame.target_mac);
        let answered = asked.filter(|(asked, _)| came.saturating_duration_since(*asked) < FRESH);
        let ask = answered.map_or_else(|| self.asks.saturating_sub(1), |(_, ask)| *ask);
        let at = came.saturating_duration_since(self.began);
        answers.heard.push(Heard { ask, at, mac: frame.sender_mac });
    }
}

/// The hardware address that an ask comes from: not one of the lab's.
fn mac_of(ask: usize) -> Mac {
    [2, 0x0f, 0x0a, 0, 0, u8::try_from(ask % ASKERS).unwrap_or_default()]
}

fn locked(record: &Mutex<Record>) -> MutexGuard<'_, Record> {
    record.lock().unwrap_or_else(PoisonError::into_inner)
}

fn failed(error: impl ToString) -> Error {
    Error::Config(format!("asking by ARP: {}", error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_counts_for_its_ask_and_a_stale_one_for_the_moment_at_which_it_comes() {
        let began = Instant::now();
        let at = |n: u64| began + Duration::from_millis(n);
        let asked = [(0, 0), (1, 10), (2, 200)].map(|(ask, time)| (mac_of(ask), (at(time), ask)));
        let answers = BTreeMap::from([(ADDRESS, Answers::new(Duration::from_millis(10)))]);
        let mut record = Record { began, asked: asked.into(), asks: 3, answers };
        let request = |ask| ArpFrame::request(mac_of(ask), ASKER, ADDRESS);
        record.hear(&ArpFrame::reply_to(&request(0), NODE), at(15));
        record.hear(&ArpFrame::reply_to(&request(1), NODE), at(205));
        record.hear(&ArpFrame::gratuitous_request(NODE, ADDRESS), at(206));
        record.hear(&ArpFrame::request(NODE, ASKER, ADDRESS), at(207));
        let asks: Vec<_> = record.answers[&ADDRESS].heard.iter().map(|heard| heard.ask).collect();
        assert_eq!(asks, [0, 2, 2]);
    }

    const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
    const ASKER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);
    const NODE: Mac = [2, 0, 0, 0, 0, 1];
}
