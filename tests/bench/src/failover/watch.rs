//! A client that makes connections to an address, and asks ARP for it.

use std::{
    net::{Ipv4Addr, SocketAddr},
    thread::sleep,
    time::Duration,
};

use foghorn_lab::{Error, Result, until};
use foghorn_testbed::{Answers, Crowd, Mac, Observer, Prober, Record};
use jiff::Timestamp;

/// Between two asks for the address.
const ASK: Duration = Duration::from_millis(10);
/// A longer gap is no steady traffic.
const GAP: Duration = Duration::from_millis(200);
/// Before and after the fault it must be steady for so long.
const STEADY: Duration = Duration::from_secs(1);
/// What does not come about within this does not come about.
const PATIENCE: Duration = Duration::from_secs(120);
/// For so long it still listens for a second node when all is healed.
const AFTERMATH: Duration = Duration::from_secs(3);

/// A client that watches.
pub(crate) struct Watch {
    prober: Prober,
    asking: Asking,
}

/// What is left of it when no more connections are made.
pub(crate) struct Asking {
    observer: Observer,
    address: Ipv4Addr,
}

impl Watch {
    /// Starts watching, and waits until there is something to be missed.
    pub(crate) fn start(plane: &Crowd, target: SocketAddr, address: Ipv4Addr) -> Result<Self> {
        let observer = Observer::start(&plane.lab, Crowd::NETWORK, &[address], ASK)?;
        let watch =
            Self { prober: Prober::start(&plane.client(), target)?, asking: Asking { observer, address } };
        watch.settle()?;
        Ok(watch)
    }

    /// Waits until one node alone answers and connections are made all the time.
    pub(crate) fn settle(&self) -> Result<()> {
        let Asking { observer, address } = &self.asking;
        // What was so a moment ago says nothing of what has just begun.
        sleep(STEADY);
        until(&format!("one node that answers for {address} and serves"), PATIENCE, || {
            let answers = observer.answers(*address)?;
            let alone = answers.last(STEADY).into_iter().any(|mac| answers.alone_for(mac) >= STEADY);
            Ok((alone && self.prober.record().steady_for(GAP) >= STEADY).then_some(()))
        })
    }

    /// How long it has been watching.
    pub(crate) fn ran(&self) -> Duration {
        self.asking.observer.ran()
    }

    /// Makes no more connections; gives what became of them.
    pub(crate) fn connected(self) -> Result<(Record, Asking)> {
        Ok((self.prober.finish()?, self.asking))
    }
}

impl Asking {
    /// Ends it some time after all is healed; gives what was said.
    pub(crate) fn finish(self) -> Result<Said> {
        sleep(AFTERMATH);
        let (began, address) = (self.observer.began, self.address);
        let answers = self.observer.finish()?.remove(&address);
        let answers = answers.ok_or_else(|| Error::Config(format!("nobody asked for {address}")))?;
        Ok(Said { began, answers })
    }
}

/// What was said of the address.
pub(crate) struct Said {
    began: Timestamp,
    pub(crate) answers: Answers,
}

impl Said {
    /// When another than that one said for the first time that the address is his, so long after the watch began.
    pub(crate) fn announced(&self, lost: Mac, after: Duration) -> Option<Timestamp> {
        self.answers.first_of_another(lost, after).map(|at| self.began + at)
    }
}
