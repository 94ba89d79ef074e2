//! What waits for the game: events of all connections in the order of arrival.
//!
//! Bounds: reliable messages by the credit each remote side has (it comes back when they are taken out), lossy ones by
//! [`LOSSY_COUNT`] and [`LOSSY_BYTES`] per connection: the oldest make room for the newest. Events beside messages are a handful
//! per connection. Of a room, what is not for the game goes aside, where a layer takes it out after every datagram.

use std::collections::{BTreeMap, VecDeque};

use crate::endpoint::ConnectionId;
use crate::intake::Delivered;
use crate::message::{Event, Kind};

/// Lossy messages of one connection that wait for the game.
const LOSSY_COUNT: usize = 4096;
const LOSSY_BYTES: usize = 1 << 20;

/// How many empty queues are kept, and how many messages each may have room for.
const SPARE_COUNT: usize = 64;
const SPARE_SIZE: usize = 16;

/// Events that wait for the game.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    queue: VecDeque<(ConnectionId, Entry)>,
    lossy: BTreeMap<ConnectionId, LossyQueue>,
    /// Where the layer between takes what is not for the game, if there is such a layer.
    aside: Option<VecDeque<(ConnectionId, Event, Option<usize>)>>,
    /// Queues that are empty, to be used again: a message that is soon taken costs no allocation of its own.
    spare: Vec<VecDeque<Delivered>>,
}

#[derive(Debug)]
enum Entry {
    Event(Event),
    Reliable(Delivered),
    /// Stands for the oldest lossy message of the connection.
    Lossy,
}

#[derive(Debug, Default)]
struct LossyQueue {
    messages: VecDeque<Delivered>,
    bytes: usize,
    /// Entries in the queue that stand for one of them.
    places: usize,
}

impl Inbox {
    /// Returns how many events wait.
    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    /// From now on all events but the game's messages go aside.
    pub(crate) fn set_aside(&mut self) {
        self.aside.get_or_insert_default();
    }

    /// Takes the oldest thing out that went aside; with it the size to give credit for.
    pub(crate) fn pop_aside(&mut self) -> Option<(ConnectionId, Event, Option<usize>)> {
        self.aside.as_mut()?.pop_front()
    }

    /// Adds an event that is not a message.
    pub(crate) fn push_event(&mut self, id: ConnectionId, event: Event) {
        if let Some(aside) = &mut self.aside {
            aside.push_back((id, event, None));
            return;
        }
        self.queue.push_back((id, Entry::Event(event)));
    }

    /// Adds a message and returns how many older lossy ones were dropped for it.
    pub(crate) fn push_message(&mut self, id: ConnectionId, message: Delivered) -> u64 {
        if let Some(aside) = &mut self.aside
            && (message.kind == Kind::ROOM || message.kind == Kind::PASS_ON)
        {
            let is_lossy = message.lane.delivery().is_lossy;
            if is_lossy && aside.len() >= LOSSY_COUNT {
                return 1;
            }
            let credit = (!is_lossy).then_some(message.data.len());
            aside.push_back((id, message.into_event(), credit));
            return 0;
        }
        if !message.lane.delivery().is_lossy {
            self.queue.push_back((id, Entry::Reliable(message)));
            return 0;
        }
        let lossy = self.lossy.entry(id).or_insert_with(|| LossyQueue {
            messages: self.spare.pop().unwrap_or_default(),
            ..LossyQueue::default()
        });
        lossy.bytes += message.data.len();
        lossy.messages.push_back(message);
        let mut dropped = 0;
        while lossy.messages.len() > LOSSY_COUNT || (lossy.bytes > LOSSY_BYTES && lossy.messages.len() > 1) {
            lossy.pop();
            dropped += 1;
        }
        // A dropped message leaves its place in the queue to a newer one.
        if lossy.places < lossy.messages.len() {
            lossy.places += 1;
            self.queue.push_back((id, Entry::Lossy));
        }
        dropped
    }

