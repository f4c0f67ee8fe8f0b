//! Mappings without an end, at a gateway that takes no others: nothing but whoever made them removes them.

use foghorn_interop::{
    OldRouter, Row, SOON, World,
    gateway::{Forwarder, description, tcp},
};
use foghorn_lab::until;
use foghorn_portmap::Standing;

#[test]
fn what_a_node_left_at_a_gateway_when_it_was_killed_is_found_by_its_description_and_removed() {
    let world = World::new();
    let router = OldRouter::start(&world);
    let foreign = row(8443, "203.0.113.50", 443, "camera");
    router.forward(foreign.clone());
    // Like a description of the plane, but without its beginning.
    let like_ours = row(8444, "203.0.113.51", 443, "foghorn ffffffff web");
    router.forward(like_ours.clone());
    let foreign = [foreign, like_ours];

    let first = Forwarder::new(&world, "w1", 11);
    first.want("web", &[(80, 8000)], false);
    let of_web = row(8000, &first.source().to_string(), 80, &description("web"));
    stands(&router, &foreign, &[of_web]);
    until("it is told to be without an end", SOON, || {
        let standing = first.told("web").ports.remove(&tcp(80));
        let lasts = matches!(standing, Some(Standing::Forwarded { until: None, permanent_only: true, .. }));
        Ok(lasts.then_some(()))
    })
    .unwrap();
    drop(first);
    stands(&router, &foreign, &[row(8000, "203.0.113.111", 80, &description("web"))]);

    let next = Forwarder::new(&world, "w2", 12);
    next.want("shop", &[(80, 8001), (81, 8002)], false);
    let of_shop = |external, port| row(external, &next.source().to_string(), port, &description("shop"));
    stands(&router, &foreign, &[of_shop(8001, 80), of_shop(8002, 81)]);
    next.want("shop", &[(81, 8002)], false);
    stands(&router, &foreign, &[of_shop(8002, 81)]);
    next.want("shop", &[], true);
    stands(&router, &foreign, &[]);
    until("nothing is left of it", SOON, || Ok(next.told("shop").gone.then_some(()))).unwrap();
}

/// Waits until the gateway forwards that, and nothing else but what is foreign.
fn stands(router: &OldRouter, foreign: &[Row], ours: &[Row]) {
    let wanted = || foreign.iter().chain(ours);
    let right = |table: &[Row]| table.len() == wanted().count() && wanted().all(|row| table.contains(row));
    let stood = until("the gateway's table is right", SOON, || Ok(right(&router.table()).then_some(())));
    assert!(stood.is_ok(), "{:#?} and not {:#?}", router.table(), wanted().collect::<Vec<_>>());
}

fn row(external: u16, client: &str, internal: u16, description: &str) -> Row {
    Row {
        external: external.to_string(),
        client: client.to_owned(),
        internal: internal.to_string(),
        description: description.to_owned(),
    }
}
