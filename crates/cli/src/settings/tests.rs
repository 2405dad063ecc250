use super::*;
use crate::args::{Cli, Command, TokenArgs};
use clap::Parser as _;
use jeton_proto::jose::jws::Algorithm;
use jeton_proto::mint_per_call::MintPolicy;
use jeton_server::{AssertionAudience, Listen, MintPerCall, RequestRate, Throttling};

fn layers(file: &str, variables: &[(&str, &str)]) -> Result<Layers, Failure> {
    let file = SettingsFile::parse(Path::new("/etc/jeton.toml"), file.to_owned());
    let environment = variables.iter().copied().collect();
    let layers = Layers { file, environment };
    layers.sound()?;
    Ok(layers)
}

fn token_args(flags: &[&str]) -> TokenArgs {
    let cli = Cli::try_parse_from(["jeton", "token"].iter().chain(flags)).unwrap();
    match cli.command {
        Command::Token(args) => args,
        other => unreachable!("{other:?}"),
    }
}

const FILE: &str = "token_url = \"https://file/token\"\nclient_id = \"file\"\nscopes = [\"b\", \"a\"]\n\
                    client_secret_file = \"secret\"\n";

#[test]
fn flags_win_over_the_environment_and_the_environment_over_the_file() {
    let told = |variables: &[(&str, &str)], flags: &[&str]| {
        let settings = layers(FILE, variables).unwrap().client(&token_args(flags).client);
        format!("{:?}", settings.unwrap())
    };
    let from_file = told(&[], &[]);
    assert!(from_file.contains("https://file/token") && from_file.contains("\"file\""), "{from_file}");
    assert!(from_file.contains("File(\"secret\"), origin: File { path: \"/etc/jeton.toml\""), "{from_file}");
    let variables = [("JETON_TOKEN_URL", "https://environment/token"), ("JETON_SCOPES", "c")];
    let from_environment = told(&variables, &[]);
    assert!(from_environment.contains("https://environment/token"));
    assert!(
        from_environment.contains("[\"c\"]") && from_environment.contains("\"file\""),
        "{from_environment}"
    );
    let from_flags =
        told(&variables, &["--token-url", "https://flag/token", "--scope", "e d", "--scope", "f"]);
    assert!(
        from_flags.contains("https://flag/token") && from_flags.contains("[\"d\", \"e\", \"f\"]"),
        "{from_flags}"
    );
    // An empty variable is one that is not set.
    assert!(told(&[("JETON_TOKEN_URL", "")], &[]).contains("https://file/token"));
}

#[test]
fn a_key_that_is_not_known_is_refused_with_its_place() {
    for (file, expected) in [
        ("\ntokn_url = \"x\"\n", "/etc/jeton.toml:2:1: unknown field `tokn_url`"),
        ("client_id = \"x\"\n[server]\n  port = 1\n", "/etc/jeton.toml:3:3: unknown field `port`"),
        ("client_id = 5\n", "/etc/jeton.toml:1:13: invalid type"),
        ("client_id = \"x\"\nclient_id = \"y\"\n", "/etc/jeton.toml:2:1: duplicate key"),
        ("client_id = \"é\" x\n", "/etc/jeton.toml:1:1"),
    ] {
        let failure = layers(file, &[]).unwrap_err();
        assert_eq!(failure.code(), ExitCode::Configuration);
        assert!(failure.lines().contains(expected), "{}", failure.lines());
    }
}

#[test]
fn t34_a_secret_in_the_settings_file_is_refused_and_not_told() {
    for file in ["client_secret = \"canary\"\n", "client_secret_file = canary\n", "canary\n"] {
        let lines = layers(file, &[]).unwrap_err().lines();
        assert!(lines.starts_with("error: /etc/jeton.toml:1:") && !lines.contains("canary"), "{lines}");
    }
    let lines = layers("client_secret = \"canary\"\n", &[]).unwrap_err().lines();
    assert!(lines.contains("client_secret_file"), "{lines}");
}

