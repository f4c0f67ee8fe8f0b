use std::ops::Range;

use proptest::prelude::*;
use rand::SeedableRng;

use super::*;

#[test]
fn a_who_has_for_an_announced_address_is_answered_to_the_asker_alone() {
    let mut link = Link::announcing(VIP);
    link.hear(ArpFrame::request(CLIENT, CLIENT_IP, VIP));
    let frames = link.frames(Kind::Reply);
    assert_eq!(frames.len(), 1);
    assert_eq!((frames[0].sender_mac, frames[0].sender_ip), (NIC, VIP));
    assert_eq!((frames[0].destination, frames[0].target_ip), (CLIENT, CLIENT_IP));
}

#[test]
fn a_unicast_request_and_a_probe_of_another_host_are_answered() {
    let mut link = Link::announcing(VIP);
    link.hear(ArpFrame { destination: NIC, ..ArpFrame::request(CLIENT, CLIENT_IP, VIP) });
    assert_eq!(link.frames(Kind::Reply).len(), 1);
    link.hear(ArpFrame::probe(CLIENT, VIP));
    assert_eq!(link.frames(Kind::Reply).len(), 1);
}

#[test]
fn nobody_elses_address_is_answered_and_no_request_to_another_host() {
    let mut link = Link::announcing(VIP);
    link.hear(ArpFrame::request(CLIENT, CLIENT_IP, OTHER_VIP));
    link.hear(ArpFrame { destination: PEER, ..ArpFrame::request(CLIENT, CLIENT_IP, VIP) });
    link.hear(ArpFrame { operation: Operation::Reply, ..ArpFrame::request(CLIENT, CLIENT_IP, VIP) });
    assert_eq!(link.drain(), []);
}

#[test]
fn own_frames_are_ignored() {
    let mut link = Link::announcing(VIP);
    link.hear(ArpFrame::request(NIC, CLIENT_IP, VIP));
    link.hear(ArpFrame::gratuitous_request(NIC, VIP));
    assert_eq!(link.drain(), []);
}

#[test]
fn a_new_address_is_announced_in_all_forms_in_turn() {
    let [request, reply, router] = [
        ArpFrame::gratuitous_request(NIC, VIP),
        ArpFrame::gratuitous_reply(NIC, VIP),
        ArpFrame::request(NIC, VIP, ROUTER),
    ];
    for (with, forms) in [
        (None, [request, reply, request, reply, request, reply]),
        (Some(ROUTER), [request, router, reply, router, request, router]),
    ] {
        let mut link = Link::new(Config { refresh: None, ..Config::default() });
        link.input(Input::Announce { address: VIP, router: with });
        let sent = link.run(Duration::from_secs(600));
        let times: Vec<_> = sent.iter().map(|(at, _)| *at).collect();
        assert_eq!(times, [0, 100, 500, 1_000, 2_000, 3_000]);
        assert_eq!(sent.into_iter().map(|(_, frame)| frame).collect::<Vec<_>>(), forms);
        assert_eq!(link.machine.poll_timeout(), None);
    }
}

#[test]
fn a_refresh_a_minute_asks_the_router_too() {
    let mut link = Link::new(Config::default());
    link.input(Input::Announce { address: VIP, router: Some(ROUTER) });
    let sent = link.run(Duration::from_secs(3_600));
    let refreshes: Vec<_> = sent[6..].chunks_exact(2).collect();
    for pair in &refreshes {
        assert_eq!(pair[1].0 - pair[0].0, 100);
        assert_eq!((pair[0].1.target_ip, pair[1].1.target_ip), (VIP, ROUTER));
    }
    let replies = refreshes.iter().filter(|pair| pair[0].1.operation == Operation::Reply);
    assert_eq!(replies.count(), refreshes.len().div_ceil(2), "the gratuitous forms alternate");
    let gaps: BTreeSet<_> = refreshes.windows(2).map(|two| two[1][0].0 - two[0][1].0).collect();
    assert!(gaps.len() > 10, "the intervals differ");
    assert!(gaps.iter().all(|gap| (45_000..=75_000).contains(gap)), "{gaps:?}");
}

