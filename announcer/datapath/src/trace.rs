//! What was changed beyond the table of nftables, written down in that table itself: so it is known as long as there is
//! something to undo, whoever made it.

use std::fmt;

use foghorn_netio::MarkRule;

use crate::wanted::{ReturnPath, is_interface_name};

/// What was changed on the node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// The interface whose reverse-path filter is off, and what it was before.
    pub filter: Option<(String, u32)>,
    /// The routing rule, whose table is ours too.
    pub rule: Option<MarkRule>,
}

impl ReturnPath {
    /// The rule that leads marked packets to the table.
    #[must_use]
    pub const fn rule(&self) -> MarkRule {
        MarkRule { mark: self.mark, mask: self.mask, table: self.table, priority: self.priority }
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("foghorn")?;
        if let Some((interface, before)) = &self.filter {
            write!(f, " rp_filter {interface} {before}")?;
        }
        if let Some(MarkRule { mark, mask, table, priority }) = self.rule {
            write!(f, " rule {mark} {mask} {table} {priority}")?;
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
                "rule" => {
                    let mut part = || number(&mut words);
                    trace.rule = (|| {
                        Some(MarkRule { mark: part()?, mask: part()?, table: part()?, priority: part()? })
                    })();
                }
                _ => {}
            }
        }
        trace
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_down_is_read_again() {
        let rule = MarkRule { mark: 0x1000, mask: 0x3000, table: 7401, priority: 7400 };
        let filter = ("an-interface.15".to_owned(), 2);
        for trace in [
            Trace::default(),
            Trace { filter: Some(filter.clone()), rule: None },
            Trace { filter: None, rule: Some(rule) },
            Trace { filter: Some(filter), rule: Some(MarkRule { mask: u32::MAX, ..rule }) },
        ] {
            let comment = trace.to_string();
            assert!(comment.len() < 128, "nftables allows no longer one");
            assert_eq!(Trace::read(&comment), trace, "{comment}");
        }
    }

    #[test]
    fn comments_of_others_say_nothing() {
        for comment in
            ["", "rp_filter", "rp_filter eth1", "rp_filter eth1 x", "rule 1 2 3", "a table of mine"]
        {
            assert_eq!(Trace::read(comment), Trace::default(), "{comment}");
        }
    }
}
