//! What was changed beyond the table of nftables, written down in that table itself: so it is known as long as there is
//! something to undo, whoever made it.

use std::{collections::BTreeSet, fmt};

use foghorn_netio::{Family, MarkRule};

use crate::wanted::{ReturnPath, check_rule, is_interface_name};

/// What was changed on the node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// The interface whose reverse-path filter is off, and what it was before.
    pub filter: Option<(String, u32)>,
    /// The routing rules, whose tables are ours too.
    pub rules: BTreeSet<MarkRule>,
}

impl ReturnPath {
    /// The rule that leads a family's marked packets to the table.
    #[must_use]
    pub const fn rule(&self, family: Family) -> MarkRule {
        MarkRule { family, mark: self.mark, mask: self.mask, table: self.table, priority: self.priority }
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("foghorn")?;
        if let Some((interface, before)) = &self.filter {
            write!(f, " rp_filter {interface} {before}")?;
        }
        for MarkRule { family, mark, mask, table, priority } in &self.rules {
            write!(f, " {} {mark} {mask} {table} {priority}", name(*family))?;
        }
        Ok(())
    }
}

impl Trace {
    /// Reads what a table's comment says; what is none of ours says nothing.
    #[must_use]
    pub fn read(comment: &str) -> Self {
        let mut trace = Self::default();
        let mut words = comment.split(' ');
        let number = |words: &mut std::str::Split<'_, char>| words.next()?.parse::<u32>().ok();
        while let Some(word) = words.next() {
            match word {
                "rp_filter" => {
                    let interface = words.next().filter(|name| is_interface_name(name));
                    trace.filter = interface.map(str::to_owned).zip(number(&mut words));
                }
                _ => {
                    let family = Family::ALL.into_iter().find(|family| name(*family) == word);
                    let rule = family.and_then(|family| rule(family, || number(&mut words)));
                    trace.rules.extend(rule);
                }
            }
        }
        trace
    }
}

fn rule(family: Family, mut part: impl FnMut() -> Option<u32>) -> Option<MarkRule> {
    let rule = MarkRule { family, mark: part()?, mask: part()?, table: part()?, priority: part()? };
    // What is written there is undone: the kernel's own tables are not ours, whatever a comment says.
    check_rule(rule).is_ok().then_some(rule)
}

/// What a rule of the family is called.
const fn name(family: Family) -> &'static str {
    match family {
        Family::V4 => "rule",
        Family::V6 => "rule6",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_down_is_read_again() {
        let rule = MarkRule { family: Family::V4, mark: 0x1000, mask: 0x3000, table: 7401, priority: 7400 };
        let rule6 = MarkRule { family: Family::V6, ..rule };
        let long =
            |rule| MarkRule { mark: u32::MAX, mask: u32::MAX, table: u32::MAX, priority: 32765, ..rule };
        let filter = Some(("an-interface.15".to_owned(), 2));
        for trace in [
            Trace::default(),
            Trace { filter: filter.clone(), rules: [].into() },
            Trace { filter: None, rules: [rule].into() },
            Trace { filter: None, rules: [rule6].into() },
            Trace { filter: None, rules: [rule, rule6].into() },
            Trace { filter, rules: [rule, rule6].map(long).into() },
        ] {
            let comment = trace.to_string();
            assert!(comment.len() < 128, "nftables allows no longer one");
            assert_eq!(Trace::read(&comment), trace, "{comment}");
        }
    }

    #[test]
    fn what_an_earlier_release_has_written_down_is_read() {
        let rule = MarkRule { family: Family::V4, mark: 4096, mask: 12288, table: 7401, priority: 7400 };
        let trace = Trace { filter: Some(("eth1".to_owned(), 2)), rules: [rule].into() };
        let comment = "foghorn rp_filter eth1 2 rule 4096 12288 7401 7400";
        assert_eq!((Trace::read(comment), trace.to_string().as_str()), (trace, comment));
    }

    #[test]
    fn comments_of_others_say_nothing() {
        for comment in [
            "",
            "rp_filter",
            "rp_filter eth1",
            "rp_filter eth1 x",
            "rule 1 2 3",
            "rule6 1",
            "a table of mine",
            "rule 4096 12288 254 7400",
            "rule 0 12288 7401 7400",
            "rule 4096 12288 7401 32766",
        ] {
            assert_eq!(Trace::read(comment), Trace::default(), "{comment}");
        }
    }
}