#[test]
fn a_value_that_is_wrong_is_told_with_where_it_came_from() {
    let fault = |file: &str, variables: &[(&str, &str)], flags: &[&str]| {
        let failure = layers(file, variables).unwrap().client(&token_args(flags).client).unwrap_err();
        (failure.code(), failure.lines())
    };
    let file = format!("{FILE}auth_method = \"basic\"\n");
    let (code, lines) = fault(&file, &[], &[]);
    assert_eq!(code, ExitCode::Configuration);
    assert!(lines.starts_with("error: /etc/jeton.toml:5:15: auth_method: "), "{lines}");
    let (code, lines) = fault(FILE, &[("JETON_AUTH_METHOD", "basic")], &[]);
    assert_eq!(code, ExitCode::Configuration);
    assert!(lines.starts_with("error: JETON_AUTH_METHOD: "), "{lines}");
    let (code, lines) = fault(FILE, &[], &["--auth-method", "basic"]);
    assert_eq!(code, ExitCode::Usage);
    assert!(lines.starts_with("error: --auth-method: "), "{lines}");
    let (code, lines) = fault(FILE, &[], &["--client-secret", "canary"]);
    assert_eq!(code, ExitCode::Usage);
    assert!(lines.contains("file:PATH") && !lines.contains("canary"), "{lines}");
    let (code, lines) = fault(FILE, &[], &["--endpoint-param", "novalue"]);
    assert_eq!((code, lines.contains("NAME=VALUE")), (ExitCode::Usage, true));
    let file = format!("{FILE}endpoint_params = {{ client_secret = \"canary\" }}\n");
    for (file, variables, flags, place, wanted) in [
        (&*file, &[][..], &[][..], "/etc/jeton.toml:5:19: endpoint_params", ExitCode::Configuration),
        (
            FILE,
            &[("JETON_ENDPOINT_PARAMS", "a=b&client_secret=canary")],
            &[],
            "JETON_ENDPOINT_PARAMS",
            ExitCode::Configuration,
        ),
        (FILE, &[], &["--endpoint-param", "client_secret=canary"], "--endpoint-param", ExitCode::Usage),
    ] {
        let (code, lines) = fault(file, variables, flags);
        let begin = format!("error: {place}: the extra parameter client_secret has a setting of its own");
        assert!(code == wanted && lines.starts_with(&begin) && !lines.contains("canary"), "{lines}");
    }
    for timeout in ["0s", "2h", "5"] {
        assert_eq!(fault(FILE, &[], &["--timeout", timeout]).0, ExitCode::Usage);
    }
}

#[test]
fn what_is_missing_is_told_with_its_three_names() {
    let failure = layers("", &[]).unwrap().client(&token_args(&[]).client).unwrap_err();
    assert_eq!(failure.code(), ExitCode::Configuration);
    for name in ["--token-url", "JETON_TOKEN_URL", "token_url in the settings file"] {
        assert!(failure.lines().contains(name), "{}", failure.lines());
    }
}

#[test]
fn two_secrets_are_one_too_many() {
    let variables = [("JETON_CLIENT_SECRET", "canary"), ("JETON_CLIENT_SECRET_FILE", "/s")];
    let failure = layers(FILE, &variables).unwrap().client(&token_args(&[]).client).unwrap_err();
    assert!(failure.lines().contains("both set") && !failure.lines().contains("canary"));
    // A flag says which.
    let flags = token_args(&["--client-secret", "env:OTHER"]);
    assert!(layers(FILE, &variables).unwrap().client(&flags.client).is_ok());
}

#[test]
fn endpoint_parameters_come_from_every_layer() {
    let file = format!("{FILE}[endpoint_params]\ntenant = \"file\"\n");
    let told = |variables: &[(&str, &str)], flags: &[&str]| {
        format!("{:?}", layers(&file, variables).unwrap().client(&token_args(flags).client).unwrap())
    };
    assert!(told(&[], &[]).contains("(\"tenant\", \"file\")"));
    assert!(
        told(&[("JETON_ENDPOINT_PARAMS", "tenant=a%20b&x=")], &[])
            .contains("(\"tenant\", \"a b\"), (\"x\", \"\")")
    );
    assert!(told(&[], &["--endpoint-param", "tenant=a=b"]).contains("(\"tenant\", \"a=b\")"));
}

