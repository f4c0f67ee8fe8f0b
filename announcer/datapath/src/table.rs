//! A table of nftables as data: its text, and the text that makes it of another one.
//!
//! A table is replaced as a whole only where its chains change. Otherwise a change names what comes and what goes: it
//! takes no longer where there are many addresses, and counters go on.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

/// A set, or a map to what is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// `set` or `map`.
    pub keyword: &'static str,
    /// Its name.
    pub name: String,
    /// The type of its elements, and what else stands before them.
    pub kind: String,
    /// The elements.
    pub elements: BTreeSet<String>,
}

/// The clients of one address: a set of networks, and a chain that drops what comes from elsewhere. Both have one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clients {
    /// The type of the set.
    pub kind: &'static str,
    /// The networks.
    pub networks: BTreeSet<String>,
    /// The rule of the chain.
    pub rule: String,
}

/// A table of the family `inet`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// Its comment.
    pub comment: String,
    /// Its sets and maps.
    pub sets: Vec<Set>,
    /// The clients of addresses that not every client may reach, by the name of their set and chain.
    pub clients: BTreeMap<String, Clients>,
    /// Its other chains, as text.
    pub chains: String,
}

impl Table {
    /// The text that puts the table in place of the one before, in one step.
    #[must_use]
    pub fn whole(&self) -> String {
        let Self { name, comment, sets, clients, chains } = self;
        let mut text = format!("{}table inet {name} {{\n  comment \"{comment}\"\n", deletion(name));
        for Set { keyword, name, kind, elements } in sets {
            line(
                &mut text,
                format_args!("  {keyword} {name} {{ {kind}{} }}", list(elements, " elements = ")),
            );
        }
        for (name, Clients { kind, networks, .. }) in clients {
            line(&mut text, format_args!("  set {name} {{ {kind}{} }}", list(networks, " elements = ")));
        }
        text += chains;
        for (name, Clients { rule, .. }) in clients {
            line(&mut text, format_args!("  chain {name} {{\n    {rule}\n  }}"));
        }
        text + "}\n"
    }

    /// The text that makes this table of the one `before`; none if only the whole of it can do that.
    #[must_use]
    pub fn change(&self, before: &Self) -> Option<String> {
        let head = |set: &Set| (set.keyword, set.name.clone(), set.kind.clone());
        let fixed = |table: &Self| -> (String, String, String, Vec<_>) {
            let heads = table.sets.iter().map(head).collect();
            (table.name.clone(), table.comment.clone(), table.chains.clone(), heads)
        };
        if fixed(self) != fixed(before) {
            return None;
        }
        let table = format!("inet {}", self.name);
        let mut text = String::new();
        let pairs = || before.sets.iter().zip(&self.sets);
        for (old, new) in pairs() {
            let gone: BTreeSet<_> = old.elements.difference(&new.elements).cloned().collect();
            elements(&mut text, "delete", &format!("{table} {}", new.name), &gone);
        }
        // Nothing leads there any more.
        for name in before.clients.keys().filter(|name| !self.clients.contains_key(*name)) {
            line(&mut text, format_args!("flush chain {table} {name}"));
            line(&mut text, format_args!("delete chain {table} {name}"));
            line(&mut text, format_args!("delete set {table} {name}"));
        }
        for (name, clients) in &self.clients {
            match before.clients.get(name) {
                Some(old) if old == clients => continue,
                Some(_) => line(&mut text, format_args!("flush set {table} {name}")),
                None => {
                    let Clients { kind, rule, .. } = clients;
                    line(&mut text, format_args!("add set {table} {name} {{ {kind} }}"));
                    line(&mut text, format_args!("add chain {table} {name}"));
                    line(&mut text, format_args!("add rule {table} {name} {rule}"));
                }
            }
            elements(&mut text, "add", &format!("{table} {name}"), &clients.networks);
        }
        for (old, new) in pairs() {
            let added: BTreeSet<_> = new.elements.difference(&old.elements).cloned().collect();
            elements(&mut text, "add", &format!("{table} {}", new.name), &added);
        }
        Some(text)
    }
}

/// The text that removes the table, whether it is there or not.
#[must_use]
pub fn deletion(name: &str) -> String {
    format!("table inet {name}\ndelete table inet {name}\n")
}

fn elements(text: &mut String, verb: &str, set: &str, elements: &BTreeSet<String>) {
    if !elements.is_empty() {
        line(text, format_args!("{verb} element {set}{}", list(elements, " ")));
    }
}

/// The elements in braces, after `before`; nothing if there are none.
fn list(elements: &BTreeSet<String>, before: &str) -> String {
    if elements.is_empty() {
        return String::new();
    }
    let elements: Vec<_> = elements.iter().map(String::as_str).collect();
    format!("{before}{{ {} }}", elements.join(", "))
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _always = writeln!(text, "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_names_what_comes_and_what_goes_and_nothing_else() {
        let before = table(&["a", "b"], &[("from-a", &["10.0.0.0/8"]), ("from-b", &["10.1.0.0/16"])]);
        let after = table(&["a", "c"], &[("from-a", &["10.0.0.0/8"]), ("from-c", &["10.2.0.0/16"])]);
        let text = after.change(&before).unwrap();
        let wanted = "delete element inet t all { b }\nflush chain inet t from-b\ndelete chain inet t from-b\n\
                      delete set inet t from-b\nadd set inet t from-c { type ipv4_addr; flags interval; }\n\
                      add chain inet t from-c\nadd rule inet t from-c drop\n\
                      add element inet t from-c { 10.2.0.0/16 }\nadd element inet t all { c }\n";
        assert_eq!(text, wanted);
        assert_eq!(after.change(&after).as_deref(), Some(""));
    }

    #[test]
    fn other_networks_of_an_address_touch_its_own_set_only() {
        let before = table(&["a"], &[("from-a", &["10.0.0.0/8"])]);
        let after = table(&["a"], &[("from-a", &["10.1.0.0/16"])]);
        let text = after.change(&before).unwrap();
        assert_eq!(text, "flush set inet t from-a\nadd element inet t from-a { 10.1.0.0/16 }\n");
        let nobody = table(&["a"], &[("from-a", &[])]);
        assert_eq!(nobody.change(&before).as_deref(), Some("flush set inet t from-a\n"));
    }

    #[test]
    fn other_chains_or_another_comment_need_the_whole_table() {
        let before = table(&["a"], &[]);
        for after in [
            Table { chains: "  chain x {\n  }\n".to_owned(), ..before.clone() },
            Table { comment: "foghorn rp_filter eth1 2".to_owned(), ..before.clone() },
            Table { sets: Vec::new(), ..before.clone() },
        ] {
            assert_eq!(after.change(&before), None);
        }
    }

    fn table(all: &[&str], clients: &[(&str, &[&str])]) -> Table {
        let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        let clients = clients.iter().map(|(name, networks)| {
            let rule = "drop".to_owned();
            let kind = "type ipv4_addr; flags interval;";
            ((*name).to_owned(), Clients { kind, networks: owned(networks), rule })
        });
        let all = Set { keyword: "set", name: "all".into(), kind: "type x;".into(), elements: owned(all) };
        Table {
            name: "t".to_owned(),
            comment: "foghorn".to_owned(),
            sets: vec![all],
            clients: clients.collect(),
            chains: String::new(),
        }
    }
}
