use super::*;
use std::os::unix::fs::PermissionsExt as _;

#[tokio::test]
async fn a_credential_is_read_in_the_directory_that_systemd_names() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("client-secret");
    std::fs::write(&path, "s\n").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o400)).unwrap();
    let environment = [(DIRECTORY_VARIABLE, dir.path())].into_iter().collect();
    let source = SystemdSource::open(&environment, "client-secret").unwrap();
    let reading = source.read().await.unwrap();
    assert_eq!(reading.current.expose(), "s");
    assert!(reading.since.is_some());

    let absent = SystemdSource::open(&environment, "other").unwrap().read().await.unwrap_err();
    assert_eq!(absent.kind(), SourceFaultKind::Absent);
    assert_eq!(
        absent.to_string(),
        "the systemd credential other: the unit has none of that name; write LoadCredential=other:PATH in it"
    );
    for out in ["../client-secret", "..", ".", "", "a/b", "a:b", "a b", "\u{e9}"] {
        let fault = SystemdSource::open(&environment, out).unwrap_err();
        assert_eq!(fault.kind(), SourceFaultKind::Unusable, "{out}");
    }
}

#[test]
fn a_process_without_credentials_is_told_how_to_get_them() {
    let fault = SystemdSource::open(&Environment::default(), "client-secret").unwrap_err();
    assert_eq!(fault.kind(), SourceFaultKind::Absent);
    let told = fault.to_string();
    assert!(
        told.contains("not started by systemd") && told.contains("LoadCredential=client-secret:PATH"),
        "{told}"
    );
}
