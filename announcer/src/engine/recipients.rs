//! Which claim a DHCP reply is for, in constant time whatever the number of claims.

use std::collections::HashMap;

/// Claims by what a reply says of its addressee.
#[derive(Debug, Default)]
pub(super) struct Recipients {
    /// Those with a hardware address of their own.
    by_hardware_address: HashMap<[u8; 6], String>,
    /// Those that share the interface's, while they wait for a reply.
    by_transaction: HashMap<u32, String>,
}

impl Recipients {
    /// The one claim that a reply to this hardware address and transaction is for.
    pub(super) fn find(&self, hardware_address: [u8; 6], transaction: u32) -> Option<&str> {
        let by_address = self.by_hardware_address.get(&hardware_address);
        by_address.or_else(|| self.by_transaction.get(&transaction)).map(String::as_str)
    }

    /// The claim that has this hardware address for its own.
    pub(super) fn owner(&self, hardware_address: [u8; 6]) -> Option<&str> {
        self.by_hardware_address.get(&hardware_address).map(String::as_str)
    }

    /// The claim has this hardware address from now on.
    pub(super) fn own(&mut self, hardware_address: [u8; 6], claim: &str) {
        self.by_hardware_address.insert(hardware_address, claim.to_owned());
    }

    /// The claim no longer has this hardware address.
    pub(super) fn disown(&mut self, hardware_address: [u8; 6], claim: &str) {
        if self.owner(hardware_address) == Some(claim) {
            self.by_hardware_address.remove(&hardware_address);
        }
    }

    /// The claim waits for a reply to another transaction than `before`, or to none.
    pub(super) fn expect(&mut self, claim: &str, before: Option<u32>, transaction: Option<u32>) {
        if let Some(before) = before
            && self.by_transaction.get(&before).is_some_and(|waiting| waiting == claim)
        {
            self.by_transaction.remove(&before);
        }
        if let Some(transaction) = transaction {
            self.by_transaction.insert(transaction, claim.to_owned());
        }
    }

    /// Forgets all claims.
    pub(super) fn clear(&mut self) {
        self.by_hardware_address.clear();
        self.by_transaction.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b44_a_reply_is_for_one_claim_or_for_none() {
        let mut recipients = Recipients::default();
        recipients.own(MAC, "a");
        recipients.expect("b", None, Some(7));
        recipients.expect("c", None, Some(8));
        assert_eq!(recipients.find(MAC, 7), Some("a"), "its own hardware address tells most");
        assert_eq!(recipients.find(NIC, 7), Some("b"));
        assert_eq!(recipients.find(NIC, 8), Some("c"));
        assert_eq!(recipients.find(NIC, 9), None);
    }

    #[test]
    fn b44_what_a_claim_no_longer_waits_for_reaches_nobody() {
        let mut recipients = Recipients::default();
        recipients.expect("b", None, Some(7));
        recipients.expect("b", Some(7), Some(8));
        assert_eq!((recipients.find(NIC, 7), recipients.find(NIC, 8)), (None, Some("b")));
        recipients.expect("b", Some(8), None);
        assert_eq!(recipients.find(NIC, 8), None);
    }

    #[test]
    fn a_hardware_address_is_given_up_only_by_who_has_it() {
        let mut recipients = Recipients::default();
        recipients.own(MAC, "a");
        recipients.disown(MAC, "b");
        assert_eq!(recipients.owner(MAC), Some("a"));
        recipients.disown(MAC, "a");
        assert_eq!(recipients.owner(MAC), None);
    }

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const NIC: [u8; 6] = [2, 0, 0, 0, 0, 2];
}
