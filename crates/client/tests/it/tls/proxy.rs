//! A forward proxy that does `CONNECT` (RFC 9110 §9.3.6), and keeps all that it sees.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// What the proxy says to `CONNECT`.
#[derive(Clone)]
pub(super) enum Manner {
    /// Opens a tunnel to this address, whatever name was asked for.
    Tunnel(SocketAddr),
    /// Says this, and closes.
    Say(&'static str),
}

/// It ends with the test's runtime.
pub(super) struct Proxy {
    pub(super) address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Clone, Default)]
pub(super) struct Seen {
    /// The heads of the requests to the proxy itself.
    pub(super) heads: Vec<String>,
    /// What clients sent through its tunnels.
    pub(super) tunnelled: Vec<u8>,
}

impl Proxy {
    pub(super) async fn start(manner: Manner) -> Self {
        Self::accept(manner, None).await
    }

    /// One that is spoken to over TLS.
    pub(super) async fn over_tls(manner: Manner, config: Arc<rustls::ServerConfig>) -> Self {
        Self::accept(manner, Some(TlsAcceptor::from(config))).await
    }

    async fn accept(manner: Manner, acceptor: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let log = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (manner, log, acceptor) = (manner.clone(), Arc::clone(&log), acceptor.clone());
                tokio::spawn(async move {
                    match acceptor {
                        None => serve(stream, manner, log).await,
                        Some(acceptor) => {
                            if let Ok(stream) = acceptor.accept(stream).await {
                                serve(stream, manner, log).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address, seen }
    }

    pub(super) fn seen(&self) -> Seen {
        self.seen.lock().unwrap().clone()
    }
}

async fn serve(mut client: impl AsyncRead + AsyncWrite + Unpin, manner: Manner, seen: Arc<Mutex<Seen>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match client.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    seen.lock().unwrap().heads.push(String::from_utf8_lossy(&head).into_owned());
    match manner {
        Manner::Say(answer) => {
            let _sent = client.write_all(answer.as_bytes()).await;
            let _closed = client.shutdown().await;
            let mut rest = Vec::new();
            let _broken = client.read_to_end(&mut rest).await;
            seen.lock().unwrap().tunnelled.extend(rest);
        }
        Manner::Tunnel(target) => tunnel(client, target, &seen).await,
    }
}

async fn tunnel(mut client: impl AsyncRead + AsyncWrite + Unpin, target: SocketAddr, seen: &Mutex<Seen>) {
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_server, mut to_server) = TcpStream::connect(target).await.unwrap().into_split();
    let onward = async {
        let mut buffer = [0; 8192];
        while let Ok(count @ 1..) = from_client.read(&mut buffer).await {
            seen.lock().unwrap().tunnelled.extend_from_slice(&buffer[..count]);
            if to_server.write_all(&buffer[..count]).await.is_err() {
                break;
            }
        }
        let _closed = to_server.shutdown().await;
    };
    let back = async {
        let _broken = tokio::io::copy(&mut from_server, &mut to_client).await;
        let _closed = to_client.shutdown().await;
    };
    tokio::join!(onward, back);
}
