//! One connection once its handshake is done: packets in and out, timers, liveness, the goodbye.
//!
//! It must not know sockets or other connections. Reliability, order and credit live in [`Outbox`], [`Intake`] and [`Flight`];
//! this file decides when a packet goes and what an arriving one means.
//!
//! ```text
//!            silence                      close()              all acknowledged, or too long
//!   Open ───────────────► Open, lost    Open ──────► Flushing ───────────────► Closing ──► gone
//!    ▲                        │           │                                      ▲
//!    └── anything is heard ───┘           ├── the remote side broke a rule ──────┘
//!                                         └── the remote side said goodbye ──► Drained ──► gone
//! ```

use std::time::Duration;

use crate::acks::{AckQueue, MAX_LAZY_DELAY, Urgency};
use crate::address::Path;
use crate::config::Limits;
use crate::congestion::CongestionController;
use crate::copies::{Copies, MAX_COPIED};
use crate::endpoint::{ConnectionId, ConnectionStats};
use crate::flight::{Carried, Flight};
use crate::inbox::Inbox;
use crate::intake::{Intake, Violation};
use crate::loss::LossEstimator;
use crate::message::{Event, Message, SendError};
use crate::noise::Session;
use crate::outbox::{Allowed, Outbox};
use crate::reason::Reason;
use crate::replay::ReplayWindow;
use crate::roaming::Roaming;
use crate::rtt::RttEstimator;
use crate::time::Timestamp;
use crate::wire::{Chunk, MAX_DATAGRAM, PacketHeader, TAG_LEN};

/// How long a close waits for reliable messages to be acknowledged.
const FLUSH_TIME: Duration = Duration::from_secs(2);

/// How long the goodbye is repeated, and how long a goodbye received is still answered.
const LINGER_TIME: Duration = Duration::from_secs(2);

/// Small messages may go beyond the congestion window by this much, so that bulk never keeps them waiting.
const SMALL_EXTRA: usize = 32 * MAX_DATAGRAM;

/// The share that one packet has in the loss estimate.
const LOSS_WEIGHT: f64 = 1.0 / 64.0;

/// When to do something of one's own accord.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Timer {
    /// When to acknowledge at the latest.
    Ack,
    /// When to look for lost packets again.
    Loss,
    /// When to probe because no acknowledgement has come.
    Probe,
    /// When to send copies alone, because no other packet has gone.
    Copies,
    /// When to ask whether the remote side is there.
    KeepAlive,
    /// When to tell the game that nothing is heard, and later to give up.
    Silence,
    /// When to end a flush, a goodbye or its echo.
    Close,
}

impl Timer {
    const ALL: [Self; 7] = [
        Self::Ack,
        Self::Loss,
        Self::Probe,
        Self::Copies,
        Self::KeepAlive,
        Self::Silence,
        Self::Close,
    ];
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Open,
    Flushing {
        until: Timestamp,
        detail: String,
    },
    Closing {
        until: Timestamp,
        reason: Reason,
        detail: String,
        is_close_due: bool,
    },
    Drained {
        until: Timestamp,
    },
    Gone,
}

/// What both handshakes end with.
pub(crate) struct Opening {
    pub(crate) now: Timestamp,
    pub(crate) id: ConnectionId,
    pub(crate) session: Session,
    pub(crate) remote_id: u32,
    pub(crate) path: Path,
    pub(crate) is_client: bool,
    pub(crate) first_rtt: Duration,
    pub(crate) outbox: Outbox,
}

/// One connection.
pub(crate) struct Connection {
    id: ConnectionId,
    session: Session,
    remote_id: u32,
    path: Path,
    limits: Limits,
    keep_alive: Duration,
    state: State,
    /// When the silence began, once the game has been told of it.
    lost_since: Option<Timestamp>,
    last_heard: Timestamp,
    last_ping: Timestamp,
    is_ping_due: bool,
    is_credit_due: bool,
    probes_due: u8,
    replay: ReplayWindow,
    acks: AckQueue,
    flight: Flight,
    rtt: RttEstimator,
    congestion: CongestionController,
    outbox: Outbox,
    intake: Intake,
    loss: LossEstimator,
    stats: ConnectionStats,
    roaming: Roaming,
    copies: Copies,
    carried: Vec<Carried>,
    has_violated: bool,
}

