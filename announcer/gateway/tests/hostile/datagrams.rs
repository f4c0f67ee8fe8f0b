//! NAT-PMP and PCP.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use foghorn_gateway::{Ports, Speaker};
use foghorn_portmap::{Answer, Ask, Fault, Mapping, Protocol};
use tokio::net::UdpSocket;

use crate::double::{GATEWAY, OTHER, SOURCE, mapping, request};

type Is = fn(&Fault) -> bool;

const OUTER: [u8; 12] = [0, 128, 0, 0, 0, 0, 0, 9, 198, 51, 100, 7];

#[tokio::test]
async fn nat_pmp_finds_and_maps_and_unmaps() {
    let mut speaker = server(|asked| match asked {
        [0, 0] => vec![OUTER.to_vec()],
        [0, 2, 0, 0, 0, 80, rest @ ..] => vec![[&[0, 130, 0, 0, 0, 0, 0, 9, 0, 80], rest].concat()],
        _ => Vec::new(),
    })
    .await;
    let outer = Some(Ipv4Addr::new(198, 51, 100, 7));
    let found = Ok(Answer::Found { outer, epoch: Some(9) });
    assert_eq!(speaker.ask(&request(Protocol::NatPmp, Ask::Find)).await, found);
    let mapped = |seconds| {
        let lease = Some(Duration::from_secs(seconds));
        Ok(Answer::Mapped { external: 8080, lease, outer: None, epoch: Some(9) })
    };
    assert_eq!(speaker.ask(&request(Protocol::NatPmp, Ask::Map(mapping()))).await, mapped(3600));
    let without_end = Mapping { lease: None, ..mapping() };
    assert_eq!(speaker.ask(&request(Protocol::NatPmp, Ask::Map(without_end))).await, mapped(86_400));
    let unmapped = speaker.ask(&request(Protocol::NatPmp, Ask::Unmap(mapping()))).await;
    assert_eq!(unmapped, Ok(Answer::Unmapped));
    let list = speaker.ask(&request(Protocol::NatPmp, Ask::List(0))).await;
    assert!(matches!(list, Err(Fault::Unsupported(_))), "{list:?}");
}

#[tokio::test]
async fn pcp_finds_and_maps_and_unmaps() {
    let mut speaker = server(|asked| vec![pcp(asked, 0)]).await;
    let found = Ok(Answer::Found { outer: None, epoch: Some(9) });
    assert_eq!(speaker.ask(&request(Protocol::Pcp, Ask::Find)).await, found);
    let (lease, outer) = (Some(Duration::from_secs(3600)), Some(Ipv4Addr::new(198, 51, 100, 7)));
    let mapped = Ok(Answer::Mapped { external: 8080, lease, outer, epoch: Some(9) });
    assert_eq!(speaker.ask(&request(Protocol::Pcp, Ask::Map(mapping()))).await, mapped);
    let unmapped = speaker.ask(&request(Protocol::Pcp, Ask::Unmap(mapping()))).await;
    assert_eq!(unmapped, Ok(Answer::Unmapped));
}

#[tokio::test]
async fn a_pcp_server_that_does_not_know_the_option_is_asked_without_it() {
    let mut speaker = server(|asked| vec![pcp(asked, if asked.len() > 60 { 5 } else { 0 })]).await;
    let mapped = speaker.ask(&request(Protocol::Pcp, Ask::Map(mapping()))).await;
    assert!(matches!(mapped, Ok(Answer::Mapped { external: 8080, .. })), "{mapped:?}");
}

#[tokio::test]
async fn each_result_code_is_the_right_fault() {
    let pcp_faults: [(u8, Is); 8] = [
        (1, |fault| matches!(fault, Fault::Unsupported(_))),
        (2, |fault| matches!(fault, Fault::Refused(text) if text.contains("does not allow"))),
        (5, |fault| matches!(fault, Fault::Refused(_))),
        (8, |fault| *fault == Fault::Full),
        (10, |fault| *fault == Fault::Full),
        (11, |fault| *fault == Fault::Taken),
        (12, |fault| matches!(fault, Fault::Refused(_))),
        (99, |fault| matches!(fault, Fault::Refused(text) if text.contains("99"))),
    ];
    for (code, right) in pcp_faults {
        let mut speaker = server(move |asked| vec![pcp(asked, code)]).await;
        let answer = speaker.ask(&request(Protocol::Pcp, Ask::Map(mapping()))).await;
        assert!(answer.as_ref().is_err_and(right), "{code}: {answer:?}");
    }
    let nat_pmp_faults: [(u8, Is); 6] = [
        (1, |fault| matches!(fault, Fault::Unsupported(_))),
        (2, |fault| matches!(fault, Fault::Refused(_))),
        (3, |fault| matches!(fault, Fault::Refused(text) if text.contains("has no outer address"))),
        (4, |fault| *fault == Fault::Full),
        (5, |fault| matches!(fault, Fault::Unsupported(_))),
        (9, |fault| matches!(fault, Fault::Refused(text) if text.contains('9'))),
    ];
    for (code, right) in nat_pmp_faults {
        let mut speaker = server(move |asked| vec![vec![0, asked[1] | 128, 0, code, 0, 0, 0, 9]]).await;
        let answer = speaker.ask(&request(Protocol::NatPmp, Ask::Map(mapping()))).await;
        assert!(answer.as_ref().is_err_and(right), "{code}: {answer:?}");
        let found = speaker.ask(&request(Protocol::NatPmp, Ask::Find)).await;
        let expected = (code == 3).then_some(Answer::Found { outer: None, epoch: Some(9) });
        assert_eq!(found.ok(), expected);
    }
}

