use super::*;
use proptest::prelude::*;
use rcgen::{CertificateParams, DistinguishedName as Subject, DnType, DnValue, KeyPair, SanType};

fn certificate(subject: &[(DnType, DnValue)], alternative: Vec<SanType>) -> Vec<u8> {
    let mut params = CertificateParams::default();
    params.distinguished_name = Subject::new();
    for (kind, value) in subject {
        params.distinguished_name.push(kind.clone(), value.clone());
    }
    params.subject_alt_names = alternative;
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
}

fn utf8(text: &str) -> DnValue {
    DnValue::Utf8String(text.to_owned())
}

fn subject(text: &str) -> TlsSubject {
    TlsSubject::DistinguishedName(text.to_owned())
}

#[test]
fn the_subject_is_compared_whole_and_in_its_order() {
    let names = CertificateNames::parse(&certificate(
        &[
            (DnType::CountryName, DnValue::PrintableString("CH".try_into().unwrap())),
            (DnType::OrganizationName, utf8("Example, Inc.")),
            (DnType::CommonName, DnValue::BmpString("wörker".try_into().unwrap())),
        ],
        Vec::new(),
    ))
    .unwrap();
    assert!(names.has(&subject(r"CN=wörker,O=Example\, Inc.,C=CH")));
    assert!(names.has(&subject(r"cn=w\C3\B6rker, o=Example\2C Inc., c=CH")));
    for other in [
        r"C=CH,O=Example\, Inc.,CN=wörker",
        r"CN=wörker,O=Example\, Inc.",
        r"CN=wörker",
        r"CN=wörker,O=Example,C=CH",
        r"CN=Wörker,O=Example\, Inc.,C=CH",
        r"CN=wörker,CN=wörker,O=Example\, Inc.,C=CH",
        "",
        "no name",
    ] {
        assert!(!names.has(&subject(other)), "{other}");
    }
    assert!(!names.has(&TlsSubject::Dns("wörker".to_owned())), "a common name is no host");
}

#[test]
fn one_of_the_alternative_names_must_be_the_one() {
    let alternative = vec![
        SanType::DnsName("Worker.example".try_into().unwrap()),
        SanType::DnsName("*.wild.example".try_into().unwrap()),
        SanType::URI("spiffe://example/ns/prod/worker".try_into().unwrap()),
        SanType::IpAddress("192.0.2.7".parse().unwrap()),
        SanType::IpAddress("2001:db8::7".parse().unwrap()),
        SanType::Rfc822Name("Worker@Example.com".try_into().unwrap()),
    ];
    let names =
        CertificateNames::parse(&certificate(&[(DnType::CommonName, utf8("x"))], alternative)).unwrap();
    let text = str::to_owned;
    for held in [
        TlsSubject::Dns(text("worker.example")),
        TlsSubject::Dns(text("*.wild.example")),
        TlsSubject::Uri(text("spiffe://example/ns/prod/worker")),
        TlsSubject::Ip(text("192.0.2.7")),
        TlsSubject::Ip(text("2001:DB8:0::7")),
        TlsSubject::Email(text("Worker@example.COM")),
        subject("CN=x"),
    ] {
        assert!(names.has(&held), "{held:?}");
    }
    for other in [
        TlsSubject::Dns(text("a.wild.example")),
        TlsSubject::Dns(text("example")),
        TlsSubject::Dns(text("192.0.2.7")),
        TlsSubject::Uri(text("spiffe://example/ns/prod/Worker")),
        TlsSubject::Uri(text("spiffe://example/ns/prod")),
        TlsSubject::Ip(text("192.0.2.8")),
        TlsSubject::Ip(text("192.0.2.007")),
        TlsSubject::Ip(text("::ffff:192.0.2.7")),
        TlsSubject::Ip(text("worker.example")),
        TlsSubject::Email(text("worker@example.com")),
        TlsSubject::Email(text("Worker")),
        TlsSubject::Email(text("")),
    ] {
        assert!(!names.has(&other), "{other:?}");
    }
}

