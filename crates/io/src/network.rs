//! The handle a game holds: everything it can ask of its network. It must not know Python.

use std::time::Duration;

use netplay_proto::{Message, SendError};

use crate::error::Error;
use crate::types::{
    ConnectOptions, ListenOptions, ListenerId, ListenerInfo, ListenerStats, PeerEvent, PeerId, PeerStats, Target,
};

/// All of one game's connections and listeners, and the thread that keeps them alive while the game is busy.
///
/// A cheap handle: clones mean the same network. Every method may be called from any thread. None blocks, except those
/// that say so. The network closes without lingering when the last handle is dropped.
#[derive(Clone)]
pub struct Network {}

impl Network {
    /// Makes a network with nothing in it. Starts no thread and opens no socket yet.
    pub fn new() -> Self {
        todo!()
    }

    /// Opens a listener. When this returns, peers can connect.
    pub fn listen(&self, _url: &str, _options: ListenOptions) -> Result<ListenerInfo, Error> {
        todo!()
    }

    /// Starts to call a remote side and returns at once; the outcome is an event.
    pub fn connect(&self, _url: &str, _options: ConnectOptions) -> Result<PeerId, Error> {
        todo!()
    }

    /// Queues a message and returns to how many peers. The peers in `exclude` are left out.
    ///
    /// To nobody is fine and gives 0. A lossy message to a peer that is still connecting goes to nobody. A peer whose
    /// queue is full is disconnected as too slow, by an event. The only errors are a message that is too large, and
    /// [`Target::One`] of a peer that has ended.
    pub fn send(&self, _to: Target<'_>, _exclude: &[PeerId], _message: &Message) -> Result<usize, SendError> {
        todo!()
    }

    /// Does what [`send`](Self::send) does if that needs no waiting for another thread, otherwise nothing: None.
    pub fn try_send(
        &self,
        _to: Target<'_>,
        _exclude: &[PeerId],
        _message: &Message,
    ) -> Option<Result<usize, SendError>> {
        todo!()
    }

    /// Sends what waits to be sent, receives what has arrived, and appends at most `max` events to `out`.
    /// Returns how many.
    pub fn take(&self, _max: usize, _out: &mut Vec<PeerEvent>) -> usize {
        todo!()
    }

    /// Does what [`take`](Self::take) does if that needs no waiting for another thread, otherwise nothing: None.
    pub fn try_take(&self, _max: usize, _out: &mut Vec<PeerEvent>) -> Option<usize> {
        todo!()
    }

    /// Blocks until an event waits, the timeout is over, or the network is closed. Returns true if an event waits.
    pub fn wait(&self, _timeout: Duration) -> bool {
        todo!()
    }

    /// Returns how many events waited when somebody last looked at the sockets. Takes no lock.
    pub fn events_waiting(&self) -> usize {
        todo!()
    }

    /// Blocks until events have been waiting for `threshold` without the game taking any; true. False when the network
    /// is closed. While the game goes on taking none, it returns true again every `threshold`.
    pub fn wait_stalled(&self, _threshold: Duration) -> bool {
        todo!()
    }

    /// Returns the numbers of a peer, None if it has ended.
    pub fn peer_stats(&self, _peer: PeerId) -> Option<PeerStats> {
        todo!()
    }

    /// Returns the URL of a peer: as it was given to [`connect`](Self::connect), or made from where it called from.
    /// None if its end has been taken as an event.
    pub fn peer_url(&self, _peer: PeerId) -> Option<String> {
        todo!()
    }

    /// Returns which listener a peer came in by; None for one we called, or one that has ended.
    pub fn peer_listener(&self, _peer: PeerId) -> Option<ListenerId> {
        todo!()
    }

    /// Says goodbye to a peer with these words; reliable messages already sent go first. Returns false if it has ended.
    pub fn close_peer(&self, _peer: PeerId, _detail: &str) -> bool {
        todo!()
    }

    /// Says goodbye to a listener's peers and closes it. Returns false if it is closed already.
    pub fn close_listener(&self, _listener: ListenerId) -> bool {
        todo!()
    }

    /// Returns the numbers of a listener, None if it is closed.
    pub fn listener_stats(&self, _listener: ListenerId) -> Option<ListenerStats> {
        todo!()
    }

    /// Returns false once the network has been closed.
    pub fn is_open(&self) -> bool {
        todo!()
    }

    /// Says goodbye to every peer, blocks until all know or `linger` is over, and stops the thread.
    /// Events that were not taken are gone. A second call does nothing.
    pub fn close(&self, _linger: Duration) {
        todo!()
    }
}

impl Default for Network {
    fn default() -> Self {
        Self::new()
    }
}
