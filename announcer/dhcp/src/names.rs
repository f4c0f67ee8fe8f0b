//! Names that a DHCP server and its DNS will take.

use sha2::{Digest, Sha256};

/// Longest label of a domain name (RFC 1035 section 2.3.4).
const LABEL: usize = 63;
/// Longest name that DNS can hold: 255 octets on the wire.
const NAME: usize = 253;
/// Bytes of the hash at the end of a label that is cut: whoever chooses a label can try others until their hashes meet.
const HASH: usize = 8;
/// The server is asked to keep the address record (S), and the name is in wire format (E): RFC 4702 section 2.1.
const FQDN_FLAGS: u8 = 0b0101;

/// `name` reduced to letters, digits and inner hyphens in labels of at most 63, in lower case; `None` if nothing is
/// left of it. Other characters become hyphens.
pub(crate) fn sanitise(name: &str) -> Option<String> {
    let mut clean = String::new();
    for label in name.split('.') {
        let label: String = label
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
            .collect();
        let label = fitted(label.trim_matches('-'));
        let dot = usize::from(!clean.is_empty());
        if label.is_empty() || clean.len() + dot + label.len() > NAME {
            continue;
        }
        if dot == 1 {
            clean.push('.');
        }
        clean.push_str(&label);
    }
    (!clean.is_empty()).then_some(clean)
}

/// A label that fits. In place of its end it has a hash of the whole, or two long names would become one. The two hyphens
/// before that keep it apart from labels that fit by themselves.
fn fitted(label: &str) -> String {
    if label.len() <= LABEL {
        return label.to_owned();
    }
    let hash: String = Sha256::digest(label).iter().take(HASH).map(|byte| format!("{byte:02x}")).collect();
    let kept: String = label.chars().take(LABEL - hash.len() - 2).collect();
    format!("{}--{hash}", kept.trim_end_matches('-'))
}

/// The value of option 81 for `name`: whole if it ends with a dot, else for the server to complete.
pub(crate) fn fqdn(name: &str) -> Option<Vec<u8>> {
    let clean = sanitise(name)?;
    // Both result codes are zero, as a client sends them.
    let mut value = vec![FQDN_FLAGS, 0, 0];
    for label in clean.split('.') {
        value.push(u8::try_from(label.len()).ok()?);
        value.extend(label.as_bytes());
    }
    if name.ends_with('.') {
        value.push(0);
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b12_a_hostname_keeps_letters_digits_and_inner_hyphens() {
        assert_eq!(sanitise("Web_1.Shop").as_deref(), Some("web-1.shop"));
        assert_eq!(sanitise("-ä-web-.").as_deref(), Some("web"));
        assert_eq!(sanitise("..--"), None);
    }

    #[test]
    fn b12_a_label_has_at_most_63_characters() {
        let name = sanitise(&"a".repeat(70)).unwrap();
        assert_eq!(name.len(), 63);
        assert_eq!(sanitise(&"a".repeat(63)), Some("a".repeat(63)));
    }

    #[test]
    fn b12_long_labels_that_differ_at_their_ends_stay_different() {
        let [one, other] =
            ["staging", "production"].map(|end| sanitise(&format!("{}-{end}", "a".repeat(63))));
        assert!(one.as_ref().is_some_and(|one| one.starts_with(&"a".repeat(45))), "{one:?}");
        assert_ne!(one, other);
        let spaced = sanitise(&format!("{}{}b", "a".repeat(40), "-".repeat(60))).unwrap();
        assert!(spaced.starts_with(&("a".repeat(40) + "--")) && !spaced.contains("---"), "{spaced}");
    }

    #[test]
    fn b12_a_name_too_long_for_dns_loses_its_last_labels() {
        let name = sanitise(&vec!["a".repeat(60); 6].join(".")).unwrap();
        assert!(name.len() <= 253);
        assert_eq!(name.split('.').count(), 4);
        assert!(fqdn(&vec!["a".repeat(63); 6].join(".")).unwrap().len() <= 255);
    }

    #[test]
    fn b12_a_domain_name_is_in_wire_format_and_whole_only_with_a_dot_at_its_end() {
        assert_eq!(fqdn("web.shop").unwrap(), b"\x05\0\0\x03web\x04shop");
        assert_eq!(fqdn("Web.shop.").unwrap(), b"\x05\0\0\x03web\x04shop\0");
        assert_eq!(fqdn("."), None);
    }
}