impl Connection {
    pub(crate) fn new(opening: Opening, limits: &Limits) -> Self {
        let Opening {
            now,
            id,
            session,
            remote_id,
            path,
            is_client,
            first_rtt,
            outbox,
        } = opening;
        Self {
            id,
            session,
            remote_id,
            path,
            // The server asks later, so that as a rule only the client does.
            keep_alive: limits.lost_after / if is_client { 3 } else { 2 },
            intake: Intake::new(limits.message_size),
            limits: limits.clone(),
            state: State::Open,
            lost_since: None,
            last_heard: now,
            last_ping: now,
            // The server's first packet tells the client that it is in.
            is_ping_due: !is_client,
            is_credit_due: false,
            probes_due: 0,
            replay: ReplayWindow::new(),
            acks: AckQueue::default(),
            flight: Flight::new(now),
            rtt: RttEstimator::new(now, first_rtt),
            congestion: CongestionController::new(now),
            outbox,
            loss: LossEstimator::new(0.0, LOSS_WEIGHT),
            stats: ConnectionStats::default(),
            roaming: Roaming::default(),
            copies: Copies::new(limits.copies),
            carried: Vec::new(),
            has_violated: false,
        }
    }

    pub(crate) fn path(&self) -> Path {
        self.path
    }

    pub(crate) fn is_open(&self) -> bool {
        self.state == State::Open
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.state == State::Gone
    }

    /// Returns true once if the remote side has broken a rule since the last call.
    pub(crate) fn take_violation(&mut self) -> bool {
        std::mem::take(&mut self.has_violated)
    }

    pub(crate) fn stats(&self) -> ConnectionStats {
        ConnectionStats {
            rtt: self.rtt.smoothed(),
            jitter: self.rtt.deviation(),
            loss: self.loss.share(),
            resent: self.outbox.resent,
            copied: self.outbox.copied,
            queued_bytes: self.outbox.queued_bytes(),
            lossy_dropped: self.stats.lossy_dropped + self.outbox.lossy_dropped,
            ..self.stats.clone()
        }
    }

    /// Queues a message. A remote side that lets reliable messages pile up beyond the bound is disconnected.
    pub(crate) fn send(&mut self, now: Timestamp, message: &Message, inbox: &mut Inbox) -> Result<u64, SendError> {
        if !self.is_open() {
            return Err(SendError::Closed);
        }
        let sequence_id = self.outbox.push(now, message)?;
        if self.outbox.queued_bytes() > self.limits.send_queue {
            let detail = format!("more than {} bytes waited for it", self.limits.send_queue);
            self.abort(now, Reason::TooSlow, &detail, inbox);
        }
        Ok(sequence_id)
    }

    /// Says goodbye once everything reliable has been acknowledged, or after a while.
    pub(crate) fn close(&mut self, now: Timestamp, detail: &str, inbox: &mut Inbox) {
        if !self.is_open() {
            return;
        }
        let event = Event::Disconnected {
            reason: Reason::Closed,
            detail: detail.to_owned(),
        };
        inbox.push_event(self.id, event);
        self.state = State::Flushing {
            until: now + FLUSH_TIME,
            detail: detail.to_owned(),
        };
        self.end_flush(now);
    }

    /// Ends the connection at once and tells both sides why.
    pub(crate) fn abort(&mut self, now: Timestamp, reason: Reason, detail: &str, inbox: &mut Inbox) {
        if self.is_open() {
            inbox.push_event(
                self.id,
                Event::Disconnected {
                    reason,
                    detail: detail.to_owned(),
                },
            );
        }
        if self.is_open() || matches!(self.state, State::Flushing { .. }) {
            self.start_closing(now, reason, detail.to_owned());
        }
    }

    /// Ends the connection at once with only the remote side being told: the game has not heard of it yet.
    pub(crate) fn refuse(&mut self, now: Timestamp, reason: Reason, detail: &str) {
        self.start_closing(now, reason, detail.to_owned());
    }

    /// Gives back what has been queued on a connection that the remote side does not know of.
    pub(crate) fn take_outbox(&mut self) -> Outbox {
        std::mem::replace(&mut self.outbox, Outbox::new(0))
    }

    /// Takes note that the client has asked again to finish the handshake: our first packet has not reached it.
    pub(crate) fn handle_repeated_finish(&mut self) {
        if self.stats.packets_received == 0 {
            self.is_ping_due = true;
        }
    }

    /// Lets a connection that was refused answer the goodbye without the game hearing of it again.
    pub(crate) fn mute(&mut self) {
        self.state = State::Drained {
            until: self.last_heard + LINGER_TIME,
        };
        self.outbox = Outbox::new(0);
    }

    /// Takes note that the remote side has let us in: silence counts from now.
    pub(crate) fn handle_confirmed(&mut self, now: Timestamp) {
        self.last_heard = now;
        self.last_ping = now;
    }

