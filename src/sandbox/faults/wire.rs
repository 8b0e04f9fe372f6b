//! Connections that can be reset by a handler, and bodies that do not come as they should.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use futures::StreamExt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

/// Gives what was sent time to leave before a connection ends; after a failed accept it spares the processor.
const MOMENT: Duration = Duration::from_millis(50);

/// Pieces of a slow body, and the pause before each.
const PIECES: u64 = 20;
const PAUSE: Duration = Duration::from_millis(100);

/// The handle of one connection.
#[derive(Clone, Default)]
pub struct Wire(Arc<AtomicBool>);

impl Wire {
    /// From here on nothing is sent, and the connection ends with a reset as soon as somebody tries.
    pub fn reset(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_reset(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Accepts connections with a [`Wire`].
pub struct Listener(pub TcpListener);

/// A connection.
pub struct Stream {
    tcp: TcpStream,
    wire: Wire,
}

impl axum::serve::Listener for Listener {
    type Io = Stream;
    type Addr = std::net::SocketAddr;

    async fn accept(&mut self) -> (Stream, Self::Addr) {
        loop {
            match self.0.accept().await {
                Ok((tcp, from)) => {
                    // Only a matter of speed.
                    let _ = tcp.set_nodelay(true);
                    return (Stream { tcp, wire: Wire::default() }, from);
                }
                Err(_) => tokio::time::sleep(MOMENT).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.0.local_addr()
    }
}

impl Connected<IncomingStream<'_, Listener>> for Wire {
    fn connect_info(stream: IncomingStream<'_, Listener>) -> Self {
        stream.io().wire.clone()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.wire.is_reset() {
            // A zero linger makes the close a reset; without it the client sees a proper end.
            let _ = self.tcp.set_zero_linger();
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_read(cx, to)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.wire.is_reset() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Pin::new(&mut self.tcp).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.wire.is_reset() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

/// How a body stops in its middle.
#[derive(Clone)]
pub enum Ending {
    Reset(Wire),
    End,
    Stall,
}

/// The first `keep` bytes of a body, and then the ending.
pub fn cut(body: Body, keep: u64, ending: Ending) -> Body {
    let state = (body.into_data_stream(), keep, ending);
    Body::from_stream(futures::stream::unfold(state, |(mut chunks, left, ending)| async move {
        if left > 0 {
            let mut chunk: Bytes = match chunks.next().await? {
                Ok(chunk) => chunk,
                Err(error) => return Some((Err(io::Error::other(error)), (chunks, 0, ending))),
            };
            chunk.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            let left = left - chunk.len() as u64;
            return Some((Ok(chunk), (chunks, left, ending)));
        }
        tokio::time::sleep(MOMENT).await;
        match &ending {
            Ending::Reset(wire) => wire.reset(),
            Ending::End => {}
            Ending::Stall => std::future::pending().await,
        }
        Some((Err(io::ErrorKind::ConnectionReset.into()), (chunks, 0, ending)))
    }))
}

/// A body of `length` bytes in pieces with pauses.
pub fn slow(body: Body, length: u64) -> Body {
    let piece = usize::try_from(length.div_ceil(PIECES).max(1)).unwrap_or(usize::MAX);
    let state = (body.into_data_stream(), Bytes::new());
    Body::from_stream(futures::stream::unfold(state, move |(mut chunks, mut rest)| async move {
        if rest.is_empty() {
            rest = match chunks.next().await? {
                Ok(chunk) => chunk,
                Err(error) => return Some((Err(io::Error::other(error)), (chunks, rest))),
            };
        }
        tokio::time::sleep(PAUSE).await;
        let now = rest.split_to(piece.min(rest.len()));
        Some((Ok(now), (chunks, rest)))
    }))
}
