//! Every committed seed, and every finding of the past, through its target.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails panics")]

use fuzz::{TARGETS, Target};
use std::fs;
use std::path::{Path, PathBuf};

/// What all the committed inputs may have together. A corpus that grows is not for the repository.
const MOST_BYTES: u64 = 300 * 1024;

#[test]
fn every_seed_and_every_finding_keeps_its_promise() {
    let mut broken = Vec::new();
    for target in TARGETS {
        let seeds = inputs("seeds", target);
        assert!(seeds.len() >= 4, "{} has {} seeds", target.name, seeds.len());
        for path in seeds.into_iter().chain(inputs("findings", target)) {
            if let Err(what) = (target.check)(&fs::read(&path).unwrap()) {
                broken.push(format!("{}: {what}", path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// Each seed once more with each of its bytes gone, doubled or changed: a fuzzer's first minute, in every run of the tests.
#[test]
fn every_seed_keeps_its_promise_with_any_byte_changed() {
    for target in TARGETS {
        // RSA and ECDSA make these the slow ones; the fuzzer has more time.
        let slow = ["assertion_key", "jwk_set", "jws", "verification", "claims"];
        let step = if slow.contains(&target.name) { 7 } else { 1 };
        for path in inputs("seeds", target) {
            let seed = fs::read(&path).unwrap();
            for at in (0..seed.len().min(600)).step_by(step) {
                for mutant in mutants(&seed, at) {
                    if let Err(what) = (target.check)(&mutant) {
                        panic!("{} {}: {what}", target.name, mutant.escape_ascii());
                    }
                }
            }
        }
    }
}

#[test]
fn seeds_are_of_targets_and_small() {
    let mut bytes = 0;
    for kind in ["seeds", "findings"] {
        for entry in fs::read_dir(folder(kind)).into_iter().flatten() {
            let name = entry.unwrap().file_name();
            let target = Target::named(name.to_str().unwrap());
            assert!(target.is_some(), "{kind}/{} is of no target", name.display());
            bytes +=
                inputs(kind, target.unwrap()).iter().map(|path| path.metadata().unwrap().len()).sum::<u64>();
        }
    }
    assert!((1..=MOST_BYTES).contains(&bytes), "the inputs have {bytes} bytes");
}

fn mutants(seed: &[u8], at: usize) -> [Vec<u8>; 4] {
    let (before, behind) = seed.split_at(at);
    let without = [before, behind.get(1..).unwrap_or_default()].concat();
    let doubled = [before, behind.get(..1).unwrap_or_default(), behind].concat();
    let mut flipped = seed.to_vec();
    let mut cleared = seed.to_vec();
    if let (Some(flip), Some(clear)) = (flipped.get_mut(at), cleared.get_mut(at)) {
        *flip ^= 0x81;
        *clear = 0;
    }
    [without, doubled, flipped, cleared]
}

fn folder(kind: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(kind)
}

fn inputs(kind: &str, target: Target) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder(kind).join(target.name)).into_iter().flatten();
    let mut inputs: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    inputs.sort();
    inputs
}
