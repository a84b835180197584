//! What a connection has yet to take: which answers are under way, since when each waits for its reader, and
//! how many bytes of them are in memory, by connection, by peer and in all.
//!
//! A reader that does not read is told by what it does not take. Each piece that has been given out and not
//! been written yet, and each body that could go on and is not asked to, is *owed*: it is for the peer to
//! move. What is owed for too long ends the connection. A body that waits for news (a stream of events) owes
//! nothing.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::pieces::PIECE;

/// How many bytes of answers may be in memory for one connection, for all of one peer, and for all.
pub(crate) const IN_FLIGHT: [usize; 3] = [2 << 20, 32 << 20, 256 << 20];

/// Pieces up to this size are not counted: there are no more of them than there are answers.
const FREE: usize = 4 << 10;

/// Room for so many bytes.
pub(crate) type Room = Arc<Semaphore>;

pub(crate) fn room(bytes: usize) -> Room {
    Arc::new(Semaphore::new(bytes))
}

/// The answers of one connection.
#[derive(Debug)]
pub(crate) struct Ledger {
    state: Mutex<State>,
    /// Of this connection, of its peer, of all: always taken in this order.
    rooms: [Room; 3],
}

#[derive(Debug)]
struct State {
    /// How many requests are under way.
    open: usize,
    /// When the last of them came to its end.
    idle_since: Instant,
    /// Since when the peer owes a move, the oldest first.
    owed: BTreeMap<u64, Instant>,
    next: u64,
}

/// Why a connection is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// No request has been under way for so long.
    Idle,
    /// An answer has not been taken for so long.
    Stalled,
}

impl Ledger {
    pub(crate) fn new(peer: Room, all: Room) -> Arc<Self> {
        let state = State { open: 0, idle_since: Instant::now(), owed: BTreeMap::new(), next: 0 };
        let [own, ..] = IN_FLIGHT;
        Arc::new(Self { state: Mutex::new(state), rooms: [room(own), peer, all] })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request is under way, until what is given is dropped.
    pub(crate) fn open(self: &Arc<Self>) -> Open {
        self.state().open += 1;
        Open(Arc::clone(self))
    }

    /// From now on it is for the peer to move.
    fn owe(self: &Arc<Self>) -> Owed {
        let mut state = self.state();
        let number = state.next;
        state.next += 1;
        state.owed.insert(number, Instant::now());
        Owed { ledger: Arc::clone(self), number }
    }

    /// Resolves when the connection is to end.
    pub(crate) async fn due(&self, idle: Duration, stalled: Duration) -> Due {
        loop {
            let now = Instant::now();
            let (is_idle, quiet, oldest) = {
                let state = self.state();
                (state.open == 0, state.idle_since, state.owed.values().next().copied())
            };
            // Since when, and for how long at the most. What begins while this sleeps is due after it.
            let stall = oldest.map(|since| (since, stalled, Due::Stalled));
            let quiet = is_idle.then_some((quiet, idle, Due::Idle));
            let mut next = idle.min(stalled);
            for (since, limit, due) in stall.into_iter().chain(quiet) {
                let passed = now.duration_since(since);
                if passed >= limit {
                    return due;
                }
                next = next.min(limit - passed);
            }
            tokio::time::sleep(next).await;
        }
    }

    /// Waits until there is room for so many bytes.
    async fn make_room(self: Arc<Self>, bytes: usize) -> Option<[OwnedSemaphorePermit; 3]> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let take = |room: &Room| Arc::clone(room).acquire_many_owned(bytes);
        let [own, peer, all] = &self.rooms;
        // The rooms are never closed.
        Some([take(own).await.ok()?, take(peer).await.ok()?, take(all).await.ok()?])
    }
}

/// A request under way.
#[derive(Debug)]
pub(crate) struct Open(Arc<Ledger>);

impl Drop for Open {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.open -= 1;
        state.idle_since = Instant::now();
    }
}

/// A move that the peer owes.
#[derive(Debug)]
struct Owed {
    ledger: Arc<Ledger>,
    number: u64,
}

impl Drop for Owed {
    fn drop(&mut self) {
        self.ledger.state().owed.remove(&self.number);
    }
}

/// A piece that is in memory until it has been written.
struct Piece {
    bytes: Bytes,
    _room: [OwnedSemaphorePermit; 3],
    _owed: Owed,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

type MakingRoom = Pin<Box<dyn Future<Output = Option<[OwnedSemaphorePermit; 3]>> + Send>>;

/// The body of an answer, as the connection takes it.
pub(crate) struct Watched {
    body: Body,
    open: Open,
    owed: Option<Owed>,
    /// What has come from the body and has not been given out.
    rest: Bytes,
    making_room: Option<MakingRoom>,
}

impl Watched {
    pub(crate) fn new(body: Body, open: Open) -> Self {
        let is_over = hyper::body::Body::is_end_stream(&body);
        let owed = (!is_over).then(|| open.0.owe());
        Self { body, open, owed, rest: Bytes::new(), making_room: None }
    }

