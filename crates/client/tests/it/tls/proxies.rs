//! Proxies that the environment names: https goes through them as a tunnel, plain http never does.

use super::child::{Child, is_child};
use super::evidence::{holds_the_secret, nothing_was_sent};
use super::proxy::{Manner, Proxy};
use crate::support::authority::Authority;
use crate::support::recorder::{Recorder, grant};
use base64::Engine as _;
use std::path::PathBuf;
use tempfile::TempDir;

/// A name that only the proxy knows where to find.
const NAME: &str = "as.example";

/// A token endpoint of [`NAME`] and `localhost`, a proxy that leads to it, and its authority.
struct Stage {
    _folder: TempDir,
    ca_file: PathBuf,
    authority: Authority,
    server: Recorder,
    proxy: Proxy,
}

impl Stage {
    async fn new() -> Self {
        let authority = Authority::new();
        let folder = tempfile::tempdir().unwrap();
        let ca_file = folder.path().join("ca.pem");
        std::fs::write(&ca_file, authority.pem()).unwrap();
        let config = authority.issue(&[NAME, "localhost", "127.0.0.1"]).server(rustls::ALL_VERSIONS);
        let server = Recorder::tls(config, grant()).await;
        let proxy = Proxy::start(Manner::Tunnel(server.address)).await;
        Self { _folder: folder, ca_file, authority, server, proxy }
    }

    fn child(&self, test: &str) -> Child {
        Child::of(&format!("tls::proxies::{test}")).roots(&self.ca_file)
    }

    fn proxy_url(&self) -> String {
        format!("http://{}", self.proxy.address)
    }

    fn url(&self, host: &str) -> String {
        format!("https://{host}:{}/token", self.server.port())
    }

    /// How many tunnels were asked for since this was asked last.
    fn tunnels(&self, before: &mut usize) -> usize {
        let now = self.proxy.seen().heads.len();
        now - std::mem::replace(before, now)
    }
}

#[tokio::test]
async fn r4_4_https_goes_through_the_proxy_as_a_tunnel_that_shows_it_nothing() {
    if is_child().await {
        return;
    }
    let test = "r4_4_https_goes_through_the_proxy_as_a_tunnel_that_shows_it_nothing";
    let stage = Stage::new().await;
    let with_password = format!("http://us%40er:canary-proxy-p%3Ass@{}", stage.proxy.address);
    stage.child(test).env("HTTPS_PROXY", &with_password).granted(&stage.url(NAME)).await;
    let seen = stage.proxy.seen();
    assert_eq!(seen.heads.len(), 2, "one connection for each of the two managers");
    let credential = base64::engine::general_purpose::STANDARD.encode("us@er:canary-proxy-p:ss");
    for head in &seen.heads {
        assert!(head.starts_with(&format!("CONNECT {NAME}:{} HTTP/1.1\r\n", stage.server.port())), "{head}");
        assert!(head.to_ascii_lowercase().contains("proxy-authorization: basic "), "{head}");
        assert!(head.contains(&credential), "{head}");
        assert!(!holds_the_secret(head.as_bytes()) && !head.contains("/token"), "{head}");
    }
    assert!(!seen.tunnelled.is_empty() && !holds_the_secret(&seen.tunnelled));
    for connection in stage.server.connections().await {
        assert_eq!(connection.server_name.as_deref(), Some(NAME));
        let request = String::from_utf8(connection.application).unwrap().to_ascii_lowercase();
        assert!(request.starts_with("post /token http/1.1\r\n"), "{request}");
        assert!(
            !request.contains("proxy-") && !request.contains(&credential.to_ascii_lowercase()),
            "{request}"
        );
    }
}

