//! Heartbeats of strangers, and of announcers that have the key and say what they like.

use std::{collections::BTreeMap, time::Duration};

use foghorn_clock::Instant;
use foghorn_heartbeat::{Codec, FORMATS, Keys, LONGEST_FRAME, Plane, Source, decode, encode};
use foghorn_membership::{MemberId, Message};
use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};

const KEY: [u8; 32] = [7; 32];
const SENDER: MemberId = MemberId(1);
const SOURCE: Source = Source::Wire([2, 0, 0, 0, 0, 1]);
const NOW: Instant = Instant::from_boot(Duration::from_secs(100));
/// Octets of the body of every part of a message but the last.
const LONGEST_BODY: usize = LONGEST_FRAME - 44 - 16;

/// Reads the octets as a frame, as a message, and as a script of frames with the right signature.
pub fn fuzz(octets: &[u8]) {
    let Some(mut receiver) = codec(MemberId(2)) else { return };
    assert!(receiver.decode(NOW, SOURCE, octets).is_err(), "a frame without the key");
    if let Ok(message) = decode(SENDER, octets) {
        let mut again = Vec::new();
        encode(&message, &mut again);
        // Senders of before end without the fields that came later.
        assert!(octets.starts_with(&again) || again.starts_with(octets), "a message in two forms");
        sent(&message);
    }
    let mut script = octets;
    while let Some(frame) = signed(&mut script) {
        if let Ok(heard) = receiver.decode(NOW, SOURCE, &frame) {
            assert_eq!(heard.from, SENDER);
            heard.message.iter().for_each(sent);
        }
    }
}

/// Whatever was read arrives when it is sent.
fn sent(message: &Message<Instant>) {
    let Some((mut sender, mut receiver)) = codec(SENDER).zip(codec(MemberId(2))) else { return };
    let mut arrived = None;
    let encoded = sender.encode(NOW, message, &[SOURCE.into()], |_, frame| {
        assert!(frame.len() <= LONGEST_FRAME);
        let heard = receiver.decode(NOW, SOURCE, frame);
        arrived = heard.unwrap_or_else(|error| unreachable!("{error}")).message;
    });
    assert!(encoded.is_ok() && arrived.as_ref() == Some(message), "{encoded:?}: {message:?}, {arrived:?}");
}

/// Takes the next frame off the script: number of the message, part, parts, octets of its body, the body. That of a part
/// which is not the last is filled up.
fn signed(script: &mut &[u8]) -> Option<Vec<u8>> {
    let (&[number, part, parts, length], rest) = script.split_first_chunk()?;
    let (body, rest) = rest.split_at(usize::from(length).min(rest.len()));
    *script = rest;
    let mut body = body.to_vec();
    if u16::from(part) + 1 < u16::from(parts) {
        body.resize(LONGEST_BODY, part);
    }
    let plane = Sha256::digest("cluster\0public");
    let length = u16::try_from(body.len()).ok()?;
    let mut frame = b"FOGH\x01\x01\0\0\0\x01\0\0\0\x01".to_vec();
    frame.extend(plane.iter().take(8));
    frame.extend(SENDER.0.to_be_bytes());
    frame.extend([0, 0, 0, 0, 0, 0, 0, number, 0, part, 0, parts]);
    frame.extend(length.to_be_bytes());
    frame.extend(body);
    let origin = [1, 2, 0, 0, 0, 0, 1];
    let tag = hmac(&hmac(&KEY, &plane)?, &[&frame[..], &origin].concat())?;
    frame.extend(tag.iter().take(16));
    Some(frame)
}

fn hmac(key: &[u8], octets: &[u8]) -> Option<Vec<u8>> {
    let hmac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    Some(hmac.chain_update(octets).finalize().into_bytes().to_vec())
}

fn codec(me: MemberId) -> Option<Codec> {
    let keys = Keys::new(BTreeMap::from([(1, KEY.to_vec())])).ok()?;
    Some(Codec::new(me, Plane::new("cluster", "public"), &keys, FORMATS))
}
