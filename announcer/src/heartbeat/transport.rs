//! Messages to and from the other members, both ways.

use std::{collections::BTreeMap, io, mem, net::SocketAddr, time::Duration};

use foghorn_clock::Instant;
use foghorn_heartbeat::{Codec, GROUP, Heard, Keys, LONGEST_FRAME, Origin, Refused, Source};
use foghorn_membership::{Body, Message, Path, Seat, To, View};
use foghorn_netio::{DatagramError, DatagramSocket, Link};
use tokio::time::sleep;
use tracing::{debug, error, warn};

use super::{
    HeartbeatMetrics,
    peers::{Paths, Peers, Targets},
    wire::Wire,
};

/// Frames that are taken from each socket in one turn: more than its buffer holds, so that all that had arrived when
/// the turn began is among them, and a storm does not keep the turn from its end.
const FRAMES: usize = 4_096;
/// A longest frame behind an Ethernet header, and what fills it up.
const BUFFER: usize = LONGEST_FRAME + 64;
/// Between two lines in the log about frames that are refused for the same reason.
const TELL: Duration = Duration::from_secs(60);
/// A socket that cannot be waited for is not asked again before.
const PAUSE: Duration = Duration::from_millis(10);

/// Both ways to the other members.
#[derive(Debug)]
pub(super) struct Transport {
    me: Seat,
    codec: Codec,
    wire: Wire,
    udp: DatagramSocket,
    port: u16,
    peers: Peers,
    metrics: HeartbeatMetrics,
    /// Between two heartbeats of a member.
    interval: Duration,
    told: BTreeMap<&'static str, Instant>,
    buffer: Vec<u8>,
    targets: Targets,
}

impl Transport {
    /// Both ways of that member; the plane's own network is not there yet. To be called in a tokio runtime.
    pub(super) fn open(
        me: Seat,
        codec: Codec,
        port: u16,
        metrics: HeartbeatMetrics,
        interval: Duration,
    ) -> Result<Self, DatagramError> {
        Ok(Self {
            me,
            wire: Wire::of(codec.plane()),
            codec,
            udp: DatagramSocket::bind(port)?,
            port,
            peers: Peers::default(),
            metrics,
            interval,
            told: BTreeMap::new(),
            buffer: vec![0; BUFFER],
            targets: Targets::default(),
        })
    }

    pub(super) fn set_link(&mut self, now: Instant, link: Option<Link>) {
        self.wire.set_link(now, link);
    }

    pub(super) fn set_interval(&mut self, interval: Duration) {
        self.interval = interval;
    }

    pub(super) fn set_keys(&mut self, keys: &Keys) {
        self.codec.set_keys(keys);
    }

    /// By which ways the members of the view are heard.
    pub(super) fn paths(&self, view: Option<&View>) -> Paths {
        self.peers.paths(self.me.id, view)
    }

    /// Waits until there is something to receive. Nothing is lost if the wait is given up.
    pub(super) async fn readable(&self) {
        let ready = tokio::select! {
            ready = self.wire.readable() => ready.map_err(io::Error::other),
            ready = self.udp.readable() => ready,
        };
        if let Err(error) = ready {
            warn!(%error, "heartbeats cannot be waited for");
            sleep(PAUSE).await;
        }
    }

    /// Gives all messages that have arrived to `take`.
    pub(super) fn receive(&mut self, now: Instant, mut take: impl FnMut(Path, Message<Instant>)) {
        self.wire.open(now);
        let mut buffer = mem::take(&mut self.buffer);
        for _ in 0..FRAMES {
            let Some((mac, octets)) = self.wire.recv(&mut buffer) else { break };
            self.hear(now, Source::Wire(mac), octets, &mut take);
        }
        for _ in 0..FRAMES {
            match self.udp.recv(&mut buffer) {
                Ok(Some((length, from))) => {
                    let octets = buffer.get(..length).unwrap_or_default();
                    self.hear(now, Source::Udp(from.ip()), octets, &mut take);
                }
                Ok(None) => break,
                Err(error) => debug!(%error, "a heartbeat by UDP failed"),
            }
        }
        self.buffer = buffer;
    }

    fn hear(
        &mut self,
        now: Instant,
        source: Source,
        octets: &[u8],
        take: &mut impl FnMut(Path, Message<Instant>),
    ) {
        let Heard { from, message } = match self.codec.decode(now, source, octets) {
            Ok(heard) => heard,
            Err(refused) => return self.refuse(now, source, &refused),
        };
        self.metrics.received(source.path());
        let pause = self.peers.heard(now, from, source);
        self.metrics.missed(source.path(), pause.map_or(0, |pause| missed(pause, self.interval)));
        let Some(message) = message else { return };
        if let Body::Report(report) = &message.body
            && report.seat.id == from
        {
            self.peers.introduced(&report.seat);
        }
        take(source.path(), message);
    }

    /// Counts it, and tells what people can do something about.
    fn refuse(&mut self, now: Instant, source: Source, refused: &Refused) {
        self.metrics.refused(source.path(), refused);
        let mends = match refused {
            Refused::Version { .. } | Refused::Key { .. } | Refused::Signature(_) | Refused::TooMany(_) => {
                true
            }
            Refused::Body(..) => true,
            Refused::Malformed(..) | Refused::Foreign(_) | Refused::OtherPlane(_) | Refused::Own(_) => false,
        };
        let told = self.told.entry(refused.reason()).or_default();
        if mends && (*told == Instant::ZERO || now - *told >= TELL) {
            *told = now;
            warn!(error = %refused, "a heartbeat is not used");
        } else {
            debug!(error = %refused, "a heartbeat is not used");
        }
    }

    /// Sends a message both ways.
    pub(super) fn send(&mut self, now: Instant, to: &To, message: &Message<Instant>, view: Option<&View>) {
        let Self { me, codec, wire, udp, port, peers, metrics, targets, .. } = self;
        peers.targets(now, me, to, view, targets);
        if targets.wire.is_empty() {
            targets.wire.push(GROUP);
        }
        let origins = [Origin::Udp, wire.mac().map_or(Origin::Udp, Origin::Wire)];
        let origins = if wire.mac().is_some() { &origins[..] } else { &origins[..1] };
        let encoded = codec.encode(now, message, origins, |origin, frame| match origin {
            Origin::Wire(_) => {
                for mac in &targets.wire {
                    if let Some(taken) = wire.send(*mac, frame) {
                        metrics.sent(Path::Wire, taken);
                    }
                }
            }
            Origin::Udp => {
                for address in &targets.udp {
                    let sent = udp.send(frame, SocketAddr::new(*address, *port));
                    if let Err(error) = &sent {
                        debug!(%error, %address, "a heartbeat by UDP was not sent");
                    }
                    metrics.sent(Path::Udp, sent.is_ok());
                }
            }
        });
        if let Err(error) = encoded {
            error!(%error, "a message to the other members is not sent");
        }
    }
}
/// How many heartbeats should have come in a pause between two, of which each may be half an interval late.
fn missed(pause: Duration, interval: Duration) -> u64 {
    let intervals = (pause + interval / 2).as_micros().checked_div(interval.as_micros()).unwrap_or_default();
    u64::try_from(intervals).unwrap_or(u64::MAX).saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heartbeats_that_are_a_little_late_are_none_that_were_missed() {
        let missed = |pause| missed(Duration::from_millis(pause), Duration::from_millis(100));
        assert_eq!([0, 99, 149, 150, 249, 250, 1049].map(missed), [0, 0, 0, 1, 1, 2, 9]);
    }
}
