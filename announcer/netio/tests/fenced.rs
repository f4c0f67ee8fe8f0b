//! Addresses that the kernel takes away by itself.
#![cfg(test)]

mod namespace;

use std::{net::Ipv4Addr, process::Command, time::Duration};

use foghorn_netio::Netlink;
use namespace::{in_namespace, ip, link, within_seconds};

const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 77);

#[test]
fn an_address_is_kept_is_told_from_the_nodes_own_and_is_dropped() {
    in_namespace(|| async {
        ip("address add 192.0.2.9/24 dev left");
        let netlink = Netlink::open().unwrap();
        let left = link("left").await.index;
        netlink.keep_address(left, ADDRESS).await.unwrap();
        netlink.keep_address(left, ADDRESS).await.unwrap();
        let shown = shown();
        assert!(shown.contains("192.0.2.77/32"), "{shown}");
        assert!(shown.contains("deprecated") && shown.contains("noprefixroute"), "{shown}");
        assert_eq!(netlink.kept_addresses().await.unwrap(), [(left, ADDRESS)]);
        assert_eq!(link("left").await.addresses, [(Ipv4Addr::new(192, 0, 2, 9), 24)]);
        netlink.drop_address(left, ADDRESS).await.unwrap();
        assert_eq!(netlink.kept_addresses().await.unwrap(), []);
        assert!(netlink.drop_address(left, ADDRESS).await.is_err(), "it is not there any more");
    });
}

#[test]
fn an_address_that_nobody_keeps_is_taken_away_by_the_kernel() {
    in_namespace(|| async {
        let netlink = Netlink::open().unwrap();
        let left = link("left").await.index;
        netlink.keep_address(left, ADDRESS).await.unwrap();
        within_seconds("the address is gone", 15, async {
            while !netlink.kept_addresses().await.unwrap().is_empty() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        })
        .await;
        assert!(!shown().contains("192.0.2.77"), "{}", shown());
    });
}

fn shown() -> String {
    let output = Command::new("ip").args(["address", "show", "dev", "left"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}
