//! Jobs that take minutes, side by side, and how far they are.

use std::{
    io::{self, IsTerminal as _},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use crate::{
    error::Result,
    progress::{Progress, rewrite},
    steps::say,
};

/// How often a terminal shows how far the jobs are. What ends sooner is not announced.
const TICK: Duration = Duration::from_secs(1);
/// How often a log shows it.
const LOG: Duration = Duration::from_secs(60);

/// A job that takes minutes when it is done for the first time.
pub(crate) struct Job<'a> {
    name: &'static str,
    usual: Duration,
    work: Work<'a>,
}

type Work<'a> = Box<dyn FnOnce(&Progress) -> Result<()> + Send + 'a>;

impl<'a> Job<'a> {
    /// `usual` is how long it takes for the first time.
    pub(crate) fn new(
        name: &'static str,
        usual: Duration,
        work: impl FnOnce(&Progress) -> Result<()> + Send + 'a,
    ) -> Self {
        Self { name, usual, work: Box::new(work) }
    }
}

/// Does all jobs at once and says how far they are. When one fails, the others are ended; all errors but the first, which is
/// the answer, are printed.
pub(crate) fn side_by_side(jobs: Vec<Job<'_>>) -> Result<()> {
    let progress: Vec<_> = jobs.iter().map(|_| Progress::default()).collect();
    let (ended, endings) = mpsc::channel();
    thread::scope(|scope| {
        let mut board = Board { start: Instant::now(), due: Duration::ZERO, running: Vec::new() };
        for (job, progress) in jobs.into_iter().zip(&progress) {
            let ended = ended.clone();
            board.running.push(Running { name: job.name, usual: job.usual, progress });
            scope.spawn(move || ended.send((job.name, (job.work)(progress))));
        }
        drop(ended);
        let mut outcome = Ok(());
        loop {
            match endings.recv_timeout(TICK) {
                Ok((name, result)) => {
                    board.end(name, result.is_ok());
                    match (&outcome, result) {
                        (_, Ok(())) => {}
                        (Ok(()), failed) => {
                            outcome = failed;
                            progress.iter().for_each(Progress::end);
                        }
                        (Err(_), Err(another)) => say(&another.to_string()),
                    }
                }
                Err(RecvTimeoutError::Timeout) => board.tell(),
                Err(RecvTimeoutError::Disconnected) => return outcome,
            }
        }
    })
}

/// The jobs that run.
struct Board<'a> {
    start: Instant,
    /// When a log is due for the next line.
    due: Duration,
    running: Vec<Running<'a>>,
}

struct Running<'a> {
    name: &'static str,
    usual: Duration,
    progress: &'a Progress,
}

impl Board<'_> {
    fn tell(&mut self) {
        let now = self.start.elapsed();
        if self.due.is_zero() {
            self.running.iter().for_each(|job| say(&announcement(job.name, job.usual)));
            self.due = LOG;
        }
        let line = line(now, self.running.iter().map(|job| (job.name, job.progress.counts())));
        if io::stdout().is_terminal() {
            rewrite(&line);
        } else if now >= self.due {
            say(&line);
            self.due += LOG;
        }
    }

    fn end(&mut self, name: &str, well: bool) {
        self.running.retain(|job| job.name != name);
        let how = if well { "done" } else { "FAILED" };
        say(&format!("    {name}: {how} after {}", clock(self.start.elapsed())));
    }
}

fn announcement(name: &str, usual: Duration) -> String {
    format!("    {name}: about {} min the first time", usual.as_secs().div_ceil(60))
}

/// One line of less than 80 characters, so that a terminal can replace it.
fn line<'a>(now: Duration, jobs: impl Iterator<Item = (&'a str, Option<(usize, usize)>)>) -> String {
    let jobs: Vec<_> = jobs
        .map(|(name, counts)| match counts {
            Some((done, total)) => format!("{name} {done}/{total}"),
            None => name.to_owned(),
        })
        .collect();
    format!("    {}  {}", clock(now), jobs.join("; "))
}

/// Minutes and seconds.
fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_job_is_announced_with_the_time_that_it_usually_takes() {
        assert_eq!(announcement("Kubernetes", 10 * MINUTE), "    Kubernetes: about 10 min the first time");
        assert_eq!(announcement("Debian", MINUTE / 2), "    Debian: about 1 min the first time");
    }

    #[test]
    fn a_line_has_the_time_and_what_each_job_counts() {
        let jobs = [("Debian packages", None), ("Kubernetes and Helm", Some((1203, 3047)))];
        let line = line(Duration::from_secs(192), jobs.into_iter());
        assert_eq!(line, "    3:12  Debian packages; Kubernetes and Helm 1203/3047");
    }

    #[test]
    fn jobs_run_side_by_side() {
        let (to_second, from_first) = mpsc::channel();
        let first = Job::new("first", MINUTE, move |_| {
            to_second.send(()).unwrap();
            Ok(())
        });
        let second = Job::new("second", MINUTE, move |_| {
            from_first.recv_timeout(MINUTE).unwrap();
            Ok(())
        });
        side_by_side(vec![second, first]).unwrap();
    }

    #[test]
    fn the_first_error_is_the_answer_and_the_others_are_awaited() {
        let mut ended = false;
        let slow = Job::new("slow", MINUTE, |_| {
            thread::sleep(Duration::from_millis(100));
            ended = true;
            Err(Error::Config("late".to_owned()))
        });
        let failing = Job::new("failing", MINUTE, |_| Err(Error::NotRoot));
        let outcome = side_by_side(vec![slow, failing]);
        assert!(matches!(outcome, Err(Error::NotRoot)));
        assert!(ended);
    }
}
