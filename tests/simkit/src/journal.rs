//! What happens in a run.

use std::{
    cell::RefCell,
    collections::VecDeque,
    fmt::{Arguments, Debug},
    rc::Rc,
};

/// How many lines before a broken rule are reported.
const LINES: usize = 200;

/// Records what happens in a run. The default records nothing. Clones share their lines.
#[derive(Clone, Debug, Default)]
pub struct Journal(Keeps);

#[derive(Clone, Debug, Default)]
enum Keeps {
    #[default]
    Nothing,
    Last(Rc<RefCell<VecDeque<String>>>),
    Prints,
}

impl Journal {
    /// A journal that prints each line at once.
    #[must_use]
    pub const fn printed() -> Self {
        Self(Keeps::Prints)
    }

    /// A journal that keeps the last lines.
    pub(crate) fn kept() -> Self {
        Self(Keeps::Last(Rc::default()))
    }

    /// Whether it records anything.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        !matches!(self.0, Keeps::Nothing)
    }

    /// Adds a line.
    #[expect(clippy::print_stdout, reason = "a replayed schedule is printed to be read")]
    pub fn tell(&self, now: impl Debug, what: Arguments<'_>) {
        match &self.0 {
            Keeps::Nothing => {}
            Keeps::Last(lines) => {
                let mut lines = lines.borrow_mut();
                if lines.len() == LINES {
                    lines.pop_front();
                }
                lines.push_back(format!("{now:>6?} {what}"));
            }
            Keeps::Prints => println!("{now:>6?} {what}"),
        }
    }

    /// The lines that are kept.
    pub(crate) fn lines(&self) -> Vec<String> {
        match &self.0 {
            Keeps::Last(lines) => lines.borrow().iter().cloned().collect(),
            Keeps::Nothing | Keeps::Prints => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_kept() {
        let journal = Journal::kept();
        for now in 0..=LINES {
            journal.clone().tell(now, format_args!("told"));
        }
        let lines = journal.lines();
        assert_eq!(lines.len(), LINES);
        assert_eq!((lines[0].as_str(), lines[LINES - 1].as_str()), ("     1 told", "   200 told"));
    }
}
