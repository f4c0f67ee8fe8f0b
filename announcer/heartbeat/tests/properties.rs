//! What holds for all messages, and for all octets.
#![cfg(test)]

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use foghorn_clock::Instant;
use foghorn_heartbeat::{Codec, FORMATS, Keys, LONGEST_FRAME, Origin, Plane, Source, decode, encode};
use foghorn_membership::{
    Acks, Body, ClaimId, Digest, Entry, Epoch, Grant, Health, Holding, Inventory, MemberId, Message, Report,
    Round, Seat, Table, View,
};
use proptest::{collection::vec, option, prelude::*};

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_message_survives_its_frames_in_any_order(message in message(), reversed: bool) {
        let mut frames = frames(&message);
        prop_assert!(frames.iter().all(|frame| frame.len() <= LONGEST_FRAME));
        if reversed {
            frames.reverse();
        }
        let mut other = codec(2);
        let heard: Vec<_> = frames.iter().map(|frame| other.decode(NOW, SOURCE, frame).unwrap()).collect();
        let (last, before) = heard.split_last().unwrap();
        prop_assert_eq!(&last.message, &Some(message));
        prop_assert!(before.iter().all(|heard| heard.message.is_none()));
    }

    #[test]
    fn a_frame_with_one_bit_changed_is_refused(message in message(), at: prop::sample::Index, bit in 0..8_u8) {
        for mut frame in frames(&message) {
            let at = at.index(frame.len());
            frame[at] ^= 1_u8 << bit;
            prop_assert!(codec(2).decode(NOW, SOURCE, &frame).is_err(), "octet {}, bit {}", at, bit);
        }
    }

    #[test]
    fn a_frame_that_is_cut_short_is_refused_and_one_that_is_filled_up_is_not(
        message in message(), cut: prop::sample::Index, padding in vec(any::<u8>(), 0..60)
    ) {
        for frame in frames(&message) {
            prop_assert!(codec(2).decode(NOW, SOURCE, &frame[..cut.index(frame.len())]).is_err());
            let padded = [frame, padding.clone()].concat();
            prop_assert!(codec(2).decode(NOW, SOURCE, &padded).is_ok());
        }
    }

    #[test]
    fn a_message_survives_what_a_later_release_adds_at_its_end(message in message(), added in vec(any::<u8>(), 0..20)) {
        let mut octets = Vec::new();
        encode(&message, &mut octets);
        octets.extend(added);
        prop_assert_eq!(decode(message.from, &octets), Ok(message));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn octets_are_a_message_in_one_form_or_none(octets in vec(any::<u8>(), 0..200)) {
        if let Ok(message) = decode(MemberId(1), &octets) {
            let mut again = Vec::new();
            encode(&message, &mut again);
            // Senders of before end without the fields that came later.
            prop_assert!(octets.starts_with(&again) || again.starts_with(&octets));
            prop_assert_eq!(decode(MemberId(1), &again), Ok(message));
        }
        prop_assert!(codec(2).decode(NOW, SOURCE, &octets).is_err());
    }
}

fn frames(message: &Message<Instant>) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let send = |_: Origin, frame: &[u8]| frames.push(frame.to_vec());
    codec(1).encode(NOW, message, &[SOURCE.into()], send).unwrap();
    frames
}

fn codec(me: u64) -> Codec {
    let keys = Keys::new(BTreeMap::from([(1, vec![7; 32])])).unwrap();
    Codec::new(MemberId(me), Plane::new("cluster", "public"), &keys, FORMATS)
}

fn message() -> impl Strategy<Value = Message<Instant>> {
    (instant(), epoch(), epoch(), body()).prop_map(|(at, highest, epoch, body)| Message {
        from: MemberId(1),
        at,
        highest,
        epoch,
        body,
    })
}