#[tokio::test]
async fn r4_4_the_variables_of_proxies_and_which_of_them_counts() {
    if is_child().await {
        return;
    }
    let test = "r4_4_the_variables_of_proxies_and_which_of_them_counts";
    let stage = Stage::new().await;
    let (proxy, nowhere) = (stage.proxy_url(), "http://127.0.0.1:1".to_owned());
    let without_scheme = stage.proxy.address.to_string();
    let mut before = 0;
    for (variables, tunnels) in [
        (vec![], 0),
        (vec![("HTTPS_PROXY", &proxy)], 2),
        (vec![("https_proxy", &proxy)], 2),
        (vec![("HTTPS_PROXY", &proxy), ("https_proxy", &nowhere)], 2),
        (vec![("HTTPS_PROXY", &without_scheme)], 2),
        (vec![("ALL_PROXY", &proxy)], 2),
        (vec![("all_proxy", &proxy)], 2),
        (vec![("HTTPS_PROXY", &proxy), ("ALL_PROXY", &nowhere)], 2),
        (vec![("HTTP_PROXY", &nowhere)], 0),
        // An empty value is no proxy, and neither is what cannot be read as one.
        (vec![("HTTPS_PROXY", &String::new())], 0),
        (vec![("HTTPS_PROXY", &"ftp://127.0.0.1:1".to_owned())], 0),
        // A CGI program takes `HTTP_PROXY` from whoever sends a field `Proxy:`; none is believed there.
        (vec![("HTTPS_PROXY", &proxy), ("REQUEST_METHOD", &"POST".to_owned())], 0),
    ] {
        let mut child = stage.child(test);
        for (name, value) in &variables {
            child = child.env(name, value);
        }
        child.granted(&stage.url("localhost")).await;
        assert_eq!(stage.tunnels(&mut before), tunnels, "{variables:?}");
    }
}

#[tokio::test]
async fn r4_4_hosts_that_go_without_the_proxy() {
    if is_child().await {
        return;
    }
    let test = "r4_4_hosts_that_go_without_the_proxy";
    let stage = Stage::new().await;
    let port = stage.server.port();
    let mut before = 0;
    for (host, list, tunnels) in [
        ("localhost", "localhost", 0),
        ("localhost", "LOCALHOST", 0),
        ("localhost", "a.example, localhost ,b.example", 0),
        ("localhost", ".localhost", 0),
        ("localhost", "*", 0),
        ("127.0.0.1", "127.0.0.1", 0),
        ("127.0.0.1", "127.0.0.0/8", 0),
        ("localhost", "", 2),
        ("localhost", "host", 2),
        ("localhost", "*.localhost", 2),
        ("localhost", "127.0.0.1", 2),
        ("127.0.0.1", "127.0.0.2,localhost,127.*", 2),
    ] {
        let child = stage.child(test).env("HTTPS_PROXY", stage.proxy_url()).env("NO_PROXY", list);
        child.granted(&stage.url(host)).await;
        assert_eq!(stage.tunnels(&mut before), tunnels, "{host} with {list:?}");
    }
    // A port belongs to no entry, and so the entry is of no host.
    let child = stage.child(test).env("HTTPS_PROXY", stage.proxy_url());
    child.env("NO_PROXY", format!("localhost:{port}")).granted(&stage.url("localhost")).await;
    assert_eq!(stage.tunnels(&mut before), 2);
    let child = stage.child(test).env("HTTPS_PROXY", stage.proxy_url()).env("no_proxy", "localhost");
    child.granted(&stage.url("localhost")).await;
    assert_eq!(stage.tunnels(&mut before), 0);
}

#[tokio::test]
async fn r4_4_plain_http_goes_to_its_host_whatever_proxy_is_named() {
    if is_child().await {
        return;
    }
    let test = "r4_4_plain_http_goes_to_its_host_whatever_proxy_is_named";
    let stage = Stage::new().await;
    let endpoint = Recorder::plain(grant()).await;
    let mut child = stage.child(test);
    for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        child = child.env(name, stage.proxy_url());
    }
    child.granted(&format!("http://{}/token", endpoint.address)).await;
    assert_eq!(stage.proxy.seen().heads, [""; 0]);
    let connections = endpoint.connections().await;
    assert!(
        connections.len() == 2
            && connections.iter().all(|seen| seen.application.starts_with(b"POST /token "))
    );
}

