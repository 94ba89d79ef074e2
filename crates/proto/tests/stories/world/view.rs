//! What a test can see of a world: moments, numbers, and what each end was told. Nothing here changes anything.

use std::time::Duration;

use netplay_proto::Payload;
use netplay_proto::{ConnectionStats, Delivery, Event, Timestamp};

use super::{End, Side, World};

impl World {
    /// Returns the moment as endpoints see it.
    pub(crate) fn timestamp(&self) -> Timestamp {
        Timestamp::from_micros(self.now.as_micros() as u64)
    }

    /// Returns the same connection as the other side sees it.
    #[track_caller]
    pub(crate) fn other(&self, end: End) -> End {
        self.ledger.other(end).expect("both sides know of the connection")
    }

    /// Returns whether an end has been told that it is connected and not that it is no longer.
    pub(crate) fn is_connected(&self, end: End) -> bool {
        self.ledger.is_connected(end)
    }

    /// Returns the numbers of a connection that has not ended.
    pub(crate) fn stats(&self, end: End) -> ConnectionStats {
        let endpoint = self.members[end.side].endpoint.as_ref().expect("the side is alive");
        endpoint.connection_stats(end.id).expect("the connection is open")
    }

    /// Returns what an end was told, apart from messages.
    pub(crate) fn told(&self, end: End) -> Vec<&Event> {
        let events = self.log.iter().filter(|h| h.end == end).map(|h| &h.event);
        events.filter(|event| !matches!(event, Event::Message { .. })).collect()
    }

    /// Returns when an end was first told something, and what.
    #[track_caller]
    pub(crate) fn first(&self, end: End, is_wanted: impl Fn(&Event) -> bool) -> (Duration, &Event) {
        let found = self.log.iter().find(|h| h.end == end && is_wanted(&h.event));
        found
            .map(|h| (h.at, &h.event))
            .unwrap_or_else(|| panic!("{end:?} never; what happened:\n{}", self.story()))
    }

    /// Returns the messages that an end received, in order: channel and bytes.
    pub(crate) fn messages(&self, end: End) -> Vec<(u8, Payload)> {
        let received = self.log.iter().filter(|h| h.end == end);
        received
            .filter_map(|h| match &h.event {
                Event::Message { channel, data, .. } => Some((*channel, data.clone())),
                _ => None,
            })
            .collect()
    }

    /// Returns the messages that an end received on one channel with one delivery, in order.
    pub(crate) fn received(&self, end: End, wanted_channel: u8, wanted_delivery: Delivery) -> Vec<Payload> {
        let received = self.log.iter().filter(|h| h.end == end);
        received
            .filter_map(|h| match &h.event {
                Event::Message {
                    channel,
                    delivery,
                    data,
                    ..
                } if (*channel, *delivery) == (wanted_channel, wanted_delivery) => Some(data.clone()),
                _ => None,
            })
            .collect()
    }

    /// Returns the connections that a side was told are made, oldest first.
    pub(crate) fn connected_ends(&self, side: Side) -> Vec<End> {
        let connected = self
            .log
            .iter()
            .filter(|h| h.end.side == side && matches!(h.event, Event::Connected { .. }));
        connected.map(|h| h.end).collect()
    }

    /// Returns how many datagrams were sent so far by all sides, and their bytes.
    pub(crate) fn traffic(&self) -> (u64, u64) {
        (self.datagrams, self.datagram_bytes)
    }

    /// Returns the last events that are not messages, a line each, for a person to read.
    pub(crate) fn story(&self) -> String {
        let events = self.log.iter().filter(|h| !matches!(h.event, Event::Message { .. }));
        let lines: Vec<_> = events
            .map(|h| format!("  {:?} {:?} {:?}", h.at, h.end, h.event))
            .collect();
        let skipped = lines.len().saturating_sub(20);
        format!(
            "{}\n  (now {:?}; {:?})",
            lines[skipped..].join("\n"),
            self.now,
            self.network.stats()
        )
    }
}
