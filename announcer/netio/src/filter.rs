//! The frames that a packet socket lets through, as a classic BPF program that the kernel runs.
//!
//! One passes ARP, IPv4 UDP to the ports of DHCP that is no fragment, and ICMP echo requests that are none, another one EtherType with
//! certain octets. A frame with a VLAN tag belongs to another network, unless the VLAN is 0: such a tag has a priority only (IEEE
//! 802.1Q, 6.9). The kernel keeps the tag of a frame apart from its bytes, so a program asks for that first.

use socket2::SockFilter;

/// One instruction of classic BPF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// The operation.
    pub code: u16,
    /// Instructions to skip if a comparison holds.
    pub jump_true: u8,
    /// Instructions to skip if it does not.
    pub jump_false: u8,
    /// The operand.
    pub operand: u32,
}

impl From<Instruction> for SockFilter {
    fn from(i: Instruction) -> Self {
        Self::new(i.code, i.jump_true, i.jump_false, i.operand)
    }
}

const LOAD_WORD: u16 = 0x20;
const LOAD_HALF: u16 = 0x28;
const LOAD_BYTE: u16 = 0x30;
/// The half word at the index register plus the operand.
const LOAD_HALF_INDEXED: u16 = 0x48;
/// The byte at the index register plus the operand.
const LOAD_BYTE_INDEXED: u16 = 0x50;
/// The index register becomes four times the low half of a byte: the length of an IPv4 header.
const LOAD_INDEX_HEADER_LENGTH: u16 = 0xb1;
const JUMP_IF_EQUAL: u16 = 0x15;
const JUMP_IF_ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

/// `SKF_AD_OFF + SKF_AD_VLAN_TAG`: not a byte of the frame, but the tag that the kernel took off it; zero if there was none.
const VLAN_TAG: u32 = 0xffff_f000 + 44;
/// The VLAN in a tag.
const VLAN: u32 = 0x0fff;
const WHOLE_FRAME: u32 = u32::MAX;
/// The flag "more fragments" and the fragment offset.
const FRAGMENT: u32 = 0x3fff;

/// The program for ARP, DHCP and pings. Comments name the instruction, and the one that a jump leads to.
pub const PROGRAM: [Instruction; 21] = [
    load(LOAD_WORD, VLAN_TAG),              // 0
    jump(JUMP_IF_ANY_BIT, VLAN, 18, 0),     // 1: of a VLAN -> 20
    load(LOAD_HALF, 12),                    // 2: EtherType
    jump(JUMP_IF_EQUAL, 0x0806, 15, 0),     // 3: ARP -> 19
    jump(JUMP_IF_EQUAL, 0x0800, 0, 15),     // 4: not IPv4 -> 20
    load(LOAD_BYTE, 14 + 9),                // 5: protocol
    jump(JUMP_IF_EQUAL, 17, 0, 6),          // 6: not UDP -> 13
    load(LOAD_HALF, 14 + 6),                // 7: flags and fragment offset
    jump(JUMP_IF_ANY_BIT, FRAGMENT, 11, 0), // 8: a fragment -> 20
    load(LOAD_INDEX_HEADER_LENGTH, 14),     // 9
    load(LOAD_HALF_INDEXED, 14 + 2),        // 10: destination port
    jump(JUMP_IF_EQUAL, 68, 7, 0),          // 11: from a DHCP server -> 19
    jump(JUMP_IF_EQUAL, 67, 6, 7),          // 12: from a DHCP client -> 19, another -> 20
    jump(JUMP_IF_EQUAL, 1, 0, 6),           // 13: not ICMP -> 20
    load(LOAD_HALF, 14 + 6),                // 14: flags and fragment offset
    jump(JUMP_IF_ANY_BIT, FRAGMENT, 4, 0),  // 15: a fragment -> 20
    load(LOAD_INDEX_HEADER_LENGTH, 14),     // 16
    load(LOAD_BYTE_INDEXED, 14),            // 17: ICMP type
    jump(JUMP_IF_EQUAL, 8, 0, 1),           // 18: no echo request -> 20
    load(RETURN, WHOLE_FRAME),              // 19
    load(RETURN, 0),                        // 20
];

