//! Peers that were not connected to on purpose: a message was sent to a URL, and when nothing has passed for a while they
//! are closed again.
//!
//! It knows ids, moments and counts. It must not know what passes.

use std::collections::BTreeMap;
use std::time::Duration;

use netplay_proto::Timestamp;

use crate::driver::Driver;
use crate::types::PeerId;

/// How often it is looked whether something has come.
const LOOK: Duration = Duration::from_secs(1);

/// The peers to be closed when nothing passes, and what passed last.
#[derive(Default)]
pub(crate) struct Fleeting {
    peers: BTreeMap<PeerId, Passed>,
    look_at: Timestamp,
}

struct Passed {
    idle: Duration,
    last: Timestamp,
    /// How many messages had come when it was looked last.
    received: u64,
}

impl Fleeting {
    /// Takes in that something was sent.
    pub(crate) fn handle_sent(&mut self, now: Timestamp, peer: PeerId) {
        if let Some(passed) = self.peers.get_mut(&peer) {
            passed.last = now;
        }
    }

    pub(crate) fn clear(&mut self) {
        self.peers.clear();
    }
}

impl Driver {
    /// Closes a peer when nothing has been sent or received for this long.
    pub(crate) fn close_when_idle(&mut self, now: Timestamp, peer: PeerId, idle: Duration) {
        let passed = Passed {
            idle,
            last: now,
            received: 0,
        };
        self.fleeting.peers.insert(peer, passed);
        self.fleeting.look_at = now + LOOK.min(idle);
    }

    /// Closes those for whom nothing has passed. Returns when to look again.
    pub(crate) fn close_idle(&mut self, now: Timestamp) -> Option<Timestamp> {
        if self.fleeting.peers.is_empty() {
            return None;
        }
        if now < self.fleeting.look_at {
            return Some(self.fleeting.look_at);
        }
        let mut all = std::mem::take(&mut self.fleeting.peers);
        let mut shortest = LOOK;
        all.retain(|peer, passed| {
            let Some(stats) = self.peer_stats(*peer) else {
                return false;
            };
            // What waits to be sent, or to be connected, is not idle.
            if stats.connection.messages_received != passed.received
                || stats.connection.queued_bytes > 0
                || stats.address.is_empty()
            {
                passed.received = stats.connection.messages_received;
                passed.last = now;
            }
            let is_idle = now.since(passed.last) >= passed.idle;
            if is_idle {
                self.close_peer(now, *peer, "idle");
            }
            shortest = shortest.min(passed.idle);
            !is_idle
        });
        self.fleeting.peers = all;
        self.fleeting.look_at = now + shortest;
        (!self.fleeting.peers.is_empty()).then_some(self.fleeting.look_at)
    }
}
