//! A server that is started as systemd starts one: with sockets that are open, and a manager that wants to know.

use crate::process::{Home, Running};
use rustix::process::Signal;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::Duration;

/// The shell moves its standard streams to where `sd_listen_fds(3)` has sockets, and becomes the program.
const PASS_ON: &str = r#"exec 3<&0 4>&1 0</dev/null 1>/dev/null
LISTEN_PID=$$ exec "$@""#;

/// `jeton serve` with two sockets of these names.
fn activated(home: &Home, names: &str, sockets: [OwnedFd; 2], args: &[&str]) -> Command {
    let program = env!("CARGO_BIN_EXE_jeton");
    let mut command = Command::new("sh");
    let [first, second] = sockets;
    command
        .args(["-c", PASS_ON, "sh", program, "serve"])
        .args(args)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", home.path())
        .env("LISTEN_FDS", "2")
        .env("LISTEN_FDNAMES", names)
        .current_dir(home.path())
        .stdin(Stdio::from(first))
        .stdout(Stdio::from(second));
    command
}

fn socket() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn sockets_of_systemd_are_served_and_callers_wait_in_them_over_a_restart() {
    let home = Home::new();
    let notices = home.path().join("notify");
    let manager = UnixDatagram::bind(&notices).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let notice = || {
        let mut buffer = [0; 256];
        let bytes = manager.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..bytes].to_vec()).unwrap()
    };
    let (tokens, token_address) = socket();
    let (metrics, metrics_address) = socket();
    let mut early = None;
    for round in 0..2 {
        let sockets = [metrics.try_clone().unwrap().into(), tokens.try_clone().unwrap().into()];
        let mut command = activated(&home, "metrics:http", sockets, &["--log-level", "off"]);
        // A setting of where to listen is for when there is no socket.
        command.env("NOTIFY_SOCKET", &notices).env("JETON_SERVER_LISTEN", "127.0.0.1:1");
        let child = command.stderr(Stdio::null()).spawn().unwrap();
        let running = Activated(child);
        assert_eq!(notice(), "READY=1");
        assert!(get(token_address, "/livez").contains("ok"), "round {round}");
        assert!(get(metrics_address, "/metrics").contains("jeton_server_build_info"));
        if let Some(mut early) = early.take() {
            let mut answer = String::new();
            TcpStream::read_to_string(&mut early, &mut answer).unwrap();
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        }
        assert_eq!(running.end(), Some(0));
        assert_eq!(notice(), "STOPPING=1");
        // Nobody serves, and the socket takes a caller all the same.
        let mut stream = TcpStream::connect(token_address).unwrap();
        stream.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        early = Some(stream);
    }
}

/// A server that is killed when this is dropped.
struct Activated(std::process::Child);

impl Activated {
    fn end(mut self) -> Option<i32> {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.0), Signal::TERM).unwrap();
        self.0.wait().unwrap().code()
    }
}

impl Drop for Activated {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

#[test]
fn a_socket_that_is_no_listening_tcp_socket_is_told() {
    let home = Home::new();
    let datagram = || OwnedFd::from(std::net::UdpSocket::bind("127.0.0.1:0").unwrap());
    let mut command = activated(&home, "http:other", [datagram(), datagram()], &[]);
    let ended = command.output().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(5), "{said}");
    assert!(said.contains("socket 0") && said.contains("(http)") && said.contains("ListenStream="), "{said}");
    // Sockets that are meant for another process are left alone.
    let mut command = home.jeton(&["serve", "--listen", "1", "--log-level", "off", "--issuer", "x"]);
    command.env("LISTEN_FDS", "2").env("LISTEN_PID", "1");
    Running::start(command).end().failed(5, &["the issuer must be"]);
}

#[test]
fn the_units_name_what_the_server_knows() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../contrib/systemd/");
    let unit = |name: &str| std::fs::read_to_string(format!("{folder}{name}")).unwrap();
    let service = unit("jeton.service");
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/server.md")).unwrap();
    let help = Home::new().run(&["serve", "--help"]).done().to_owned();
    let variables = service.lines().filter_map(|line| line.strip_prefix("Environment=")?.split('=').next());
    for variable in variables {
        assert!(help.contains(variable), "{variable}");
    }
    for variable in [
        "AUDIT_LOG",
        "METRICS_LISTEN",
        "OTLP_ENDPOINT",
        "OTLP_INTERVAL",
        "TLS_CERTIFICATE",
        "TLS_KEY",
        "TLS_CLIENT_CA",
    ] {
        let variable = format!("JETON_SERVER_{variable}");
        assert!(help.contains(&variable) && page.contains(&format!("`{variable}`")), "{variable}");
    }
    assert!(unit("jeton-metrics.socket").contains("FileDescriptorName=metrics"));
    assert!(unit("jeton.socket").contains("FileDescriptorName=http"));
}
