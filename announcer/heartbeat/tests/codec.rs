//! Announcers that hear each other, with different keys and versions, and those that shall not.
#![cfg(test)]

use std::{collections::BTreeMap, time::Duration};

use foghorn_clock::Instant;
use foghorn_heartbeat::{
    Codec, EncodeError, FORMATS, Format, Heard, Keys, LONGEST_MESSAGE, Malformed, Origin, PLANE_AT, Plane,
    Refused, Source,
};
use foghorn_membership::{Body, ClaimId, Epoch, Grant, Holding, MemberId, Message, Seat, View};

#[test]
fn a_view_of_a_thousand_members_with_the_longest_names_arrives() {
    let seat = |id| Seat { id: MemberId(id), node: "n".repeat(253), address: Some([0x20; 16].into()) };
    let view = View { epoch: EPOCH, coordinator: MemberId(1), seats: (1..=1_000).map(seat).collect() };
    let message = message(1, Body::VoteRequest(view));
    let frames = sent(&mut codec(1), NOW, &message);
    assert_eq!(frames.len(), 212);
    let heard = hear(&mut codec(2), 1, &frames);
    assert_eq!(heard.last().unwrap().as_ref().unwrap().message, Some(message));
}

#[test]
fn a_message_that_nobody_would_put_together_is_not_sent() {
    let holding = Holding { claim: ClaimId(1), grant: Grant::default() };
    let message = message(1, Body::Taken(vec![holding; LONGEST_MESSAGE / 32]));
    let refused = codec(1).encode(NOW, &message, &[Origin::Udp], |_, _| panic!("a frame was sent"));
    assert!(matches!(refused, Err(EncodeError::TooLong(length)) if length > LONGEST_MESSAGE));
}

#[test]
fn parts_of_two_messages_or_two_ways_are_not_put_together() {
    let mut sender = codec(1);
    let udp = Source::Udp([192, 0, 2, 1].into());
    let [[one, one_by_udp], [two, _]] = [5, 6].map(|number| {
        let grant = Grant { epoch: EPOCH, number };
        let message = message(1, Body::Taken(vec![Holding { claim: ClaimId(1), grant }; 50]));
        let mut frames = [Vec::new(), Vec::new()];
        let keep =
            |origin: Origin, frame: &[u8]| frames[usize::from(origin == Origin::Udp)].push(frame.to_vec());
        sender.encode(NOW, &message, &[wire(1).into(), Origin::Udp], keep).unwrap();
        frames
    });
    assert_eq!((one.len(), one_by_udp.len()), (2, 2));
    let mut receiver = codec(2);
    let mut take = |source, frame: &[u8]| receiver.decode(NOW, source, frame).unwrap().message;
    assert_eq!(take(wire(1), &one[0]), None);
    assert_eq!(take(udp, &one_by_udp[1]), None, "the other way");
    assert_eq!(take(wire(1), &two[1]), None, "another message");
    assert_eq!(take(wire(1), &one[1]), None, "the older message was given up");
    assert!(take(wire(1), &two[0]).is_some());
    assert!(take(udp, &one_by_udp[0]).is_some());
}

#[test]
fn a_part_that_is_missing_for_long_is_lost() {
    let message = message(1, Body::Taken(vec![Holding { claim: ClaimId(1), grant: Grant::default() }; 50]));
    let frames = sent(&mut codec(1), NOW, &message);
    let mut receiver = codec(2);
    assert_eq!(receiver.decode(NOW, wire(1), &frames[0]).unwrap().message, None);
    // Something has to begin for what is old to be dropped.
    let other = sent(&mut codec(3), NOW, &Message { from: MemberId(3), ..message });
    let later = NOW + Duration::from_secs(1);
    assert_eq!(receiver.decode(later, wire(3), &other[0]).unwrap().message, None);
    assert_eq!(receiver.decode(later, wire(1), &frames[1]).unwrap().message, None);
}

#[test]
fn frames_of_another_plane_cluster_or_key_are_refused_and_so_are_ones_own() {
    let sealed = |cluster, plane, key: u8| {
        let keys = Keys::new(BTreeMap::from([(1, vec![key; 32])])).unwrap();
        Codec::new(MemberId(1), Plane::new(cluster, plane), &keys, FORMATS)
    };
    let refused = |mut sender: Codec| {
        let mut refused = hear(&mut codec(2), 1, &sent(&mut sender, NOW, &vote(1)));
        refused.remove(0).unwrap_err()
    };
    assert_eq!(refused(sealed("cluster", "private", 1)), Refused::OtherPlane(wire(1)));
    assert_eq!(refused(sealed("another", "public", 1)), Refused::OtherPlane(wire(1)));
    assert_eq!(refused(sealed("cluster", "public", 2)), Refused::Signature(wire(1)));
    let own = sent(&mut codec(1), NOW, &vote(1));
    assert_eq!(codec(1).decode(NOW, wire(1), &own[0]), Err(Refused::Own(wire(1))));
}

