//! The packet socket on a real cable.
#![cfg(test)]

mod namespace;

use std::{
    net::{Ipv4Addr, UdpSocket},
    time::Duration,
};

use foghorn_netio::{Group, PacketSocket, PacketType, Received, SendError, SocketError, clock};
use namespace::{LEFT, RIGHT, in_namespace, ip, link, within_seconds};

#[test]
fn arp_passes_whole_and_other_udp_does_not() {
    in_namespace(|| async {
        let (left, right) = cable().await;
        right.send(&udp(53)).unwrap();
        right.send(&arp(BROADCAST)).unwrap();
        right.send(&udp(68)).unwrap();
        let (received, frame) = next(&left).await;
        assert_eq!(frame, arp(BROADCAST));
        assert_eq!(received.packet_type, PacketType::Broadcast);
        assert_eq!(next(&left).await.1, udp(68));
        assert_nothing_comes(&left).await;
    });
}

#[test]
fn a_frame_with_a_vlan_tag_does_not_pass() {
    in_namespace(|| async {
        let (left, right) = cable().await;
        let mut tagged = arp(BROADCAST);
        tagged.splice(12..12, [0x81, 0x00, 0x00, 0x0a]);
        right.send(&tagged).unwrap();
        right.send(&arp(LEFT)).unwrap();
        assert_eq!(next(&left).await.1, arp(LEFT));
        assert_nothing_comes(&left).await;
    });
}

#[test]
fn a_frame_with_a_priority_tag_is_received_without_it() {
    in_namespace(|| async {
        let (left, right) = cable().await;
        let mut tagged = arp(BROADCAST);
        tagged.splice(12..12, [0x81, 0x00, 0xc0, 0x00]);
        right.send(&tagged).unwrap();
        assert_eq!(next(&left).await.1, arp(BROADCAST));
        assert_nothing_comes(&left).await;
    });
}

#[test]
fn own_frames_are_not_seen_by_any_socket_of_the_interface() {
    in_namespace(|| async {
        let (left, right) = cable().await;
        let another = PacketSocket::open(left.interface()).unwrap();
        left.send(&arp(BROADCAST)).unwrap();
        assert_eq!(next(&right).await.1, arp(BROADCAST));
        assert_nothing_comes(&left).await;
        assert_nothing_comes(&another).await;
    });
}

#[test]
fn a_message_of_this_computer_has_a_checksum_that_need_not_be_checked() {
    in_namespace(|| async {
        let (left, _right) = cable().await;
        ip("address add 192.0.2.1/24 broadcast 192.0.2.255 dev right");
        let socket = UdpSocket::bind((Ipv4Addr::new(192, 0, 2, 1), 67)).unwrap();
        socket.set_broadcast(true).unwrap();
        socket.send_to(b"offer", (Ipv4Addr::new(192, 0, 2, 255), 68)).unwrap();
        let (received, frame) = next(&left).await;
        assert!(frame.ends_with(b"offer"));
        assert!(received.checksum_trusted);
    });
}

