//! Real redis-servers, each a child of the test, on ports of its own: alone, with TLS and ACL, behind sentinels, as a
//! cluster of six.

use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The password of the server's own administrator, and of the sentinels.
pub(crate) const ADMIN_PASSWORD: &str = "canary-admin-password";
/// The longest that a server takes to start or to stop.
const PATIENCE: Duration = Duration::from_secs(10);

/// A redis-server. It is killed when this is dropped.
pub(crate) struct RedisServer {
    child: Option<Child>,
    pub(crate) port: u16,
    dir: TempDir,
    kind: Kind,
    /// The lines of its configuration file.
    settings: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Server,
    Sentinel,
}

impl RedisServer {
    /// One that keeps nothing on disk and lets everyone in.
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    /// One with these lines in its configuration.
    pub(crate) fn with(settings: &[&str]) -> Self {
        let settings: Vec<String> = settings.iter().map(|it| (*it).to_owned()).collect();
        Self::of_kind(Kind::Server, |_| settings.clone())
    }

    fn of_kind(kind: Kind, settings: impl Fn(&Path) -> Vec<String>) -> Self {
        for _ in 0..20 {
            let port = free_port();
            let dir = tempfile::tempdir().unwrap();
            let mut lines = vec![
                format!("port {port}"),
                "bind 127.0.0.1".to_owned(),
                "save \"\"".to_owned(),
                "enable-debug-command yes".to_owned(),
                "repl-diskless-sync-delay 0".to_owned(),
                format!("dir {}", dir.path().display()),
                format!("unixsocket {}", dir.path().join("s").display()),
                format!("logfile {}", dir.path().join("log").display()),
            ];
            lines.extend(settings(dir.path()));
            let mut server = Self { child: None, port, dir, kind, settings: lines };
            // Somebody else may have taken the port in the meantime.
            if server.spawn() {
                return server;
            }
        }
        panic!("no redis-server would start; `cargo xtask test` installs what the tests need");
    }