#[test]
fn the_answer_of_the_router_means_nothing_else() {
    let mut link = Link::new(Config::default());
    link.input(Input::Announce { address: VIP, router: Some(ROUTER) });
    link.run(Duration::from_millis(100));
    link.hear(ArpFrame::reply_to(&ArpFrame::request(NIC, VIP, ROUTER), CLIENT));
    assert_eq!((link.drain(), link.reports.len()), (vec![], 0));
}

#[test]
fn another_router_is_asked_from_the_next_turn_on() {
    let mut link = Link::new(Config::default());
    link.input(Input::Announce { address: VIP, router: Some(ROUTER) });
    link.run(Duration::from_millis(100));
    link.input_undrained(Input::Announce { address: VIP, router: Some(CLIENT_IP) });
    assert_eq!(link.drain(), [], "nothing at once");
    let sent = link.run(Duration::from_secs(60));
    let asked: BTreeSet<_> = sent.iter().map(|(_, frame)| frame.target_ip).collect();
    assert_eq!(asked, BTreeSet::from([VIP, CLIENT_IP]));
}

/// A switch that shuts a port at 15 frames sees a few more: of the node's kernel, answers, the watch on the gateway.
#[test]
fn a_take_over_of_twelve_is_a_dozen_frames_in_any_second() {
    for (held, taken) in [(0, 4), (0, 8), (0, 12), (12, 12), (40, 12)] {
        let mut link = Link::new(Config::default());
        link.take_over(0..held);
        link.run(Duration::from_secs(600));
        link.take_over(100..100 + taken);
        let sent = link.run(Duration::from_secs(60));
        let at_once = sent.iter().take_while(|(at, _)| *at == 0);
        let first: BTreeSet<_> = at_once.map(|(_, frame)| frame.sender_ip).collect();
        assert_eq!(first.len(), usize::try_from(taken).unwrap(), "all at once");
        assert!(most_in_a_second(&sent) <= 12, "{held} and {taken}: {}", most_in_a_second(&sent));
        let asked = sent.iter().filter(|(at, frame)| *at < 2_500 && frame.target_ip == ROUTER);
        assert!(asked.count() >= usize::try_from(taken).unwrap(), "the router is asked soon");
    }
}

/// `docs/failover.md` has this table: by `maxPerSecond` and addresses, when the last address was announced for the first time
/// and when every router has been asked once, in milliseconds.
#[test]
fn the_cost_of_a_limit_is_as_documented() {
    let mut table = Vec::new();
    for limit in [10, 15, 50, 200] {
        for addresses in [10, 30, 300] {
            let max_per_second = NonZeroU32::new(limit).unwrap();
            let mut link = Link::new(Config { max_per_second, refresh: None, ..Config::default() });
            link.take_over(0..addresses);
            let sent = link.run(Duration::from_secs(600));
            let last = |target: fn(&ArpFrame) -> bool| {
                let mut seen = BTreeMap::new();
                for (at, frame) in sent.iter().filter(|(_, frame)| target(frame)) {
                    seen.entry(frame.sender_ip).or_insert(*at);
                }
                seen.into_values().max().unwrap()
            };
            let announced = last(|frame| frame.target_ip == frame.sender_ip);
            table.push((limit, addresses, announced, last(|frame| frame.target_ip == ROUTER)));
        }
    }
    let expected = [
        (10, 10, 0, 1_980),
        (10, 30, 2_200, 6_380),
        (10, 300, 31_900, 65_780),
        (15, 10, 0, 1_980),
        (15, 30, 1_100, 4_213),
        (15, 300, 20_900, 43_813),
        (50, 10, 0, 1_980),
        (50, 30, 0, 2_046),
        (50, 300, 5_500, 13_060),
        (200, 10, 0, 1_980),
        (200, 30, 0, 2_046),
        (200, 300, 1_100, 3_175),
    ];
    assert_eq!(table, expected);
}

