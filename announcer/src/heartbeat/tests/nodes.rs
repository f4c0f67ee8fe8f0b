//! Two nodes in network namespaces, with the cable `eth0` between them for the plane and `mgmt0` for their own addresses.

use std::{
    fs::File,
    future::Future,
    net::{IpAddr, UdpSocket},
    os::fd::AsFd,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use foghorn_netio::{Link, Netlink};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

pub(super) struct Nodes([File; 2]);

impl Nodes {
    /// What this thread opens and starts from now on is on that node.
    pub(super) fn enter(&self, node: usize) {
        let kind = Some(LinkNameSpaceType::Network);
        move_into_link_name_space(self.0[node].as_fd(), kind).unwrap();
    }

    /// Runs `ip` on that node.
    pub(super) fn ip(&self, node: usize, words: &str) {
        self.enter(node);
        ip(words);
    }

    /// The plane's interface of that node.
    pub(super) async fn link(&self, node: usize) -> Link {
        self.enter(node);
        let links = Netlink::open().unwrap().links().await.unwrap();
        links.into_iter().find(|link| link.name == "eth0").unwrap()
    }
}

pub(super) fn address(node: usize) -> IpAddr {
    [198, 51, 100, u8::try_from(node).unwrap() + 1].into()
}

/// Runs the test with two nodes, which end with its thread.
pub(super) fn on_two_nodes<T: Future<Output = ()>>(test: impl FnOnce(Nodes) -> T + Send + 'static) {
    let thread = std::thread::spawn(move || {
        let nodes = lay();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            ready(&nodes).await;
            test(nodes).await;
        });
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn lay() -> Nodes {
    static TESTS: AtomicU32 = AtomicU32::new(0);
    let test = TESTS.fetch_add(1, Ordering::Relaxed);
    let names = [0, 1].map(|node| format!("heartbeat-{}-{test}-{node}", std::process::id()));
    names.iter().for_each(|name| ip(&format!("netns add {name}")));
    let nodes = Nodes(names.each_ref().map(|name| File::open(format!("/run/netns/{name}")).unwrap()));
    let [one, two] = &names;
    for cable in ["eth0", "mgmt0"] {
        ip(&format!("link add {cable} netns {one} type veth peer {cable} netns {two}"));
    }
    // The open files keep them.
    names.iter().for_each(|name| ip(&format!("netns delete {name}")));
    for node in [0, 1] {
        nodes.ip(node, &format!("address add {}/24 dev mgmt0", address(node)));
        ["lo", "eth0", "mgmt0"].iter().for_each(|name| ip(&format!("link set {name} up")));
    }
    nodes
}

/// Waits until the cables carry frames, and the nodes know each other's hardware addresses: until then they keep a few
/// datagrams only.
async fn ready(nodes: &Nodes) {
    for node in [0, 1] {
        while !nodes.link(node).await.carrier {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    let bind = |node| {
        nodes.enter(node);
        UdpSocket::bind((address(node), 7_000)).unwrap()
    };
    let [one, two] = [0, 1].map(bind);
    two.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    while two.recv(&mut [0; 1]).is_err() {
        one.send_to(&[0], (address(1), 7_000)).unwrap();
    }
}

fn ip(words: &str) {
    let status = Command::new("ip").args(words.split(' ')).status().unwrap();
    assert!(status.success(), "ip {words}: {status}; these tests need to run as root");
}

/// Waits until it is so.
pub(super) async fn until(what: &str, is_so: impl Fn() -> bool) {
    let wait = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let result = tokio::time::timeout(Duration::from_secs(15), wait).await;
    assert!(result.is_ok(), "not within 15 s: {what}");
}