/// The program that passes frames of one EtherType that have these octets at that place of their payload.
#[must_use]
pub fn ethertype(number: u16, at: u16, octets: [u8; 8]) -> [Instruction; 10] {
    let [a, b, c, d, e, f, g, h] = octets;
    let at = 14 + u32::from(at);
    [
        load(LOAD_WORD, VLAN_TAG),                                   // 0
        jump(JUMP_IF_ANY_BIT, VLAN, 7, 0),                           // 1: of a VLAN -> 9
        load(LOAD_HALF, 12),                                         // 2: EtherType
        jump(JUMP_IF_EQUAL, number.into(), 0, 5),                    // 3: another -> 9
        load(LOAD_WORD, at),                                         // 4
        jump(JUMP_IF_EQUAL, u32::from_be_bytes([a, b, c, d]), 0, 3), // 5: others -> 9
        load(LOAD_WORD, at + 4),                                     // 6
        jump(JUMP_IF_EQUAL, u32::from_be_bytes([e, f, g, h]), 0, 1), // 7: others -> 9
        load(RETURN, WHOLE_FRAME),                                   // 8
        load(RETURN, 0),                                             // 9
    ]
}

/// The program, of this instruction alone, that passes everything.
pub const ALL: Instruction = load(RETURN, WHOLE_FRAME);

const fn load(code: u16, operand: u32) -> Instruction {
    Instruction { code, jump_true: 0, jump_false: 0, operand }
}

