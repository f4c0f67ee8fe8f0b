//! What is heard unasked.

use std::{net::Ipv4Addr, time::Duration};

use foghorn_gateway::{Listener, Ports};
use foghorn_portmap::{Notice, Protocol};
use tokio::{net::UdpSocket, time::timeout};

use crate::double::{GATEWAY, IP1, OTHER};

#[tokio::test]
async fn a_gateway_is_heard_when_it_comes_and_goes_and_announces() {
    let ports = Ports { ssdp: 21_900, server: 25_351, announcements: 25_350 };
    let mut first = Listener::open_with(None, ports).unwrap();
    let mut second = Listener::open_with(None, ports).unwrap();
    let gateway = UdpSocket::bind((GATEWAY, ports.server)).await.unwrap();
    let stranger = UdpSocket::bind((OTHER, 0)).await.unwrap();
    let alive = format!(
        "NOTIFY * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nNT: {IP1}\r\nNTS: ssdp:alive\r\n\
         LOCATION: http://127.0.0.1/\r\nBOOTID.UPNP.ORG: 1\r\n\r\n"
    );
    let ssdp = (Ipv4Addr::new(239, 255, 255, 250), ports.ssdp);
    let all = (Ipv4Addr::new(224, 0, 0, 1), ports.announcements);
    let mut pcp = vec![2, 128, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0];
    pcp.resize(24, 0);
    // Not from the server's port.
    send(&stranger, &pcp, all).await;
    send(&gateway, &pcp, all).await;
    for listener in [&mut first, &mut second] {
        assert_eq!(heard(listener).await, Some((GATEWAY, Notice::Epoch(Protocol::Pcp, 256))));
        assert_eq!(heard(listener).await, None);
    }
    send(&stranger, &[0, 128, 0, 0, 0, 0, 0, 9, 198, 51, 100, 7], all).await;
    assert_eq!(heard(&mut first).await, Some((OTHER, Notice::Epoch(Protocol::NatPmp, 9))));
    for _ in 0..3 {
        send(&gateway, alive.as_bytes(), ssdp).await;
        send(&gateway, b"rubbish", ssdp).await;
        send(&gateway, &[0xff; 2000], all).await;
    }
    assert_eq!(heard(&mut first).await, Some((GATEWAY, Notice::Alive)));
    assert_eq!(heard(&mut first).await, None);
    send(&gateway, alive.replace("alive", "byebye").as_bytes(), ssdp).await;
    assert_eq!(heard(&mut first).await, Some((GATEWAY, Notice::ByeBye)));
    send(&gateway, alive.as_bytes(), ssdp).await;
    assert_eq!(heard(&mut first).await, Some((GATEWAY, Notice::Alive)));
}

#[tokio::test]
async fn a_port_that_is_taken_leaves_the_other_one() {
    let ports = Ports { ssdp: 21_901, server: 25_352, announcements: 25_353 };
    let taken = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, ports.ssdp)).await.unwrap();
    let mut listener = Listener::open_with(None, ports).unwrap();
    let gateway = UdpSocket::bind((GATEWAY, 0)).await.unwrap();
    let announcement = [0, 128, 0, 0, 0, 0, 0, 9, 198, 51, 100, 7];
    send(&gateway, &announcement, (Ipv4Addr::new(224, 0, 0, 1), ports.announcements)).await;
    assert_eq!(heard(&mut listener).await, Some((GATEWAY, Notice::Epoch(Protocol::NatPmp, 9))));
    let _other = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 25_354)).await.unwrap();
    assert!(Listener::open_with(None, Ports { announcements: 25_354, ..ports }).is_err());
    drop(taken);
}

async fn send(socket: &UdpSocket, octets: &[u8], to: (Ipv4Addr, u16)) {
    socket2::SockRef::from(socket).set_multicast_if_v4(&Ipv4Addr::LOCALHOST).unwrap();
    socket.send_to(octets, to).await.unwrap();
}

async fn heard(listener: &mut Listener) -> Option<(Ipv4Addr, Notice)> {
    timeout(Duration::from_millis(500), listener.next()).await.ok()
}
