//! Host names that tenants write, and those that templates make of the names of their Services.

use arbitrary::{Arbitrary, Unstructured};

use crate::{
    host_names::{fqdn, sanitise},
    templates::Names,
};

const LABEL: usize = 63;
const NAME: usize = 253;
/// Templates that have both the Service and its namespace in one label.
const TEMPLATES: [&str; 4] = [
    "{service}-{namespace}",
    "{namespace}{service}",
    "x-{service}-lb-{namespace}.example.",
    "{plane}-{namespace}-{service}",
];

/// What a cluster admits as names is made of this.
#[derive(Arbitrary, Debug)]
struct Owners<'a> {
    one: [&'a [u8]; 2],
    other: [&'a [u8]; 2],
    template: &'a str,
}

/// Reads the bytes as a name, and as the names of two Services.
pub fn fuzz(octets: &[u8]) {
    if let Ok(text) = str::from_utf8(octets) {
        host_name(text);
    }
    if let Ok(owners) = Owners::arbitrary(&mut Unstructured::new(octets)) {
        let [one, other] = [owners.one, owners.other].map(|names| names.map(label));
        for template in TEMPLATES {
            let [first, second] = [&one, &other].map(|names| told(names, template));
            assert_eq!(first == second, one == other, "{first:?} for {one:?} and {other:?}");
        }
        // The same letters with another border between the two names.
        let [namespace, service] = &one;
        if let Some((moved, rest)) = namespace.split_once('-').filter(|(_, rest)| !rest.starts_with('-')) {
            let moved = [rest.to_owned(), format!("{service}-{moved}")];
            assert_ne!(told(&one, "{service}-{namespace}"), told(&moved, "{service}-{namespace}"), "{one:?}");
        }
        let [namespace, service] = &one;
        let any = Names { plane: "a", namespace, service }.fill(owners.template);
        assert!(any.chars().count() <= NAME, "{any}");
    }
}

/// What the server is told of a Service, by namespace and name.
fn told([namespace, service]: &[String; 2], template: &str) -> Option<String> {
    let name = Names { plane: "a", namespace, service }.fill(template);
    host_name(&name);
    sanitise(&name)
}

/// Every name is one that DNS can hold, and stays as it is if it is read again.
fn host_name(text: &str) {
    let clean = sanitise(text);
    let Some(name) = &clean else {
        assert!(!text.chars().any(|letter| letter.is_ascii_alphanumeric()), "{text:?} has no name");
        return;
    };
    assert!(name.len() <= NAME, "{name}");
    for label in name.split('.') {
        assert!((1..=LABEL).contains(&label.len()), "{name}");
        assert!(!label.starts_with('-') && !label.ends_with('-'), "{name}");
        let is_plain = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
        assert!(label.chars().all(is_plain), "{name}");
    }
    assert_eq!(sanitise(name), clean);
    // Flags, two result codes, and a length for each label.
    let value = fqdn(text).unwrap_or_default();
    assert_eq!(value.len(), 3 + name.len() + 1 + usize::from(text.ends_with('.')));
}

/// A DNS label of these bytes, as the API server takes for a name.
fn label(bytes: &[u8]) -> String {
    let letters = b"abc-0";
    let letter = |byte: &u8| letters.get(usize::from(*byte) % letters.len()).copied().map(char::from);
    let label: String = bytes.iter().take(LABEL).filter_map(letter).collect();
    let label = label.trim_matches('-');
    if label.is_empty() { "a".to_owned() } else { label.to_owned() }
}
