//! A network namespace without a name, with a cable in it: it ends with the test's thread, however that ends.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::{future::Future, process::Command, time::Duration};

use foghorn_netio::{Link, Netlink};

/// The hardware addresses of the two ends of the cable.
pub(crate) const LEFT: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub(crate) const RIGHT: [u8; 6] = [2, 0, 0, 0, 0, 2];

/// Runs the test in a namespace of its own, where `left` and `right` are the ends of a cable and both are up.
pub(crate) fn in_namespace<T: Future<Output = ()>>(test: impl FnOnce() -> T + Send + 'static) {
    let thread = std::thread::spawn(move || {
        unshare();
        ip("link add left address 02:00:00:00:00:01 type veth peer right address 02:00:00:00:00:02");
        ip("link set left up");
        ip("link set right up");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            within_seconds("both ends have a carrier", 5, async {
                while !(link("left").await.carrier && link("right").await.carrier) {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            })
            .await;
            test().await;
        });
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Runs `ip` with these words in the namespace of this thread.
pub(crate) fn ip(words: &str) {
    let status = Command::new("ip").args(words.split(' ')).status().unwrap();
    assert!(status.success(), "ip {words}: {status}");
}

pub(crate) async fn link(name: &str) -> Link {
    let links = Netlink::open().unwrap().links().await.unwrap();
    links.into_iter().find(|link| link.name == name).unwrap()
}

pub(crate) async fn within_seconds<T>(what: &str, seconds: u64, future: impl Future<Output = T>) -> T {
    let result = tokio::time::timeout(Duration::from_secs(seconds), future).await;
    result.unwrap_or_else(|_| panic!("not within {seconds} s: {what}"))
}

#[expect(unsafe_code, reason = "a system call")]
fn unshare() {
    // SAFETY: gives this thread another network namespace and touches no memory.
    let result = unsafe { libc::unshare(libc::CLONE_NEWNET) };
    let error = std::io::Error::last_os_error();
    assert_eq!(result, 0, "these tests make network namespaces and need to run as root: {error}");
}
