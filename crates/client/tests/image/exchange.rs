//! An exchange whose buffers are wiped, so that whatever is found is of the crate that uses it.

use bytes::Bytes;
use http::{Request, Response};
use jeton::http::{ExchangeError, ExchangeFuture, ExchangeLimits, HttpExchange};
use jeton_proto::secret::wiped_bytes;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use zeroize::Zeroizing;

/// The most that the server of the test answers.
const MOST_BYTES: usize = 16 * 1024;

pub(crate) struct OwnExchange;

impl HttpExchange for OwnExchange {
    fn exchange(&self, request: Request<Bytes>, _: ExchangeLimits) -> ExchangeFuture<'_> {
        Box::pin(async move { Ok(send(&request).unwrap()) })
    }
}

fn send(request: &Request<Bytes>) -> Result<Response<Bytes>, Box<dyn std::error::Error>> {
    let uri = request.uri();
    let mut stream = TcpStream::connect(uri.authority().unwrap().as_str())?;
    // Each part goes out as it is, and none is copied to be sent with another.
    write!(stream, "POST {} HTTP/1.1\r\ncontent-length: {}\r\n", uri.path(), request.body().len())?;
    for (name, value) in request.headers() {
        write!(stream, "{name}: ")?;
        stream.write_all(value.as_bytes())?;
        stream.write_all(b"\r\n")?;
    }
    stream.write_all(b"\r\n")?;
    stream.write_all(request.body())?;
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut answer = Zeroizing::new(Vec::with_capacity(MOST_BYTES));
    (&mut stream).take(MOST_BYTES as u64 - 64).read_to_end(&mut answer)?;
    let head = answer.windows(4).position(|window| window == b"\r\n\r\n").ok_or(ExchangeError::TimedOut)?;
    let status = std::str::from_utf8(&answer[9..12])?.parse::<u16>()?;
    let body = wiped_bytes(answer[head + 4..].to_vec());
    Ok(Response::builder().status(status).body(body)?)
}