#[test]
fn announcing_twice_is_announcing_once() {
    let mut link = Link::announcing(VIP);
    link.input(announce(VIP));
    assert_eq!(link.drain(), []);
}

#[test]
fn the_limit_is_kept_and_first_announcements_go_first() {
    let per_second = NonZeroU32::new(100).unwrap();
    let mut link = Link::new(Config { refresh: None, max_per_second: per_second, ..Config::default() });
    link.take_over(0..100);
    let sent = link.run(Duration::from_secs(60));
    assert_eq!(sent.len(), 600);
    let firsts: BTreeSet<_> = sent[..100].iter().map(|(_, frame)| frame.sender_ip).collect();
    assert_eq!(firsts.len(), 100, "each of the addresses was among the first");
    assert!(most_in_a_second(&sent) <= 100);
}

#[test]
fn nothing_more_is_sent_for_a_withdrawn_address() {
    let mut link = Link::announcing(VIP);
    link.hear_undrained(ArpFrame::request(CLIENT, CLIENT_IP, VIP));
    link.input_undrained(Input::Resolve { sender: VIP, target: CLIENT_IP });
    link.input_undrained(Input::Withdraw(VIP));
    assert_eq!(link.drain(), [Output::Unresolved { target: CLIENT_IP }]);
    link.hear(ArpFrame::request(CLIENT, CLIENT_IP, VIP));
    assert_eq!(link.run(Duration::from_secs(600)), []);
}

#[test]
fn withdrawing_all_leaves_nothing_to_do() {
    let mut link = Link::announcing(VIP);
    link.input_undrained(announce(OTHER_VIP));
    link.input_undrained(Input::Probe { address: CLIENT_IP, own: LEASED });
    link.input_undrained(Input::WithdrawAll);
    assert_eq!(link.drain(), []);
    assert_eq!(link.machine.poll_timeout(), None);
    assert_eq!(link.machine.announced().count(), 0);
}

#[test]
fn a_fast_probe_is_three_frames_and_clear_after_four_hundred_milliseconds() {
    let mut link = Link::new(Config::default());
    link.input(Input::Probe { address: VIP, own: LEASED });
    let start = link.now;
    let sent = link.run(Duration::from_millis(399));
    assert_eq!(sent.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [0, 100, 200]);
    assert!(sent.iter().all(|(_, frame)| frame.sender_ip.is_unspecified() && frame.target_ip == VIP));
    assert_eq!(link.reports, []);
    link.run_until(start + Duration::from_millis(400));
    assert_eq!(link.reports, [Output::ProbeClear(VIP)]);
}

/// So do bridges with `proxy_arp`, access points, and switches that suppress ARP.
#[test]
fn an_answer_with_the_leased_mac_address_is_not_a_conflict() {
    let mut link = Link::new(Config::default());
    link.input(Input::Probe { address: VIP, own: LEASED });
    link.run(Duration::from_millis(150));
    link.hear(ArpFrame::gratuitous_request(LEASED, VIP));
    link.run(Duration::from_secs(1));
    assert_eq!(link.reports, [Output::ProbeClear(VIP)]);
}

#[test]
fn probing_can_be_off_and_cancelled() {
    let mut link = Link::new(Config { probing: Probing::Off, ..Config::default() });
    link.input_undrained(Input::Probe { address: VIP, own: LEASED });
    assert_eq!(link.drain(), [Output::ProbeClear(VIP)]);
    let mut link = Link::new(Config::default());
    link.input(Input::Probe { address: VIP, own: LEASED });
    link.drain();
    link.input(Input::CancelProbe(VIP));
    assert_eq!(link.run(Duration::from_secs(10)), []);
    assert_eq!(link.reports, []);
}

