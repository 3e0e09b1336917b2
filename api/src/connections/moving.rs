//! A stream whose writes must move: a client that does not read is given up, whatever it is being told.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use metrics::counter;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// Fails a write that waits longer than the bound without one byte of progress. Nothing is timed while nothing waits
/// to be written, so idle connections cost nothing.
pub struct Moving<S> {
    stream: S,
    wait_max: Duration,
    /// Runs since the stream took nothing.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> Moving<S> {
    /// Around `stream`.
    pub fn new(stream: S, wait_max: Duration) -> Self {
        Self {
            stream,
            wait_max,
            stalled: None,
        }
    }

    /// What becomes of a try to write.
    fn judge<T>(&mut self, tried: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if tried.is_ready() {
            self.stalled = None;
            return tried;
        }
        let wait_max = self.wait_max;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(wait_max)));
        ready!(stalled.as_mut().poll(cx));
        counter!("ruche_slow_readers_total").increment(1);
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the client does not read",
        )))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Moving<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Moving<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let tried = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.judge(tried, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let tried = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.judge(tried, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let tried = Pin::new(&mut self.stream).poll_flush(cx);
        self.judge(tried, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::Instant;

    use super::*;

    const WAIT: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn a_client_that_never_reads_is_given_up() {
        let (server, _client) = duplex(4);
        let mut server = Moving::new(server, WAIT);
        let begun = Instant::now();
        let error = server.write_all(b"more than it holds").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(begun.elapsed() >= WAIT && begun.elapsed() < 2 * WAIT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_slowly_is_served() {
        let (server, mut client) = duplex(1);
        let mut server = Moving::new(server, WAIT);
        let begun = Instant::now();
        let read = tokio::spawn(async move {
            let mut read = String::new();
            while read.len() < 5 {
                sleep(WAIT - Duration::from_secs(1)).await;
                read.push(char::from(client.read_u8().await.unwrap()));
            }
            read
        });
        server.write_all(b"bytes").await.unwrap();
        assert_eq!(read.await.unwrap(), "bytes");
        assert!(begun.elapsed() > 4 * WAIT);
    }
}
