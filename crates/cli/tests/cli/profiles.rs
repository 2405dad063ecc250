//! `--client NAME`: one client of several in one settings file.

use crate::api::Api;
use crate::process::{Ended, Home, Registered, Server};
use crate::stub::{SECRET, Stub, grant};
use serde_json::json;
use std::collections::HashSet;
use std::net::TcpListener;

/// A settings file in its usual place.
fn settings(home: &Home, text: &str) -> String {
    home.write(".config/jeton/jeton.toml", text)
}

/// What a token endpoint was asked last, without the order.
fn last(api: &Api) -> HashSet<String> {
    let asked = api.asked();
    let asked = asked.last().unwrap();
    let mut pairs: HashSet<String> = asked.body.split('&').map(str::to_owned).collect();
    pairs.insert(asked.line.clone());
    pairs.remove("grant_type=client_credentials");
    pairs
}

/// Variables, flags, and what the server is asked.
type Row<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str], &'a [&'a str]);

#[test]
fn the_layers_are_flags_environment_profile_and_top_of_the_file() {
    let home = Home::new();
    let api = Api::start(|number, _| grant(&format!("t{number}"), 60));
    let file = format!(
        "token_url = \"{0}\"\nclient_id = \"top\"\nclient_secret_file = \"top.secret\"\nscopes = [\"top\"]\naudience = \"top\"\n\
         auth_method = \"client_secret_post\"\n[client.a]\nclient_id = \"a\"\nclient_secret = \"file:a.secret\"\nscopes = [\"a\"]\n\
         [client.b]\ntoken_url = \"{1}\"\naudience = \"b\"\nendpoint_params = {{ tenant = \"b\" }}\nclient_secret = \"env:B\"\n",
        api.url("/top"),
        api.url("/b")
    );
    settings(&home, &file);
    home.write_secret(".config/jeton/top.secret", "top secret\n");
    home.write_secret(".config/jeton/a.secret", "a secret\n");
    let b = [("B", "b secret")];
    let b_asking = [("B", "b secret"), ("JETON_AUDIENCE", "env"), ("JETON_SCOPES", "env")];
    let rows: [Row<'_>; 7] = [
        (&[], &[], &["POST /top", "client_id=top", "client_secret=top+secret", "scope=top", "audience=top"]),
        (
            &[],
            &["--client", "a"],
            &["POST /top", "client_id=a", "client_secret=a+secret", "scope=a", "audience=top"],
        ),
        (
            &[("JETON_CLIENT", "a")],
            &[],
            &["POST /top", "client_id=a", "client_secret=a+secret", "scope=a", "audience=top"],
        ),
        (
            &b,
            &["--client", "b"],
            &["POST /b", "client_id=top", "client_secret=b+secret", "scope=top", "audience=b", "tenant=b"],
        ),
        (
            &b_asking,
            &["--client", "b"],
            &["POST /b", "client_id=top", "client_secret=b+secret", "scope=env", "audience=env", "tenant=b"],
        ),
        (
            &b_asking,
            &["--client", "b", "--audience", "flag", "--client-id", "flag"],
            &[
                "POST /b",
                "client_id=flag",
                "client_secret=b+secret",
                "scope=env",
                "audience=flag",
                "tenant=b",
            ],
        ),
        (
            &[("JETON_CLIENT", "b")],
            &["--client", "a", "--client-secret", "env:HOME"],
            &["POST /top", "client_id=a", "scope=a", "audience=top"],
        ),
    ];
    for (variables, flags, expected) in rows {
        let ended = home.run_with(variables, &[&["token", "--no-cache"], flags].concat());
        assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{flags:?}: {ended}");
        let asked = last(&api);
        for pair in expected {
            assert!(asked.contains(*pair), "{pair}, {variables:?} {flags:?}: {asked:?}");
        }
    }
}

/// A home with a profile that is whole, at this endpoint, and one that takes its secret from a variable.
fn two_profiles(api: &Api) -> Home {
    let home = Home::new();
    let url = api.url("/token");
    settings(
        &home,
        &format!(
            "auth_method = \"client_secret_post\"\n[client.file]\ntoken_url = \"{url}\"\nclient_id = \"of-the-profile\"\n\
             client_secret_file = \"s\"\n[client.variable]\ntoken_url = \"{url}\"\nclient_id = \"of-the-profile\"\n\
             client_secret = \"env:JETON_CLIENT_SECRET\"\n"
        ),
    );
    home.write_secret(".config/jeton/s", "of-the-profile");
    home
}