    /// Opens a packet: puts its chunks into `payload` and returns its number, None if it is not authentic or not new.
    pub(crate) fn open_packet(&mut self, header: PacketHeader, sealed: &[u8], payload: &mut Vec<u8>) -> Option<u64> {
        let number = header.whole_number(self.replay.expected());
        if !self.replay.is_new(number) || self.session.open(number, sealed, payload).is_err() {
            self.stats.bad_packets += 1;
            return None;
        }
        self.replay.mark(number);
        self.stats.packets_received += 1;
        self.stats.bytes_received += (PacketHeader::MAX_LEN - if header.is_long { 0 } else { 2 } + sealed.len()) as u64;
        Some(number)
    }

    /// Takes note of an authentic packet from another path: if it is the newest, the remote side may have moved there.
    /// `token` must be random.
    pub(crate) fn consider_path(&mut self, now: Timestamp, path: Path, number: u64, token: u64) {
        if number + 1 == self.replay.expected() {
            self.roaming.consider(now, path, token, &self.rtt);
        }
    }

    /// Takes in the chunks of an opened packet that came by this path.
    pub(crate) fn handle_payload(
        &mut self,
        now: Timestamp,
        path: Path,
        number: u64,
        payload: &[u8],
        inbox: &mut Inbox,
    ) {
        self.handle_heard(now, inbox);
        let mut urgency = Urgency::None;
        for chunk in Chunk::parse_all(payload) {
            let result = chunk
                .map_err(|_| Violation("a chunk that cannot be read"))
                .and_then(|chunk| {
                    urgency = urgency.max(chunk_urgency(&chunk));
                    if let Chunk::PathCheck(token) = chunk {
                        self.roaming.handle_check(path, token);
                    }
                    self.handle_chunk(now, &chunk, inbox)
                });
            if let Err(Violation(what)) = result {
                self.has_violated = true;
                self.abort(now, Reason::BadData, what, inbox);
                return;
            }
        }
        self.acks.handle_packet(now, number, urgency);
        self.end_flush(now);
    }