    fn give(&mut self, piece: Bytes) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        // After the last piece, too: the body is dropped when that has been taken.
        self.owed = Some(self.open.0.owe());
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }
}

impl hyper::body::Body for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        this.owed = None;
        if this.rest.is_empty() {
            match ready!(Pin::new(&mut this.body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => this.rest = data,
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
                other => return Poll::Ready(other),
            }
        }
        let length = this.rest.len().min(PIECE);
        if length <= FREE {
            let piece = this.rest.split_to(length);
            return this.give(piece);
        }
        let ledger = &this.open.0;
        let making = this.making_room.get_or_insert_with(|| Box::pin(Arc::clone(ledger).make_room(length)));
        let room = ready!(making.as_mut().poll(context));
        this.making_room = None;
        let bytes = this.rest.split_to(length);
        match room {
            Some(room) => {
                let owed = this.open.0.owe();
                this.give(Bytes::from_owner(Piece { bytes, _room: room, _owed: owed }))
            }
            None => this.give(bytes),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (hint, rest) = (self.body.size_hint(), self.rest.len() as u64);
        let mut all = SizeHint::new();
        all.set_lower(hint.lower() + rest);
        if let Some(upper) = hint.upper() {
            all.set_upper(upper + rest);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    const IDLE: Duration = Duration::from_secs(15);
    const STALLED: Duration = Duration::from_secs(30);

    fn ledger(all: usize) -> Arc<Ledger> {
        Ledger::new(room(usize::MAX >> 4), room(all))
    }

    /// When it is due, and why.
    async fn due(ledger: &Ledger) -> (Due, Duration) {
        let since = Instant::now();
        (ledger.due(IDLE, STALLED).await, since.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_due_is_due_when_it_is() {
        let ledger = ledger(1 << 20);
        assert_eq!(due(&ledger).await.0, Due::Idle);
        let open = ledger.open();
        // It waits for news, which is nobody's fault.
        let mut body = Watched::new(
            Body::from_stream(futures_util::stream::pending::<Result<Bytes, axum::Error>>()),
            open,
        );
        assert!(futures_util::FutureExt::now_or_never(body.frame()).is_none());
        let silent = tokio::time::timeout(Duration::from_secs(3600), ledger.due(IDLE, STALLED)).await;
        assert!(silent.is_err());
        drop(body);
        let (why, when) = due(&ledger).await;
        assert_eq!((why, when.as_secs()), (Due::Idle, IDLE.as_secs()));
        // One that is never asked for anything is.
        let body = Watched::new(Body::from("x"), ledger.open());
        let (why, when) = due(&ledger).await;
        assert_eq!((why, when.as_secs()), (Due::Stalled, STALLED.as_secs()));
        drop(body);
        // And so is a piece that is given out and never let go of, though the body is over.
        let mut body = Watched::new(Body::from(vec![0; FREE + 1]), ledger.open());
        let piece = body.frame().await.unwrap().unwrap().into_data().unwrap();
        drop(body);
        let other = ledger.open();
        assert_eq!(due(&ledger).await.0, Due::Stalled);
        drop(piece);
        drop(other);
        assert_eq!(due(&ledger).await.0, Due::Idle);
    }

    #[tokio::test]
    async fn a_body_waits_for_room_and_is_the_same_in_pieces() {
        let ledger = ledger(3 * PIECE);
        let bytes: Vec<u8> = (0..10 * PIECE + 7).map(|at| at as u8).collect();
        let mut body = Watched::new(Body::from(bytes.clone()), ledger.open());
        assert_eq!(hyper::body::Body::size_hint(&body).exact(), Some(bytes.len() as u64));
        let mut held = Vec::new();
        while let Some(frame) = futures_util::FutureExt::now_or_never(body.frame()) {
            held.push(frame.unwrap().unwrap().into_data().unwrap());
            assert!(held.len() <= 3, "there is room for three");
        }
        assert_eq!(held.len(), 3);
        let mut all: Vec<u8> = held.drain(..).flatten().collect();
        while let Some(frame) = body.frame().await {
            all.extend_from_slice(&frame.unwrap().into_data().unwrap());
            assert_eq!(hyper::body::Body::size_hint(&body).exact(), Some((bytes.len() - all.len()) as u64));
        }
        assert!(all == bytes);
    }
}
