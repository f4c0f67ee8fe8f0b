//! Replays the corpus: seeds, and what fuzzing once found.
#![cfg(test)]

use std::{fs, panic, path::PathBuf};

use foghorn_fuzz::TARGETS;

#[test]
fn no_file_of_the_corpus_breaks_a_promise() {
    for (target, body) in TARGETS {
        let files = files(target);
        assert!(!files.is_empty(), "no corpus for {target}");
        for file in files {
            let octets = fs::read(&file).unwrap();
            let replayed = panic::catch_unwind(|| body(&octets));
            assert!(replayed.is_ok(), "{} breaks a promise", file.display());
        }
    }
}

#[test]
fn every_target_has_its_binary() {
    for (target, _) in TARGETS {
        let source = folder().join(format!("fuzz/fuzz_targets/{target}.rs"));
        assert!(source.is_file(), "no {}", source.display());
    }
}

fn files(target: &str) -> Vec<PathBuf> {
    let folder = folder().join("corpus").join(target);
    let mut files: Vec<_> = fs::read_dir(folder).into_iter().flatten().map(|e| e.unwrap().path()).collect();
    files.sort();
    files
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