    fn spawn(&mut self) -> bool {
        let file = self.dir.path().join("redis.conf");
        fs::write(&file, self.settings.join("\n")).unwrap();
        let mut command = Command::new("redis-server");
        command.arg(&file);
        if self.kind == Kind::Sentinel {
            command.arg("--sentinel");
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server is installed; `cargo xtask test` sees to it");
        let patience = Instant::now() + PATIENCE;
        let is_up = loop {
            if child.try_wait().unwrap().is_some() {
                break false;
            }
            if self.try_admin("", ADMIN_PASSWORD).or_else(|_| self.try_admin("", "")).is_ok() {
                break true;
            }
            assert!(Instant::now() < patience, "redis-server does not answer: {}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        };
        self.child = Some(child);
        is_up
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Starts it again, at the same place.
    pub(crate) fn restart(&mut self) {
        self.kill();
        assert!(self.spawn(), "redis-server does not start again: {}", self.log());
    }

    /// The process, for signals.
    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// Adds settings that hold from the next start on.
    pub(crate) fn set(&mut self, line: &str) {
        self.settings.push(line.to_owned());
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("s")
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn unix_url(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// What a person would do with redis-cli, over the Unix socket.
    pub(crate) fn admin(&self, command: &str) -> redis::Value {
        self.admin_words(&command.split(' ').collect::<Vec<_>>())
    }

    pub(crate) fn admin_words(&self, words: &[&str]) -> redis::Value {
        let mut connection = self
            .try_admin("", "")
            .or_else(|_| self.try_admin("", ADMIN_PASSWORD))
            .unwrap_or_else(|error| panic!("the administrator cannot get in: {error}; {}", self.log()));
        let (name, arguments) = words.split_first().unwrap();
        let mut command = redis::cmd(name);
        for argument in arguments {
            command.arg(*argument);
        }
        command.query(&mut connection).unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    fn try_admin(&self, user: &str, password: &str) -> redis::RedisResult<redis::Connection> {
        let info = redis::RedisConnectionInfo::default().set_skip_set_lib_name();
        let info = if user.is_empty() { info } else { info.set_username(user) };
        let info = if password.is_empty() { info } else { info.set_password(password) };
        let address = redis::ConnectionAddr::Unix(self.socket());
        let info = redis::IntoConnectionInfo::into_connection_info(address)?.set_redis_settings(info);
        let mut connection = redis::Client::open(info)?.get_connection()?;
        match redis::cmd("PING").query::<redis::Value>(&mut connection) {
            // A server that loads is up, and so is a replica without its master.
            Err(error) if !matches!(error.code(), Some("LOADING" | "MASTERDOWN")) => Err(error),
            Ok(_) | Err(_) => Ok(connection),
        }
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _killed = child.kill();
            let _reaped = child.wait();
        }
    }
}

/// A port below those that outgoing connections take, whose bus port is free too.
fn free_port() -> u16 {
    for _ in 0..1000 {
        let port = fastrand::u16(12_000..22_000);
        let is_free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if is_free(port) && is_free(port + 10_000) {
            return port;
        }
    }
    panic!("no free port");
}

/// A server behind TLS, for which one has to log in.
pub(crate) struct TlsServer {
    pub(crate) server: RedisServer,
    pub(crate) tls_port: u16,
    pub(crate) ca_pem: Vec<u8>,
    pub(crate) client_pem: Vec<u8>,
    pub(crate) client_key_pem: Vec<u8>,
}

/// Whether clients have to show a certificate.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClientCertificates {
    Wanted,
    Ignored,
}

impl TlsServer {
    pub(crate) fn start(name: &str, clients: ClientCertificates) -> Self {
        let mut ca = CertificateParams::new(Vec::new()).unwrap();
        ca.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
        let signed = |name: &str| {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
            // OpenSSL takes a certificate for self-signed whose subject is that of its issuer.
            params.distinguished_name.push(rcgen::DnType::CommonName, name);
            (params.signed_by(&key, &issuer).unwrap().pem(), key.serialize_pem())
        };
        let ((server_pem, server_key), (client_pem, client_key)) = (signed(name), signed("client"));
        let tls_port = free_port();
        let wanted = if clients == ClientCertificates::Wanted { "yes" } else { "no" };
        let server = RedisServer::of_kind(Kind::Server, |dir| {
            let file = |name: &str, content: &str| {
                let path = dir.join(name);
                fs::write(&path, content).unwrap();
                path.display().to_string()
            };
            vec![
                format!("requirepass {ADMIN_PASSWORD}"),
                format!("tls-auth-clients {wanted}"),
                format!("tls-ca-cert-file {}", file("ca.pem", &issuer.pem())),
                format!("tls-cert-file {}", file("server.pem", &server_pem)),
                format!("tls-key-file {}", file("server.key", &server_key)),
                format!("tls-port {tls_port}"),
            ]
        });
        let (ca_pem, client_pem) = (issuer.pem().into_bytes(), client_pem.into_bytes());
        Self { server, tls_port, ca_pem, client_pem, client_key_pem: client_key.into_bytes() }
    }
}

/// A master with a replica, and three sentinels who look after them. For the sentinels one has to log in.
pub(crate) struct Sentinels {
    pub(crate) servers: [RedisServer; 2],
    pub(crate) sentinels: Vec<RedisServer>,
}

impl Sentinels {
    pub(crate) fn start() -> Self {
        let master = RedisServer::start();
        let replica = RedisServer::with(&[&format!("replicaof 127.0.0.1 {}", master.port)]);
        let until = |what: &str, is_so: &dyn Fn() -> bool| wait_until(what, is_so);
        until("the replica follows", &|| text(&replica.admin("INFO replication")).contains("link_status:up"));
        let sentinels: Vec<_> = (0..3).map(|_| Self::sentinel(master.port)).collect();
        until("the sentinels know each other", &|| {
            sentinels.iter().all(|sentinel| {
                let info = text(&sentinel.admin("INFO sentinel"));
                info.contains("slaves=1,sentinels=3")
            })
        });
        Self { servers: [master, replica], sentinels }
    }

    fn sentinel(master_port: u16) -> RedisServer {
        RedisServer::of_kind(Kind::Sentinel, |_| {
            vec![
                format!("sentinel monitor mymaster 127.0.0.1 {master_port} 2"),
                "sentinel down-after-milliseconds mymaster 600".to_owned(),
                "sentinel failover-timeout mymaster 3000".to_owned(),
                format!("requirepass {ADMIN_PASSWORD}"),
                format!("sentinel sentinel-pass {ADMIN_PASSWORD}"),
            ]
        })
    }

    pub(crate) fn urls(&self) -> Vec<String> {
        // The first is dead, as one of several may be.
        let dead = format!("redis://127.0.0.1:{}", free_port());
        let alive = self.sentinels.iter().map(RedisServer::url);
        std::iter::once(dead).chain(alive).collect()
    }

    /// The one that is the master.
    pub(crate) fn master(&mut self) -> &mut RedisServer {
        let index = self
            .servers
            .iter()
            .position(|it| it.child.is_some() && text(&it.admin("INFO replication")).contains("role:master"));
        &mut self.servers[index.expect("a master")]
    }
}

/// Three masters, each with a replica.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<RedisServer>,
}

impl Cluster {
    pub(crate) fn start() -> Self {
        let settings = ["cluster-enabled yes", "cluster-node-timeout 1000"];
        let nodes: Vec<_> = (0..6).map(|_| RedisServer::with(&settings)).collect();
        let created = Command::new("redis-cli")
            .args(["--cluster", "create", "--cluster-replicas", "1", "--cluster-yes"].iter())
            .args(nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stdout));
        wait_until("the cluster is up, with a replica for each master", &|| {
            let info = |command| nodes.iter().map(move |node| text(&node.admin(command)));
            info("CLUSTER INFO").all(|it| it.contains("cluster_state:ok") && it.contains("known_nodes:6"))
                && info("INFO replication")
                    .all(|it| !it.contains("role:slave") || it.contains("link_status:up"))
                && info("INFO replication").filter(|it| it.contains("role:slave")).count() == 3
        });
        Self { nodes }
    }

    pub(crate) fn urls(&self) -> Vec<String> {
        self.nodes.iter().take(3).map(RedisServer::url).collect()
    }

    /// The master that has the slot of `key`.
    pub(crate) fn owner(&mut self, key: &str) -> &mut RedisServer {
        let owner = self.nodes.iter().position(|node| {
            let mut connection = redis::Client::open(node.url()).unwrap().get_connection().unwrap();
            redis::cmd("EXISTS").arg(key).query::<redis::Value>(&mut connection).is_ok()
        });
        &mut self.nodes[owner.expect("a node that has the slot")]
    }
}

pub(crate) fn text(value: &redis::Value) -> String {
    redis::from_redis_value_ref(value).unwrap()
}

pub(crate) fn wait_until(what: &str, is_so: &dyn Fn() -> bool) {
    let patience = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < patience, "it never came about that {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A server of nobody, which says `answer` to whatever it is asked.
pub(crate) fn impostor(answer: impl Fn(&mut std::net::TcpStream) + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let mut asked = [0; 4096];
            let _ = stream.read(&mut asked);
            answer(&mut stream);
            let _ = stream.flush();
        }
    });
    port
}
