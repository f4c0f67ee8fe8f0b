//! Gateways that cut, change or refuse descriptions, and show hosts by names.

use foghorn_portmap::{Protocol, Trouble};

use crate::{
    gateway::{Form, Gateway},
    world::{World, tcp, udp},
};

const FORMS: [Form; 11] = [
    Form::Whole,
    Form::Cut(60),
    Form::Cut(26),
    Form::Cut(16),
    Form::Cut(4),
    Form::Cut(0),
    Form::Replaced,
    Form::Refused,
    Form::Own,
    Form::Named,
    Form::CutAndNamed(16),
];

#[test]
fn ports_stay_forwarded_quietly_whatever_becomes_of_descriptions() {
    for form in FORMS {
        let mut world = World::new(igd(form));
        world.want("shop/web", 50, &[(tcp(443), 8443), (udp(53), 5353)]);
        world.want("shop/mail", 51, &[(tcp(25), 2525)]);
        world.seconds(20);
        let shown = world.gateway.shown();
        let changes = world.gateway.changes.clone();
        assert_eq!(changes.len(), 3, "{form:?}: {changes:?}");
        // Several readings, and less than the time to the next renewal.
        for _ in 0..50 {
            world.seconds(30);
            assert_eq!(world.external("shop/web", tcp(443)), Some(8443), "{form:?}");
            assert_eq!(world.external("shop/web", udp(53)), Some(5353), "{form:?}");
            assert_eq!(world.external("shop/mail", tcp(25)), Some(2525), "{form:?}");
            assert_eq!(world.trouble("shop/web", tcp(443)), None, "{form:?}");
        }
        assert_eq!((world.gateway.shown(), &world.gateway.changes), (shown, &changes), "{form:?}");
        let counts = world.counts();
        assert!(counts.values().sum::<usize>() < 70, "{form:?}: {counts:?}");
    }
}

#[test]
fn a_mapping_of_the_node_before_is_gone_on_with_whatever_its_description() {
    for form in FORMS {
        let mut world = World::new(igd(form));
        world.want("shop/web", 50, &[(tcp(443), 8443)]);
        world.seconds(20);
        world.lose("shop/web");
        world.want("shop/mail", 51, &[]);
        let changes = world.gateway.changes.len();
        let mut wanted = crate::world::wanted("shop/web", 50, &[(tcp(443), 8443)]);
        wanted.had = wanted.ports.clone();
        world.wanted.insert("shop/web".into(), wanted);
        world.tell_claims();
        for _ in 0..20 {
            world.seconds(30);
            assert_eq!(world.external("shop/web", tcp(443)), Some(8443), "{form:?}");
        }
        assert_eq!(world.gateway.changes[changes..], ["map TCP 8443"], "{form:?}");
    }
}

#[test]
fn a_gateway_that_lost_its_table_has_it_again_whatever_descriptions_become() {
    for form in FORMS {
        let mut world = World::new(igd(form));
        world.want("shop/web", 50, &[(tcp(443), 8443)]);
        world.seconds(100);
        world.gateway.restart(world.now);
        world.seconds(60);
        assert_eq!(world.gateway.shown(), ["TCP 8443 > 203.0.113.50:443"], "{form:?}");
        assert_eq!(world.external("shop/web", tcp(443)), Some(8443), "{form:?}");
    }
}

#[test]
fn a_claim_that_ends_takes_its_mapping_back_unless_it_may_be_another_s() {
    for form in FORMS {
        let mut world = World::new(igd(form));
        world.want("shop/web", 50, &[(tcp(443), 8443)]);
        world.seconds(20);
        world.change("shop/web", |wanted| wanted.ending = true);
        world.seconds(5);
        assert!(world.reports["shop/web"].gone, "{form:?}");
        let left = usize::from(matches!(form, Form::CutAndNamed(_)));
        assert_eq!(world.gateway.shown().len(), left, "{form:?}: no more than the name of a host is known");
    }
}