fn body() -> impl Strategy<Value = Body<Instant>> {
    prop_oneof![
        round().prop_map(Body::Round),
        report().prop_map(Body::Report),
        (instant(), any::<u16>(), any::<u16>(), any::<u64>(), vec(holding(), 0..200)).prop_map(
            |(taken, part, parts, table, holdings)| Body::Inventory(Inventory {
                taken,
                part,
                parts,
                table,
                holdings
            })
        ),
        (any::<u64>(), any::<u64>(), vec(entry(), 0..200))
            .prop_map(|(after, version, entries)| Body::Table(Table { after, version, entries })),
        vec(holding(), 0..200).prop_map(Body::Taken),
        acks().prop_map(Body::Candidate),
        view().prop_map(Body::VoteRequest),
        (epoch(), member()).prop_map(|(epoch, to)| Body::Vote(epoch, to)),
    ]
}

fn round() -> impl Strategy<Value = Round<Instant>> {
    (option::of(view()), any::<u64>(), acks(), vec(member(), 0..20), any::<bool>(), stamps()).prop_map(
        |(view, table, acks, missing, invite, outside)| Round { view, table, acks, missing, invite, outside },
    )
}

fn report() -> impl Strategy<Value = Report<Instant>> {
    let digest = (any::<u32>(), any::<u64>()).prop_map(|(count, hash)| Digest { count, hash });
    let health = (any::<bool>(), any::<Option<bool>>(), vec(any::<(std::net::Ipv4Addr, u8)>(), 0..4))
        .prop_map(|(carrier, gateway, subnets)| Health { carrier, gateway, subnets });
    let round = option::of((member(), instant()));
    let flags = (any::<bool>(), any::<bool>());
    (seat(), round, any::<u64>(), digest, health, vec(member(), 0..70), flags, stamps()).prop_map(
        |(seat, round, table, holdings, health, hears, (api, leaving), heard)| Report {
            seat,
            round,
            table,
            holdings,
            health,
            hears,
            api,
            leaving,
            heard,
        },
    )
}

fn stamps() -> impl Strategy<Value = Vec<(MemberId, Instant)>> {
    vec((member(), instant()), 0..70)
}

fn acks() -> impl Strategy<Value = Acks<Instant>> {
    prop_oneof![
        stamps().prop_map(Acks::Exact),
        (instant(), vec(any::<bool>(), 0..100)).prop_map(|(round, reported)| Acks::Since { round, reported }),
    ]
}

fn view() -> impl Strategy<Value = View> {
    (epoch(), member(), vec(seat(), 0..40)).prop_map(|(epoch, coordinator, seats)| View {
        epoch,
        coordinator,
        seats,
    })
}

fn seat() -> impl Strategy<Value = Seat> {
    (member(), "[a-z0-9.-]{1,253}", any::<Option<IpAddr>>()).prop_map(|(id, node, address)| Seat {
        id,
        node,
        address,
    })
}

fn entry() -> impl Strategy<Value = Entry> {
    (holding(), option::of(member()), option::of(member()))
        .prop_map(|(Holding { claim, grant }, owner, previous)| Entry { claim, grant, owner, previous })
}

fn holding() -> impl Strategy<Value = Holding> {
    (any::<u64>(), epoch(), any::<u64>())
        .prop_map(|(claim, epoch, number)| Holding { claim: ClaimId(claim), grant: Grant { epoch, number } })
}

fn epoch() -> impl Strategy<Value = Epoch> {
    any::<(i64, u32, u32)>().prop_map(|(created, view, quorum)| Epoch { created, view, quorum })
}

fn member() -> impl Strategy<Value = MemberId> {
    any::<u64>().prop_map(MemberId)
}

fn instant() -> impl Strategy<Value = Instant> {
    let any_instant =
        |ns| if ns == u64::MAX { Instant::NEVER } else { Instant::from_boot(Duration::from_nanos(ns)) };
    prop_oneof![9 => any::<u64>(), 1 => Just(u64::MAX)].prop_map(any_instant)
}

const SOURCE: Source = Source::Wire([2, 0, 0, 0, 0, 1]);
const NOW: Instant = Instant::from_boot(Duration::from_secs(100));