#[tokio::test]
async fn r4_4_a_proxy_that_refuses_breaks_or_points_elsewhere_learns_nothing() {
    if is_child().await {
        return;
    }
    let test = "r4_4_a_proxy_that_refuses_breaks_or_points_elsewhere_learns_nothing";
    let stage = Stage::new().await;
    let redirect = "HTTP/1.1 307 Elsewhere\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n";
    for (answer, words) in [
        (
            "HTTP/1.1 407 Proxy Authentication Required\r\nproxy-authenticate: Basic\r\n\r\n",
            "proxy authorization required",
        ),
        ("HTTP/1.1 403 Forbidden\r\n\r\n", "tunnel error: unsuccessful"),
        ("HTTP/1.1 502 Bad Gateway\r\n\r\n", "tunnel error: unsuccessful"),
        (redirect, "tunnel error: unsuccessful"),
        ("SSH-2.0-OpenSSH\r\n", "tunnel error: unsuccessful"),
        ("", "unexpected end of file"),
        ("HTTP/1.1 200 OK\r\n\r\n", "cannot connect"),
    ] {
        let proxy = Proxy::start(Manner::Say(answer)).await;
        let child =
            stage.child(test).env("HTTPS_PROXY", format!("http://u:canary-proxy-password@{}", proxy.address));
        child.refused(&stage.url(NAME), words).await;
        let seen = proxy.seen();
        assert!(
            seen.heads.iter().all(|head| head.starts_with("CONNECT ") && !holds_the_secret(head.as_bytes()))
        );
        assert!(!holds_the_secret(&seen.tunnelled));
    }
    // What is no proxy for https here fails; it is not gone around.
    for scheme in ["socks5", "socks5h", "socks4"] {
        let child = stage.child(test).env("HTTPS_PROXY", format!("{scheme}://{}", stage.proxy.address));
        child.refused(&stage.url("localhost"), "cannot connect").await;
    }
    stage
        .child(test)
        .env("HTTPS_PROXY", "http://127.0.0.1:1")
        .refused(&stage.url("localhost"), "refused")
        .await;
    assert!(stage.server.connections().await.is_empty());
    // Behind a proxy, an address of IPv6 is none that a certificate could be checked against.
    let child = stage.child(test).env("HTTPS_PROXY", stage.proxy_url());
    child.refused(&stage.url("[::1]"), "Invalid Server Name").await;
    assert!(stage.server.connections().await.iter().all(|connection| connection.raw.is_empty()));
}

#[tokio::test]
async fn r4_4_a_proxy_that_pretends_to_be_the_server_is_refused() {
    if is_child().await {
        return;
    }
    let test = "r4_4_a_proxy_that_pretends_to_be_the_server_is_refused";
    let stage = Stage::new().await;
    let forged = Authority::new().issue(&[NAME]).server(rustls::ALL_VERSIONS);
    let misdirected = stage.authority.issue(&["other.example"]).server(rustls::ALL_VERSIONS);
    for (config, words) in [(forged, "BadSignature"), (misdirected, "not valid for name")] {
        let server = Recorder::tls(config, grant()).await;
        let proxy = Proxy::start(Manner::Tunnel(server.address)).await;
        let child = stage.child(test).env("HTTPS_PROXY", format!("http://{}", proxy.address));
        child.refused(&stage.url(NAME), words).await;
        let connections = server.connections().await;
        assert!(!connections.is_empty());
        for connection in &connections {
            nothing_was_sent(connection, words);
        }
    }
    // In place of TLS in the tunnel, an answer in the clear.
    let plain = Recorder::saying(grant()).await;
    let proxy = Proxy::start(Manner::Tunnel(plain.address)).await;
    let child = stage.child(test).env("HTTPS_PROXY", format!("http://{}", proxy.address));
    child.refused(&stage.url(NAME), "cannot connect").await;
    for connection in plain.connections().await {
        nothing_was_sent(&connection, "no TLS in the tunnel");
    }
}

#[tokio::test]
async fn r4_4_a_proxy_over_tls_is_verified_before_it_gets_its_password() {
    if is_child().await {
        return;
    }
    let test = "r4_4_a_proxy_over_tls_is_verified_before_it_gets_its_password";
    let stage = Stage::new().await;
    let manner = || Manner::Tunnel(stage.server.address);
    let good = stage.authority.issue(&["localhost"]).server(rustls::ALL_VERSIONS);
    let forged = Authority::new().issue(&["localhost"]).server(rustls::ALL_VERSIONS);
    let (good, forged) = (Proxy::over_tls(manner(), good).await, Proxy::over_tls(manner(), forged).await);
    let through = |proxy: &Proxy| {
        let url = format!("https://u:canary-proxy-password@localhost:{}", proxy.address.port());
        stage.child(test).env("HTTPS_PROXY", url)
    };
    through(&good).granted(&stage.url(NAME)).await;
    assert!(good.seen().heads.iter().all(|head| head.contains("Basic ")) && good.seen().heads.len() == 2);
    through(&forged).refused(&stage.url(NAME), "BadSignature").await;
    assert_eq!(forged.seen().heads, [""; 0]);
}
