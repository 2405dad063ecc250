//! A stream as the HTTP library is given it.

use jeton_proto::secret::wipe;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// An answer that is not longer is put together in one piece.
const MAX_PIECE_BYTES: usize = 2048;

/// The stream within, of which a shutdown is left to whoever takes it out again.
///
/// Head and body of a short answer are written in one piece: to give the system two costs it more than to copy them does (0.2 us of 6).
#[derive(Debug)]
pub(super) struct KeptOpen<S> {
    stream: S,
    /// Zeros alone, but while it is written: there may be a token in it.
    piece: Vec<u8>,
}

impl<S> KeptOpen<S> {
    pub(super) const fn new(stream: S) -> Self {
        Self { stream, piece: Vec::new() }
    }

    pub(super) fn into_inner(self) -> S {
        self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for KeptOpen<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for KeptOpen<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let bytes: usize = parts.iter().map(|part| part.len()).sum();
        if parts.len() < 2 || bytes > MAX_PIECE_BYTES {
            return Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        }
        let Self { stream, piece } = &mut *self;
        piece.clear();
        piece.reserve_exact(bytes);
        for part in parts {
            piece.extend_from_slice(part);
        }
        let written = Pin::new(stream).poll_write(context, piece);
        wipe(piece);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    /// Takes four bytes at a time, as every second call, and remembers the calls.
    #[derive(Default)]
    struct Peer {
        calls: Vec<(&'static str, usize)>,
        taken: Vec<u8>,
        ready: bool,
        shut_down: bool,
    }

    impl Peer {
        fn take(&mut self, call: &'static str, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
            let bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
            self.calls.push((call, bytes.len()));
            self.ready = !self.ready;
            if self.ready {
                return Poll::Pending;
            }
            let taken = &bytes[..bytes.len().min(4)];
            self.taken.extend_from_slice(taken);
            Poll::Ready(Ok(taken.len()))
        }
    }

    impl AsyncWrite for Peer {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.take("one", &[IoSlice::new(bytes)])
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            parts: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            self.take("several", parts)
        }

        fn is_write_vectored(&self) -> bool {
            true
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.shut_down = true;
            Poll::Ready(Ok(()))
        }
    }

    fn is_wiped(piece: &Vec<u8>) -> bool {
        piece.len() >= 11 && piece.len() == piece.capacity() && piece.iter().all(|byte| *byte == 0)
    }

    fn write(stream: &mut KeptOpen<Peer>, parts: &[&[u8]]) -> Poll<usize> {
        let parts: Vec<_> = parts.iter().map(|part| IoSlice::new(part)).collect();
        let mut context = Context::from_waker(Waker::noop());
        Pin::new(stream).poll_write_vectored(&mut context, &parts).map(Result::unwrap)
    }

    #[test]
    fn a_short_answer_is_one_piece_of_which_nothing_is_left() {
        let mut stream = KeptOpen::new(Peer::default());
        assert!(stream.is_write_vectored());
        for parts in [[&b"head "[..], b"canary"], [b" ", b"canary"]] {
            assert_eq!(write(&mut stream, &parts), Poll::Pending);
            assert!(is_wiped(&stream.piece), "while it waits");
            assert_eq!(write(&mut stream, &parts), Poll::Ready(4));
            assert!(is_wiped(&stream.piece));
        }
        let peer = stream.into_inner();
        assert_eq!(peer.calls, [("one", 11), ("one", 11), ("one", 7), ("one", 7)]);
        assert_eq!(peer.taken, b"head can");
    }

    #[test]
    fn a_long_answer_and_one_part_are_written_as_they_are() {
        let mut stream = KeptOpen::new(Peer { ready: true, ..Peer::default() });
        let long = [b'x'; MAX_PIECE_BYTES];
        assert_eq!(write(&mut stream, &[b"h", &long]), Poll::Ready(4));
        assert_eq!(write(&mut stream, &[&long]), Poll::Pending);
        assert_eq!(stream.piece.capacity(), 0);
        let peer = stream.into_inner();
        assert_eq!(peer.calls, [("several", MAX_PIECE_BYTES + 1), ("several", MAX_PIECE_BYTES)]);
        assert_eq!(peer.taken, b"hxxx");
    }

    #[test]
    fn the_end_is_left_to_who_takes_the_stream_out() {
        let mut stream = KeptOpen::new(Peer::default());
        let mut context = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut stream).poll_shutdown(&mut context).is_ready());
        assert!(!stream.into_inner().shut_down);
    }
}
