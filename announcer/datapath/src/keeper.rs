//! Brings the node to what is wanted, and keeps it there.

use std::{collections::BTreeSet, time::Duration};

use foghorn_netio::{Family, MarkRule, Netlink, NetlinkError, TableRoute};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::{
    findings::Settings,
    nft::{self, NftError},
    ruleset::ruleset,
    table::Table,
    trace::Trace,
    wanted::{Answer, Finding, Message, ReturnPath, Wanted},
};

/// How often it is looked whether the table is still there: others flush all rules.
const LOOK: Duration = Duration::from_secs(10);
/// How often it is looked for what planes that are no more have left.
const CLEAN: Duration = Duration::from_secs(60);
/// How often a table is told that it has an owner, of which it knows for ten minutes.
const OWN: Duration = Duration::from_secs(60);
/// Of a default route that says that there is none: whatever has no better one goes nowhere, not to another table.
const LAST_METRIC: u32 = u32::MAX;
const ROUTE_METRIC: u32 = 1;

/// Why the node is not as it is wanted.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// Of nftables.
    #[error("nftables: {0}")]
    Nft(#[from] NftError),
    /// Of routes.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
}

impl KeepError {
    fn finding(&self) -> Finding {
        let (reason, message) = match self {
            Self::Nft(NftError::NotPermitted) => (
                "NotPermitted",
                format!(
                    "returnPath and guard are not in force: {self}; does a policy of the cluster take it away?"
                ),
            ),
            Self::Nft(_) | Self::Netlink(_) => {
                ("NotInForce", format!("not in force, it is tried again: {self}"))
            }
        };
        Finding { reason: reason.to_owned(), message }
    }
}

/// Rules as they were put in force, and the trace in them.
#[derive(Debug, PartialEq, Eq)]
struct Applied {
    trace: Trace,
    table: Table,
}

/// Keeps a plane's part of the node.
#[derive(Debug)]
pub struct Keeper {
    plane: String,
    netlink: Netlink,
    /// The rules that are in force, as far as this process has put them there.
    applied: Option<Applied>,
    looked: Option<Instant>,
    owned: Option<Instant>,
    cleaned: Option<Instant>,
}

impl Keeper {
    /// Of that plane.
    ///
    /// # Errors
    /// If there is no netlink socket to be had.
    pub fn new(plane: &str) -> Result<Self, NetlinkError> {
        let netlink = Netlink::open()?;
        Ok(Self { plane: plane.to_owned(), netlink, applied: None, looked: None, owned: None, cleaned: None })
    }

    /// Brings the node to what the message wants. To be called when it is new, and from time to time.
    pub async fn keep(&mut self, message: &Message) -> Answer {
        let mut findings = match &message.wanted {
            Some(wanted) => match self.install(wanted).await {
                Ok(settings) => settings.findings(wanted),
                Err(error) => vec![error.finding()],
            },
            None => self.remove().await.err().map(|error| error.finding()).into_iter().collect(),
        };
        if let Err(error) = self.clean(&message.planes).await {
            warn!(%error, "what planes that are no more have left is not known");
        }
        findings.dedup();
        Answer { wanted: message.wanted.is_some(), findings }
    }

    async fn install(&mut self, wanted: &Wanted) -> Result<Settings, KeepError> {
        let now = Instant::now();
        let due = self.looked.is_none_or(|looked| now - looked >= LOOK);
        let settings = Settings::read(&wanted.interface.name);
        let applied_after = |before: Option<&Trace>| {
            let trace = next_trace(wanted, before, &settings);
            Applied { table: ruleset(&self.plane, wanted, &trace), trace }
        };
        let known = self.applied.as_ref().map(|applied| &applied.trace);
        if due || self.applied.as_ref() != Some(&applied_after(known)) {
            let present = nft::trace(&self.plane).await?;
            let is_there = present.is_some();
            let before = present.or_else(|| known.cloned());
            let next = applied_after(before.as_ref());
            if let Some(before) = &before {
                self.undo(before, &next.trace).await?;
            }
            if !is_there || self.applied.as_ref() != Some(&next) {
                if !is_there && self.applied.is_some() {
                    warn!("somebody has removed the plane's table of nftables; it is put there again");
                }
                // What is to be undone one day is written down before it is done.
                self.put(&next.table, is_there).await?;
                info!(addresses = wanted.addresses.len(), "rules are in force");
                self.applied = Some(next);
            }
            self.looked = Some(now);
        }
        if self.owned.is_none_or(|owned| now - owned >= OWN) {
            nft::own(&self.plane).await?;
            self.owned = Some(now);
        }
        if let Some(path) = &wanted.return_path {
            let families = wanted.families();
            if families.contains(&Family::V4) && settings.filter() != Some(0) {
                self.netlink.set_reverse_path_filter(wanted.interface.index, 0).await?;
            }
            for family in families {
                self.route(path, wanted.interface.index, family).await?;
            }
        }
        Ok(settings)
    }

    /// Puts the table in force, by a change of the one before if that is there and can be changed into it.
    async fn put(&mut self, table: &Table, is_there: bool) -> Result<(), NftError> {
        // It is not known what is in force if this fails.
        let before = self.applied.take().filter(|_| is_there);
        if let Some(change) = before.and_then(|before| table.change(&before.table)) {
            match nft::apply(&change).await {
                Err(NftError::Refused(why)) => {
                    warn!(%why, "the plane's table of nftables is not as it was left; it is replaced");
                }
                done => return done,
            }
        }
        nft::apply(&table.whole()).await
    }

