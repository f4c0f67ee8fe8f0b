//! What all lab tests declare together.

use std::{collections::BTreeSet, env, fs, path::Path, process::Command, time::Duration};

use foghorn_schedule::{BUDGET, DECLARE, Declaration, LABS, LANES, PARTS, predict};

#[test]
fn the_declared_times_are_within_the_budget() {
    let parts: u64 = PARTS.iter().map(|part| part.seconds).sum();
    let labs = predict(declarations(), LABS, LANES);
    println!("{parts} s and {labs:?} of tests in {LABS} labs, of {BUDGET:?}");
    assert!(Duration::from_secs(parts) + labs <= BUDGET, "{parts} s and {labs:?} are more than {BUDGET:?}");
}

#[test]
fn a_test_that_may_take_longer_says_why() {
    for test in declarations() {
        assert!(test.seconds <= foghorn_schedule::USUAL_SECONDS || test.why.is_some(), "{test:?}");
    }
}

#[test]
fn every_file_of_tests_is_part_of_the_program() {
    let program = include_str!("main.rs");
    let files = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e")).unwrap();
    let stems = files.map(|file| file.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned());
    let missing: BTreeSet<_> =
        stems.filter(|stem| stem != "main" && !program.contains(&format!("mod {stem};\n"))).collect();
    assert!(missing.is_empty(), "main.rs does not name {missing:?}");
}

/// What the tests of this program declare.
fn declarations() -> Vec<Declaration> {
    let program = env::current_exe().unwrap();
    let skip = ["--skip", "budget::", "--nocapture"];
    let output = Command::new(program).args(skip).env(DECLARE, "1").output().unwrap();
    let output = String::from_utf8_lossy(&output.stdout);
    let declarations: Vec<_> = output.lines().filter_map(Declaration::find).collect();
    assert!(declarations.len() > 50, "{output}");
    declarations
}
