//! What a file has to be to count as a record, and what becomes of one that does not.

use super::directory::name_of;
use super::*;
use crate::key::TokenKey;
use crate::store::entry::{Entry, Identity, Note};
use crate::store::seal::Part;
use crate::store::{BodyChange, KeyRing, LONGEST_KEPT, MAX_BODY_BYTES, MAX_NOTE_BYTES, NoSummary};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use jeton_proto::flight::Sequence;
use jeton_proto::lifecycle::{Life, TokenId};
use jeton_proto::secret::Secret;
use jeton_proto::time::Timestamp;
use jeton_proto::wire::client_auth::ClientAuthMethod;
use std::fs;

const NOW: u64 = 1_800_000_000_000;

fn name(byte: u8) -> RecordName {
    RecordName::from_bytes([byte; 32])
}

fn change() -> Change {
    Change {
        version: Version::from_random([3; 16]),
        lease: Some(Duration::from_secs(30)),
        note: Bytes::from_static(b"note"),
        keep_for: Duration::from_secs(60),
        body: BodyChange::Put { body: Bytes::from_static(b"the body"), life: Duration::from_secs(90) },
    }
}

#[test]
fn a_record_is_read_as_it_was_written_until_its_ends() {
    let bytes = FileStore::encode(&name(1), change(), NOW);
    let record = |after_seconds: u64| FileStore::decode(&name(1), &bytes, NOW + after_seconds * 1000).record;
    let first = record(0).unwrap();
    assert_eq!((first.version, &*first.note), (Version::from_random([3; 16]), &b"note"[..]));
    assert_eq!(
        (first.lease_left, first.body.as_deref()),
        (Some(Duration::from_secs(30)), Some(&b"the body"[..]))
    );
    assert_eq!(record(29).unwrap().lease_left, Some(Duration::from_secs(1)));
    assert_eq!(record(30).unwrap().lease_left, None);
    assert!(record(89).unwrap().body.is_some());
    assert!(record(90).is_none());
}

#[test]
fn t31_a_file_that_was_cut_or_changed_anywhere_is_no_record() {
    let bytes = FileStore::encode(&name(1), change(), NOW);
    for length in 0..bytes.len() {
        assert!(FileStore::decode(&name(1), &bytes[..length], NOW).record.is_none(), "{length} bytes of it");
    }
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(FileStore::decode(&name(1), &changed, NOW).record.is_none(), "bit {bit}");
    }
    let longer = [bytes.as_slice(), b"\0"].concat();
    assert!(FileStore::decode(&name(1), &longer, NOW).record.is_none());
    assert!(FileStore::decode(&name(2), &bytes, NOW).record.is_none(), "in the place of another record");
}

#[test]
fn a_record_of_the_largest_parts_is_read_and_no_larger_one_is_written() {
    let (note, body) = (Bytes::from(vec![1; MAX_NOTE_BYTES]), Bytes::from(vec![2; MAX_BODY_BYTES]));
    let put = |body| BodyChange::Put { body, life: LONGEST_KEPT };
    let largest = Change { note: note.clone(), body: put(body.clone()), ..change() };
    assert!(record::fits(&largest).is_ok());
    let bytes = FileStore::encode(&name(1), largest, NOW);
    assert_eq!(bytes.len(), record::MAX_RECORD_BYTES);
    assert_eq!(FileStore::decode(&name(1), &bytes, NOW).record.unwrap().body, Some(body));
    for larger in [
        Change { note: Bytes::from(vec![1; MAX_NOTE_BYTES + 1]), ..change() },
        Change { body: put(Bytes::from(vec![2; MAX_BODY_BYTES + 1])), ..change() },
    ] {
        assert_eq!(record::fits(&larger).unwrap_err().kind(), StoreFaultKind::Unwritable);
    }
}

#[test]
fn t28_a_clock_that_was_set_back_makes_no_lease_of_years() {
    let bytes = FileStore::encode(&name(1), change(), NOW);
    let left = FileStore::decode(&name(1), &bytes, 0).record.unwrap().lease_left.unwrap();
    assert_eq!(left, LONGEST_KEPT);
}

#[test]
fn file_names_are_those_of_records_or_of_none() {
    for byte in [0, 0x0f, 0xa0, 0xff] {
        assert_eq!(name_of(&name(byte).to_string()), Some(name(byte)));
    }
    let long = "a".repeat(63);
    for other in ["", "lock-0", "next-f", &long, &format!("{long}A"), &format!("{long}aa"), &"é".repeat(32)]
    {
        assert_eq!(name_of(other), None, "{other}");
    }
}

const CANARIES: [&str; 5] =
    ["canary-token-4711", "canary-client", "canary-scope", "canary-audience", "as.canary.example"];