#[test]
fn b35_a_probe_by_rfc_5227_is_three_frames_a_second_or_two_apart_and_clear_two_seconds_later() {
    for _ in 0..50 {
        let mut link = Link::new(Config { probing: Probing::Rfc5227, ..Config::default() });
        link.input(Input::Probe { address: VIP, own: LEASED });
        let at: Vec<_> = link.run(Duration::from_secs(10)).iter().map(|(at, _)| *at).collect();
        let [first, second, third] = at[..] else { panic!("{at:?}") };
        assert!(first <= 1_000, "{at:?}");
        assert!((1_000..=2_000).contains(&(second - first)), "{at:?}");
        assert!((1_000..=2_000).contains(&(third - second)), "{at:?}");
        assert_eq!(link.reports, [Output::ProbeClear(VIP)]);
    }
}

#[test]
fn b35_an_answer_in_the_two_seconds_after_the_last_probe_is_a_conflict() {
    let mut link = Link::new(Config { probing: Probing::Rfc5227, ..Config::default() });
    link.input(Input::Probe { address: VIP, own: LEASED });
    while link.machine.poll_timeout().unwrap().1 == "ARP probe"
        && link.run(Duration::from_millis(500)).is_empty()
    {}
    link.hear_undrained(ArpFrame::reply_to(&ArpFrame::probe(NIC, VIP), CLIENT));
    assert_eq!(link.drain(), [Output::ProbeConflict { address: VIP, mac: CLIENT }]);
}

#[test]
fn a_reply_a_request_or_a_probe_of_another_host_is_a_probe_conflict() {
    for frame in [
        ArpFrame::reply_to(&ArpFrame::probe(NIC, VIP), CLIENT),
        ArpFrame::request(CLIENT, VIP, CLIENT_IP),
        ArpFrame::probe(CLIENT, VIP),
    ] {
        let mut link = Link::new(Config::default());
        link.input(Input::Probe { address: VIP, own: LEASED });
        link.drain();
        link.hear(frame);
        assert_eq!(link.drain(), [Output::ProbeConflict { address: VIP, mac: CLIENT }]);
        assert_eq!(link.machine.poll_timeout(), None);
    }
}

#[test]
fn a_peer_that_still_answers_delays_the_probe_but_not_for_ever() {
    let mut link = Link::new(Config::default());
    link.input(Input::SetPeers([PEER].into()));
    link.input(Input::Probe { address: VIP, own: LEASED });
    link.run(Duration::from_millis(250));
    link.hear(ArpFrame::gratuitous_reply(PEER, VIP));
    let heard = link.now;
    link.run_until(heard + Duration::from_millis(499));
    assert_eq!(link.reports, []);
    link.run_until(heard + Duration::from_millis(500));
    assert_eq!(link.reports, [Output::ProbeClear(VIP)]);

    link.reports.clear();
    link.input(Input::Probe { address: VIP, own: LEASED });
    for _ in 0..51 {
        link.hear(ArpFrame::gratuitous_reply(PEER, VIP));
        link.run(Duration::from_millis(100));
    }
    assert_eq!(link.reports, [Output::ProbeConflict { address: VIP, mac: PEER }]);
}

#[test]
fn b36_an_announced_address_is_defended_once_in_ten_seconds() {
    let mut link = Link::announcing(VIP);
    link.run(Duration::from_secs(3));
    let claim = ArpFrame::gratuitous_request(CLIENT, VIP);
    let conflict = |defended| Output::Conflict { address: VIP, mac: CLIENT, defended };
    link.hear(claim);
    let frame = ArpFrame::gratuitous_request(NIC, VIP).build();
    let defence = Output::Send { kind: Kind::Gratuitous, address: VIP, frame };
    assert_eq!(link.drain(), [conflict(true), defence.clone()]);
    link.hear(claim);
    assert_eq!(link.drain(), [], "the second form of the same announcement");
    link.now += Duration::from_secs(5);
    link.hear(claim);
    assert_eq!(link.drain(), [conflict(false)]);
    link.now += Duration::from_secs(5);
    link.hear(claim);
    assert_eq!(link.drain(), [conflict(true), defence]);
}