#[test]
fn who_asks_is_never_mixed_from_a_profile_and_the_environment() {
    let api = Api::start(|_, _| grant("t", 60));
    let home = two_profiles(&api);
    let asked = |ended: &Ended, expected: &str| {
        ended.done();
        let pairs = last(&api);
        for pair in ["POST /token", "client_id=of-the-profile", &format!("client_secret={expected}")] {
            assert!(pairs.contains(pair), "{pair}: {pairs:?}");
        }
    };
    let other = api.url("/other");
    for (variable, value) in [
        ("JETON_CLIENT_ID", "another"),
        ("JETON_TOKEN_URL", &*other),
        ("JETON_CLIENT_SECRET", "canary-of-another"),
        ("JETON_CLIENT_SECRET_FILE", "/another"),
        ("JETON_AUTH_METHOD", "client_secret_basic"),
    ] {
        // A flag wins over the environment, and says so.
        let told = home.run_with(&[(variable, value)], &["token", "--no-cache", "--client", "file"]);
        asked(&told, "of-the-profile");
        assert_eq!(told.stderr, format!("warning: {variable} is not used: --client file says who asks\n"));
        // Of two variables nobody knows which is meant.
        let requests = api.asked().len();
        let both = [(variable, value), ("JETON_CLIENT", "file")];
        for args in [&["token"][..], &["login"], &["logout"], &["call", "GET", "http://localhost:1/"]] {
            let refused = home.run_with(&both, args);
            refused.failed(
                5,
                &[variable, "JETON_CLIENT names the profile file", "unset JETON_CLIENT, or unset"],
            );
            assert!(!refused.stderr.contains("canary"), "{refused}");
        }
        assert_eq!(api.asked().len(), requests);
    }
    // What says the same, and what the profile itself names, does no harm.
    let same = [("JETON_CLIENT", "file"), ("JETON_CLIENT_ID", "of-the-profile")];
    let ended = home.run_with(&same, &["token", "--no-cache"]);
    asked(&ended, "of-the-profile");
    let named = [("JETON_CLIENT", "variable"), ("JETON_CLIENT_SECRET", "of-a-variable")];
    let ended = home.run_with(&named, &["token", "--no-cache"]);
    asked(&ended, "of-a-variable");
    assert_eq!(ended.stderr, "");
    let hint = home.run_with(&[("JETON_CLIENT", "file"), ("JETON_CLIENT_SECRET", "x")], &["token"]);
    hint.failed(5, &["client_secret = \"env:JETON_CLIENT_SECRET\""]);
    // An empty variable is one that is not set.
    home.run_with(&[("JETON_CLIENT", "")], &["token"]).failed(5, &["the token url is not set"]);
}

#[test]
fn what_a_profile_lacks_is_not_taken_from_the_environment() {
    let home = Home::new();
    let path = settings(&home, "[client.half]\nclient_id = \"x\"\n");
    let variables = [("JETON_TOKEN_URL", "http://127.0.0.1:1/"), ("JETON_CLIENT_SECRET", "canary")];
    let ended = home.run_with(&variables, &["token", "--client", "half"]);
    let place = format!("{path}:1:9: client: in [client.half] the token url is not set");
    ended.failed(5, &[&place, "write token_url in [client.half]", "JETON_TOKEN_URL does not count"]);
    let url = ["token", "--client", "half", "--token-url", "http://127.0.0.1:1/"];
    let ended = home.run_with(&variables, &url);
    ended.failed(5, &["the client secret is not set", "JETON_CLIENT_SECRET does not count"]);
    assert!(!ended.stderr.contains("canary"), "{ended}");
}

#[test]
fn a_profile_that_is_not_there_is_told_with_those_that_are() {
    let home = Home::new();
    home.run(&["token", "--client", "a"])
        .failed(5, &["there is no settings file", ".config/jeton/jeton.toml"]);
    home.run_with(&[("JETON_CLIENT", "a")], &["logout"]).failed(5, &["there is no settings file"]);
    let path = settings(&home, "client_id = \"x\"\n");
    home.run(&["token", "--client", "a"])
        .failed(2, &["--client: there is no profile a in", &path, "[client.NAME]"]);
    settings(&home, "[client.one]\n[client.two]\n");
    let unknown = format!("there is no profile a in {path}");
    home.run(&["login", "--client", "a"]).failed(2, &["--client: ", &unknown, "there are one, two"]);
    home.run_with(&[("JETON_CLIENT", "a")], &["token"]).failed(5, &["JETON_CLIENT: ", &unknown]);
    home.run(&["profile", "check", "one", "a"]).failed(2, &["NAME: ", &unknown]);
    let many: Vec<_> = (0..30).map(|number| format!("[client.p{number:02}]")).collect();
    settings(&home, &many.join("\n"));
    home.run(&["token", "--client", "a"]).failed(2, &["p00, p01", "p19 and 10 more"]);
    let long = "x".repeat(65);
    for name in ["", "a b", "é", "a/b", &long, "\u{1b}[2J"] {
        let ended = home.run(&["token", "--client", name]);
        ended.failed(2, &["--client: the name of a profile has 1 to 64"]);
        assert!(!ended.stderr.contains('\u{1b}'), "{ended}");
    }
}