    /// Undoes what an earlier state needed and the present one does not.
    async fn undo(&self, before: &Trace, after: &Trace) -> Result<(), KeepError> {
        if before.filter != after.filter
            && let Some((interface, filter)) = &before.filter
        {
            self.restore_filter(interface, *filter).await?;
        }
        for rule in before.rules.difference(&after.rules) {
            self.unroute(*rule).await?;
        }
        Ok(())
    }

    /// An interface that is gone has no filter to restore.
    async fn restore_filter(&self, interface: &str, filter: u32) -> Result<(), KeepError> {
        let links = self.netlink.links().await?;
        if let Some(link) = links.iter().find(|link| link.name == interface) {
            self.netlink.set_reverse_path_filter(link.index, filter).await?;
        }
        Ok(())
    }

    /// The family's rule and routes that are wanted, and no others of ours in that table.
    async fn route(&self, path: &ReturnPath, interface: u32, family: Family) -> Result<(), KeepError> {
        let routes = table_routes(path, interface, family);
        let present = self.netlink.table_routes(family, path.table).await?;
        for route in present.difference(&routes) {
            self.netlink.remove_table_route(path.table, route).await?;
        }
        for route in routes.difference(&present) {
            // While the interface is down there is no way, and no traffic that would need it.
            if let Err(error) = self.netlink.add_table_route(path.table, route).await {
                warn!(%error, ?route, "a route is not there yet");
            }
        }
        let rule = path.rule(family);
        let rules = self.netlink.mark_rules(family).await?;
        let is_stale =
            |other: &&MarkRule| **other != rule && (other.table == rule.table || other.mark == rule.mark);
        for stale in rules.iter().filter(is_stale) {
            self.netlink.remove_mark_rule(*stale).await?;
        }
        if !rules.contains(&rule) {
            self.netlink.add_mark_rule(rule).await?;
        }
        Ok(())
    }

    async fn unroute(&self, rule: MarkRule) -> Result<(), KeepError> {
        self.netlink.remove_mark_rule(rule).await?;
        for route in self.netlink.table_routes(rule.family, rule.table).await? {
            self.netlink.remove_table_route(rule.table, &route).await?;
        }
        Ok(())
    }

    /// Leaves nothing of the plane.
    async fn remove(&mut self) -> Result<(), KeepError> {
        let now = Instant::now();
        let due = self.looked.is_none_or(|looked| now - looked >= LOOK);
        if self.applied.is_some() || due {
            let plane = self.plane.clone();
            self.remove_plane(&plane).await?;
            self.applied = None;
            self.looked = Some(now);
        }
        Ok(())
    }

    async fn remove_plane(&self, plane: &str) -> Result<(), KeepError> {
        let Some(trace) = nft::trace(plane).await? else { return Ok(()) };
        self.undo(&trace, &Trace::default()).await?;
        nft::remove(plane).await?;
        info!(plane, "rules and routes are removed");
        Ok(())
    }

    /// Removes what planes that are no more have left. That a plane is not among `planes` may be no more than old news: where
    /// its container was there a short time ago, the plane is still there.
    async fn clean(&mut self, planes: &BTreeSet<String>) -> Result<(), KeepError> {
        let now = Instant::now();
        if planes.is_empty() || self.cleaned.is_some_and(|cleaned| now - cleaned < CLEAN) {
            return Ok(());
        }
        self.cleaned = Some(now);
        for left in nft::planes().await?.iter().filter(|plane| !planes.contains(*plane)) {
            if *left != self.plane && !nft::is_owned(left).await? {
                self.remove_plane(left).await?;
            }
        }
        Ok(())
    }
}

/// What is changed beyond the rules, once all is as wanted.
fn next_trace(wanted: &Wanted, before: Option<&Trace>, settings: &Settings) -> Trace {
    let name = &wanted.interface.name;
    let Some(path) = &wanted.return_path else { return Trace::default() };
    let families = wanted.families();
    let rules = families.iter().map(|family| path.rule(*family)).collect();
    if !families.contains(&Family::V4) {
        return Trace { filter: None, rules };
    }
    let known = before.and_then(|trace| trace.filter.clone()).filter(|(of, _)| of == name);
    let found = || Some((name.clone(), settings.filter().filter(|filter| *filter != 0)?));
    Trace { filter: known.or_else(found), rules }
}

/// The routes of the plane's table of a family: those that are wanted, and that there are no others.
fn table_routes(path: &ReturnPath, interface: u32, family: Family) -> BTreeSet<TableRoute> {
    let wanted = path.routes.iter().filter(|route| route.family() == family).map(|route| TableRoute {
        destination: (route.destination.network(), route.destination.prefix_len()),
        gateway: route.gateway,
        interface: Some(interface),
        metric: ROUTE_METRIC,
    });
    let no_others = TableRoute {
        destination: (family.unspecified(), 0),
        gateway: None,
        interface: None,
        metric: LAST_METRIC,
    };
    wanted.chain([no_others]).collect()
}