#[test]
fn defences_keep_to_the_limit_and_end_with_the_address() {
    let max_per_second = NonZeroU32::new(5).unwrap();
    let mut link = Link::new(Config { max_per_second, ..Config::default() });
    link.take_over(0..20);
    link.run(Duration::from_secs(100));
    for n in 0..20 {
        link.hear_undrained(ArpFrame::gratuitous_request(CLIENT, vip(n)));
    }
    link.input(Input::Withdraw(vip(19)));
    let sent = link.run(Duration::from_secs(5));
    assert!(most_in_a_second(&sent) <= 5);
    let defended: BTreeSet<_> = sent.iter().map(|(_, frame)| frame.sender_ip).collect();
    assert_eq!(defended, (0..19).map(vip).collect());
}

#[test]
fn a_peer_that_holds_the_address_during_a_hand_over_is_no_conflict() {
    let mut link = Link::announcing(VIP);
    link.input(Input::SetPeers([PEER].into()));
    link.hear(ArpFrame::gratuitous_request(PEER, VIP));
    assert_eq!(link.drain(), []);
}

#[test]
fn a_host_is_asked_for_in_the_name_of_the_claim_with_the_interfaces_own_address() {
    let mut link = Link::new(Config::default());
    link.input_undrained(Input::Resolve { sender: VIP, target: CLIENT_IP });
    let frames = link.frames(Kind::Request);
    assert_eq!(frames, [ArpFrame::request(NIC, VIP, CLIENT_IP)]);
    link.hear(ArpFrame::reply_to(&frames[0], CLIENT));
    let resolved = Output::Resolved { target: CLIENT_IP, mac: CLIENT };
    assert_eq!(link.drain(), std::slice::from_ref(&resolved));
    link.input_undrained(Input::Resolve { sender: OTHER_VIP, target: CLIENT_IP });
    assert_eq!(link.drain(), [resolved], "without a frame");
}

#[test]
fn a_host_that_does_not_answer_is_asked_three_times() {
    let mut link = Link::new(Config::default());
    link.input(Input::Resolve { sender: VIP, target: CLIENT_IP });
    let sent = link.run(Duration::from_secs(60));
    assert_eq!(sent.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [0, 1_000, 2_000]);
    assert_eq!(link.reports, [Output::Unresolved { target: CLIENT_IP }]);
}

#[test]
fn a_new_hardware_address_is_announced_for_all_addresses() {
    let mut link = Link::announcing(VIP);
    link.input(announce(OTHER_VIP));
    link.run(Duration::from_secs(5));
    link.input(Input::SetMac(PEER));
    let sent = link.run(Duration::from_secs(4));
    assert_eq!(sent.len(), 12);
    assert!(sent.iter().all(|(_, frame)| frame.sender_mac == PEER && frame.source == PEER));
    link.hear(ArpFrame::request(CLIENT, CLIENT_IP, VIP));
    assert_eq!(link.frames(Kind::Reply)[0].sender_mac, PEER);
}

#[test]
fn a_changed_refresh_holds_for_addresses_that_are_announced_already() {
    let mut link = Link::announcing(VIP);
    link.run(Duration::from_secs(5));
    link.input(Input::SetConfig(Config { refresh: None, ..Config::default() }));
    assert_eq!(link.machine.poll_timeout(), None);
    let refresh = Some(Duration::from_secs(4));
    link.input(Input::SetConfig(Config { refresh, ..Config::default() }));
    assert_eq!(link.run(Duration::from_secs(6)).len(), 2);
}

#[test]
fn a_storm_of_ten_thousand_frames_is_answered_in_bounds_and_others_are_served() {
    let mut link = Link::announcing(VIP);
    link.input(announce(OTHER_VIP));
    link.drain();
    for n in 0..10_000_u32 {
        let [_, _, high, low] = n.to_be_bytes();
        link.hear_undrained(ArpFrame::request([2, 0, 0, 1, high, low], CLIENT_IP, VIP));
        link.hear_undrained(ArpFrame::gratuitous_request([2, 0, 0, 1, high, low], OTHER_VIP));
    }
    assert_eq!(link.drain().len(), 1_000 + 2, "the replies, one defence and its report");
    link.hear(ArpFrame::request(CLIENT, CLIENT_IP, OTHER_VIP));
    assert_eq!(link.frames(Kind::Reply).len(), 1);
}