#[test]
fn a_frame_with_the_right_names_of_a_plane_is_worth_nothing_under_another_planes_signature() {
    let mut sender = Codec::new(MemberId(1), Plane::new("cluster", "private"), &keys(&[1]), FORMATS);
    let mut frame = sent(&mut sender, NOW, &vote(1)).remove(0);
    let right = sent(&mut codec(1), NOW, &vote(1)).remove(0);
    let at = usize::from(PLANE_AT);
    assert_eq!(right[at..at + 8], Plane::new("cluster", "public").octets());
    frame[at..at + 8].copy_from_slice(&right[at..at + 8]);
    assert_eq!(codec(2).decode(NOW, wire(1), &frame), Err(Refused::Signature(wire(1))));
}

#[test]
fn a_flood_of_forged_frames_is_not_looked_at_and_leaves_the_others_theirs() {
    let mut receiver = codec(2);
    let mut forged = sent(&mut codec(1), NOW, &vote(1)).remove(0);
    *forged.last_mut().unwrap() ^= 1;
    let verdicts: Vec<_> = (0..10_000).map(|_| receiver.decode(NOW, wire(9), &forged)).collect();
    assert_eq!(verdicts[0], Err(Refused::Signature(wire(9))));
    assert_eq!(verdicts[9_999], Err(Refused::TooMany(wire(9))));
    assert!(receiver.decode(NOW, wire(1), &sent(&mut codec(1), NOW, &vote(1))[0]).is_ok());
}

#[test]
fn a_rotation_of_keys_drops_nothing_in_whatever_order_nodes_get_the_secret() {
    let stages: [&[u32]; 3] = [&[1], &[1, 2], &[2]];
    for order in [[0, 1, 2], [2, 0, 1], [1, 2, 0]] {
        let mut nodes = [1, 2, 3].map(|id| with_keys(id, stages[0]));
        let mut now = NOW;
        for stage in &stages[1..] {
            for node in order {
                exchange(&mut nodes, &mut now);
                nodes[node].codec.set_keys(&keys(stage));
            }
            exchange(&mut nodes, &mut now);
            exchange(&mut nodes, &mut now);
            assert_eq!(nodes.each_mut().map(|node| key_of(&next(node, now))), [2; 3]);
        }
    }
}

#[test]
fn a_node_that_has_not_got_the_new_key_takes_the_others_back_to_the_old_one() {
    let mut nodes: Vec<_> = [1, 2].map(|id| with_keys(id, &[1, 2])).into();
    let mut now = NOW;
    exchange(&mut nodes, &mut now);
    assert_eq!(key_of(&next(&mut nodes[0], now)), 2);
    nodes.push(with_keys(3, &[1]));
    let first = next(&mut nodes[2], now);
    for node in &mut nodes[..2] {
        assert!(node.codec.decode(now, wire(3), &first).is_ok());
    }
    exchange(&mut nodes, &mut now);
    assert_eq!(key_of(&next(&mut nodes[0], now)), 1);
}

#[test]
fn who_is_not_heard_any_more_does_not_hold_the_others_to_the_old_key() {
    let mut node = with_keys(1, &[1, 2]);
    let later = NOW + Duration::from_secs(9);
    node.codec.decode(NOW, wire(2), &next(&mut with_keys(2, &[1]), NOW)).unwrap();
    node.codec.decode(later, wire(3), &next(&mut with_keys(3, &[1, 2]), NOW)).unwrap();
    assert_eq!(key_of(&next(&mut node, later)), 1);
    assert_eq!(key_of(&next(&mut node, later + Duration::from_secs(1))), 2);
}

#[test]
fn in_a_rolling_update_to_another_version_all_are_heard_and_nothing_is_lost() {
    let mut nodes: Vec<_> = [1, 2, 3].map(|id| with_formats(id, FORMATS)).into();
    let mut now = NOW;
    exchange(&mut nodes, &mut now);
    for id in [11, 12, 13] {
        // Another release is another process, and another incarnation.
        nodes.remove(0);
        nodes.push(with_formats(id, BOTH));
        exchange(&mut nodes, &mut now);
        exchange(&mut nodes, &mut now);
        let old = nodes.iter().any(|node| node.id < 11);
        assert!(!old || nodes.iter_mut().all(|node| version_of(&next(node, now)) == 1));
    }
    // Those of the old release are forgotten.
    for _ in 0..100 {
        exchange(&mut nodes, &mut now);
    }
    assert!(nodes.iter_mut().all(|node| version_of(&next(node, now)) == 2));
}

