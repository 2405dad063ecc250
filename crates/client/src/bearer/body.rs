//! Which bodies can be sent a second time.

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::{BoxBody, UnsyncBoxBody};
use http_body_util::{Empty, Full};
use std::pin::Pin;
use std::task::{Context, Poll};

/// The largest body that is kept for a replay by copying it, in bytes: 1 MiB. A body that shares its memory, such as
/// [`Bytes`], is kept at any size.
pub const MAX_COPIED_BYTES: usize = 1 << 20;

/// A request body that says whether it can be sent again.
///
/// A wrong `Some` sends a body that is not the first one's; a wrong `None` costs a replay, and no more.
pub trait ReplayBody: Sized {
    /// The same body once more, unread; `None` when that cannot be had. Must be cheap: it is called for every request.
    fn try_clone(&self) -> Option<Self>;
}

impl ReplayBody for () {
    fn try_clone(&self) -> Option<Self> {
        Some(())
    }
}

impl ReplayBody for Bytes {
    fn try_clone(&self) -> Option<Self> {
        Some(self.clone())
    }
}

impl ReplayBody for String {
    fn try_clone(&self) -> Option<Self> {
        (self.len() <= MAX_COPIED_BYTES).then(|| self.clone())
    }
}

impl<D> ReplayBody for Empty<D> {
    fn try_clone(&self) -> Option<Self> {
        Some(Self::new())
    }
}

impl<D: Clone> ReplayBody for Full<D> {
    fn try_clone(&self) -> Option<Self> {
        Some(self.clone())
    }
}

impl<D, E> ReplayBody for BoxBody<D, E> {
    fn try_clone(&self) -> Option<Self> {
        None
    }
}

impl<D, E> ReplayBody for UnsyncBoxBody<D, E> {
    fn try_clone(&self) -> Option<Self> {
        None
    }
}

#[cfg(feature = "reqwest")]
impl ReplayBody for reqwest::Body {
    fn try_clone(&self) -> Option<Self> {
        let bytes = self.as_bytes().filter(|bytes| bytes.len() <= MAX_COPIED_BYTES)?;
        Some(Self::from(Bytes::copy_from_slice(bytes)))
    }
}

/// Any body, sent once and never again: for streams.
#[derive(Clone, Copy, Debug, Default)]
pub struct OneShot<B>(pub B);

impl<B> ReplayBody for OneShot<B> {
    fn try_clone(&self) -> Option<Self> {
        None
    }
}

impl<B: Body + Unpin> Body for OneShot<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.0).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}