proptest! {
    #[test]
    fn whatever_comes_in_frames_are_sent_for_held_addresses_only_and_time_moves_on(
        limit in 1..30_u32,
        steps in prop::collection::vec(any_step(), 1..200),
    ) {
        let refresh = Some(Duration::from_secs(2));
        let max_per_second = NonZeroU32::new(limit).unwrap();
        let mut link = Link::new(Config { max_per_second, refresh, ..Config::default() });
        let (mut announced, mut wanted) = (BTreeSet::new(), BTreeSet::new());
        let mut sent = Vec::new();
        for step in steps {
            let input = match &step {
                Step::Wait(ms) => {
                    link.now += Duration::from_millis(*ms);
                    link.machine.handle_timeout(link.now);
                    None
                }
                Step::Bytes(bytes) => Some(Input::Frame(bytes)),
                Step::Announce(address) => {
                    announced.insert(*address);
                    Some(Input::Announce { address: *address, router: Some(ROUTER) })
                }
                Step::Withdraw(address) => {
                    announced.remove(address);
                    wanted.remove(address);
                    Some(Input::Withdraw(*address))
                }
                Step::Probe(address) => {
                    wanted.insert(*address);
                    Some(Input::Probe { address: *address, own: LEASED })
                }
                Step::Resolve(sender, target) => {
                    wanted.insert(*sender);
                    Some(Input::Resolve { sender: *sender, target: *target })
                }
                Step::WithdrawAll => {
                    announced.clear();
                    wanted.clear();
                    Some(Input::WithdrawAll)
                }
            };
            if let Some(input) = input {
                link.machine.handle_input(link.now, input);
            }
            for output in link.drain() {
                if let Output::Send { kind, address, frame } = output {
                    let held = match kind {
                        Kind::Reply | Kind::Gratuitous => announced.contains(&address),
                        Kind::Probe => wanted.contains(&address),
                        Kind::Request => announced.contains(&address) || wanted.contains(&address),
                    };
                    prop_assert!(held, "{:?} for {}", kind, address);
                    sent.extend((kind != Kind::Reply).then_some(link.now));
                    prop_assert_eq!(ArpFrame::parse(&frame).map(|frame| frame.source), Ok(NIC));
                }
            }
            prop_assert!(link.machine.announced().eq(announced.iter().copied()));
            if let Some((at, reason)) = link.machine.poll_timeout() {
                prop_assert!(at > link.now, "{} is due and was not done", reason);
            }
        }
        let limit = usize::try_from(limit).unwrap();
        let second = Duration::from_secs(1);
        prop_assert!(sent.windows(limit + 1).all(|of| of[limit] - of[0] > second), "{:?}", sent);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    Bytes(Vec<u8>),
    Announce(Ipv4Addr),
    Withdraw(Ipv4Addr),
    Probe(Ipv4Addr),
    Resolve(Ipv4Addr, Ipv4Addr),
    WithdrawAll,
}

fn any_step() -> impl Strategy<Value = Step> {
    let address = || (0..6_u8).prop_map(|n| Ipv4Addr::new(192, 0, 2, n));
    let mac = || (0..4_u8).prop_map(|n| [2, 0, 0, 0, 0, n]);
    let frame = (any::<bool>(), mac(), mac(), address(), address(), any::<bool>()).prop_map(
        |(reply, destination, sender_mac, sender_ip, target_ip, probe)| {
            let sender_ip = if probe { Ipv4Addr::UNSPECIFIED } else { sender_ip };
            let operation = if reply { Operation::Reply } else { Operation::Request };
            ArpFrame { destination, operation, ..ArpFrame::request(sender_mac, sender_ip, target_ip) }.build()
        },
    );
    prop_oneof![
        4 => (0..3_000_u64).prop_map(Step::Wait),
        6 => frame.prop_map(Step::Bytes),
        1 => prop::collection::vec(any::<u8>(), 0..70).prop_map(Step::Bytes),
        3 => address().prop_map(Step::Announce),
        2 => address().prop_map(Step::Withdraw),
        2 => address().prop_map(Step::Probe),
        2 => (address(), address()).prop_map(|(sender, target)| Step::Resolve(sender, target)),
        1 => Just(Step::WithdrawAll),
    ]
}

fn announce(address: Ipv4Addr) -> Input<'static> {
    Input::Announce { address, router: None }
}