#[test]
fn the_server_has_its_section() {
    let file = "[server]\nlisten = \"127.0.0.1:0\"\ndata_dir = \"data\"\nlongest_token_lifetime = \"2h\"\n\
                signing_algorithms = [\"EdDSA\", \"RS256\"]\nkey_rotation_period = \"30d\"\njwks_max_age = \"1m\"\n";
    let server = |variables: &[(&str, &str)], flags: &[&str]| {
        let cli = Cli::try_parse_from(["jeton", "serve"].iter().chain(flags)).unwrap();
        let Command::Serve(args) = cli.command else { unreachable!() };
        layers(file, variables)?.server(&args)
    };
    let config = server(&[], &[]).unwrap();
    assert_eq!(config.data_dir, Path::new("/etc/data"));
    assert_eq!(config.listen, Listen::Addresses(vec!["127.0.0.1:0".parse().unwrap()]));
    assert_eq!(config.longest_token_lifetime.as_secs(), 7200);
    assert_eq!(config.signing_algorithms, [Algorithm::EdDsa, Algorithm::Rs256]);
    assert_eq!((config.key_rotation_period.as_secs(), config.jwks_max_age.as_secs()), (30 * 86_400, 60));
    let both = server(&[("JETON_SERVER_SIGNING_ALGORITHMS", "RS256, ES256")], &[]).unwrap();
    assert_eq!(both.signing_algorithms, [Algorithm::Rs256, Algorithm::Es256]);
    let config = server(&[("JETON_SERVER_DATA_DIR", "data"), ("JETON_SERVER_LISTEN", "9")], &[]).unwrap();
    assert_eq!(config.data_dir, Path::new("data"), "relative to where the command runs");
    assert_eq!(config.listen, Listen::Localhost { port: 9 });
    assert_eq!(server(&[], &["--listen", "localhost:7"]).unwrap().listen, Listen::Localhost { port: 7 });
    for (flags, place) in [
        (["--listen", "nowhere"], "--listen: "),
        (["--listen", "localhost:70000"], "--listen: "),
        (["--longest-token-lifetime", "60"], "--longest-token-lifetime: "),
        (["--signing-algorithm", "HS256"], "--signing-algorithm: it is one of ES256, EdDSA, RS256"),
    ] {
        let failure = server(&[], &flags).unwrap_err();
        assert_eq!(failure.code(), ExitCode::Usage);
        assert!(failure.lines().contains(place), "{}", failure.lines());
    }
}

#[test]
fn how_assertions_are_judged_is_set() {
    let server = |file: &str, variables: &[(&str, &str)], flags: &[&str]| {
        let cli = Cli::try_parse_from(["jeton", "serve", "--data-dir", "data"].iter().chain(flags)).unwrap();
        let Command::Serve(args) = cli.command else { unreachable!() };
        layers(&format!("[server]\n{file}"), variables)?.server(&args)
    };
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let (good, bad) = (write("ca.pem", pem), write("bad.pem", "nothing"));
    let config = server("", &[], &[]).unwrap();
    assert_eq!((config.assertion_audience, config.key_authorities), (AssertionAudience::Issuer, None));
    let file = format!("assertion_audience = \"issuer_or_token_endpoint\"\nkey_authorities = \"{good}\"\n");
    let config = server(&file, &[], &[]).unwrap();
    assert_eq!(config.assertion_audience, AssertionAudience::IssuerOrTokenEndpoint);
    assert_eq!(config.key_authorities.as_deref(), Some(pem.as_bytes()));
    let nearer = server(&file, &[("JETON_SERVER_ASSERTION_AUDIENCE", "issuer")], &[]).unwrap();
    assert_eq!(nearer.assertion_audience, AssertionAudience::Issuer);
    for (flags, words) in [
        (["--assertion-audience", "any"], "--assertion-audience: it is issuer or issuer_or_token_endpoint"),
        (["--key-authorities", "/absent.pem"], "--key-authorities: /absent.pem: No such file"),
        (["--key-authorities", &bad], "no PEM certificate is in it"),
        (["--key-authorities", "/dev/zero"], "it is longer than 1048576 bytes"),
    ] {
        let failure = server("", &[], &flags).unwrap_err().lines();
        assert!(failure.contains(words), "{failure}");
    }
}

