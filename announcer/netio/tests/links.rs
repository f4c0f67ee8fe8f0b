//! Interfaces as netlink tells of them, while they change.
#![cfg(test)]

mod namespace;

use std::{net::Ipv4Addr, time::Duration};

use foghorn_netio::{Link, LinkMonitor, Netlink};
use namespace::{LEFT, in_namespace, ip, link, within_seconds};

#[test]
fn the_first_snapshot_is_whole_and_the_next_comes_after_a_change() {
    in_namespace(|| async {
        let mut monitor = LinkMonitor::open().unwrap();
        let first = monitor.next().await.unwrap();
        let left = find(&first, "left");
        assert_eq!(left.mac, Some(LEFT));
        assert_eq!(left.kind.as_deref(), Some("veth"));
        assert!(left.admin_up && left.carrier && left.master.is_none() && left.addresses.is_empty());
        assert_eq!(find(&first, "lo").mac, None);
        let none = tokio::time::timeout(Duration::from_millis(500), monitor.next()).await;
        assert!(none.is_err(), "nothing has changed");
    });
}

#[test]
fn a_lost_carrier_is_seen_and_its_return_too() {
    in_namespace(|| async {
        let mut monitor = LinkMonitor::open().unwrap();
        ip("link set right down");
        until(&mut monitor, "carrier lost", |left| left.admin_up && !left.carrier).await;
        ip("link set right up");
        until(&mut monitor, "carrier back", |left| left.carrier).await;
        ip("link set left down");
        until(&mut monitor, "set down", |left| !left.admin_up && !left.carrier).await;
    });
}

#[test]
fn addresses_are_seen_to_come_and_go_the_primary_one_first() {
    in_namespace(|| async {
        let mut monitor = LinkMonitor::open().unwrap();
        let (one, two) = ((Ipv4Addr::new(192, 0, 2, 9), 24), (Ipv4Addr::new(192, 0, 2, 1), 24));
        ip("address add 192.0.2.9/24 dev left");
        until(&mut monitor, "one address", |left| left.addresses == [one]).await;
        ip("address add 192.0.2.1/24 dev left");
        until(&mut monitor, "two addresses", |left| left.addresses == [one, two]).await;
        ip("address flush dev left");
        until(&mut monitor, "no address", |left| left.addresses.is_empty()).await;
    });
}

#[test]
fn a_new_hardware_address_and_a_master_are_seen() {
    in_namespace(|| async {
        let mut monitor = LinkMonitor::open().unwrap();
        ip("link set left address 02:00:00:00:00:77");
        until(&mut monitor, "the new address", |left| left.mac == Some([2, 0, 0, 0, 0, 0x77])).await;
        ip("link add switch type bridge");
        ip("link set left master switch");
        let switch = link("switch").await;
        assert_eq!(switch.kind.as_deref(), Some("bridge"));
        until(&mut monitor, "the master", |left| left.master == Some(switch.index)).await;
    });
}

#[test]
fn addresses_on_an_interface_without_arp_are_seen_with_it() {
    in_namespace(|| async {
        // kube-proxy's is a dummy interface.
        ip("link add kube-ipvs0 type bridge");
        assert!(link("kube-ipvs0").await.arp);
        ip("link set kube-ipvs0 arp off");
        ip("address add 192.0.2.77/32 dev kube-ipvs0");
        let holder = link("kube-ipvs0").await;
        assert!(!holder.arp && !holder.admin_up);
        assert_eq!(holder.addresses, [(Ipv4Addr::new(192, 0, 2, 77), 32)]);
        assert!(link("left").await.arp);
    });
}

#[test]
fn an_interface_that_is_gone_is_seen_to_be_gone() {
    in_namespace(|| async {
        let mut monitor = LinkMonitor::open().unwrap();
        assert!(monitor.next().await.unwrap().iter().any(|link| link.name == "left"));
        ip("link delete left");
        within_seconds("no interface", 5, async {
            while monitor.next().await.unwrap().iter().any(|link| link.name == "left") {}
        })
        .await;
    });
}

#[test]
fn a_burst_of_changes_is_a_few_snapshots_and_the_last_one_has_them_all() {
    in_namespace(|| async {
        let mut monitor = LinkMonitor::open().unwrap();
        monitor.next().await.unwrap();
        let burst = std::thread::scope(|scope| {
            let add = || (1..=100).for_each(|n| ip(&format!("address add 198.51.100.{n}/32 dev left")));
            scope.spawn(add).join()
        });
        burst.unwrap();
        let mut snapshots = 0;
        within_seconds("all addresses", 5, async {
            loop {
                snapshots += 1;
                if find(&monitor.next().await.unwrap(), "left").addresses.len() == 100 {
                    break;
                }
            }
        })
        .await;
        assert!(snapshots <= 3, "{snapshots} snapshots");
    });
}

#[test]
fn the_interface_of_a_route_is_found_and_no_route_is_none() {
    in_namespace(|| async {
        let netlink = Netlink::open().unwrap();
        let far = Ipv4Addr::new(203, 0, 113, 9);
        assert_eq!(netlink.route_interface(far).await.unwrap(), None);
        ip("address add 192.0.2.9/24 dev left");
        let left = link("left").await.index;
        assert_eq!(netlink.route_interface(Ipv4Addr::new(192, 0, 2, 1)).await.unwrap(), Some(left));
        assert_eq!(netlink.route_interface(far).await.unwrap(), None);
        ip("route add default via 192.0.2.1");
        assert_eq!(netlink.route_interface(far).await.unwrap(), Some(left));
    });
}

async fn until(monitor: &mut LinkMonitor, what: &str, holds: impl Fn(&Link) -> bool) {
    within_seconds(what, 5, async { while !holds(find(&monitor.next().await.unwrap(), "left")) {} }).await;
}

fn find<'a>(links: &'a [Link], name: &str) -> &'a Link {
    links.iter().find(|link| link.name == name).unwrap()
}
