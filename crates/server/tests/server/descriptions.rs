//! The `OpenAPI` descriptions, held against a real server by Schemathesis.

use super::administration::{Administered, config};
use super::foreign_programs::python;
use super::{Running, add_worker, basic};
use serde_json::Value;
use std::path::Path;
use std::process::Stdio;

/// Lets Schemathesis ask `url` for what `description` says, and gives the statuses of each operation.
async fn held_against(description: &Path, url: String, authorization: String, arguments: &[&str]) -> Value {
    let mut command = python("schemathesis_runner.py");
    command.arg(description).arg(url).args(arguments).env("AUTHORIZATION", authorization);
    command.stdin(Stdio::null()).current_dir(description.parent().unwrap());
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    let last: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    last["statuses"].clone()
}

/// That every operation of the description did at least once what it is for.
fn assert_each_succeeded(description: &str, statuses: &Value) {
    let description: Value = serde_json::from_str(description).unwrap();
    for (path, item) in description["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys().filter(|key| *key != "parameters") {
            let label = format!("{} {path}", method.to_uppercase());
            let answered = statuses[&label].as_object().unwrap_or_else(|| panic!("{label} was not asked"));
            assert!(answered.keys().any(|status| status.starts_with('2')), "{label}: {answered:?}");
            assert!(!answered.keys().any(|status| status.starts_with('5')), "{label}: {answered:?}");
        }
    }
}

#[tokio::test]
async fn the_administrative_api_is_as_it_is_described() {
    let api = Administered::start().await;
    let document = api.ask_as(None, "GET", "/admin/openapi.json", "", None).await;
    assert_eq!(document.status, 200);
    api.add(serde_json::json!({ "client_id": "known" })).await;
    let file = api.dir.path().join("openapi.json");
    std::fs::write(&file, &document.body).unwrap();
    let url = format!("http://{}", api.server.admin[0]);
    // What of a client excludes what else, a description can hardly say; so not all that it lets through is a client.
    let arguments = ["--spare", "root", "--secret", "known/1", "--without", "positive_data_acceptance"];
    let statuses = held_against(&file, url, format!("Bearer {}", api.token), &arguments).await;
    assert_each_succeeded(&document.body, &statuses);
    api.server.stop().await;
}

#[tokio::test]
async fn the_public_face_is_as_it_is_described() {
    let dir = tempfile::tempdir().unwrap();
    let secret = add_worker(dir.path());
    let server = Running::with(config(dir.path()));
    let document = server.get("/oauth/openapi.json").await;
    assert_eq!(document.status, 200);
    let file = dir.path().join("openapi.json");
    std::fs::write(&file, &document.body).unwrap();
    let header = basic("worker", secret.expose());
    let authorization = header.strip_prefix("Authorization: ").unwrap().trim_end().to_owned();
    let url = format!("http://{}", server.address);
    let arguments = ["--without", "positive_data_acceptance"];
    let statuses = held_against(&file, url, authorization, &arguments).await;
    assert_each_succeeded(&document.body, &statuses);
    server.stop().await;
}
