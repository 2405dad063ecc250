//! Reaches a server: socket, TLS, login, protocol.

use super::address::{Address, Login};
use super::fault;
use crate::store::StoreFault;
use ::redis::aio::MultiplexedConnection;
use ::redis::{AsyncConnectionConfig, ProtocolVersion, RedisConnectionInfo};
use rustls::pki_types::ServerName;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

/// The most bytes that may come without making up an answer. Sixty-four records of the largest size are half of it.
const MOST_BYTES_UNANSWERED: usize = 16 * 1024 * 1024;
/// The longest answer to a login.
const MAX_LOGIN_LINE_BYTES: usize = 1024;

/// What is needed to reach any of the servers.
pub(super) struct Dialler {
    pub(super) tls: Option<TlsConnector>,
    pub(super) login: Login,
    pub(super) database: i64,
    pub(super) protocol: ProtocolVersion,
}

/// Reads and writes, as long as it is polled.
pub(super) type Driving = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The task that reads and writes; the connection is over with it.
pub(super) struct Driver {
    task: JoinHandle<()>,
}

impl Driver {
    pub(super) fn start(driving: impl Future<Output = ()> + Send + 'static) -> Self {
        Self { task: tokio::spawn(driving) }
    }

    /// Waits for its end.
    pub(super) async fn ended(&mut self) {
        let _ended = (&mut self.task).await;
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Counts what came since the last answer.
#[derive(Clone, Default)]
pub(super) struct Meter(Arc<AtomicUsize>);

impl Meter {
    /// An answer was understood.
    pub(super) fn reset(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

impl Dialler {
    /// Connects. What comes unasked goes to `config`'s sender. How long that may take is the caller's to bound.
    pub(super) async fn dial(
        &self,
        address: &Address,
        config: AsyncConnectionConfig,
        meter: &Meter,
    ) -> Result<(MultiplexedConnection, Driving), StoreFault> {
        let server = address.to_string();
        let mut socket = self.socket(address, &server).await?;
        if let Some(command) = login_command(&self.login) {
            log_in(&mut socket, &command, &server).await?;
        }
        let info = RedisConnectionInfo::default()
            .set_protocol(self.protocol)
            .set_db(self.database)
            .set_skip_set_lib_name();
        let metered = Metered { socket, meter: meter.clone() };
        let config = config.set_response_timeout(None);
        let (connection, driving) = MultiplexedConnection::new_with_config(&info, metered, config)
            .await
            .map_err(|error| fault::broken(&server, &error))?;
        Ok((connection, Box::pin(driving)))
    }

    async fn socket(&self, address: &Address, server: &str) -> Result<Box<dyn Socket>, StoreFault> {
        let failed = |error: std::io::Error| fault::unreachable(server, &error.to_string());
        match address {
            Address::Tcp { host, port } => {
                let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(failed)?;
                stream.set_nodelay(true).map_err(failed)?;
                let Some(tls) = &self.tls else {
                    return Ok(Box::new(stream));
                };
                let name = ServerName::try_from(host.clone())
                    .map_err(|_| fault::unreachable(server, "no certificate can be for this name"))?;
                let stream = tls
                    .connect(name, stream)
                    .await
                    .map_err(|error| fault::unreachable(server, &format!("no TLS connection: {error}")))?;
                Ok(Box::new(stream))
            }
            #[cfg(unix)]
            Address::Unix(path) => Ok(Box::new(tokio::net::UnixStream::connect(path).await.map_err(failed)?)),
            #[cfg(not(unix))]
            Address::Unix(_) => Err(fault::unreachable(server, "there are no Unix sockets on this system")),
        }
    }
}

/// `AUTH` by hand: the crate underneath would keep copies of the password that nobody wipes.
fn login_command(login: &Login) -> Option<Zeroizing<Vec<u8>>> {
    let password = login.password.as_ref()?.expose();
    let words = [Some("AUTH"), login.user.as_deref(), Some(password)];
    let words = || words.iter().copied().flatten();
    // Room for the whole of it, so that no copy stays behind where the vector grew.
    let room = words().map(|word| word.len() + 32).sum::<usize>() + 32;
    let mut command = Zeroizing::new(Vec::with_capacity(room));
    command.extend_from_slice(format!("*{}\r\n", words().count()).as_bytes());
    for word in words() {
        command.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        command.extend_from_slice(word.as_bytes());
        command.extend_from_slice(b"\r\n");
    }
    Some(command)
}

async fn log_in(socket: &mut Box<dyn Socket>, command: &[u8], server: &str) -> Result<(), StoreFault> {
    let failed = |error: std::io::Error| fault::unreachable(server, &error.to_string());
    socket.write_all(command).await.map_err(failed)?;
    socket.flush().await.map_err(failed)?;
    let mut line = Vec::new();
    // Byte by byte, since whatever is behind the line is not ours to read. It is once a connection.
    while !line.ends_with(b"\r\n") {
        if line.len() == MAX_LOGIN_LINE_BYTES {
            return Err(fault::malformed(server, "its answer to the login is not of the protocol"));
        }
        line.push(socket.read_u8().await.map_err(failed)?);
    }
    match line.split_first() {
        Some((b'+', _)) => Ok(()),
        Some((b'-', text)) => Err(fault::login_refused(server, &String::from_utf8_lossy(text))),
        _ => Err(fault::malformed(server, "its answer to the login is not of the protocol")),
    }
}

trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Socket for S {}

/// Ends a connection that sends without end, since what it sends is kept until it makes up an answer.
struct Metered {
    socket: Box<dyn Socket>,
    meter: Meter,
}

impl AsyncRead for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.socket).poll_read(context, buffer);
        let came = buffer.filled().len() - before;
        if self.meter.0.fetch_add(came, Ordering::Relaxed) > MOST_BYTES_UNANSWERED {
            return Poll::Ready(Err(std::io::Error::new(
                std::io::ErrorKind::ConnectionAborted,
                "more came than any answer is long",
            )));
        }
        polled
    }
}

impl AsyncWrite for Metered {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jeton_proto::secret::Secret;

    #[test]
    fn a_login_is_one_command_in_one_allocation() {
        let password = "s".repeat(1000);
        let login = Login { user: Some("jeton".to_owned()), password: Some(Secret::new(password.clone())) };
        let command = login_command(&login).unwrap();
        let expected = format!("*3\r\n$4\r\nAUTH\r\n$5\r\njeton\r\n$1000\r\n{password}\r\n");
        assert_eq!(std::str::from_utf8(&command).unwrap(), expected);
        assert!(command.len() <= command.capacity());
        let login = Login { user: None, ..login };
        assert!(login_command(&login).unwrap().starts_with(b"*2\r\n$4\r\nAUTH\r\n$1000\r\n"));
        assert!(login_command(&Login::default()).is_none());
    }
}
