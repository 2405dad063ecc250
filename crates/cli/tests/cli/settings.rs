//! The three layers of settings, as the program reads them.

use crate::api::Api;
use crate::process::{Home, Registered};
use std::os::unix::fs::PermissionsExt as _;

const TOKEN: &str = r#"{"access_token":"t","token_type":"Bearer","expires_in":60}"#;

#[test]
fn flags_win_over_the_environment_and_the_environment_over_the_file() {
    let home = Home::new();
    let api = Api::answering("200 OK", TOKEN);
    let usual = home.write(
        ".config/jeton/jeton.toml",
        &format!(
            "token_url = \"{}\"\nclient_id = \"file\"\nclient_secret_file = \"secret\"\nscopes = [\"file\"]\n\
             auth_method = \"client_secret_post\"\n[endpoint_params]\ntenant = \"x\"\n",
            api.url("/file")
        ),
    );
    home.write(".config/jeton/secret", "from the file\n");
    home.run(&["token"]).done();
    let environment = [("JETON_CLIENT_ID", "environment"), ("JETON_CLIENT_SECRET", "e")];
    home.run_with(&environment, &["token"]).done();
    let url = api.url("/flag");
    home.run_with(&environment, &["token", "--client-id", "flag", "--token-url", &url, "--scope", "f"])
        .done();
    let asked = api.asked();
    let lines: Vec<_> = asked.iter().map(|asked| asked.line.as_str()).collect();
    assert_eq!(lines, ["POST /file", "POST /file", "POST /flag"]);
    let common = "grant_type=client_credentials";
    for (asked, expected) in asked.iter().zip([
        ["client_id=file", "client_secret=from+the+file", "scope=file", "tenant=x"],
        ["client_id=environment", "client_secret=e", "scope=file", "tenant=x"],
        ["client_id=flag", "client_secret=e", "scope=f", "tenant=x"],
    ]) {
        for pair in expected.iter().chain([&common]) {
            assert!(asked.body.split('&').any(|held| held == *pair), "{pair}: {}", asked.body);
        }
    }
    // The file in the usual place is read no more when another one is named.
    let other = home.write("other.toml", "client_id = \"x\"\n");
    home.run(&["--config", &other, "token"]).failed(5, &["the token url is not set"]);
    home.run_with(&[("JETON_CONFIG", &other)], &["token"]).failed(5, &["the token url is not set"]);
    home.run_with(&[("JETON_CONFIG", &other)], &["token", "--config", &usual]).done();
}

#[test]
fn a_key_that_is_not_known_is_refused_with_file_line_and_column() {
    let home = Home::new();
    let path = home.write(".config/jeton/jeton.toml", "client_id = \"x\"\n\n  tokn_url = \"y\"\n");
    home.run(&["token"]).failed(5, &[&format!("{path}:3:3: unknown field `tokn_url`"), "`token_url`"]);
    home.write(".config/jeton/jeton.toml", "client_secret = \"canary\"\n");
    let literal = home.run(&["token"]);
    literal.failed(5, &["client_secret_file"]);
    assert!(!literal.stderr.contains("canary"), "{literal}");
}

#[test]
fn the_secret_comes_from_each_of_its_sources() {
    let registered = Registered::new();
    let secret = registered.secret.as_str();
    let path = registered.home.write("secret", &format!("{secret}\n"));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let [url, id, _] = registered.variables();
    let variables = [(url.0, url.1.as_str()), (id.0, id.1.as_str()), ("OTHER", secret)];
    let home = &registered.home;
    home.run_with(&variables, &["token", "--client-secret", "env:OTHER"]).done();
    let from_file = home.run_with(&variables, &["token", "--client-secret", &format!("file:{path}")]);
    from_file.done();
    assert_eq!(from_file.stderr, "");
    home.run_reading(&format!("{secret}\n"), &variables, &["token", "--client-secret", "-"]).done();
    let with_path = [variables[0], variables[1], ("JETON_CLIENT_SECRET_FILE", path.as_str())];
    home.run_with(&with_path, &["token"]).done();
    let unknown = home.run_with(&variables, &["token", "--client-secret", "cmd:pass show canary"]);
    unknown.failed(2, &["cmd:", "env:NAME"]);
    assert!(!unknown.stderr.contains("canary"));

    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let open = home.run_with(&with_path, &["token"]);
    open.done();
    assert!(open.stderr.contains("warning: every user") && open.stderr.contains("chmod o-r"), "{open}");
}

#[test]
fn both_authentication_methods_work_against_the_server() {
    let registered = Registered::new();
    for method in ["client_secret_basic", "client_secret_post"] {
        registered.run(&["token", "--auth-method", method]).done();
    }
}
