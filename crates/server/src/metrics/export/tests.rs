use super::*;

#[test]
fn the_path_of_the_signal_follows_the_base_url() {
    for (base, url) in [
        ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/metrics"),
        ("http://127.0.0.1:4318/", "http://127.0.0.1:4318/v1/metrics"),
        ("https://otel.example.com/tenant", "https://otel.example.com/tenant/v1/metrics"),
        ("https://otel.example.com/tenant/", "https://otel.example.com/tenant/v1/metrics"),
    ] {
        let to = Destination::new(base, Duration::from_secs(1)).unwrap();
        assert_eq!(to.url.as_str(), url);
    }
}

#[test]
fn each_process_has_an_id_of_its_own() {
    let (first, second) = (random_uuid().unwrap(), random_uuid().unwrap());
    assert_ne!(first, second);
    let parts: Vec<_> = first.split('-').collect();
    let lengths: Vec<_> = parts.iter().map(|part| part.len()).collect();
    assert_eq!(lengths, [8, 4, 4, 4, 12], "{first}");
    assert!(parts[2].starts_with('4') && parts[3].starts_with(['8', '9', 'a', 'b']), "{first}");
}

#[test]
fn what_a_collector_does_not_take_is_a_failure() {
    for good in [
        "",
        "{}",
        "not JSON",
        "[]",
        r#"{"partialSuccess":{}}"#,
        r#"{"partialSuccess":{"rejectedDataPoints":"0","errorMessage":"a warning"}}"#,
        r#"{"partialSuccess":{"rejectedDataPoints":0}}"#,
    ] {
        assert_eq!(rejected(good.as_bytes()), Ok(()), "{good}");
    }
    for (bad, told) in [
        (r#"{"partialSuccess":{"rejectedDataPoints":"3","errorMessage":"too\nold"}}"#, "too?old"),
        (r#"{"partialSuccess":{"rejectedDataPoints":3}}"#, "it does not say why"),
    ] {
        assert_eq!(rejected(bad.as_bytes()), Err(ExportError::Rejected(told.to_owned())), "{bad}");
    }
}