#[test]
fn a_version_that_is_not_known_is_told_with_its_sender_and_given_up_once_an_old_release_is_heard() {
    let mut new = [11, 12].map(|id| with_formats(id, BOTH));
    let mut now = NOW;
    exchange(&mut new, &mut now);
    let mut old = with_formats(1, FORMATS);
    let refused = old.codec.decode(now, wire(11), &next(&mut new[0], now)).unwrap_err();
    assert_eq!(refused, Refused::Version { from: wire(11), version: 2, reads: 1 });
    assert!(refused.to_string().starts_with("02:00:00:00:00:0b sends heartbeats in version 2"), "{refused}");
    assert!(new[0].codec.decode(now, wire(1), &next(&mut old, now)).is_ok());
    assert!(old.codec.decode(now, wire(11), &next(&mut new[0], now)).is_ok());
}

/// Each sends a message, and all others get it.
fn exchange(nodes: &mut [Node], now: &mut Instant) {
    *now += Duration::from_millis(100);
    for sender in 0..nodes.len() {
        let id = nodes[sender].id;
        let frames = sent(&mut nodes[sender].codec, *now, &vote(id));
        for receiver in (0..nodes.len()).filter(|&receiver| receiver != sender) {
            let heard = nodes[receiver].codec.decode(*now, wire(id), &frames[0]).unwrap();
            assert_eq!(heard, Heard { from: MemberId(id), message: Some(vote(id)) });
        }
    }
}

/// A vote from the node as it would send it now.
fn next(node: &mut Node, now: Instant) -> Vec<u8> {
    sent(&mut node.codec, now, &vote(node.id)).remove(0)
}

struct Node {
    id: u64,
    codec: Codec,
}

fn hear(receiver: &mut Codec, from: u64, frames: &[Vec<u8>]) -> Vec<Result<Heard, Refused>> {
    frames.iter().map(|frame| receiver.decode(NOW, wire(from), frame)).collect()
}

fn sent(sender: &mut Codec, now: Instant, message: &Message<Instant>) -> Vec<Vec<u8>> {
    sent_from(sender, now, message, wire(message.from.0))
}

fn sent_from(sender: &mut Codec, now: Instant, message: &Message<Instant>, from: Source) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    sender.encode(now, message, &[from.into()], |_, frame| frames.push(frame.to_vec())).unwrap();
    frames
}

/// The HMAC covers the path and the sender's MAC address.
#[test]
fn a_replay_over_another_path_or_from_another_mac_address_is_refused() {
    let udp = Source::Udp([192, 0, 2, 1].into());
    for (from, as_if) in [(wire(1), wire(9)), (wire(1), udp), (udp, wire(1))] {
        let frames = sent_from(&mut codec(1), NOW, &vote(1), from);
        assert_eq!(codec(2).decode(NOW, as_if, &frames[0]), Err(Refused::Signature(as_if)));
        assert!(codec(2).decode(NOW, from, &frames[0]).is_ok());
    }
    // Between nodes addresses may be translated.
    let frames = sent_from(&mut codec(1), NOW, &vote(1), udp);
    assert!(codec(2).decode(NOW, Source::Udp([198, 51, 100, 1].into()), &frames[0]).is_ok());
}

fn codec(me: u64) -> Codec {
    with_keys(me, &[1]).codec
}

fn with_keys(id: u64, ids: &[u32]) -> Node {
    Node { id, codec: Codec::new(MemberId(id), Plane::new("cluster", "public"), &keys(ids), FORMATS) }
}

fn with_formats(id: u64, formats: &'static [Format]) -> Node {
    Node { id, codec: Codec::new(MemberId(id), Plane::new("cluster", "public"), &keys(&[1]), formats) }
}

fn keys(ids: &[u32]) -> Keys {
    Keys::new(ids.iter().map(|&id| (id, vec![id.to_be_bytes()[3]; 32])).collect()).unwrap()
}

fn vote(from: u64) -> Message<Instant> {
    message(from, Body::Vote(EPOCH, MemberId(9)))
}

fn message(from: u64, body: Body<Instant>) -> Message<Instant> {
    Message { from: MemberId(from), at: NOW, highest: EPOCH, epoch: EPOCH, body }
}

fn wire(id: u64) -> Source {
    Source::Wire([2, 0, 0, 0, 0, id.to_be_bytes()[7]])
}

fn version_of(frame: &[u8]) -> u8 {
    frame[4]
}

fn key_of(frame: &[u8]) -> u32 {
    u32::from_be_bytes(frame[6..10].try_into().unwrap())
}

/// A version that could not be read by the one before: something new comes first.
const NEXT: Format = Format {
    version: 2,
    encode: |message, out| {
        out.extend(NEW_FIELD);
        foghorn_heartbeat::encode(message, out);
    },
    decode: |from, octets| {
        let octets = octets.strip_prefix(&NEW_FIELD).ok_or(Malformed::Short)?;
        foghorn_heartbeat::decode(from, octets)
    },
};
const NEW_FIELD: [u8; 3] = [1, 2, 3];
const BOTH: &[Format] = &[FORMATS[0], NEXT];

const EPOCH: Epoch = Epoch { created: 1_767_225_600, view: 7, quorum: 0 };
const NOW: Instant = Instant::from_boot(Duration::from_secs(100));
