//! How a connection fills its next packet: acknowledgements first, then what keeps the connection going, then messages, then
//! copies.

use super::{Connection, MAX_REMEMBERED, State, TRICKLE};
use crate::acks::Urgency;
use crate::address::Path;
use crate::copies::MAX_COPIED;
use crate::flight::Carried;
use crate::outbox::Allowed;
use crate::time::Timestamp;
use crate::wire::{Chunk, FRAGMENT_SIZE, MessageChunk, PacketHeader, TAG_LEN};

impl Connection {
    /// Writes the next packet, of at most `size` bytes, and returns its path; None if there is nothing to send now. The size may
    /// differ from one packet to the next, but is never less than [`MIN_DATAGRAM`](crate::wire::MIN_DATAGRAM).
    pub(crate) fn poll_packet(
        &mut self,
        now: Timestamp,
        size: usize,
        payload: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Option<Path> {
        if self.state == State::Gone || self.cut_since.is_some() || self.is_held || self.is_quiet(now) {
            return None;
        }
        payload.clear();
        self.carried.clear();
        if let Some(path) = self.roaming.pack(payload) {
            self.seal(now, payload, Urgency::Soon, true, out);
            return Some(path);
        }
        let room = size - PacketHeader::MAX_LEN - TAG_LEN;
        // In every packet, and no reason for one.
        if let Some(away) = self.resumed {
            Chunk::Resumed(away).emit(payload);
        }
        let prefix_len = payload.len();
        if self.acks.has_news()
            && let Some(largest) = self.acks.emit(now, payload)
        {
            self.carried.push(Carried::Ack(largest));
        }
        let ack_len = payload.len();
        self.pack_control(payload);
        let has_control = payload.len() > ack_len;
        let is_app_limited = self.pack_messages(now, room, payload);
        let mut urgency = if has_control || self.carried.iter().any(|carried| matches!(carried, Carried::Unit(_))) {
            Urgency::Soon
        } else if payload.len() > ack_len {
            Urgency::Lazy
        } else {
            Urgency::None
        };
        if urgency == Urgency::Lazy && !is_app_limited && payload.len() < room {
            // The window is full: what opens it must not be held back.
            Chunk::Ping.emit(payload);
            urgency = Urgency::Soon;
        }
        if urgency == Urgency::None {
            // A long one that left no room for what waits goes now, and what waits in the next.
            let is_in_the_way = ack_len > room - FRAGMENT_SIZE - MessageChunk::MAX_HEADER && !is_app_limited;
            if ack_len == prefix_len || (!is_in_the_way && self.acks.due().is_none_or(|due| due > now)) {
                return None;
            }
            if self.acks.has_many_ranges() && now - self.last_ping > self.rtt.smoothed() {
                self.last_ping = now;
                Chunk::Ping.emit(payload);
                urgency = Urgency::Soon;
            }
        }
        if urgency != Urgency::None {
            self.probes_due = self.probes_due.saturating_sub(1);
        }
        if ack_len > prefix_len {
            self.acks.handle_sent();
        }
        self.seal(now, payload, urgency, is_app_limited, out);
        Some(self.path)
    }

    /// Returns true if it takes no packing to see that there is nothing to send: so after most packets that arrive.
    fn is_quiet(&self, now: Timestamp) -> bool {
        self.state == State::Open
            && self.outbox.has_nothing()
            && self.acks.due().is_none_or(|due| due > now)
            && !(self.is_ping_due || self.is_credit_due || self.intake.has_new_credit())
            && self.probes_due == 0
            && self.roaming.is_settled()
            && !self.copies.is_due(now)
    }

    /// Makes a packet of this payload and takes note of it.
    fn seal(&mut self, now: Timestamp, payload: &[u8], urgency: Urgency, is_app_limited: bool, out: &mut Vec<u8>) {
        let number = self.flight.next_number();
        out.clear();
        PacketHeader {
            is_odd_phase: self.session.begin_packet(now, number),
            ..PacketHeader::new(self.remote_id, number, self.flight.unacked_span())
        }
        .emit(out);
        self.session.seal(number, payload, out);
        self.flight
            .record(now, out.len(), urgency, is_app_limited, &self.carried);
        self.stats.packets_sent += 1;
        self.stats.bytes_sent += out.len() as u64;
        self.pacer.handle_sent(now, out.len());
    }

    fn pack_control(&mut self, payload: &mut Vec<u8>) {
        if let State::Closing {
            reason,
            detail,
            is_close_due,
            ..
        } = &mut self.state
            && (*is_close_due || self.probes_due > 0)
        {
            *is_close_due = false;
            Chunk::Close {
                reason: reason.number(),
                detail,
            }
            .emit(payload);
            self.carried.push(Carried::Close);
        }
        if matches!(self.state, State::Drained { .. }) {
            return;
        }
        if let Some(total) = self.intake.new_credit() {
            Chunk::Credit(total).emit(payload);
            self.carried.push(Carried::Credit);
            self.is_credit_due = false;
        } else if self.is_credit_due {
            Chunk::Credit(self.intake.granted()).emit(payload);
            self.carried.push(Carried::Credit);
            self.is_credit_due = false;
        }
        if std::mem::take(&mut self.is_ping_due) {
            Chunk::Ping.emit(payload);
        }
    }

    /// Packs messages as far as the path allows. Returns true if the path could take more than the game has to send.
    fn pack_messages(&mut self, now: Timestamp, room: usize, payload: &mut Vec<u8>) -> bool {
        if !self.is_sending() {
            return true;
        }
        let (under_way, small) = (self.flight.bytes(), self.flight.small_bytes());
        let (window, small_window) = (self.congestion.window(), self.congestion.small_window());
        let is_full = self.flight.len() >= MAX_REMEMBERED;
        // Where nothing is acknowledged any more, the window says nothing of the path: it may be open again at the next packet.
        // Once the game knows that the path is lost, probes alone look for it.
        let is_trickle =
            self.lost_since.is_none() && self.flight.silent_since().is_some_and(|last| now - last >= TRICKLE);
        // Each class stops before the one above it does: a large message never keeps a small one waiting, nor do many lossy ones
        // a reliable one.
        let allowed = Allowed {
            has_small: ((small < small_window || is_trickle) && !is_full) || self.probes_due > 0,
            has_lossy: (small < self.congestion.lossy_window() || is_trickle) && !is_full,
            has_bulk: under_way < window && !is_full,
        };
        self.outbox.drop_late(now);
        self.is_paced = self.pacer.free_at() > now;
        if self.is_paced {
            // The path could take more: it is the game that does not want it to.
            return true;
        }
        let (start, end) = (payload.len(), room.max(payload.len()));
        if allowed.has_small {
            self.outbox
                .pack(end - payload.len(), allowed, payload, &mut self.carried);
        }
        if self.copies.is_due(now) || payload.len() > start {
            self.pack_copies(now, end, payload);
        }
        under_way + payload.len() < window && !self.outbox.has_work(Allowed::ALL)
    }

    /// Packs copies of what was sent before, and takes note of what goes for the first time.
    fn pack_copies(&mut self, now: Timestamp, end: usize, payload: &mut Vec<u8>) {
        let Self {
            copies,
            outbox,
            carried,
            loss,
            ..
        } = self;
        let fresh = carried.len();
        copies.pack(now, loss, |units| outbox.pack_copies(units, end, payload, carried));
        for carried in &carried[..fresh] {
            if let Carried::Unit(unit) = carried
                && let Some(size) = outbox.unit_len(*unit).filter(|&size| size <= MAX_COPIED)
            {
                copies.push(now, *unit, size, loss);
            }
        }
    }
}
