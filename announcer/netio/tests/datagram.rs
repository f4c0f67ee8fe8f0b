//! The UDP socket on a real cable.
#![cfg(test)]

mod namespace;

use std::net::{IpAddr, SocketAddr};

use foghorn_netio::{DatagramError, DatagramSocket};
use namespace::{in_namespace, ip, within_seconds};

#[test]
fn datagrams_pass_between_addresses_of_both_families_and_show_who_sent_them() {
    in_namespace(|| async {
        ip("link set lo up");
        ip("address add 192.0.2.1/24 dev left");
        let (one, two) = (DatagramSocket::bind(PORT).unwrap(), DatagramSocket::bind(PORT + 1).unwrap());
        for address in ["192.0.2.1", "::1"] {
            let address: IpAddr = address.parse().unwrap();
            one.send(b"heartbeat", SocketAddr::new(address, PORT + 1)).unwrap();
            let (octets, from) = next(&two).await;
            assert_eq!((octets.as_slice(), from), (&b"heartbeat"[..], SocketAddr::new(address, PORT)));
        }
    });
}

#[test]
fn all_that_has_arrived_is_received_without_a_turn_of_the_runtime() {
    in_namespace(|| async {
        ip("link set lo up");
        let (one, two) = (DatagramSocket::bind(PORT).unwrap(), DatagramSocket::bind(PORT + 1).unwrap());
        assert_eq!(two.recv(&mut [0; 2_048]).unwrap(), None);
        for _ in 0..100 {
            one.send(b"heartbeat", ([127, 0, 0, 1], PORT + 1).into()).unwrap();
        }
        for _ in 0..100 {
            assert!(two.recv(&mut [0; 2_048]).unwrap().is_some());
        }
        assert_eq!(two.recv(&mut [0; 2_048]).unwrap(), None);
    });
}

#[test]
fn a_port_that_is_in_use_is_named() {
    in_namespace(|| async {
        let _first = DatagramSocket::bind(PORT).unwrap();
        let second = DatagramSocket::bind(PORT).unwrap_err();
        assert!(matches!(second, DatagramError::InUse { port: PORT }), "{second}");
    });
}

async fn next(socket: &DatagramSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = [0; 2_048];
    within_seconds("a datagram comes", 5, async {
        loop {
            if let Some((length, from)) = socket.recv(&mut buffer).unwrap() {
                return (buffer[..length].to_vec(), from);
            }
            socket.readable().await.unwrap();
        }
    })
    .await
}

const PORT: u16 = 7_946;