    /// Takes the oldest event out; with it the size to give credit for, if it is a reliable message.
    pub(crate) fn pop(&mut self) -> Option<(ConnectionId, Event, Option<usize>)> {
        loop {
            let (id, entry) = self.queue.pop_front()?;
            match entry {
                Entry::Event(event) => return Some((id, event, None)),
                Entry::Reliable(message) => {
                    let size = message.data.len();
                    return Some((id, message.into_event(), Some(size)));
                }
                Entry::Lossy => {
                    let Some(lossy) = self.lossy.get_mut(&id) else { continue };
                    lossy.places -= 1;
                    let message = lossy.pop();
                    if lossy.places == 0
                        && let Some(empty) = self.lossy.remove(&id)
                        && empty.messages.capacity() <= SPARE_SIZE
                        && self.spare.len() < SPARE_COUNT
                    {
                        self.spare.push(empty.messages);
                    }
                    // Places may outnumber messages after large ones were dropped.
                    let Some(message) = message else { continue };
                    return Some((id, message.into_event(), None));
                }
            }
        }
    }
}

impl LossyQueue {
    fn pop(&mut self) -> Option<Delivered> {
        let message = self.messages.pop_front()?;
        self.bytes -= message.data.len();
        Some(message)
    }
}

impl Delivered {
    fn into_event(self) -> Event {
        Event::Message {
            channel: self.lane.channel(),
            delivery: self.lane.delivery(),
            kind: self.kind,
            sequence_id: self.sequence_id,
            data: self.data,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::payload::Payload;

    use super::*;
    use crate::lane::LaneId;
    use crate::message::Delivery;

    fn message(delivery: Delivery, sequence_id: u64, size: usize) -> Delivered {
        Delivered {
            lane: LaneId::new(0, delivery),
            kind: Kind::BYTES,
            sequence_id,
            data: Payload::from(vec![0; size]),
        }
    }

    fn sequence_ids(inbox: &mut Inbox) -> Vec<u64> {
        std::iter::from_fn(|| inbox.pop())
            .map(|(_, event, _)| match event {
                Event::Message { sequence_id, .. } => sequence_id,
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn a_full_lossy_inbox_keeps_the_newest_and_every_reliable_message() {
        let mut inbox = Inbox::default();
        let (ada, bob) = (ConnectionId(1), ConnectionId(2));
        let mut dropped = 0;
        for sequence_id in 0..10_000 {
            dropped += inbox.push_message(ada, message(Delivery::LOSSY, sequence_id, 10));
            if sequence_id % 1000 == 0 {
                inbox.push_message(bob, message(Delivery::RELIABLE, 1 << 40 | sequence_id, 10));
            }
        }
        assert_eq!(dropped, 10_000 - LOSSY_COUNT as u64);
        assert_eq!(inbox.len(), LOSSY_COUNT + 10);
        let (reliable, lossy): (Vec<_>, Vec<_>) = sequence_ids(&mut inbox).into_iter().partition(|id| id >> 40 == 1);
        assert_eq!(reliable.len(), 10);
        assert_eq!(lossy, (10_000 - LOSSY_COUNT as u64..10_000).collect::<Vec<_>>());
        assert!(inbox.lossy.is_empty() && inbox.queue.is_empty());
    }

    #[test]
    fn a_large_lossy_message_pushes_many_out() {
        let mut inbox = Inbox::default();
        for sequence_id in 0..20 {
            inbox.push_message(ConnectionId(1), message(Delivery::LOSSY, sequence_id, 60_000));
        }
        let kept = sequence_ids(&mut inbox);
        assert_eq!(kept.last(), Some(&19));
        assert_eq!(kept.len(), LOSSY_BYTES / 60_000);
        inbox.push_message(ConnectionId(1), message(Delivery::LOSSY, 20, 1));
        assert_eq!(sequence_ids(&mut inbox), [20]);
    }
}
