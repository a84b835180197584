//! A connection's bytes, watched: whether anything has come, and a last word to a caller whose request
//! did not come in time (hyper only closes the connection then).

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

const TOO_SLOW: &[u8] = b"HTTP/1.1 408 Request Timeout\r\n\
    content-type: application/problem+json\r\n\
    connection: close\r\n\
    content-length: 136\r\n\r\n\
    {\"type\":\"urn:inflight:problem:head-timeout\",\"title\":\"The request did not arrive in time\",\
    \"status\":408,\"detail\":\"the head took too long\"}";

/// What is known of a connection from outside.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    received: AtomicU64,
    first: Notify,
    /// Bytes have come since the last answer.
    mid_request: AtomicBool,
    too_slow: AtomicBool,
}

impl Traffic {
    /// How many bytes have come.
    pub(crate) fn received(&self) -> u64 {
        // Relaxed, all of them: the connection and who watches it are one task.
        self.received.load(Ordering::Relaxed)
    }

    /// Resolves when the first byte has come.
    pub(crate) async fn first(&self) {
        while self.received() == 0 {
            self.first.notified().await;
        }
    }

    /// The connection ends because a head took too long.
    pub(crate) fn was_too_slow(&self) {
        self.too_slow.store(true, Ordering::Relaxed);
    }
}

/// A stream whose traffic is watched.
#[derive(Debug)]
pub(crate) struct Wire<S: AsyncWrite + Unpin> {
    stream: S,
    traffic: Arc<Traffic>,
}

impl<S: AsyncWrite + Unpin> Wire<S> {
    pub(crate) fn new(stream: S) -> (Self, Arc<Traffic>) {
        let traffic = Arc::new(Traffic::default());
        (Self { stream, traffic: Arc::clone(&traffic) }, traffic)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Wire<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        let count = buffer.filled().len() - before;
        if count > 0 {
            self.traffic.mid_request.store(true, Ordering::Relaxed);
            if self.traffic.received.fetch_add(count as u64, Ordering::Relaxed) == 0 {
                self.traffic.first.notify_one();
            }
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.traffic.mid_request.store(false, Ordering::Relaxed);
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.traffic.mid_request.store(false, Ordering::Relaxed);
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

impl<S: AsyncWrite + Unpin> Drop for Wire<S> {
    fn drop(&mut self) {
        let is_owed = self.traffic.too_slow.load(Ordering::Relaxed);
        if is_owed && self.traffic.mid_request.load(Ordering::Relaxed) {
            // What the system does not take at once is not worth waiting for.
            let mut context = Context::from_waker(Waker::noop());
            let _ = Pin::new(&mut self.stream).poll_write(&mut context, TOO_SLOW);
            let _ = Pin::new(&mut self.stream).poll_flush(&mut context);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_is_as_long_as_it_says() {
        let text = std::str::from_utf8(TOO_SLOW).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())), "{}", body.len());
        assert!(serde_json::from_str::<serde_json::Value>(body).is_ok());
    }
}
