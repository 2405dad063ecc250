//! Load over kept connections: a request on each, then an answer from each.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

const CONNECTIONS: usize = 16;
/// The longest that an answer takes.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct Connections {
    streams: Vec<TcpStream>,
    requests: Requests,
    answer: Vec<u8>,
}

/// What is sent.
pub(crate) enum Requests {
    /// The same each time.
    Same(Vec<u8>),
    /// A new one each time.
    New(Box<dyn FnMut() -> Vec<u8>>),
}

impl Requests {
    /// One for each connection, made before the time is taken that a server needs.
    fn batch(&mut self) -> Vec<Vec<u8>> {
        (0..CONNECTIONS).map(|_| self.next()).collect()
    }

    fn next(&mut self) -> Vec<u8> {
        match self {
            Self::Same(request) => request.clone(),
            Self::New(make) => make(),
        }
    }
}

impl Connections {
    pub(crate) fn open(port: u16, path: &str, client_id: &str, secret: &str) -> Self {
        let body = "grant_type=client_credentials&scope=orders%3Aread+orders%3Awrite";
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost:8080\r\nAuthorization: Basic {}\r\nAccept: */*\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
            STANDARD.encode(format!("{client_id}:{secret}")),
            body.len(),
        )
        .into_bytes();
        Self::sending(port, Requests::Same(request))
    }

    /// The same with other requests.
    pub(crate) fn sending(port: u16, mut requests: Requests) -> Self {
        let connect = |_| {
            let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
            stream.set_nodelay(true).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream
        };
        let mut streams: Vec<_> = (0..CONNECTIONS).map(connect).collect();
        let answer = first_answer(&mut streams[0], &requests.next());
        for stream in &streams {
            stream.set_nonblocking(true).unwrap();
        }
        Self { streams, requests, answer }
    }

    /// How long an answer is, head and body. All answers of a server are as long as its first.
    pub(crate) fn answer_bytes(&self) -> usize {
        self.answer.len()
    }

    /// Sends about `requests` requests, and gives the time that it took.
    pub(crate) fn run(&mut self, requests: usize) -> Duration {
        let begun = Instant::now();
        for _ in 0..requests / CONNECTIONS {
            for (stream, request) in self.streams.iter_mut().zip(self.requests.batch()) {
                stream.write_all(&request).unwrap();
            }
            for stream in &mut self.streams {
                read_awake(stream, &mut self.answer);
                assert!(
                    self.answer.starts_with(b"HTTP/1.1 200 ") && self.answer.ends_with(b"}"),
                    "a bad answer"
                );
            }
        }
        begun.elapsed()
    }
}

/// Fills `answer` without ever sleeping: to wake a reader that sleeps on another core costs the server more, in a virtual machine, than all that
/// it does for the answer, and the slower server more often.
fn read_awake(stream: &mut TcpStream, answer: &mut [u8]) {
    let deadline = Instant::now() + PATIENCE;
    let mut filled = 0;
    while filled < answer.len() {
        match stream.read(&mut answer[filled..]) {
            Ok(0) => panic!("the server ended the connection"),
            Ok(bytes) => filled += bytes,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                assert!(Instant::now() < deadline, "there is no answer");
                std::hint::spin_loop();
            }
            Err(error) => panic!("{error}"),
        }
    }
}

fn first_answer(stream: &mut TcpStream, request: &[u8]) -> Vec<u8> {
    stream.write_all(request).unwrap();
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while !answer.ends_with(b"}") {
        let bytes = stream.read(&mut buffer).unwrap();
        assert_ne!(bytes, 0, "the server ended the connection");
        answer.extend_from_slice(&buffer[..bytes]);
    }
    assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", answer.escape_ascii());
    answer
}
