//! A file system that is full, read-only, or short of something: a fault of the right kind, and nothing left behind.

use super::process::{Process, is_child, say};
use super::{body_of, files_in, home, name, put, replace};
use jeton::store::{FileStore, SharedStore, StoreFault, StoreFaultKind};
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

fn is(fault: &StoreFault, kind: StoreFaultKind) {
    assert_eq!(fault.kind(), kind, "{fault}");
}

const FULL_TEST: &str = "store::file::failure::t31_a_full_disk_is_a_fault_and_costs_nothing_that_was_there";

#[test]
fn t31_a_full_disk_is_a_fault_and_costs_nothing_that_was_there() {
    if let Some(directory) = is_child() {
        block_on(fill(&directory));
        return say("done");
    }
    let home = home();
    // No file may grow beyond a few kilobytes, and no signal tells of it.
    let child = Process::under("trap '' XFSZ && ulimit -f 8", FULL_TEST, home.path());
    assert_eq!(child.ends_well(), ["done"]);
    assert_eq!(files_in(&home.path().join("cache")), [name(7).to_string(), "lock-0".to_owned()]);
}

async fn fill(directory: &Path) {
    let store = FileStore::open(directory.join("cache")).unwrap();
    replace(&store, &name(7), "small").await.unwrap();
    let before = store.load(&name(7)).await.unwrap().record.unwrap();
    for _ in 0..3 {
        let large = put(vec![1; 100_000]);
        let fault = store.compare_and_swap(&name(7), Some(before.version), large).await.unwrap_err();
        is(&fault, StoreFaultKind::Unwritable);
        assert!(!store.directory().join("next-0").exists());
        is(
            &store.compare_and_swap(&name(8), None, put(vec![1; 100_000])).await.unwrap_err(),
            StoreFaultKind::Unwritable,
        );
    }
    let after = store.load(&name(7)).await.unwrap().record.unwrap();
    assert_eq!((after.version, after.body.as_deref()), (before.version, Some(&b"small"[..])));
    replace(&store, &name(7), "small again").await.unwrap();
    // The keys are made whole or not at all, too.
    assert!(jeton::store::KeyRing::from_key_file(directory.join("keys")).is_ok());
}

const READ_ONLY_TEST: &str =
    "store::file::failure::t31_a_directory_without_leave_to_write_is_read_all_the_same";

#[test]
fn t31_a_directory_without_leave_to_write_is_read_all_the_same() {
    if let Some(directory) = is_child() {
        read_only(&directory);
        return say("done");
    }
    let home = home();
    assert_eq!(Process::start(READ_ONLY_TEST, home.path()).ends_well(), ["done"]);
}

/// Gives up the right to go beyond permissions, which root has.
#[cfg(target_os = "linux")]
fn obey_permissions() {
    use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};
    let CapabilitySets { effective, permitted, inheritable } = capabilities(None).unwrap();
    let without = CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH;
    let effective = effective.difference(without);
    set_capabilities(None, CapabilitySets { effective, permitted, inheritable }).unwrap();
}

#[cfg(not(target_os = "linux"))]
fn obey_permissions() {}

fn read_only(directory: &Path) {
    let store = FileStore::open(directory.join("cache")).unwrap();
    block_on(replace(&store, &name(7), "before")).unwrap();
    // The threads of a runtime that is made from now on obey, too.
    obey_permissions();
    block_on(async {
        fs::set_permissions(store.directory(), Permissions::from_mode(0o500)).unwrap();
        assert_eq!(body_of(&store, &name(7)).await.unwrap(), "before");
        is(&replace(&store, &name(7), "after").await.unwrap_err(), StoreFaultKind::Denied);
        is(&store.compare_and_swap(&name(0x17), None, put("new")).await.unwrap_err(), StoreFaultKind::Denied);
        is(&store.remove(&name(7)).await.unwrap_err(), StoreFaultKind::Denied);
        assert_eq!(files_in(store.directory()), [name(7).to_string(), "lock-0".to_owned()]);
        // Without leave to look, there is no telling what is there.
        fs::set_permissions(store.directory(), Permissions::from_mode(0o000)).unwrap();
        is(&store.load(&name(7)).await.unwrap_err(), StoreFaultKind::Denied);
        fs::set_permissions(store.directory(), Permissions::from_mode(0o700)).unwrap();
        fs::set_permissions(store.directory().join(name(7).to_string()), Permissions::from_mode(0o000))
            .unwrap();
        is(&store.load(&name(7)).await.unwrap_err(), StoreFaultKind::Denied);
        fs::set_permissions(store.directory().join(name(7).to_string()), Permissions::from_mode(0o600))
            .unwrap();
        replace(&store, &name(7), "after").await.unwrap();
    });
}

const DESCRIPTORS_TEST: &str = "store::file::failure::a_process_without_a_file_descriptor_left_is_told_so";

#[test]
fn a_process_without_a_file_descriptor_left_is_told_so() {
    if let Some(directory) = is_child() {
        block_on(without_descriptors(&directory));
        return say("done");
    }
    let home = home();
    let child = Process::under("ulimit -n 64", DESCRIPTORS_TEST, home.path());
    assert_eq!(child.ends_well(), ["done"]);
}

async fn without_descriptors(directory: &Path) {
    let store = FileStore::open(directory.join("cache")).unwrap();
    replace(&store, &name(7), "before").await.unwrap();
    let taken: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).take(100).collect();
    assert!(taken.len() < 64);
    is(&store.load(&name(7)).await.unwrap_err(), StoreFaultKind::Unreachable);
    is(&store.compare_and_swap(&name(7), None, put("after")).await.unwrap_err(), StoreFaultKind::Unreachable);
    // Who cannot be told by the kernel is told by looking, once there is a descriptor.
    let mut subscription = store.subscribe(&name(7)).await.unwrap();
    drop(taken);
    assert_eq!(body_of(&store, &name(7)).await.unwrap(), "before");
    replace(&store, &name(7), "after").await.unwrap();
    tokio::time::timeout(std::time::Duration::from_secs(1), subscription.changed()).await.unwrap();
}
