//! The names that a plane's templates make for the DHCP server.

use sha2::{Digest, Sha256};

/// The longest name that a claim can have for the DHCP server, in characters.
const NAME_MAX: usize = 253;
/// 24 bits: for one joined name there are at most as many pairs of namespace and Service as it has hyphens.
const TAG_BYTES: usize = 3;
/// 64 bits: whoever chooses a long name can try others until their hashes meet.
const CUT_BYTES: usize = 8;

/// What the placeholders of a template stand for: DNS labels all of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Names<'a> {
    /// `{plane}`.
    pub(crate) plane: &'a str,
    /// `{namespace}`.
    pub(crate) namespace: &'a str,
    /// `{service}`.
    pub(crate) service: &'a str,
}

impl Names<'_> {
    /// The name that `template` makes. Where its end does not fit, a hash of the whole stands for it.
    pub(crate) fn fill(&self, template: &str) -> String {
        let labels: Vec<String> = template.split('.').map(|label| self.label(label)).collect();
        let whole = labels.join(".");
        if whole.chars().count() <= NAME_MAX {
            return whole;
        }
        let hash = hash(&whole, CUT_BYTES);
        let kept: String = whole.chars().take(NAME_MAX - hash.len() - 1).collect();
        format!("{kept}-{hash}")
    }

    /// One label. `web-shop-prod` may be Service `web` of `shop-prod` or `web-shop` of `prod`: where it cannot be seen in the
    /// label what stands for which placeholder, a tag is added.
    fn label(&self, template: &str) -> String {
        let values = [("{service}", self.service), ("{namespace}", self.namespace), ("{plane}", self.plane)];
        let used = values.iter().filter(|(placeholder, _)| template.contains(placeholder));
        let (several, hyphens) =
            used.fold((0, false), |(n, hyphens), (_, value)| (n + 1, hyphens || value.contains('-')));
        let label = values.iter().fold(template.to_owned(), |label, (key, value)| label.replace(key, value));
        if several > 1 && (hyphens || !separates(template)) {
            // A slash is in no name.
            let tag = hash(&format!("{}/{}/{}", self.plane, self.namespace, self.service), TAG_BYTES);
            format!("{label}-{tag}")
        } else {
            label
        }
    }
}

/// Whether there is a hyphen between any two placeholders.
fn separates(template: &str) -> bool {
    let mut parts = template.split(['{', '}']);
    let _before = parts.next();
    // A placeholder, what follows it, the next placeholder, and so on.
    let following: Vec<&str> = parts.skip(1).step_by(2).collect();
    following.split_last().is_none_or(|(_, between)| between.iter().all(|text| text.contains('-')))
}

/// The first bytes of a SHA-256, as hexadecimal digits.
fn hash(text: &str, bytes: usize) -> String {
    Sha256::digest(text).iter().take(bytes).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const TEMPLATE: &str = "{service}-{namespace}";

    #[test]
    fn names_without_hyphens_are_joined_as_they_are() {
        assert_eq!(fill(TEMPLATE, "shop", "web"), "web-shop");
        assert_eq!(fill("{plane}.{service}", "shop", "web"), "a.web");
    }

    #[test]
    fn two_services_never_have_one_name() {
        let pairs =
            [("shop-prod", "web"), ("prod", "web-shop"), ("shop", "web"), ("b-c-d", "a"), ("d", "a-b-c")];
        for template in
            [TEMPLATE, "{service}{namespace}", "x-{namespace}-lb-{service}", "{service}-{namespace}.x"]
        {
            let names: BTreeSet<_> =
                pairs.map(|(namespace, service)| fill(template, namespace, service)).into();
            assert_eq!(names.len(), pairs.len(), "{names:?}");
        }
        assert_ne!(fill("{service}{namespace}", "bc", "a"), fill("{service}{namespace}", "c", "ab"));
    }

    #[test]
    fn a_name_with_a_hyphen_gets_a_tag_that_never_changes() {
        assert_eq!(fill(TEMPLATE, "shop-prod", "web"), "web-shop-prod-2de4d5");
        assert_eq!(fill(TEMPLATE, "prod", "web-shop"), "web-shop-prod-50ddc9");
    }

    #[test]
    fn a_label_of_one_name_needs_no_tag() {
        assert_eq!(
            fill("{service}.{namespace}.example.", "shop-prod", "my-web"),
            "my-web.shop-prod.example."
        );
        assert_eq!(fill("x-{service}", "shop-prod", "my-web"), "x-my-web");
    }

    #[test]
    fn the_end_of_a_name_that_is_too_long_becomes_a_hash() {
        let template = "{namespace}.".repeat(60) + "{service}";
        let [one, other] = ["web", "api"].map(|service| fill(&template, "shop", service));
        assert_eq!((one.len(), other.len()), (NAME_MAX, NAME_MAX));
        assert_ne!(one, other);
    }

    fn fill(template: &str, namespace: &str, service: &str) -> String {
        Names { plane: "a", namespace, service }.fill(template)
    }
}