#[test]
fn another_host_s_mapping_is_left_alone_whatever_descriptions_become() {
    for form in FORMS.into_iter().filter(|form| *form != Form::Refused) {
        let mut world = World::new(igd(form));
        for (external, description) in [
            (8443, "game console"),
            (8444, "foghorn 22222222 00000032 shop/web"),
            (8445, "foghorn 11111111 00000099 shop/other"),
            (8446, ""),
        ] {
            world.gateway.forward(tcp(external), [203, 0, 113, 9].into(), description, true);
            world.plane.descriptions.insert("foghorn 11111111 00000099 shop/other".into());
        }
        let before = world.gateway.shown();
        let wanted = [8443, 8444, 8445, 8446].map(|external| (tcp(external - 8000), external));
        world.want("shop/web", 50, &wanted);
        world.seconds(1_000);
        for (port, _) in wanted {
            assert!(matches!(world.trouble("shop/web", port), Some(Trouble::Taken(..))), "{form:?}");
        }
        world.change("shop/web", |wanted| wanted.ending = true);
        world.seconds(100);
        assert_eq!(world.gateway.shown(), before, "{form:?}");
        assert_eq!(world.gateway.changes, [""; 0], "{form:?}");
    }
}

#[test]
fn a_mapping_of_people_to_the_service_is_not_taken_over() {
    let mut world = World::new(igd(Form::Whole));
    world.gateway.forward(tcp(8443), [203, 0, 113, 50].into(), "my web", true);
    world.want("shop/web", 50, &[(tcp(9), 8443)]);
    world.seconds(600);
    let trouble = world.trouble("shop/web", tcp(9));
    let Some(Trouble::Taken(8443, whose)) = trouble else { panic!("{trouble:?}") };
    assert_eq!(whose, "203.0.113.50:9 (\"my web\")");
    assert_eq!(world.gateway.changes, [""; 0]);
}

#[test]
fn a_host_that_has_only_a_name_is_told_by_it() {
    let mut world = World::new(igd(Form::Named));
    world.gateway.forward(tcp(8443), [203, 0, 113, 9].into(), "game console", true);
    world.want("shop/web", 50, &[(tcp(9), 8443)]);
    world.seconds(600);
    let trouble = format!("{:?}", world.trouble("shop/web", tcp(9)));
    assert!(trouble.contains("device-9:9"), "{trouble}");
    assert_eq!(world.gateway.changes, [""; 0]);
}

#[test]
fn a_refused_description_is_asked_once_more_in_letters_and_digits() {
    let mut world = World::new(igd(Form::Refused));
    world.want("shop/web", 50, &[(tcp(443), 8443)]);
    world.seconds(4_000);
    let counts = world.counts();
    assert_eq!(counts.get("map"), Some(&4), "the first is refused, and two are renewals: {counts:?}");
    let (entry, ..) = world.gateway.table.values().next().unwrap();
    assert_eq!(entry.description, "foghorn1111111100000032");
}

#[test]
fn what_is_refused_for_another_reason_is_asked_twice_and_then_not_for_minutes() {
    let mut world = World::new(Gateway { refuses: true, ..igd(Form::Whole) });
    world.want("shop/web", 50, &[(tcp(443), 8443)]);
    world.seconds(250);
    assert_eq!(world.counts().get("map"), Some(&2));
    let trouble = world.trouble("shop/web", tcp(443));
    assert!(matches!(trouble, Some(Trouble::Refused(why)) if why.contains("402")), "{trouble:?}");
}

#[test]
fn a_leftover_is_known_by_a_sufficient_description_in_any_form() {
    let gone = "foghorn 11111111 deadbeef gone/web";
    for (form, known) in [
        (Form::Whole, true),
        (Form::Cut(26), true),
        (Form::Cut(24), false),
        (Form::Cut(16), false),
        (Form::Replaced, true),
        (Form::Named, true),
        (Form::Own, false),
    ] {
        let mut world = World::new(igd(form));
        world.gateway.forward(tcp(2000), [203, 0, 113, 77].into(), gone, true);
        world.want("shop/web", 50, &[(tcp(443), 8443)]);
        world.seconds(60);
        assert_eq!(world.gateway.table.contains_key(&tcp(2000)), !known, "{form:?}");
    }
}

fn igd(form: Form) -> Gateway {
    Gateway { form, ..Gateway::speaking(&[Protocol::Igd]) }
}