#[test]
fn a_fault_in_one_profile_stops_nobody_else() {
    let home = Home::new();
    let api = Api::start(|_, _| grant("t", 60));
    let whole =
        format!("token_url = \"{}\"\nclient_id = \"x\"\nclient_secret = \"env:HOME\"\n", api.url("/"));
    let text =
        format!("[client.good]\n{whole}[client.bad]\n{whole}tokn_url = \"canary\"\n  scopes = 31337\n");
    let path = settings(&home, &text);
    home.run(&["token", "--client", "good"]).done();
    let bad = home.run(&["token", "--client", "bad"]);
    bad.failed(5, &[&format!("{path}:9:1: unknown field `tokn_url`"), "`token_url`"]);
    assert!(!bad.stderr.contains("canary") && !bad.stderr.contains("`server`"), "{bad}");
    let listed = home.run(&["profile", "list"]);
    assert!(
        listed.done().lines().count() == 3 && listed.stderr.contains("not all of bad can be read"),
        "{listed}"
    );
    // Outside of the profiles it concerns everybody.
    for (text, place) in [
        (
            "[client]\nclient_id = \"x\"\n",
            ":2:1: client: the keys of a client stand in its table, [client.NAME]",
        ),
        ("client = 1\n", ":1:10: client: it is written as tables"),
        ("[client.\"a b\"]\n", ":1:9: client: the name of a profile has 1 to 64"),
        ("[client.a]\n[client.a]\n", ":2:"),
        ("client.a.client.b.scopes = []\n", "unknown field `client`"),
        ("[[client]]\nclient_id = \"x\"\n", "client: it is written as tables"),
    ] {
        let path = settings(&home, text);
        let args = ["token", "--client", "a"];
        home.run(&args).failed(5, &[&path, place]);
    }
}

#[test]
fn two_profiles_are_two_clients_of_the_real_server() {
    let home = Home::new();
    let server = Server::start(&home, &[], &[]);
    let mut tables = vec![format!("token_url = \"{}\"", server.token_url())];
    for name in ["reader", "writer"] {
        let file = home.path().join(format!("{name}.secret"));
        let args = ["client", "add", name, "--scope", "a b", "--secret-file", file.to_str().unwrap()];
        home.run(&args).done();
        tables.push(format!("[client.{name}]\nclient_id = \"{name}\"\nclient_secret = \"file:../../{name}.secret\"\nscopes = [\"a\"]"));
    }
    settings(&home, &tables.join("\n"));
    let subject = |name: &str| {
        let token = home.run(&["token", "--client", name]).done().trim_end().to_owned();
        let inspected = home.run(&["inspect", &token, "--issuer", &server.issuer, "--output", "json"]).json();
        inspected["claims"]["client_id"].as_str().unwrap().to_owned()
    };
    assert_eq!((subject("reader"), subject("writer")), ("reader".to_owned(), "writer".to_owned()));
    let login = home.run(&["login", "--client", "writer"]);
    assert!(login.done().contains("no server was asked"), "{login}");
    let logout = home.run(&["logout", "--client", "reader", "--output", "json"]).json();
    assert_eq!((&logout["client_id"], &logout["removed"]), (&json!("reader"), &json!(1)));
    let login = home.run(&["login", "--client", "writer", "--output", "json"]).json();
    assert_eq!((&login["client_id"], &login["source"]), (&json!("writer"), &json!("cache")));
    let checked = home.run(&["profile", "check", "--online", "--output", "json"]).json();
    assert_eq!(
        (&checked["status"], &checked["profiles"][1]["server"]["granted"]),
        (&json!("ok"), &json!(true))
    );
}

