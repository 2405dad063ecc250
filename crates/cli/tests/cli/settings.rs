//! The three layers of settings, as the program reads them.

use crate::api::Api;
use crate::process::{Home, Registered, finish};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

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
    literal.failed(5, &[&format!("{path}:1:17: it must say where the secret is"), "client_secret_file"]);
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
    let command = format!("cmd:sed -n 1p '{path}'");
    home.run_with(&variables, &["token", "--client-secret", &command]).done();
    let directory = home.path().to_str().unwrap();
    let with_directory = [variables[0], variables[1], ("CREDENTIALS_DIRECTORY", directory)];
    home.run_with(&with_directory, &["token", "--client-secret", "systemd:secret"]).done();
    let bash =
        format!("exec '{}' token --client-secret file:<(printf %s \"$OTHER\")", env!("CARGO_BIN_EXE_jeton"));
    let mut piped = Command::new("bash");
    piped.args(["-c", &bash]).env_clear().env("HOME", home.path()).envs(variables);
    finish(piped).done();

    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let open = home.run_with(&with_path, &["token"]);
    open.done();
    assert!(
        open.stderr.contains("WARN") && open.stderr.contains("every user of this machine can read"),
        "{open}"
    );
    assert!(open.stderr.contains("chmod o-r") && open.stderr.lines().count() == 1, "{open}");
}

#[test]
fn a_source_that_gives_no_secret_ends_with_the_code_of_its_fault() {
    let home = Home::new();
    let api = Api::answering("200 OK", TOKEN);
    let url = api.url("/");
    let failed = |place: &str, code: i32, words: &[&str]| {
        let begun = Instant::now();
        let args =
            ["token", "--token-url", &url, "--client-id", "c", "--timeout", "2s", "--client-secret", place];
        let ended = home.run(&args);
        ended.failed(code, words);
        assert!(!ended.stderr.contains("canary"), "{ended}");
        assert!(begun.elapsed() < Duration::from_secs(30), "{ended}");
    };
    failed("canary", 2, &["--client-secret: it must say where", "cmd:PROGRAM"]);
    failed("op:canary", 2, &["--client-secret: secrets cannot be read by op:", "env:NAME"]);
    failed("cmd:echo canary | head", 2, &["--client-secret: cmd: there is no shell"]);
    failed("env:NONE", 5, &["the environment variable NONE: it is not set"]);
    failed("systemd:x", 5, &["the systemd credential x", "LoadCredential=x:PATH"]);
    failed("cmd:no-such-program-here", 5, &["no-such-program-here: there is no such program"]);
    failed("cmd:sh -c 'echo canary >&2; exit 7'", 5, &["exit status 7", "by hand"]);
    failed("cmd:sleep 600", 4, &["the secret from the command sleep", "within 2s", "--timeout"]);
    let pipe = home.path().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0)
        .unwrap();
    failed(&format!("file:{}", pipe.display()), 4, &["pipe: it gave nothing within 2s"]);
    assert!(api.asked().is_empty());
}

#[test]
fn the_settings_file_names_a_source_and_paths_in_it_are_relative_to_it() {
    let registered = Registered::new();
    let [url, id, _] = registered.variables();
    let home = &registered.home;
    let config = |secret: &str| {
        let text = format!("token_url = \"{}\"\nclient_id = \"{}\"\n{secret}\n", url.1, id.1);
        home.write("etc/jeton.toml", &text)
    };
    let path = home.write("etc/secret", &format!("{}\n", registered.secret));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    for secret in [
        "client_secret = \"file:secret\"",
        "client_secret_file = \"secret\"",
        "client_secret = \"cmd:cat ./secret\"",
    ] {
        let config = config(secret);
        home.run(&["--config", "etc/jeton.toml", "token", "--no-cache"]).done();
        home.run(&["--config", &config, "token", "--no-cache"]).done();
    }
    // A command does not get the secrets of this one.
    let config = config("client_secret = \"cmd:sh -c 'test -z \\\"$KEY\\\" && cat secret'\"");
    let key = "0123456789abcdef".repeat(4);
    let keyed = ["--config", &config, "token", "--cache-key", "env:KEY"];
    home.run_with(&[("KEY", &key)], &keyed).done();
    // The environment wins; of two in the file neither does.
    home.run_with(&[("JETON_CLIENT_SECRET", "wrong")], &keyed[..3]).failed(3, &["invalid_client"]);
    let two = config_of_two(home);
    home.run(&["--config", &two, "token"])
        .failed(5, &["jeton.toml:3:17: client_secret: client_secret_file is set too"]);
}

fn config_of_two(home: &Home) -> String {
    let text = "token_url = \"http://127.0.0.1:1/\"\nclient_id = \"c\"\nclient_secret = \"env:A\"\nclient_secret_file = \"a\"\n";
    home.write("etc/jeton.toml", text)
}

#[test]
fn both_authentication_methods_work_against_the_server() {
    let registered = Registered::new();
    for method in ["client_secret_basic", "client_secret_post"] {
        registered.run(&["token", "--auth-method", method]).done();
    }
}