/// A record of a token of which every part is a canary.
fn sealed(ring: &KeyRing, resource: &str) -> (RecordName, Change) {
    let [token, client, scope, audience, host] = CANARIES;
    let key = TokenKey::scope(scope).unwrap().with_audience(audience).with_resource(resource);
    let endpoint = format!("https://{host}/token");
    let identity = Identity::of(&endpoint, client, ClientAuthMethod::ClientSecretBasic, &key);
    let name = ring.name(&identity.to_bytes());
    let now = SystemClock.now();
    let entry = Entry {
        identity,
        sequence: Sequence::new(1),
        obtained_by_store: Some(now.as_unix_millis()),
        obtained_at: Timestamp::from_unix_millis(now.as_unix_millis()),
        life: Life::Stated(Duration::from_secs(300)),
        granted_scope: Some(scope.parse().unwrap()),
        access_token: Secret::from(token),
    };
    let note = Note { rejected: Some(TokenId::of(token)), ..Note::default() };
    let seal = |part, plain| Bytes::from(ring.seal(&name, part, plain).unwrap());
    let body = BodyChange::Put { body: seal(Part::Body, entry.to_bytes()), life: Duration::from_secs(300) };
    let (note, version) = (seal(Part::Note, note.to_bytes()), Version::from_random([fastrand::u8(..); 16]));
    (name, Change { version, note, body, ..change() })
}

/// How a text could stand in a file: as it is, in base64 at each of three places, in hexadecimal, and percent-encoded.
fn forms(text: &str) -> Vec<Vec<u8>> {
    let hex: String = text
        .bytes()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| char::from_digit(digit.into(), 16).unwrap())
        .collect();
    let percent: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect::<Vec<_>>().concat();
    let mut forms = vec![text.to_owned(), hex.to_uppercase(), hex, percent];
    for skipped in 0..3 {
        // Whole groups of three bytes are the same wherever the text stands; what is beside it changes the others.
        let groups = text.as_bytes()[skipped..].chunks_exact(3).flatten().copied().collect::<Vec<u8>>();
        forms.extend([STANDARD_NO_PAD.encode(&groups), URL_SAFE_NO_PAD.encode(&groups)]);
    }
    forms.into_iter().map(String::into_bytes).collect()
}

#[tokio::test]
async fn t34_nothing_in_the_directory_tells_a_token_or_what_it_is_for() {
    let home = tempfile::tempdir().unwrap();
    let store = FileStore::open(home.path().join("cache")).unwrap();
    let ring = KeyRing::from_key_file(home.path().join("keys")).unwrap();
    let (name, change) = sealed(&ring, "https://canary.example/api");
    store.compare_and_swap(&name, None, change).await.unwrap();
    let summary = ring.summarize(&name, &store.load(&name).await.unwrap()).unwrap();
    assert_eq!(summary.token.unwrap().client_id, CANARIES[1], "it is there, for those who have the keys");
    let mut dump = Vec::new();
    for entry in fs::read_dir(store.directory()).unwrap() {
        let path = entry.unwrap().path();
        dump.extend(path.to_str().unwrap().bytes().chain(fs::read(&path).unwrap()));
    }
    assert!(dump.len() > 300, "{} bytes", dump.len());
    let is_in = |form: &[u8], dump: &[u8]| dump.windows(form.len()).any(|part| part == form);
    for form in CANARIES.iter().chain(&["canary"]).flat_map(|canary| forms(canary)) {
        assert!(!is_in(&form, &dump), "{} is in the directory", String::from_utf8_lossy(&form));
    }
    assert!(is_in(&forms("canary-token-4711")[4], STANDARD_NO_PAD.encode("canary-token-4711").as_bytes()));
}

#[tokio::test]
async fn t29_a_record_in_the_place_of_another_opens_nothing_though_its_sum_is_right() {
    let home = tempfile::tempdir().unwrap();
    let store = FileStore::open(home.path().join("cache")).unwrap();
    let ring = KeyRing::from_key_file(home.path().join("keys")).unwrap();
    let ((one, one_change), (two, two_change)) = (sealed(&ring, "https://one"), sealed(&ring, "https://two"));
    // Whoever may write here can reckon sums as well.
    let now = SystemClock.now().as_unix_millis();
    for (name, change) in [(&one, two_change), (&two, one_change.clone())] {
        fs::write(store.directory().join(name.to_string()), FileStore::encode(name, change, now)).unwrap();
        let reading = store.load(name).await.unwrap();
        assert!(reading.record.is_some());
        assert_eq!(ring.summarize(name, &reading), Err(NoSummary::Damaged));
    }
    let BodyChange::Put { body, life } = one_change.body.clone() else { panic!("a token is put") };
    for bit in 0..body.len() * 8 {
        let mut changed = body.to_vec();
        changed[bit / 8] ^= 1 << (bit % 8);
        let body = BodyChange::Put { body: changed.into(), life };
        let reading = FileStore::decode(
            &one,
            &FileStore::encode(&one, Change { body, ..one_change.clone() }, now),
            now,
        );
        assert!(ring.summarize(&one, &reading).is_err(), "bit {bit}");
    }
}
