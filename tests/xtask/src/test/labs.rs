//! The lab tests: in several labs at once, and side by side in the first one.

use std::{
    fs,
    path::PathBuf,
    process::Command,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use foghorn_lab::{
    Config, Error, Lab, LabName, Result,
    foghorn::{chart, install_chart},
    steps::say,
};
use foghorn_schedule::{DECLARE, Declaration, Need, Next, Place, Schedule};

use super::{
    leftovers::check_cluster,
    pool::Case,
    programs::{Program, list},
    record::Record,
};

/// How long a test may go on beyond three times what it declares before it counts as hung.
const GRACE: Duration = Duration::from_secs(300);

/// What the names of planes have in them that a lane made.
const LANE: &str = "-lane";

/// The name of a lab of the tests. Whatever runs under this name is taken down.
pub(crate) fn lab_name(number: usize) -> Result<LabName> {
    format!("test{}", number + 1).parse()
}

/// What the tests declare whose names contain one of the filter's parts, which commas separate. Every test of the program does, but those about declarations.
pub(crate) fn declarations(program: &Program, filter: &str) -> Result<Vec<Declaration>> {
    let mut command = Command::new(&program.file);
    command.args(["--skip", "budget::", "--nocapture"]).env(DECLARE, "1").current_dir(&program.folder);
    let output = command.output().map_err(Error::io(format!("running {}", program.file.display())))?;
    let output = String::from_utf8_lossy(&output.stdout);
    let mut declared: Vec<_> = output.lines().filter_map(Declaration::find).collect();
    for name in list(program)?.iter().filter(|name| !name.starts_with("budget::")) {
        if !declared.iter().any(|test| test.name == *name) {
            return Err(Error::Config(format!(
                "the lab test {name} does not declare what it needs: see `run`"
            )));
        }
    }
    declared.retain(|test| filter.split(',').any(|part| test.name.contains(part)));
    if declared.is_empty() {
        return Err(Error::Config(format!("no lab test is called {filter}")));
    }
    Ok(declared)
}

/// Starts labs that many, with the images in them and the chart installed.
pub(crate) fn start(count: usize, images: &[PathBuf]) -> Result<()> {
    in_parallel((0..count).map(|number| move || start_one(number, images)))
}

fn start_one(number: usize, images: &[PathBuf]) -> Result<()> {
    let lab = Lab::up(Config { name: lab_name(number)?, ..Config::default() })?;
    images.iter().try_for_each(|image| lab.load_image(image))?;
    let values = chart()?.join("examples/two-planes.yaml").display().to_string();
    install_chart(&lab, &["--values", &values])?;
    lab.kubectl(&["wait", "--for=condition=Ready", "networkplanes", "--all", "--timeout=120s"])?;
    say(&format!("    the lab `{}` is up", lab.name()));
    Ok(())
}

/// Fails if a test left something in one of them.
pub(crate) fn check_clean(record: &Record, count: usize) -> Result<()> {
    (0..count).try_for_each(|number| check_cluster(record, &lab_name(number)?))
}

/// Ends them.
pub(crate) fn end(count: usize) -> Result<()> {
    in_parallel((0..count).map(|number| move || Lab::down(&lab_name(number)?)))
}

fn in_parallel<F: FnOnce() -> Result<()> + Send>(works: impl Iterator<Item = F>) -> Result<()> {
    thread::scope(|scope| {
        let running: Vec<_> = works.map(|work| scope.spawn(work)).collect();
        let ended: Vec<_> = running.into_iter().map(thread::ScopedJoinHandle::join).collect();
        ended.into_iter().try_for_each(|ended| {
            ended.unwrap_or_else(|_| Err(Error::Config("a thread of the labs panicked".to_owned())))
        })
    })
}

/// Runs the tests in the labs.
pub(crate) fn run(
    record: &Record,
    program: &Program,
    tests: Vec<Declaration>,
    labs: usize,
    lanes: usize,
) -> Result<()> {
    let desk = Desk { schedule: Mutex::new(Schedule::new(tests, labs, lanes)), ended: Condvar::new() };
    let places = desk.schedule().places();
    let desk = &desk;
    in_parallel(places.into_iter().map(|place| {
        move || {
            let mut shared = false;
            while let Some(test) = desk.next(place) {
                let shares = test.need == Need::SharesTheLab;
                if shared && !shares {
                    remove_lanes(place.lab)?;
                }
                shared = shares;
                let ran = run_one(record, program, place, &test);
                desk.ended(place);
                ran?;
            }
            Ok(())
        }
    }))
}

fn run_one(record: &Record, program: &Program, place: Place, test: &Declaration) -> Result<()> {
    let declared = Duration::from_secs(test.seconds);
    let mut variables = vec![(LabName::VARIABLE, lab_name(place.lab)?.to_string())];
    if test.need == Need::SharesTheLab {
        variables.push(("FOGHORN_LANE", (place.lane + 1).to_string()));
    }
    let case = Case { program, name: test.name.clone() };
    let ended = case.run(&variables, 3 * declared + GRACE)?;
    let state = if ended.passed() { String::new() } else { state(place.lab) };
    case.record_in_lab(record, &ended, declared, &state);
    Ok(())
}

/// Removes the planes that lanes left for their next tests: a test that has the lab to itself does not wait for that.
fn remove_lanes(number: usize) -> Result<()> {
    let lab = Lab::open(&lab_name(number)?)?;
    let planes = lab.plane_names()?;
    let left: Vec<_> = planes.iter().map(String::as_str).filter(|name| name.contains(LANE)).collect();
    if !left.is_empty() {
        lab.kubectl(
            &[&["delete", "networkplane", "--timeout=90s", "--ignore-not-found"], left.as_slice()].concat(),
        )?;
    }
    Ok(())
}

/// Whether a lab's API server answers, and how busy the machine is.
fn state(number: usize) -> String {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default();
    let began = Instant::now();
    match lab_name(number).and_then(|name| Lab::open(&name)?.read_api("/version")) {
        Ok(_) => format!("load {load}, API server answers after {:.1?}", began.elapsed()),
        Err(error) => format!("load {load}, API server does not answer: {error}"),
    }
}

/// Where places ask for tests.
struct Desk {
    schedule: Mutex<Schedule>,
    ended: Condvar,
}

impl Desk {
    fn schedule(&self) -> MutexGuard<'_, Schedule> {
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next test of a place, waiting until there is one; `None` if nothing is left for it.
    fn next(&self, place: Place) -> Option<Declaration> {
        let mut schedule = self.schedule();
        loop {
            match schedule.next(place) {
                Next::Run(test) => return Some(test),
                Next::Done => return None,
                Next::Wait => schedule = self.ended.wait(schedule).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    fn ended(&self, place: Place) {
        self.schedule().ended(place);
        self.ended.notify_all();
    }
}