#[test]
fn r5_6_the_limits_of_the_server_are_set() {
    let server = |file: &str, variables: &[(&str, &str)], flags: &[&str]| {
        let cli = Cli::try_parse_from(["jeton", "serve", "--data-dir", "data"].iter().chain(flags)).unwrap();
        let Command::Serve(args) = cli.command else { unreachable!() };
        layers(&format!("[server]\n{file}"), variables)?.server(&args).map(|config| config.throttling)
    };
    assert_eq!(server("", &[], &[]).unwrap(), Throttling::default());
    let file = "client_requests_per_second = 5\nclient_burst = \"7\"\nmint_per_call = \"same_token\"\n\
                mints_per_token_life = 9\n";
    let set = Throttling {
        client_requests: RequestRate::new(5, 7).unwrap(),
        mint_per_call: MintPerCall::SameToken,
        mints_per_token_life: MintPolicy::new(9).unwrap(),
    };
    assert_eq!(server(file, &[], &[]).unwrap(), set);
    let off = Throttling { client_requests: RequestRate::Off, ..set };
    assert_eq!(server(file, &[("JETON_SERVER_CLIENT_REQUESTS_PER_SECOND", "off")], &[]).unwrap(), off);
    let flags = ["--mint-per-call", "refuse"];
    assert_eq!(
        server(file, &[("JETON_SERVER_MINT_PER_CALL", "off")], &flags).unwrap().mint_per_call,
        MintPerCall::Refuse
    );
    for (file, told) in [
        ("client_requests_per_second = 0", "jeton.toml:2:30: server.client_requests_per_second"),
        ("client_requests_per_second = \"many\"", "it is a whole number"),
        ("client_burst = 100001", "server.client_burst"),
        ("mint_per_call = \"never\"", "it is one of off, warn, refuse, same_token"),
        ("mints_per_token_life = 3", "from 4 to 100000"),
        ("client_burst = [1]", "expected a number or a string"),
    ] {
        let lines = server(file, &[], &[]).unwrap_err().lines();
        assert!(lines.contains(told), "{file}: {lines}");
    }
}

#[test]
fn the_usual_place_of_the_settings_file_follows_xdg() {
    let place = |variables: &[(&str, &str)]| {
        default_path(&variables.iter().copied().collect()).unwrap().map(|path| path.display().to_string())
    };
    assert_eq!(place(&[("HOME", "/h")]).unwrap(), "/h/.config/jeton/jeton.toml");
    assert_eq!(place(&[("HOME", "/h"), ("XDG_CONFIG_HOME", "/x")]).unwrap(), "/x/jeton/jeton.toml");
    assert_eq!(place(&[("HOME", "/h"), ("XDG_CONFIG_HOME", "x")]).unwrap(), "/h/.config/jeton/jeton.toml");
    assert_eq!(place(&[]), None);
}

#[test]
fn t34_a_value_of_another_kind_is_not_told_and_a_key_cannot_steer_the_terminal() {
    let told = |file: &str| layers(file, &[]).unwrap_err().lines();
    for file in
        ["endpoint_params = \"key=canary\"", "scopes = \"canary, expected canary\"", "audience = 31337"]
    {
        let lines = told(file);
        assert!(lines.contains("jeton.toml:1:") && lines.contains("expected a "), "{lines}");
        assert!(!lines.contains("canary") && !lines.contains("31337"), "{lines}");
    }
    let steering = told("\"\\u001b[2J\" = 1");
    assert!(steering.contains("unknown field `?[2J`"), "{steering}");
    let long = told(&format!("{} = 1", "x".repeat(100_000)));
    assert!(long.len() < 512, "{long}");
}