fn vip(n: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 18, 0, 0)) + n)
}

/// The most frames within any second.
fn most_in_a_second(sent: &[(u128, ArpFrame)]) -> usize {
    let within = |from: u128| sent.iter().filter(|(at, _)| (from..from + 1_000).contains(at)).count();
    sent.iter().map(|(at, _)| within(*at)).max().unwrap_or_default()
}

/// A machine, its clock and what it reported while time went by.
struct Link {
    machine: L2,
    now: Instant,
    start: Instant,
    reports: Vec<Output>,
}

impl Link {
    fn new(config: Config) -> Self {
        let now = Instant::from_boot(Duration::from_secs(1_000));
        let machine = L2::new(config, NIC, StdRng::seed_from_u64(1));
        Self { machine, now, start: now, reports: Vec::new() }
    }

    /// Announces the address and forgets the first frames of that.
    fn announcing(address: Ipv4Addr) -> Self {
        let mut link = Self::new(Config::default());
        link.input(announce(address));
        link.drain();
        link
    }

    /// Takes over the addresses with these numbers, at once.
    fn take_over(&mut self, numbers: Range<u32>) {
        self.start = self.now;
        for n in numbers {
            self.input_undrained(Input::Announce { address: vip(n), router: Some(ROUTER) });
        }
    }

    fn input(&mut self, input: Input<'_>) {
        self.start = self.now;
        self.input_undrained(input);
    }

    fn input_undrained(&mut self, input: Input<'_>) {
        self.machine.handle_input(self.now, input);
    }

    fn hear(&mut self, frame: ArpFrame) {
        self.drain();
        self.hear_undrained(frame);
    }

    fn hear_undrained(&mut self, frame: ArpFrame) {
        self.machine.handle_input(self.now, Input::Frame(&frame.build()));
    }

    fn drain(&mut self) -> Vec<Output> {
        std::iter::from_fn(|| self.machine.poll_output()).collect()
    }

    fn frames(&mut self, of: Kind) -> Vec<ArpFrame> {
        let mut frames = Vec::new();
        for output in self.drain() {
            if let Output::Send { kind, frame, .. } = output
                && kind == of
            {
                frames.push(ArpFrame::parse(&frame).unwrap());
            }
        }
        frames
    }

    fn run(&mut self, time: Duration) -> Vec<(u128, ArpFrame)> {
        self.run_until(self.now + time)
    }

    /// Lets time pass; gives the frames with the milliseconds since the last input, and keeps the reports.
    fn run_until(&mut self, end: Instant) -> Vec<(u128, ArpFrame)> {
        let mut sent = Vec::new();
        loop {
            for output in self.drain() {
                if let Output::Send { frame, .. } = output {
                    sent.push(((self.now - self.start).as_millis(), ArpFrame::parse(&frame).unwrap()));
                } else {
                    self.reports.push(output);
                }
            }
            match self.machine.poll_timeout() {
                Some((at, _)) if at <= end => self.now = at,
                _ => break,
            }
            self.machine.handle_timeout(self.now);
        }
        self.now = end;
        sent
    }
}

const NIC: Mac = [2, 0, 0, 0, 0, 1];
const PEER: Mac = [2, 0, 0, 0, 0, 2];
const CLIENT: Mac = [2, 0, 0, 0, 0, 3];
const LEASED: Mac = [0x92, 0x1c, 0x4f, 7, 0xaa, 0x3e];
const CLIENT_IP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 254);
const VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 100);
const OTHER_VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 3, 7);
