//! DHCP on the wire: when each client was answered, and who took how long.

use std::collections::BTreeMap;

/// The first message of each kind that a client sent or was sent, in seconds since 1970.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(crate) struct Exchange {
    pub(crate) discover: Option<f64>,
    pub(crate) offer: Option<f64>,
    pub(crate) request: Option<f64>,
    pub(crate) ack: Option<f64>,
}

/// The exchanges by the clients' hardware addresses, in lower case.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Exchanges(BTreeMap<String, Exchange>);

impl Exchanges {
    /// From what [`Wire`](foghorn_lab::Wire) saw.
    pub(crate) fn of(lines: &[String]) -> Self {
        let mut all = Self::default();
        for (time, kind, client) in lines.iter().filter_map(|line| message(line)) {
            let exchange = all.0.entry(client).or_default();
            let first = match kind {
                "Discover" => &mut exchange.discover,
                "Offer" => &mut exchange.offer,
                "Request" => &mut exchange.request,
                "ACK" => &mut exchange.ack,
                _ => continue,
            };
            first.get_or_insert(time);
        }
        all
    }

    /// The exchange of a client.
    pub(crate) fn get(&self, client: &str) -> Option<&Exchange> {
        self.0.get(client)
    }

    /// All times of one kind of message, in order.
    pub(crate) fn times(&self, of: impl Fn(&Exchange) -> Option<f64>) -> Vec<f64> {
        let mut times: Vec<_> = self.0.values().filter_map(of).collect();
        times.sort_by(f64::total_cmp);
        times
    }

    /// Seconds from one message to another, for each client that has both; in order.
    pub(crate) fn spans(
        &self,
        from: impl Fn(&Exchange) -> Option<f64>,
        to: impl Fn(&Exchange) -> Option<f64>,
    ) -> Vec<f64> {
        self.times(|exchange| Some(to(exchange)? - from(exchange)?))
    }
}

/// Time, kind and client of a DHCP message in tcpdump's words.
fn message(line: &str) -> Option<(f64, &str, String)> {
    let time = line.split_whitespace().next()?.parse().ok()?;
    let (_, rest) = line.split_once("Client-Ethernet-Address ")?;
    let client = rest.split_whitespace().next()?.to_ascii_lowercase();
    let (_, kind) = rest.split_once("DHCP-Message (53), length 1: ")?;
    Some((time, kind.split_whitespace().next()?, client))
}

/// How many times there are in a second, from the first to the last of them.
pub(crate) fn rate(sorted: &[f64]) -> Option<f64> {
    let span = sorted.last()? - sorted.first()?;
    let gaps = u32::try_from(sorted.len() - 1).ok()?;
    (span > 0.0).then(|| f64::from(gaps) / span)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exchange_has_the_first_message_of_each_kind() {
        let lines = [
            line("10.5", "02:AB:00:00:00:01", "Discover"),
            line("14.5", "02:ab:00:00:00:01", "Discover"),
            line("14.75", "02:ab:00:00:00:01", "Offer"),
            "15.0 02:ab:00:00:00:01 > ff:ff:ff:ff:ff:ff, ethertype ARP (0x0806), length 42: Request"
                .to_owned(),
        ];
        let exchanges = Exchanges::of(&lines);
        let expected = Exchange { discover: Some(10.5), offer: Some(14.75), ..Exchange::default() };
        assert_eq!(exchanges.get("02:ab:00:00:00:01"), Some(&expected));
        assert!(exchanges.times(|exchange| exchange.ack).is_empty());
        assert_eq!(exchanges.spans(|exchange| exchange.discover, |exchange| exchange.offer), [4.25]);
    }

    #[test]
    fn a_rate_needs_two_times() {
        assert_eq!((rate(&[]), rate(&[3.0]), rate(&[3.0, 3.0])), (None, None, None));
        assert_eq!(rate(&[3.0, 3.1, 5.0]), Some(1.0));
    }

    fn line(time: &str, client: &str, kind: &str) -> String {
        format!(
            "{time} {client} > ff:ff:ff:ff:ff:ff, ethertype IPv4 (0x0800), length 330: (tos 0x0, ttl 64, id 0, offset 0, \
             flags [none], proto UDP (17), length 316) 0.0.0.0.68 > 255.255.255.255.67: [udp sum ok] BOOTP/DHCP, Request \
             from {client}, length 288, xid 0x1, Flags [none] (0x0000) Client-Ethernet-Address {client} Vendor-rfc1048 \
             Extensions Magic Cookie 0x63825363 DHCP-Message (53), length 1: {kind} Client-ID (61), length 19: hardware-type 255"
        )
    }
}
