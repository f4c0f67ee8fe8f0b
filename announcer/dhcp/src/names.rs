//! Names that a DHCP server and its DNS will take.

/// Longest label of a domain name (RFC 1035 section 2.3.4).
const LABEL: usize = 63;
/// Longest name that DNS can hold: 255 octets on the wire.
const NAME: usize = 253;
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
            .skip_while(|&c| c == '-')
            .take(LABEL)
            .collect();
        let label = label.trim_end_matches('-');
        let dot = usize::from(!clean.is_empty());
        if label.is_empty() || clean.len() + dot + label.len() > NAME {
            continue;
        }
        if dot == 1 {
            clean.push('.');
        }
        clean.push_str(label);
    }
    (!clean.is_empty()).then_some(clean)
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
        let long = sanitise(&format!("{}-{}", "a".repeat(62), "b")).unwrap();
        assert_eq!(long, "a".repeat(62));
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