#[tokio::test]
async fn a_server_of_the_other_protocol_alone_is_unsupported() {
    let mut nat_pmp = server(|_| vec![vec![0, 0, 0, 1, 0, 0, 0, 9]]).await;
    let answer = nat_pmp.ask(&request(Protocol::Pcp, Ask::Find)).await;
    assert!(matches!(answer, Err(Fault::Unsupported(_))), "{answer:?}");
    let mut pcp_alone = server(|asked| vec![pcp(&[&[2, 0], asked, &[0; 40]].concat(), 1)]).await;
    let answer = pcp_alone.ask(&request(Protocol::NatPmp, Ask::Find)).await;
    assert!(matches!(answer, Err(Fault::Unsupported(_))), "{answer:?}");
}

#[tokio::test]
async fn answers_that_do_not_match_are_passed_over() {
    let mut speaker = server(|asked| {
        let right = pcp(asked, 0);
        let changed = |index: usize| {
            let mut wrong = right.clone();
            wrong[index] ^= 1;
            wrong
        };
        // The opcode, the nonce, the protocol, the internal port.
        let mut answers: Vec<_> = [1, 24, 36, 41].map(changed).into();
        answers.extend([Vec::new(), right[..59].to_vec(), asked.to_vec(), vec![0xff; 1100], vec![2; 5000]]);
        answers.extend([right.clone(), right]);
        answers
    })
    .await;
    let mapped = speaker.ask(&request(Protocol::Pcp, Ask::Map(mapping()))).await;
    assert!(matches!(mapped, Ok(Answer::Mapped { external: 8080, .. })), "{mapped:?}");
}

#[tokio::test]
async fn an_answer_without_a_port_or_a_time_is_broken() {
    for (from, to) in [(4..8, 60), (42..44, 60)] {
        let mut speaker = server(move |asked| {
            let mut answer = pcp(asked, 0);
            answer[from.clone()].fill(0);
            answer.truncate(to);
            vec![answer]
        })
        .await;
        let mapped = speaker.ask(&request(Protocol::Pcp, Ask::Map(mapping()))).await;
        assert!(matches!(mapped, Err(Fault::Broken(_))), "{mapped:?}");
    }
}

#[tokio::test]
async fn a_server_that_answers_late_is_asked_again() {
    let count = std::sync::atomic::AtomicU32::new(0);
    let mut speaker = server(move |_| match count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
        0 | 1 => Vec::new(),
        _ => vec![OUTER.to_vec()],
    })
    .await;
    let started = Instant::now();
    assert!(speaker.ask(&request(Protocol::NatPmp, Ask::Outer)).await.is_ok());
    assert!(started.elapsed() >= Duration::from_millis(750), "{:?}", started.elapsed());
}

#[tokio::test]
async fn silence_ends_in_time_and_a_closed_port_at_once() {
    let mut silent = server(|_| Vec::new()).await;
    let mut closed = Speaker::with(None, Ports { server: 9, ..Ports::default() });
    for protocol in [Protocol::Pcp, Protocol::NatPmp] {
        let started = Instant::now();
        let answer = silent.ask(&request(protocol, Ask::Map(mapping()))).await;
        assert!(matches!(answer, Err(Fault::Silent(_))), "{answer:?}");
        assert!(started.elapsed() < Duration::from_millis(4200), "{:?}", started.elapsed());
        let started = Instant::now();
        let answer = closed.ask(&request(protocol, Ask::Find)).await;
        assert!(matches!(answer, Err(Fault::Silent(_))), "{answer:?}");
        assert!(started.elapsed() < Duration::from_millis(250), "{:?}", started.elapsed());
    }
}

#[tokio::test]
async fn an_answer_to_a_datagram_from_another_address_does_not_count() {
    let server = UdpSocket::bind((GATEWAY, 0)).await.unwrap();
    let port = server.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut buffer = [0; 1500];
        let other = UdpSocket::bind((OTHER, port)).await.unwrap();
        loop {
            let (_, from) = server.recv_from(&mut buffer).await.unwrap();
            assert_eq!(from.ip(), SOURCE);
            other.send_to(&OUTER, from).await.unwrap();
        }
    });
    let mut speaker = Speaker::with(None, Ports { server: port, ..Ports::default() });
    let answer = speaker.ask(&request(Protocol::NatPmp, Ask::Find)).await;
    assert!(matches!(answer, Err(Fault::Silent(_))), "{answer:?}");
}

/// A server that answers each datagram with these, and who asks it.
async fn server(answers: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> Speaker {
    let socket = UdpSocket::bind((GATEWAY, 0)).await.unwrap();
    let ports = Ports { server: socket.local_addr().unwrap().port(), ..Ports::default() };
    tokio::spawn(async move {
        let mut buffer = [0; 1500];
        loop {
            let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
            assert_eq!(from.ip(), SOURCE);
            for answer in answers(&buffer[..length]) {
                // The port is closed once the right answer was found.
                let _gone = socket.send_to(&answer, from).await;
            }
        }
    });
    Speaker::with(None, ports)
}

/// The answer of a PCP server that gives what it is asked for.
fn pcp(asked: &[u8], code: u8) -> Vec<u8> {
    let mut answer = asked.to_vec();
    answer.resize(if asked.len() < 60 { 24 } else { 60 }, 0);
    answer[0] = 2;
    answer[1] |= 128;
    answer[2..4].copy_from_slice(&[0, code]);
    answer[8..24].fill(0);
    answer[11] = 9;
    if let Some(address) = answer.get_mut(56..60) {
        address.copy_from_slice(&[198, 51, 100, 7]);
    }
    answer
}
