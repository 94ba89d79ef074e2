//! To whom a message goes, and what becomes of it where it cannot go now.
//!
//! A part of the [`Driver`].

use netplay_proto::message::{MAX_LOSSY_SIZE, MAX_RELIABLE_SIZE};
use netplay_proto::{ConnectionId, Message, Reason, Timestamp};

use crate::driver::{Driver, Line, Peer, SlotId};
use crate::error::SendError;
use crate::slot::Slot;
use crate::types::{PeerId, Target};

/// What a message counts for beside its bytes while it waits for a key, so that empty ones are bounded too.
const MESSAGE_COST: usize = 64;

impl Driver {
    /// Queues a message and returns to how many peers.
    pub(crate) fn send(
        &mut self,
        now: Timestamp,
        to: Target<'_>,
        exclude: &[PeerId],
        message: &Message,
    ) -> Result<usize, SendError> {
        check_size(message)?;
        self.foreign_refusal(to, exclude, message)?;
        self.has_sent = true;
        let mut count = 0;
        match to {
            Target::One(peer) => {
                if !exclude.contains(&peer) {
                    count += usize::from(self.send_one(now, peer, message)?);
                }
            }
            Target::Many(peers) => {
                for peer in peers {
                    if !exclude.contains(peer) {
                        count += or_none_if_closed(self.send_one(now, *peer, message))?;
                    }
                }
            }
            Target::All => {
                // The list is used again: a broadcast allocates nothing once it has grown.
                let mut recipients = std::mem::take(&mut self.recipients);
                recipients.clear();
                recipients.extend(
                    self.peers
                        .iter()
                        .filter(|(peer, _)| !exclude.contains(peer) && !self.rooms.is_link(**peer))
                        .map(|(id, peer)| match &peer.line {
                            Line::Connection(connection) => (*id, Some((peer.slot, *connection))),
                            Line::Guest(_) | Line::Member(..) | Line::Waiting { .. } => (*id, None),
                        }),
                );
                let sent = recipients.iter().map(|(peer, connection)| match connection {
                    Some((slot, connection)) => self.send_on(now, *peer, *slot, *connection, message),
                    None => self.send_one(now, *peer, message),
                });
                let result: Result<usize, SendError> = sent.map(or_none_if_closed).sum();
                self.recipients = recipients;
                count += result?;
            }
        }
        Ok(count)
    }

    /// Queues a message for one peer and returns whether it was taken. What is given away is not copied.
    pub(crate) fn give(&mut self, now: Timestamp, to: PeerId, message: Message) -> Result<bool, SendError> {
        check_size(&message)?;
        self.foreign_refusal(Target::One(to), &[], &message)?;
        self.has_sent = true;
        match self.peers.get(&to) {
            Some(Peer {
                slot,
                line: Line::Connection(connection),
                ..
            }) => self.send_on(now, to, *slot, *connection, message),
            _ => self.send_one(now, to, &message),
        }
    }

    /// Returns the moment to send with. For lossy messages, which go bad, it is the present one; reliable ones sent in a row,
    /// with no drive between, share that of the first: reading the clock is a fifteenth of what sending takes.
    pub(crate) fn moment_of_sending(&mut self, is_lossy: bool, now: impl FnOnce() -> Timestamp) -> Timestamp {
        if is_lossy {
            return now();
        }
        *self.sent_at.get_or_insert_with(now)
    }

    /// Returns false if the message is lossy and the connection not made yet.
    fn send_one(&mut self, now: Timestamp, id: PeerId, message: &Message) -> Result<bool, SendError> {
        let peer = self.peers.get_mut(&id).ok_or(SendError::Closed)?;
        let slot = peer.slot;
        match &mut peer.line {
            Line::Guest(guest) => {
                let guest = *guest;
                self.fleeting.handle_sent(now, id);
                self.send_foreign(now, slot, guest, message)
            }
            Line::Connection(connection) => {
                let connection = *connection;
                self.send_on(now, id, slot, connection, message)
            }
            Line::Member(room, order) => {
                let member = (*room, *order);
                self.send_to_member(now, member, message)
            }
            Line::Waiting { .. } if message.delivery.is_lossy => Ok(false),
            Line::Waiting { messages, bytes, .. } => {
                let limits = self.slots.get(&slot).map(Slot::limits).ok_or(SendError::Closed)?;
                let (size, limit) = (message.data.len(), limits.message_size);
                if size > limit {
                    return Err(SendError::TooLarge { size, limit });
                }
                *bytes += size + MESSAGE_COST;
                messages.push(message.clone());
                if *bytes > limits.send_queue {
                    self.fail(id, Reason::TooSlow, "too much was sent before the connection was made");
                }
                Ok(true)
            }
        }
    }

    /// Sends on the connection of a peer. Returns false if the message is lossy and the connection not made yet.
    pub(crate) fn send_on(
        &mut self,
        now: Timestamp,
        id: PeerId,
        slot: SlotId,
        connection: ConnectionId,
        message: impl Into<Message>,
    ) -> Result<bool, SendError> {
        self.fleeting.handle_sent(now, id);
        let result = self.contained(slot, |slot| {
            slot.endpoint.send(now, connection, message).map_err(SendError::from)
        });
        match result.unwrap_or(Err(SendError::Closed)) {
            Ok(_) => Ok(true),
            Err(SendError::NotConnected) => Ok(false),
            // Our own limit has been looked at before: it is this peer that takes less, and not the game's fault.
            Err(SendError::TooLarge { size, limit }) => {
                let detail = format!("a message of {size} bytes was sent to it, it accepts {limit}");
                self.abort_peer(now, id, Reason::TooLarge, &detail);
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}

/// Says so if a message is too large for anybody; also when there is nobody to send to, so that a game finds it before its
/// first player does.
fn check_size(message: &Message) -> Result<(), SendError> {
    let limit = if message.delivery.is_lossy {
        MAX_LOSSY_SIZE
    } else {
        MAX_RELIABLE_SIZE
    };
    let size = message.data.len();
    if size > limit {
        return Err(SendError::TooLarge { size, limit });
    }
    Ok(())
}

/// Counts one of several recipients: that it has just ended is not the caller's fault.
fn or_none_if_closed(result: Result<bool, SendError>) -> Result<usize, SendError> {
    match result {
        Err(SendError::Closed) => Ok(0),
        other => other.map(usize::from),
    }
}
