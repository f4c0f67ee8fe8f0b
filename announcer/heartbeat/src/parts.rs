//! Messages that are longer than a frame, put together again.

use std::{collections::BTreeMap, time::Duration};

use foghorn_clock::Instant;
use foghorn_membership::{MemberId, Path};

use crate::frame::{Header, LONGEST_BODY};

/// Octets of the longest message: a view of a thousand members with the longest names, or a table of ten thousand
/// claims, has half of it.
pub const LONGEST_MESSAGE: usize = 1 << 20;
/// Octets of all unfinished messages together.
const MOST_OCTETS: usize = 8 * LONGEST_MESSAGE;
/// The parts of a message are sent at once: what is missing after so long is lost.
const PATIENCE: Duration = Duration::from_secs(1);

/// The latest unfinished message of each sender, by each path.
#[derive(Clone, Debug, Default)]
pub(crate) struct Parts {
    messages: BTreeMap<(MemberId, Path), Unfinished>,
}

#[derive(Clone, Debug)]
struct Unfinished {
    number: u64,
    began: Instant,
    octets: Vec<u8>,
    length: usize,
    here: Vec<bool>,
}

impl Parts {
    /// Whether a message can have such a part: all but the last are as long as can be.
    pub(crate) fn fits(header: &Header) -> bool {
        let last = header.part.checked_add(1) == Some(header.parts);
        let length = usize::from(header.length);
        header.part < header.parts
            && usize::from(header.parts) <= LONGEST_MESSAGE.div_ceil(LONGEST_BODY)
            && if last { length <= LONGEST_BODY } else { length == LONGEST_BODY }
    }

    /// Takes a part that [fits](Self::fits); gives the message if it was the last missing one.
    pub(crate) fn add(&mut self, now: Instant, path: Path, header: &Header, body: &[u8]) -> Option<Vec<u8>> {
        let (of, parts) = ((header.sender, path), usize::from(header.parts));
        let fresh = |message: &Unfinished| message.number >= header.number;
        if !self.messages.get(&of).is_some_and(fresh) {
            self.messages.remove(&of);
            self.make_room(now, parts * LONGEST_BODY);
            self.messages.insert(of, Unfinished::new(now, header.number, parts));
        }
        let message = self.messages.get_mut(&of)?;
        message.add(header, body)?;
        self.messages.remove(&of).map(Unfinished::whole)
    }

    fn make_room(&mut self, now: Instant, octets: usize) {
        self.messages.retain(|_, message| now - message.began < PATIENCE);
        let mut used: usize = self.messages.values().map(|message| message.octets.len()).sum();
        while used + octets > MOST_OCTETS {
            let oldest = self.messages.iter().min_by_key(|(_, message)| message.began);
            let Some((&of, message)) = oldest else { return };
            used -= message.octets.len();
            self.messages.remove(&of);
        }
    }
}

impl Unfinished {
    fn new(began: Instant, number: u64, parts: usize) -> Self {
        let octets = vec![0; parts * LONGEST_BODY];
        Self { number, began, length: octets.len(), octets, here: vec![false; parts] }
    }

    /// Whether it is whole with this part. Parts of another message, or of the same with another count, are none.
    fn add(&mut self, header: &Header, body: &[u8]) -> Option<()> {
        if header.number != self.number || usize::from(header.parts) != self.here.len() {
            return None;
        }
        let part = usize::from(header.part);
        let start = part * LONGEST_BODY;
        self.octets.get_mut(start..start + body.len())?.copy_from_slice(body);
        *self.here.get_mut(part)? = true;
        if part + 1 == self.here.len() {
            self.length = start + body.len();
        }
        self.here.iter().all(|here| *here).then_some(())
    }

    fn whole(mut self) -> Vec<u8> {
        self.octets.truncate(self.length);
        self.octets
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::octets::Octets as _;

    #[test]
    fn unfinished_messages_of_many_senders_are_bounded_in_memory_and_the_latest_ones_stay() {
        let mut parts = Parts::default();
        let most = u16::try_from(LONGEST_MESSAGE.div_ceil(LONGEST_BODY)).unwrap();
        for sender in 1..=20 {
            let now = Instant::from_boot(Duration::from_secs(100) + Duration::from_millis(sender));
            assert_eq!(parts.add(now, Path::Wire, &header(sender, 0, most), &[7; LONGEST_BODY]), None);
        }
        let octets: usize = parts.messages.values().map(|message| message.octets.len()).sum();
        assert!(octets <= MOST_OCTETS);
        let senders: Vec<_> = parts.messages.keys().map(|(sender, _)| sender.0).collect();
        assert_eq!(senders, [14, 15, 16, 17, 18, 19, 20]);
    }

    #[test]
    fn a_part_that_no_message_can_have_does_not_fit() {
        assert!(Parts::fits(&header(1, 0, 2)));
        for (part, parts) in [(0, 0), (1, 1), (2, 2), (0, u16::MAX), (u16::MAX, u16::MAX)] {
            assert!(!Parts::fits(&header(1, part, parts)), "part {part} of {parts}");
        }
        assert!(!Parts::fits(&Header { length: 7, ..header(1, 0, 2) }), "a short part that is not the last");
        assert!(Parts::fits(&Header { length: 7, ..header(1, 1, 2) }));
    }

    fn header(sender: u64, part: u16, parts: u16) -> Header {
        let zeros = Header::take(&mut &[0; 44][..]).unwrap();
        let length = u16::try_from(LONGEST_BODY).unwrap();
        Header { sender: MemberId(sender), part, parts, length, ..zeros }
    }
}