#[test]
fn what_is_no_certificate_is_refused_at_any_length() {
    let whole = certificate(&[(DnType::CommonName, utf8("x"))], Vec::new());
    assert!(CertificateNames::parse(&whole).is_ok());
    for length in 0..whole.len() {
        assert!(CertificateNames::parse(whole.split_at(length).0).is_err(), "{length}");
    }
    assert!(CertificateNames::parse(&[whole.clone(), vec![0]].concat()).is_err());
    assert!(CertificateNames::parse(&vec![0x30; 70_000]).is_err());
}

#[test]
fn what_two_readers_could_read_in_two_ways_is_refused() {
    let head = [&[0x02, 1, 1][..], &[0x30, 0].repeat(5)].concat();
    let whole = |parts: &[&[u8]]| {
        let content = [&head[..], &parts.concat()].concat();
        let length = u8::try_from(content.len()).unwrap();
        CertificateNames::parse(&[&[0x30, length + 2, 0x30, length], &content[..]].concat())
    };
    let extensions = [EXTENSIONS, 2, 0x30, 0];
    assert!(whole(&[&extensions]).is_ok());
    assert!(whole(&[&extensions, &extensions]).is_err(), "two lists of extensions");
    assert!(whole(&[&[SUBJECT_UNIQUE_ID, 0], &extensions]).is_ok());
    assert!(whole(&[&[0xe3, 2, 0x30, 0]]).is_err(), "what is no part of a certificate");
    let der = certificate(&[], vec![SanType::DnsName("a.example".try_into().unwrap())]);
    let at = der.windows(9).position(|window| window == b"a.example").unwrap() - 2;
    let tagged = |tag: u8| {
        let mut der = der.clone();
        der[at] = tag;
        CertificateNames::parse(&der)
    };
    assert!(tagged(DNS).is_ok() && tagged(0xa4).is_ok());
    for tag in [0x03, 0x02, 0x80, 0x89, 0xa2] {
        assert!(tagged(tag).is_err(), "{tag:x} is the tag of no name");
    }
}

#[test]
fn a_text_that_cannot_be_read_matches_nothing() {
    let teletex = DnValue::TeletexString("worker".try_into().unwrap());
    let der = certificate(&[(DnType::CommonName, teletex)], Vec::new());
    assert!(CertificateNames::parse(&der).unwrap().has(&subject("CN=worker")));
    let mut universal = der.clone();
    let places: Vec<_> =
        der.windows(8).enumerate().filter(|(_, window)| window == b"\x14\x06worker").collect();
    for (place, _) in places {
        universal[place] = 0x1c;
    }
    assert!(!CertificateNames::parse(&universal).unwrap().has(&subject("CN=worker")));
}

#[test]
fn object_identifiers_are_written_in_dots() {
    for (bytes, dotted) in [
        (&[0x55, 0x04, 0x03][..], Some("2.5.4.3")),
        (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x01], Some("1.2.840.113549.1.9.1")),
        (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 0x19], Some("0.9.2342.19200300.100.1.25")),
        (&[0x88, 0x37], Some("2.999")),
        (&[], None),
        (&[0x55, 0x84], None),
        (&[0xff; 12], None),
    ] {
        assert_eq!(object_identifier(bytes).as_deref(), dotted, "{bytes:?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _answered = CertificateNames::parse(&bytes);
    }

    #[test]
    fn a_certificate_with_one_byte_changed_is_answered(place in 0_usize..400, byte in any::<u8>()) {
        let mut der = certificate(&[(DnType::CommonName, utf8("x"))], vec![SanType::URI("a:b".try_into().unwrap())]);
        if let Some(changed) = der.get_mut(place) {
            *changed = byte;
        }
        let _answered = CertificateNames::parse(&der);
    }
}