#[test]
fn a_joined_hardware_address_is_received_and_a_left_one_is_not() {
    in_namespace(|| async {
        // Other than a cable, a bridge looks whom a frame is for.
        ip("link add switch type bridge");
        ip("link set left master switch");
        ip("link set switch up");
        let switch = PacketSocket::open(link("switch").await.index).unwrap();
        let right = PacketSocket::open(link("right").await.index).unwrap();
        within_seconds("the bridge forwards", 5, async {
            while switch.recv(&mut [0; 2_048]).unwrap().is_none() {
                right.send(&arp(BROADCAST)).unwrap();
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
        .await;
        let last = arp(link("switch").await.mac.unwrap());
        right.send(&last).unwrap();
        while next(&switch).await.1 != last {}

        let foreign = [2, 0, 0, 0, 0xaa, 1];
        right.send(&arp(foreign)).unwrap();
        assert_nothing_comes(&switch).await;
        switch.join_unicast(foreign).unwrap();
        right.send(&arp(foreign)).unwrap();
        let (received, frame) = next(&switch).await;
        assert_eq!((received.packet_type, frame), (PacketType::OtherHost, arp(foreign)));
        switch.leave_unicast(foreign).unwrap();
        right.send(&arp(foreign)).unwrap();
        assert_nothing_comes(&switch).await;
    });
}

#[test]
fn a_socket_for_a_group_gives_its_frames_and_the_one_for_arp_does_not() {
    in_namespace(|| async {
        // Other than a cable, a bridge looks whom a frame is for.
        ip("link add switch type bridge mcast_snooping 0");
        ip("link set left master switch");
        ip("link set switch up");
        let interface = link("switch").await.index;
        let group = PacketSocket::open_to_group(interface, &GROUP).unwrap();
        let arp_and_dhcp = PacketSocket::open(interface).unwrap();
        let right = PacketSocket::open(link("right").await.index).unwrap();
        within_seconds("the bridge forwards", 5, async {
            while group.recv(&mut [0; 2_048]).unwrap().is_none() {
                right.send(&heartbeat(0x42)).unwrap();
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
        .await;
        while group.recv(&mut [0; 2_048]).unwrap().is_some() {}
        right.send(&arp(BROADCAST)).unwrap();
        right.send(&heartbeat(0x43)).unwrap();
        right.send(&heartbeat(0x42)).unwrap();
        let (received, frame) = next(&group).await;
        assert_eq!((received.packet_type, frame), (PacketType::Multicast, heartbeat(0x42)));
        assert_nothing_comes(&group).await;
        assert_eq!(next(&arp_and_dhcp).await.1, arp(BROADCAST));
        assert_nothing_comes(&arp_and_dhcp).await;
    });
}

#[test]
fn nothing_is_sent_after_the_permit_has_run_out() {
    in_namespace(|| async {
        let (left, right) = cable().await;
        let permit = clock::now() + Duration::from_secs(1);
        left.send_before(&arp(BROADCAST), permit).unwrap();
        next(&right).await;
        tokio::time::sleep(Duration::from_millis(1_050)).await;
        let Err(SendError::Fenced { late }) = left.send_before(&arp(BROADCAST), permit) else {
            panic!("the frame was sent");
        };
        assert!(late >= Duration::from_millis(50));
        assert_nothing_comes(&right).await;
    });
}

#[test]
fn a_frame_that_has_waited_says_how_long() {
    in_namespace(|| async {
        let (left, right) = cable().await;
        let wait = Duration::from_millis(300);
        // The kernel begins to note the time of frames a little after the socket has asked for it.
        within_seconds("an age is as long as the wait", 5, async {
            loop {
                right.send(&arp(BROADCAST)).unwrap();
                tokio::time::sleep(wait).await;
                right.send(&arp(LEFT)).unwrap();
                let (old, _) = next(&left).await;
                let (new, _) = next(&left).await;
                if old.age >= wait - Duration::from_millis(50) {
                    assert!(new.age < old.age, "{new:?} {old:?}");
                    break;
                }
            }
        })
        .await;
    });
}

#[test]
fn an_interface_that_is_down_or_gone_says_so_and_a_down_one_comes_back() {
    in_namespace(|| async {
        let (left, right) = cable().await;
        let interface = left.interface();
        ip("link set left down");
        within_seconds("the wait ends", 5, left.readable()).await.unwrap();
        let error = left.recv(&mut [0; 2_048]).unwrap_err();
        assert!(matches!(error, SocketError::Down { interface: of } if of == interface), "{error}");
        let error = left.send(&arp(BROADCAST)).unwrap_err();
        assert!(matches!(error, SocketError::Down { .. }), "{error}");

        ip("link set left up");
        within_seconds("a frame passes again", 5, async {
            while left.recv(&mut [0; 2_048]).unwrap().is_none() {
                let _ = right.send(&arp(BROADCAST));
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;

        ip("link delete left");
        let error = left.send(&arp(BROADCAST)).unwrap_err();
        assert!(matches!(error, SocketError::Gone { .. } | SocketError::Down { .. }), "{error}");
        let error = left.send(&arp(BROADCAST)).unwrap_err();
        assert!(matches!(error, SocketError::Gone { .. }), "{error}");
        assert!(matches!(PacketSocket::open(interface), Err(SocketError::Gone { .. })));
    });
}

async fn cable() -> (PacketSocket, PacketSocket) {
    let open = async |name| PacketSocket::open(link(name).await.index).unwrap();
    (open("left").await, open("right").await)
}

async fn next(socket: &PacketSocket) -> (Received, Vec<u8>) {
    let mut buffer = [0; 2_048];
    within_seconds("a frame comes", 5, async {
        loop {
            if let Some(received) = socket.recv(&mut buffer).unwrap() {
                return (received, buffer[..received.length].to_vec());
            }
            socket.readable().await.unwrap();
        }
    })
    .await
}

async fn assert_nothing_comes(socket: &PacketSocket) {
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(socket.recv(&mut [0; 2_048]).unwrap(), None);
}

fn arp(destination: [u8; 6]) -> Vec<u8> {
    let packet = [0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 2, 192, 0, 2, 1, 0, 0, 0, 0, 0, 0, 192, 0, 2, 9];
    let mut frame = [&destination, &RIGHT, &[0x08, 0x06][..], &packet].concat();
    frame.resize(60, 0);
    frame
}

fn udp(port: u16) -> Vec<u8> {
    let header = [0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 255, 255, 255, 255];
    [&BROADCAST, &RIGHT, &[0x08, 0x00][..], &header, &[0, 67], &port.to_be_bytes(), &[0, 8, 0, 0]].concat()
}

/// A frame to the group, with these octets.
fn heartbeat(octet: u8) -> Vec<u8> {
    [&GROUP.address, &RIGHT, &[0x88, 0xb5][..], &[octet; 46]].concat()
}

const BROADCAST: [u8; 6] = [0xff; 6];
const GROUP: Group = Group { ethertype: 0x88b5, address: [3, 0, 0, 0, 0, 9], at: 14, octets: [0x42; 8] };