    /// Writes the next packet and returns its path; None if there is nothing to send now.
    pub(crate) fn poll_packet(&mut self, now: Timestamp, payload: &mut Vec<u8>, out: &mut Vec<u8>) -> Option<Path> {
        if self.state == State::Gone {
            return None;
        }
        payload.clear();
        self.carried.clear();
        if let Some(path) = self.roaming.pack(payload) {
            self.seal(now, payload, Urgency::Soon, true, out);
            return Some(path);
        }
        let room = MAX_DATAGRAM - PacketHeader::MAX_LEN - TAG_LEN;
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
        if urgency == Urgency::None {
            if ack_len == 0 || self.acks.due().is_none_or(|due| due > now) {
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
        if ack_len > 0 {
            self.acks.handle_sent();
        }
        self.seal(now, payload, urgency, is_app_limited, out);
        Some(self.path)
    }

    /// Makes a packet of this payload and takes note of it.
    fn seal(&mut self, now: Timestamp, payload: &[u8], urgency: Urgency, is_app_limited: bool, out: &mut Vec<u8>) {
        let number = self.flight.next_number();
        out.clear();
        PacketHeader::new(self.remote_id, number, self.flight.unacked_span()).emit(out);
        self.session.seal(number, payload, out);
        self.flight
            .record(now, out.len(), urgency, is_app_limited, &self.carried);
        self.stats.packets_sent += 1;
        self.stats.bytes_sent += out.len() as u64;
    }

    /// Handles the timers that are due.
    pub(crate) fn handle_timeout(&mut self, now: Timestamp, inbox: &mut Inbox) {
        for timer in Timer::ALL {
            if self.timer(timer).is_some_and(|due| due <= now) {
                self.handle_timer(now, timer, inbox);
            }
        }
    }

    /// Returns when to call [`Self::handle_timeout`] or [`Self::poll_packet`] again.
    pub(crate) fn deadline(&self) -> Option<Timestamp> {
        Timer::ALL.into_iter().filter_map(|timer| self.timer(timer)).min()
    }

    /// Takes note that the game has taken a reliable message of this size; true if that is worth a packet.
    pub(crate) fn handle_taken(&mut self, size: usize) -> bool {
        self.intake.handle_taken(size);
        self.intake.has_new_credit()
    }

    fn timer(&self, timer: Timer) -> Option<Timestamp> {
        let is_talking = !matches!(self.state, State::Drained { .. } | State::Gone);
        match timer {
            // An acknowledgement that is due now goes with the next packet; its time is no reason to wake up again.
            Timer::Ack => self.acks.due(),
            Timer::Loss => self.flight.loss_time().filter(|_| is_talking),
            Timer::Probe if is_talking && self.flight.loss_time().is_none() => self.flight.probe_time(&self.rtt),
            Timer::Copies if matches!(self.state, State::Open | State::Flushing { .. }) => self.copies.deadline(),
            Timer::KeepAlive if self.state == State::Open && self.flight.is_empty() => {
                Some(self.last_heard.max(self.last_ping) + self.keep_alive)
            }
            Timer::Silence if self.state == State::Open => Some(match self.lost_since {
                None => self.last_heard + self.limits.lost_after,
                Some(since) => since + self.limits.lost_after + self.limits.grace,
            }),
            Timer::Close => match &self.state {
                State::Flushing { until, .. } | State::Closing { until, .. } | State::Drained { until } => Some(*until),
                State::Open | State::Gone => None,
            },
            Timer::Probe | Timer::Copies | Timer::KeepAlive | Timer::Silence => None,
        }
    }

    fn handle_timer(&mut self, now: Timestamp, timer: Timer, inbox: &mut Inbox) {
        match timer {
            // The packet that is due takes them along.
            Timer::Ack | Timer::Copies => (),
            Timer::Loss => self.detect_lost(now),
            Timer::Probe => {
                self.probes_due = 2;
                let mut has_something = false;
                for carried in self.flight.handle_probe() {
                    if let Carried::Unit(unit) = carried {
                        has_something |= self.outbox.handle_lost(unit);
                    }
                }
                // Whatever else was under way is asked for by its own means.
                self.is_ping_due |= !has_something;
                let lost = self.flight.give_up_lazy(now, &self.rtt);
                self.handle_loss_count(lost);
            }
            Timer::KeepAlive => {
                self.last_ping = now;
                self.is_ping_due = true;
            }
            Timer::Silence if self.lost_since.is_none() => {
                self.lost_since = Some(self.last_heard);
                inbox.push_event(
                    self.id,
                    Event::Lost {
                        time_left: self.limits.grace,
                    },
                );
            }
            Timer::Silence => {
                let silence = now - self.last_heard;
                let detail = format!("nothing heard for {:.0} seconds", silence.as_secs_f64());
                inbox.push_event(
                    self.id,
                    Event::Disconnected {
                        reason: Reason::TimedOut,
                        detail,
                    },
                );
                self.state = State::Gone;
            }
            Timer::Close => match std::mem::replace(&mut self.state, State::Gone) {
                State::Flushing { detail, .. } => self.start_closing(now, Reason::Closed, detail),
                _ => self.state = State::Gone,
            },
        }
    }

    fn handle_heard(&mut self, now: Timestamp, inbox: &mut Inbox) {
        if let Some(since) = self.lost_since.take()
            && self.is_open()
        {
            inbox.push_event(self.id, Event::Resumed { after: now - since });
        }
        self.last_heard = now;
    }

    fn handle_chunk(&mut self, now: Timestamp, chunk: &Chunk<'_>, inbox: &mut Inbox) -> Result<(), Violation> {
        match chunk {
            Chunk::Padding | Chunk::Ping | Chunk::PathCheck(_) => (),
            Chunk::PathAnswer(token) => {
                if let Some(path) = self.roaming.handle_answer(*token) {
                    self.path = path;
                }
            }
            Chunk::Ack(ack) => self.handle_ack(now, ack)?,
            Chunk::Credit(total) => self.outbox.handle_credit(*total),
            Chunk::Close { reason, detail } => self.handle_close(now, *reason, detail, inbox),
            // Once we have said that we close, what still arrives is acknowledged and dropped.
            Chunk::Message(message) if self.is_open() => {
                let (stats, id) = (&mut self.stats, self.id);
                self.intake.handle(message, |delivered| {
                    stats.messages_received += 1;
                    stats.lossy_dropped += inbox.push_message(id, delivered);
                })?;
            }
            Chunk::Message(_) => (),
        }
        Ok(())
    }

    fn handle_ack(&mut self, now: Timestamp, ack: &crate::wire::Ack<'_>) -> Result<(), Violation> {
        let Self {
            flight,
            outbox,
            acks,
            state,
            ..
        } = self;
        let outcome = flight
            .handle_ack(now, ack, |carried| match carried {
                Carried::Unit(unit) => outbox.handle_arrived(unit),
                Carried::Ack(largest) => acks.handle_acked(largest),
                Carried::Close => *state = State::Gone,
                Carried::Credit => (),
            })
            .ok_or(Violation("an acknowledgement of a packet never sent"))?;
        if let Some(sample) = outcome.rtt_sample {
            self.rtt.update(now, sample, ack.delay.min(MAX_LAZY_DELAY * 2));
        }
        // What was only late was not lost: it is taken back.
        self.stats.packets_lost = self.stats.packets_lost.saturating_sub(outcome.late_packets);
        self.loss.handle_arrived(outcome.acked_packets, outcome.late_packets);
        self.copies.handle_arrived(outcome.acked_packets, outcome.late_packets);
        if outcome.acked_packets > 0 {
            self.congestion.handle_ack(now, &outcome, &self.rtt);
        }
        self.detect_lost(now);
        Ok(())
    }

    fn detect_lost(&mut self, now: Timestamp) {
        let Self {
            flight,
            outbox,
            state,
            is_credit_due,
            ..
        } = self;
        let (packets, _) = flight.detect_lost(now, &self.rtt, |carried| match carried {
            Carried::Unit(unit) => {
                outbox.handle_lost(unit);
            }
            Carried::Credit => *is_credit_due = true,
            Carried::Close => {
                if let State::Closing { is_close_due, .. } = state {
                    *is_close_due = true;
                }
            }
            Carried::Ack(_) => (),
        });
        self.handle_loss_count(packets);
    }

    fn handle_loss_count(&mut self, packets: u64) {
        self.stats.packets_lost += packets;
        self.loss.handle_lost(packets);
        self.copies.handle_lost(packets);
    }

    fn handle_close(&mut self, now: Timestamp, reason: u8, detail: &str, inbox: &mut Inbox) {
        if self.is_open() {
            let reason = match Reason::from_number(reason) {
                Some(Reason::Closed) | None => Reason::Goodbye,
                Some(reason) => reason,
            };
            inbox.push_event(
                self.id,
                Event::Disconnected {
                    reason,
                    detail: detail.to_owned(),
                },
            );
        }
        if !matches!(self.state, State::Drained { .. }) {
            self.state = State::Drained {
                until: now + LINGER_TIME,
            };
            self.outbox = Outbox::new(0);
        }
    }

    fn end_flush(&mut self, now: Timestamp) {
        if let State::Flushing { detail, .. } = &mut self.state
            && self.outbox.is_empty()
        {
            let detail = std::mem::take(detail);
            self.start_closing(now, Reason::Closed, detail);
        }
    }

    fn start_closing(&mut self, now: Timestamp, reason: Reason, detail: String) {
        self.state = State::Closing {
            until: now + LINGER_TIME,
            reason,
            detail,
            is_close_due: true,
        };
        // Nothing else will be sent: give the memory back now.
        self.outbox = Outbox::new(0);
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
        if !matches!(self.state, State::Open | State::Flushing { .. }) {
            return true;
        }
        let (under_way, window) = (self.flight.bytes(), self.congestion.window());
        let allowed = Allowed {
            has_small: under_way < window + SMALL_EXTRA || self.probes_due > 0,
            has_bulk: under_way < window,
        };
        self.outbox.drop_late(now);
        let end = room.max(payload.len());
        if allowed.has_small {
            self.outbox
                .pack(end - payload.len(), allowed, payload, &mut self.carried);
        }
        if self.copies.is_due(now) || self.carried.iter().any(|carried| !matches!(carried, Carried::Ack(_))) {
            self.pack_copies(now, end, payload);
        }
        under_way + payload.len() < window
            && !self.outbox.has_work(Allowed {
                has_small: true,
                has_bulk: true,
            })
    }

    /// Packs copies of what was sent before, and takes note of what goes for the first time.
    fn pack_copies(&mut self, now: Timestamp, end: usize, payload: &mut Vec<u8>) {
        let Self {
            copies,
            outbox,
            carried,
            ..
        } = self;
        let fresh = carried.len();
        copies.pack(now, |unit| outbox.pack_copy(unit, end, payload, carried));
        if copies.is_active() {
            for carried in &carried[..fresh] {
                if let Carried::Unit(unit) = carried
                    && let Some(size) = outbox.unit_len(*unit).filter(|&size| size <= MAX_COPIED)
                {
                    copies.push(now, *unit, size);
                }
            }
        }
    }
}

fn chunk_urgency(chunk: &Chunk<'_>) -> Urgency {
    match chunk {
        Chunk::Padding | Chunk::Ack(_) => Urgency::None,
        Chunk::Message(message) if message.delivery.is_lossy => Urgency::Lazy,
        _ => Urgency::Soon,
    }
}