const fn jump(code: u16, operand: u32, jump_true: u8, jump_false: u8) -> Instruction {
    Instruction { code, jump_true, jump_false, operand }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arp_passes_whole() {
        assert_eq!(run(&ethernet(0x0806, &[0; 46]), false), WHOLE_FRAME);
    }

    #[test]
    fn udp_to_the_ports_of_dhcp_passes_with_and_without_ip_options() {
        for (words, port) in (5..=15).flat_map(|words| [(words, 67), (words, 68)]) {
            assert_eq!(run(&udp(words, 17, 0, port), false), WHOLE_FRAME, "{words} words of header, {port}");
        }
    }

    #[test]
    fn of_icmp_echo_requests_alone_pass() {
        for kind in 0..=u8::MAX {
            let passes = run(&icmp(kind, 0), false);
            assert_eq!(passes, if kind == 8 { WHOLE_FRAME } else { 0 }, "type {kind}");
        }
        assert_eq!(run(&icmp(8, 0x2000), false), 0, "the first fragment");
        assert_eq!(run(&icmp(8, 0x0001), false), 0, "a later fragment");
        assert_eq!(run(&icmp(8, 0), true), 0, "tagged");
        assert_eq!(run(&icmp(8, 0)[..14 + 20], false), 0, "cut short");
    }

    #[test]
    fn udp_to_other_ports_is_dropped() {
        for port in [0, 53, 66, 69, 67 << 8, 68 << 8, 0xffff] {
            assert_eq!(run(&udp(5, 17, 0, port), false), 0, "port {port}");
        }
    }

    #[test]
    fn other_protocols_and_fragments_are_dropped() {
        assert_eq!(run(&udp(5, 6, 0, 68), false), 0, "TCP");
        assert_eq!(run(&udp(5, 17, 0x2000, 68), false), 0, "the first fragment");
        assert_eq!(run(&udp(5, 17, 0x0001, 68), false), 0, "a later fragment");
        assert_eq!(run(&udp(5, 17, 0x4000, 68), false), WHOLE_FRAME, "don't fragment");
        assert_eq!(run(&ethernet(0x86dd, &[0; 60]), false), 0, "IPv6");
    }

    #[test]
    fn what_has_a_vlan_tag_is_dropped_wherever_the_tag_is() {
        assert_eq!(run(&ethernet(0x0806, &[0; 46]), true), 0);
        assert_eq!(run(&udp(5, 17, 0, 68), true), 0);
        assert_eq!(run(&ethernet(0x8100, &[0, 10, 8, 6, 0, 1]), false), 0);
    }

    #[test]
    fn a_tag_with_a_priority_and_no_vlan_is_ignored() {
        for priority in 0..8_u16 {
            let run = |vlan| run_program(&PROGRAM, &udp(5, 17, 0, 68), priority << 13 | vlan);
            assert_eq!((run(0), run(1), run(0xfff)), (WHOLE_FRAME, 0, 0), "priority {priority}");
        }
    }

    #[test]
    fn what_is_cut_short_is_dropped() {
        let frame = udp(6, 17, 0, 68);
        for length in 0..14 + 24 + 4 {
            assert_eq!(run(&frame[..length], false), 0, "{length} bytes");
        }
    }

    #[test]
    fn one_ethertype_with_its_octets_passes_whole_and_its_frames_are_none_for_the_others() {
        let payload = *b"FOGHORN of plane public";
        let heartbeat = ethernet(0x88b5, &payload);
        let only = |frame: &[u8], tag| run_program(&ethertype(0x88b5, 11, *b"plane pu"), frame, tag);
        assert_eq!(only(&heartbeat, 0), WHOLE_FRAME);
        assert_eq!(run(&heartbeat, false), 0, "the filter for ARP, DHCP and pings");
        assert_eq!(only(&heartbeat, 10), 0, "of a VLAN");
        for length in 0..14 + 11 + 8 {
            assert_eq!(only(&heartbeat[..length], 0), 0, "{length} bytes");
        }
        for other in [0x0806, 0x0800, 0x86dd, 0x8100, 0x88b6, 0xb588] {
            assert_eq!(only(&ethernet(other, &payload), 0), 0, "{other:#x}");
        }
        for at in 0..payload.len() {
            let mut other = payload;
            other[at] ^= 1;
            let passes = only(&ethernet(0x88b5, &other), 0);
            assert_eq!(passes == 0, (11..19).contains(&at), "byte {at}");
        }
    }

    fn run(frame: &[u8], tagged: bool) -> u32 {
        run_program(&PROGRAM, frame, if tagged { 10 } else { 0 })
    }

    /// What the kernel would do with the frame, which had this tag: how many bytes of it pass.
    fn run_program(program: &[Instruction], frame: &[u8], tag: u16) -> u32 {
        let read = |at: u32, length: usize| {
            let at = usize::try_from(at).unwrap();
            let bytes = frame.get(at..at + length)?;
            Some(bytes.iter().fold(0, |value, byte| value << 8 | u32::from(*byte)))
        };
        let (mut next, mut accumulator, mut index) = (0, 0, 0);
        loop {
            let Instruction { code, jump_true, jump_false, operand } = program[next];
            next += 1;
            let value = match code {
                LOAD_WORD if operand == VLAN_TAG => Some(tag.into()),
                LOAD_WORD => read(operand, 4),
                LOAD_HALF => read(operand, 2),
                LOAD_BYTE | LOAD_INDEX_HEADER_LENGTH => read(operand, 1),
                LOAD_HALF_INDEXED => read(index + operand, 2),
                LOAD_BYTE_INDEXED => read(index + operand, 1),
                JUMP_IF_EQUAL | JUMP_IF_ANY_BIT => {
                    let holds = match code {
                        JUMP_IF_EQUAL => accumulator == operand,
                        _ => accumulator & operand != 0,
                    };
                    next += usize::from(if holds { jump_true } else { jump_false });
                    continue;
                }
                RETURN => return operand,
                other => panic!("no such instruction: {other:#x}"),
            };
            let Some(value) = value else {
                return 0;
            };
            match code {
                LOAD_INDEX_HEADER_LENGTH => index = (value & 0xf) * 4,
                _ => accumulator = value,
            }
        }
    }

    fn ethernet(ethertype: u16, payload: &[u8]) -> Vec<u8> {
        [&[0xff; 6], &[2, 0, 0, 0, 0, 1], &ethertype.to_be_bytes()[..], payload].concat()
    }

    fn icmp(kind: u8, fragment: u16) -> Vec<u8> {
        let mut frame = udp(5, 1, fragment, 0);
        frame[14 + 20] = kind;
        frame
    }

    fn udp(header_words: u8, protocol: u8, fragment: u16, port: u16) -> Vec<u8> {
        let mut packet = vec![0; usize::from(header_words) * 4];
        packet[0] = 0x40 | header_words;
        packet[6..8].copy_from_slice(&fragment.to_be_bytes());
        packet[9] = protocol;
        packet.extend([0, 67]);
        packet.extend(port.to_be_bytes());
        packet.extend([0, 8, 0, 0]);
        ethernet(0x0800, &packet)
    }
}