#[test]
fn a_token_that_is_kept_for_a_profile_needs_no_server() {
    let stub = Stub::quick();
    let home = &stub.home;
    let url = stub.api.url("/token");
    let text =
        format!("[client.kept]\ntoken_url = \"{url}\"\nclient_id = \"x\"\nclient_secret = \"file:s\"\n");
    settings(home, &text);
    home.write_secret(".config/jeton/s", SECRET);
    let token = home.run(&["token", "--client", "kept"]).done().to_owned();
    for _ in 0..3 {
        let again = home.run(&["token", "--client", "kept"]);
        assert_eq!((again.done(), again.stderr.as_str()), (&*token, ""));
    }
    assert_eq!(stub.requests(), 1);
    let Stub { home, api } = stub;
    drop(api);
    // Whoever connects there now is seen, whatever is said then.
    let address = url.trim_start_matches("http://").trim_end_matches("/token").to_owned();
    let listener = TcpListener::bind(address).unwrap();
    listener.set_nonblocking(true).unwrap();
    for args in
        [&["token", "--client", "kept"][..], &["login", "--client", "kept"], &["profile", "check", "kept"]]
    {
        let ended = home.run(args);
        assert!(ended.code == 0 && ended.stderr.is_empty(), "{args:?}: {ended}");
    }
    assert_eq!(home.run_with(&[("JETON_CLIENT", "kept")], &["token"]).done(), token);
    assert!(listener.accept().is_err(), "no connection is opened");
    drop(listener);
    home.run(&["token", "--client", "kept", "--no-cache"]).failed(4, &["cannot connect"]);
}

#[test]
fn the_cache_of_a_profile_is_its_own_where_it_says_so() {
    let stub = Stub::quick();
    let text = "[client.a]\ncache_dir = \"a\"\n[client.b]\ncache = \"off\"\n[client.c]\n";
    let common = format!(
        "token_url = \"{}\"\nclient_id = \"x\"\nclient_secret = \"env:HOME\"\n",
        stub.api.url("/token")
    );
    settings(&stub.home, &(common + text));
    for name in ["a", "b", "c"] {
        stub.home.run(&["token", "--client", name]).done();
    }
    let kept = |ended: Ended| ended.json()["kept_in"].as_str().map(str::to_owned);
    let login = |name| kept(stub.home.run(&["login", "--client", name, "--output", "json"]));
    assert!(login("a").unwrap().ends_with(".config/jeton/a"));
    assert_eq!((login("b"), login("c")), (None, Some(stub.cache_dir().display().to_string())));
    let removed = stub.home.run(&["logout", "--client", "a", "--output", "json"]).json();
    assert_eq!(removed["removed"], 1);
    assert_eq!(stub.records().len(), 1);
}

#[test]
fn the_sandbox_is_nobodys_profile() {
    let registered = Registered::new();
    let ended = registered.run_with(
        &[("JETON_CLIENT", "deploy")],
        &["sandbox", "--no-proof", "--quiet", "--listen", "0", "--exec", "test -z \"$JETON_CLIENT\""],
    );
    ended.done();
}

#[test]
fn two_kinds_of_secret_in_one_table_are_one_too_many() {
    let home = Home::new();
    let text = "token_url = \"https://x/\"\nclient_id = \"x\"\nclient_secret_file = \"s\"\n[client.a]\n\
                client_secret = \"env:A\"\nclient_secret_file = \"b\"\n";
    let path = settings(&home, text);
    let place = format!("{path}:5:17: client_secret: client_secret_file is set too");
    home.run(&["token", "--client", "a"]).failed(5, &[&place]);
}

#[test]
fn a_secret_at_the_top_does_not_go_to_another_server() {
    let home = Home::new();
    let (own, other) = (Api::answering("500 Oops", ""), Api::start(|_, _| grant("t", 60)));
    let regions = format!("[client.other]\ntoken_url = \"{}\"\n", other.url("/"));
    let top = "client_id = \"x\"\nclient_secret = \"env:HOME\"\n";
    let path = settings(&home, &format!("token_url = \"{}\"\n{top}{regions}", own.url("/")));
    let place =
        format!("{path}:5:13: token_url: the secret at the top of the file is for the token_url there");
    home.run(&["token", "--client", "other"]).failed(5, &[&place, "write client_secret"]);
    assert!(own.asked().is_empty() && other.asked().is_empty());
    // Where no server stands beside it, it is for all.
    settings(&home, &format!("{top}{regions}"));
    home.run(&["token", "--client", "other"]).done();
    assert_eq!(other.asked().len(), 1);
}
