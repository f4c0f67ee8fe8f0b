//! The interfaces as they change.

use std::{net::Ipv4Addr, time::Duration};

use futures::StreamExt;
use rtnetlink::MulticastGroup;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use crate::links::{Link, Netlink, NetlinkError, Task};

/// Between two readings at least: a burst of changes is read once more at its end.
const GAP: Duration = Duration::from_millis(100);
/// Between two readings at most, should the kernel have told nothing.
const SLOW: Duration = Duration::from_secs(30);

/// Follows the interfaces.
///
/// The kernel's notices serve as a reason to read everything anew, so that a lost one (`ENOBUFS`, which is a notice
/// too) does no harm. They come on a socket of their own, where they cannot displace an answer.
#[derive(Debug)]
pub struct LinkMonitor {
    netlink: Netlink,
    notices: watch::Receiver<()>,
    _connection: Task,
    _forwarder: Task,
    last: Option<(Instant, Vec<Link>)>,
    dirty: bool,
}

impl LinkMonitor {
    /// Opens the connections, in the network namespace of this thread and for as long as the runtime runs.
    ///
    /// # Errors
    /// [`NetlinkError::Open`].
    pub fn open() -> Result<Self, NetlinkError> {
        let groups = [MulticastGroup::Link, MulticastGroup::Ipv4Ifaddr];
        let (connection, _, mut messages) =
            rtnetlink::new_multicast_connection(&groups).map_err(NetlinkError::Open)?;
        let (sender, notices) = watch::channel(());
        let forward = async move {
            while messages.next().await.is_some() {
                sender.send_replace(());
            }
        };
        Ok(Self {
            netlink: Netlink::open()?,
            notices,
            _connection: Task::spawn(connection),
            _forwarder: Task::spawn(forward),
            last: None,
            dirty: true,
        })
    }

    /// All interfaces by index: at the first call as they are, then whenever they differ from what was given before.
    /// Nothing is lost if the wait is given up.
    ///
    /// # Errors
    /// If the kernel does not tell; after [`NetlinkError::Closed`] a new monitor is needed.
    pub async fn next(&mut self) -> Result<Vec<Link>, NetlinkError> {
        loop {
            if let Some((read_at, _)) = &self.last {
                let read_at = *read_at;
                if !self.dirty {
                    tokio::select! {
                        notice = self.notices.changed() => notice.map_err(|_| NetlinkError::Closed)?,
                        () = sleep_until(read_at + SLOW) => {}
                    }
                    self.dirty = true;
                }
                sleep_until(read_at + GAP).await;
            }
            self.notices.mark_unchanged();
            let read_at = Instant::now();
            let links = self.netlink.links().await?;
            self.dirty = false;
            let changed = self.last.as_ref().is_none_or(|(_, last)| *last != links);
            self.last = Some((read_at, links.clone()));
            if changed {
                return Ok(links);
            }
        }
    }

    /// The index of the interface over which packets to `destination` leave; nothing if there is no route.
    ///
    /// # Errors
    /// If the kernel does not answer.
    pub async fn route_interface(&self, destination: Ipv4Addr) -> Result<Option<u32>, NetlinkError> {
        self.netlink.route_interface(destination).await
    }
}
