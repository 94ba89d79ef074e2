//! One connection once its handshake is done: packets in and out, timers, liveness, the goodbye.
//!
//! It must not know sockets or other connections. Reliability, order and credit live in [`Outbox`], [`Intake`] and [`Flight`];
//! this file says what an arriving packet means, `packing` what the next one holds, `timers` when something is due.
//!
//! ```text
//!            silence                      close()              all acknowledged, or too long
//!   Open ───────────────► Open, lost    Open ──────► Flushing ───────────────► Closing ──► gone
//!    ▲                        │           │                                      ▲
//!    └── anything is heard ───┘           ├── the remote side broke a rule ──────┘
//!                                         └── the remote side said goodbye ──► Drained ──► gone
//! ```
//!
//! A client that hears nothing, or whose stream has ended, asks its endpoint to call again. What comes of it is a new connection,
//! which [inherits](Connection::inherit) everything that belongs to messages from the old one; what belongs to packets (keys,
//! numbers, acknowledgements, the path's measure) is new.

mod packing;
#[cfg(test)]
mod payloads;
mod timers;

use std::time::Duration;

use crate::acks::{AckQueue, MAX_LAZY_DELAY, Urgency};
use crate::address::Path;
use crate::config::Limits;
use crate::congestion::CongestionController;
use crate::copies::Copies;
use crate::endpoint::ConnectionId;
use crate::flight::{Carried, Flight};
use crate::inbox::Inbox;
use crate::intake::{Intake, Violation};
use crate::loss::{Lost, PathLoss};
use crate::message::{Event, Message, SendError};
use crate::outbox::Outbox;
use crate::pacer::Pacer;
use crate::rates::Rates;
use crate::reason::Reason;
use crate::replay::ReplayWindow;
use crate::rhythm::Rhythm;
use crate::roaming::Roaming;
use crate::rtt::RttEstimator;
use crate::session::Session;
use crate::stats::ConnectionStats;
use crate::text::printable;
use crate::time::Timestamp;
use crate::wire::{Chunk, MessageChunk, PacketHeader};

/// How long a close waits for reliable messages to be acknowledged.
const FLUSH_TIME: Duration = Duration::from_secs(2);

/// How long the goodbye is repeated, and how long a goodbye received is still answered.
const LINGER_TIME: Duration = Duration::from_secs(2);

/// How often small messages go on while nothing is acknowledged: the tick of a game.
const TRICKLE: Duration = Duration::from_millis(15);

/// How long a stream may have ended, without another way having been found, before the game is told.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long after a return the next call begins at the earliest.
const RECALL_WAIT: Duration = Duration::from_millis(500);

/// How long a connection that uses a stream waits before it looks for something better, and the longest wait.
const FIRST_UPGRADE: Duration = Duration::from_secs(10);
const LAST_UPGRADE: Duration = Duration::from_secs(300);

/// How long an outage may be for what was sent in it to come at once without being too fast.
const LONGEST_OUTAGE: Duration = Duration::from_secs(30);

/// How long a server looks for a lost client of its own accord. After that, the client must call.
const SEARCH_TIME: Duration = Duration::from_secs(30);

/// How much may wait for the game of one who has forgotten it and begins anew: each new life has the first credit again.
const MAX_WAITING: u64 = 2 * crate::credit::BASE_CREDIT;

/// How many new lives of a client may wait for the game to hear of them.
const MAX_LIVES_WAITING: u32 = 16;

/// With this many packets remembered no more messages are sent, and with twice as many the remote side is one that acknowledges
/// nothing.
const MAX_REMEMBERED: usize = 1 << 14;

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

/// Why a client's endpoint is to call again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recall {
    /// Nothing is heard, or the stream has ended.
    Lost,
    /// Something better than a stream may have become possible.
    Upgrade,
}

/// One connection.
pub(crate) struct Connection {
    id: ConnectionId,
    session: Session,
    remote_id: u32,
    path: Path,
    limits: Limits,
    keep_alive: Duration,
    /// How long without a sign of life until a client looks for another way.
    search_after: Duration,
    state: State,
    /// When the silence began, once the game has been told of it.
    lost_since: Option<Timestamp>,
    last_heard: Timestamp,
    last_ping: Timestamp,
    /// How the remote side is heard; None where it knows from where we speak, whatever routers do.
    rhythm: Option<Rhythm>,
    is_ping_due: bool,
    is_credit_due: bool,
    probes_due: u8,
    replay: ReplayWindow,
    acks: AckQueue,
    flight: Flight,
    rtt: RttEstimator,
    congestion: CongestionController,
    pacer: Pacer,
    /// Messages wait for the pacer.
    is_paced: bool,
    outbox: Outbox,
    intake: Intake,
    loss: PathLoss,
    stats: ConnectionStats,
    roaming: Roaming,
    copies: Copies,
    carried: Vec<Carried>,
    has_violated: bool,
    /// None if the remote side may send as fast as it can. It stays the same one however often it begins anew.
    rates: Option<Box<Rates>>,
    /// How often the remote side has begun anew without the game having taken note of it.
    lives_waiting: u32,
    was_too_fast: bool,
    is_client: bool,
    /// When the stream that carried us ended; until there is another path, nothing is sent.
    cut_since: Option<Timestamp>,
    /// The stream that carries us takes nothing now: what there is to say waits here, where it can still be changed.
    is_held: bool,
    /// Since when probes go unanswered: a way may carry one direction only.
    unanswered_since: Option<Timestamp>,
    /// One that has just come back does not call again before this: where every stream is ended at once, we would do nothing else.
    recall_from: Timestamp,
    /// The endpoint calls again already.
    is_recalling: bool,
    recall_due: Option<Recall>,
    /// When to look for something better than a stream, and how long after that to look again.
    upgrade_at: Option<Timestamp>,
    upgrade_wait: Duration,
    /// To tell a client that it has its seat again, and how long it was away; until it has acknowledged something.
    resumed: Option<Duration>,
}

impl Connection {
    pub(crate) fn new(opening: Opening, limits: &Limits) -> Self {
        let Opening {
            now,
            id,
            mut session,
            remote_id,
            path,
            is_client,
            first_rtt,
            outbox,
        } = opening;
        session.set_renewal(limits.renewal);
        Self {
            id,
            session,
            remote_id,
            path,
            // The server asks later, so that as a rule only the client does.
            keep_alive: limits.lost_after / if is_client { 3 } else { 2 },
            search_after: limits.lost_after * 2 / 3,
            intake: Intake::new(limits.message_size),
            limits: limits.clone(),
            state: State::Open,
            lost_since: None,
            last_heard: now,
            last_ping: now,
            rhythm: (is_client && !path.remote.is_opened()).then(|| Rhythm::new(now)),
            // The server's first packet tells the client that it is in.
            is_ping_due: !is_client,
            is_credit_due: false,
            probes_due: 0,
            replay: ReplayWindow::new(),
            acks: AckQueue::default(),
            flight: Flight::new(now),
            rtt: RttEstimator::new(now, first_rtt),
            congestion: CongestionController::new(now),
            pacer: Pacer::new(now, limits.send_rate),
            is_paced: false,
            outbox,
            loss: PathLoss::new(now + first_rtt),
            stats: ConnectionStats::default(),
            roaming: Roaming::default(),
            copies: Copies::new(limits.copies),
            carried: Vec::new(),
            has_violated: false,
            rates: Rates::new(limits.incoming, limits.lost_after + limits.grace.min(LONGEST_OUTAGE)).map(Box::new),
            lives_waiting: 0,
            was_too_fast: false,
            is_client,
            cut_since: None,
            is_held: false,
            unanswered_since: None,
            recall_from: now,
            is_recalling: false,
            recall_due: None,
            upgrade_at: None,
            upgrade_wait: FIRST_UPGRADE,
            resumed: None,
        }
    }

    /// Goes on where another connection was: its messages, both ways, and its name. Returns how long it had been lost, if it
    /// was. What it had under way is sent again.
    pub(crate) fn inherit(&mut self, now: Timestamp, mut old: Self) -> Option<Duration> {
        self.inherit_outbox(now, &mut old);
        self.outbox = old.outbox;
        self.intake = old.intake;
        self.is_credit_due = true;
        self.rates = old.rates;
        self.lives_waiting = old.lives_waiting;
        self.stats = ConnectionStats {
            packets_sent: self.stats.packets_sent + old.stats.packets_sent,
            packets_received: self.stats.packets_received + old.stats.packets_received,
            bytes_sent: self.stats.bytes_sent + old.stats.bytes_sent,
            bytes_received: self.stats.bytes_received + old.stats.bytes_received,
            bad_packets: self.stats.bad_packets + old.stats.bad_packets,
            // Those of another handshake are new keys too.
            keys_renewed: old.stats.keys_renewed + old.session.renewals() + 1,
            ..old.stats
        };
        self.upgrade_wait = old.upgrade_wait;
        self.recall_from = now + RECALL_WAIT;
        old.lost_since.map(|since| now - since)
    }

    /// Takes over what another connection has to send to a client that has lost everything: what it had not acknowledged is
    /// counted from the beginning, for it knows of no earlier ones. Returns since when nothing was heard of it.
    pub(crate) fn inherit_unheard(&mut self, now: Timestamp, mut old: Self) -> Timestamp {
        self.inherit_outbox(now, &mut old);
        self.outbox.take_unheard(now, &old.outbox);
        self.owe(&mut old);
        self.lives_waiting = old.lives_waiting + 1;
        old.last_heard
    }

    /// Takes note of what the remote side has left for the game to take before it forgot us, and of what it has sent lately.
    pub(crate) fn owe(&mut self, old: &mut Self) {
        self.intake.owe(&old.intake);
        self.rates = old.rates.take();
    }

    /// Returns true if so much of what the remote side has sent, or so many of its lives, wait for the game that it cannot begin
    /// anew.
    pub(crate) fn has_full_inbox(&self) -> bool {
        self.intake.waiting() > MAX_WAITING || self.lives_waiting >= MAX_LIVES_WAITING
    }

    /// Takes note that the game has heard of a new life of the remote side.
    pub(crate) fn handle_life_taken(&mut self) {
        self.lives_waiting = self.lives_waiting.saturating_sub(1);
    }

    fn inherit_outbox(&mut self, now: Timestamp, old: &mut Self) {
        self.id = old.id;
        let Self { flight, outbox, .. } = old;
        flight.give_up_all(now, |carried| {
            if let Carried::Unit(unit) = carried {
                outbox.handle_lost(unit);
            }
        });
    }

    /// Tells the client, from the first packet on, that it has its seat again, and how long it was away.
    pub(crate) fn set_resumed(&mut self, away: Duration) {
        self.resumed = Some(away);
    }

    /// Counts how often the remote side had forgotten us.
    pub(crate) fn set_restarts(&mut self, restarts: u64) {
        self.stats.restarts = restarts;
    }

    /// Gives the connection the name that the game knows it by.
    pub(crate) fn set_id(&mut self, id: ConnectionId) {
        self.id = id;
    }

    /// Takes note that a stream has ended. Returns true if it was ours.
    pub(crate) fn handle_path_closed(&mut self, now: Timestamp, path: Path) -> bool {
        if path != self.path || self.cut_since.is_some() {
            return false;
        }
        self.cut_since = Some(now);
        if self.state != State::Open {
            // Whatever was still to be said cannot be said.
            self.state = State::Gone;
        }
        true
    }

    /// Takes note of whether the stream that carries us takes anything now.
    pub(crate) fn set_held(&mut self, is_held: bool) {
        self.is_held = is_held;
    }

    /// Returns true if what we send arrives, as far as we know.
    pub(crate) fn is_answered(&self, now: Timestamp) -> bool {
        self.cut_since.is_none() && self.unanswered_since.is_none() && now < self.search_at()
    }

    /// Returns when the remote side was heard last.
    pub(crate) fn last_heard(&self) -> Timestamp {
        self.last_heard
    }

    /// Looks for something better than a stream from time to time.
    pub(crate) fn look_for_better(&mut self, now: Timestamp) {
        self.upgrade_at = Some(now + self.upgrade_wait);
        self.upgrade_wait = (self.upgrade_wait * 2).min(LAST_UPGRADE);
    }

    /// Returns why the endpoint is to call again, once.
    pub(crate) fn take_recall(&mut self) -> Option<Recall> {
        self.recall_due.take()
    }

    /// Takes note that the endpoint calls again, or does so no more.
    pub(crate) fn set_recalling(&mut self, is_recalling: bool) {
        self.is_recalling = is_recalling;
    }

    /// Ends the connection without a word to the remote side, which cannot be reached or does not know it.
    pub(crate) fn give_up(&mut self, reason: Reason, detail: String, inbox: &mut Inbox) {
        if self.is_open() {
            inbox.push_event(self.id, Event::Disconnected { reason, detail });
        }
        self.state = State::Gone;
    }

    pub(crate) fn path(&self) -> Path {
        self.path
    }

    pub(crate) fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// Returns true while messages may leave.
    fn is_sending(&self) -> bool {
        matches!(self.state, State::Open | State::Flushing { .. })
    }

    /// Returns why this side says goodbye, if it does.
    pub(crate) fn goodbye(&self) -> Option<(Reason, &str)> {
        match &self.state {
            State::Closing { reason, detail, .. } => Some((*reason, detail)),
            _ => None,
        }
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.state == State::Gone
    }

    /// Returns true once if the remote side has broken a rule since the last call.
    pub(crate) fn take_violation(&mut self) -> bool {
        std::mem::take(&mut self.has_violated)
    }

    /// Returns true once if the remote side has sent far more than it may.
    pub(crate) fn take_excess(&mut self) -> bool {
        std::mem::take(&mut self.was_too_fast)
    }

    pub(crate) fn stats(&self) -> ConnectionStats {
        ConnectionStats {
            rtt: self.rtt.smoothed(),
            jitter: self.rtt.deviation(),
            loss: self.loss.recent(),
            resent: self.outbox.resent,
            copied: self.outbox.copied,
            queued_bytes: self.outbox.queued_bytes(),
            lossy_dropped: self.stats.lossy_dropped + self.outbox.lossy_dropped(),
            lossy_unfinished: self.intake.given_up(),
            keys_renewed: self.stats.keys_renewed + self.session.renewals(),
            ..self.stats.clone()
        }
    }

    /// Queues a message. A remote side that lets reliable messages pile up beyond the bound is disconnected.
    pub(crate) fn send(&mut self, now: Timestamp, message: Message, inbox: &mut Inbox) -> Result<u64, SendError> {
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

    /// Returns what waits to be sent, to queue more while the handshake is not confirmed.
    pub(crate) fn outbox_mut(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    /// Gives back what has been queued on a connection that the remote side does not know of.
    pub(crate) fn take_outbox(&mut self) -> Outbox {
        std::mem::replace(&mut self.outbox, Outbox::new(0))
    }

    /// Takes note that the client has asked again to finish the handshake: our first packet has not reached it.
    pub(crate) fn handle_repeated_finish(&mut self) {
        if self.stats.packets_received > 0 {
            return;
        }
        match &mut self.state {
            // A packet without the goodbye would tell one who is refused that it is in.
            State::Closing { is_close_due, .. } => *is_close_due = true,
            _ => self.is_ping_due = true,
        }
    }

    /// Lets a connection that was refused answer the goodbye without the game hearing of it again.
    pub(crate) fn mute(&mut self) {
        self.state = State::Drained {
            until: self.last_heard + LINGER_TIME,
        };
        self.outbox = Outbox::new(0);
    }

    /// Takes note that the remote side has let us in: silence counts from now, and so does the beginning of the path.
    pub(crate) fn handle_confirmed(&mut self, now: Timestamp) {
        self.last_heard = now;
        self.last_ping = now;
        self.loss = PathLoss::new(now + self.rtt.smoothed());
    }

    /// Opens a packet: puts its chunks into `payload` and returns its number, None if it is not authentic or not new.
    pub(crate) fn open_packet(&mut self, header: PacketHeader, sealed: &[u8], payload: &mut Vec<u8>) -> Option<u64> {
        let number = header.whole_number(self.replay.expected());
        if !self.replay.is_new(number) || self.session.open(number, header.is_odd_phase, sealed, payload).is_err() {
            self.stats.bad_packets += 1;
            return None;
        }
        self.replay.mark(number);
        self.stats.packets_received += 1;
        self.stats.bytes_received += (PacketHeader::MAX_LEN - if header.is_long { 0 } else { 2 } + sealed.len()) as u64;
        Some(number)
    }

    /// Returns true if so many packets were forged that the connection must end.
    pub(crate) fn is_worn_out(&self) -> bool {
        self.session.is_worn_out()
    }

    /// Takes note of an authentic packet from another path: if it is the newest, the remote side may have moved there.
    /// `token` must be random.
    pub(crate) fn consider_path(&mut self, now: Timestamp, path: Path, number: u64, token: u64) {
        if number + 1 == self.replay.expected() {
            self.roaming.consider(now, path, token, &self.rtt);
        }
    }

    /// Takes in the chunks of an opened packet that came by this path. Returns how soon the remote side wants to hear of it.
    pub(crate) fn handle_payload(
        &mut self,
        now: Timestamp,
        path: Path,
        number: u64,
        payload: &[u8],
        inbox: &mut Inbox,
    ) -> Urgency {
        self.handle_heard(now, inbox);
        let mut urgency = Urgency::None;
        let mut has_ack = false;
        for chunk in Chunk::parse_all(payload) {
            let result = chunk
                .map_err(|_| Violation("a chunk that cannot be read"))
                .and_then(|chunk| {
                    urgency = urgency.max(chunk_urgency(&chunk));
                    if let Chunk::PathCheck(token) = chunk {
                        self.roaming.handle_check(path, token);
                    }
                    // An acknowledgement costs us a walk over what is under way: one a packet is enough for everybody.
                    if matches!(chunk, Chunk::Ack(_)) && std::mem::replace(&mut has_ack, true) {
                        return Err(Violation("two acknowledgements in one packet"));
                    }
                    self.handle_chunk(now, &chunk, inbox)
                });
            if let Err(Violation(what)) = result {
                self.has_violated = true;
                self.abort(now, Reason::BadData, what, inbox);
                return Urgency::Soon;
            }
        }
        self.acks.handle_packet(now, number, urgency);
        self.end_flush(now);
        if self.flight.len() > 2 * MAX_REMEMBERED {
            self.has_violated = true;
            self.abort(now, Reason::BadData, "it acknowledges nothing", inbox);
        }
        urgency
    }

    /// Takes note that the game has taken a reliable message of this size; true if that is worth a packet.
    pub(crate) fn handle_taken(&mut self, size: usize) -> bool {
        self.intake.handle_taken(size);
        self.intake.has_new_credit()
    }

    fn handle_heard(&mut self, now: Timestamp, inbox: &mut Inbox) {
        if let Some(since) = self.lost_since.take()
            && self.is_open()
        {
            let after = now - since;
            let is_restarted = false;
            inbox.push_event(self.id, Event::Resumed { after, is_restarted });
            self.start_afresh(now);
        }
        self.last_heard = now;
        if let Some(rhythm) = &mut self.rhythm {
            rhythm.handle_heard(now);
        }
    }

    /// The path is back after a silence: what was under way is gone, and what was measured meanwhile says nothing.
    fn start_afresh(&mut self, now: Timestamp) {
        self.rtt = RttEstimator::new(now, self.rtt.min());
        let (outbox, is_credit_due) = (&mut self.outbox, &mut self.is_credit_due);
        self.flight.give_up_all(now, |carried| match carried {
            Carried::Unit(unit) => {
                outbox.handle_lost(unit);
            }
            Carried::Credit => *is_credit_due = true,
            Carried::Close | Carried::Ack(_) => (),
        });
    }

    fn handle_chunk(&mut self, now: Timestamp, chunk: &Chunk<'_>, inbox: &mut Inbox) -> Result<(), Violation> {
        match chunk {
            Chunk::Padding | Chunk::Ping | Chunk::PathCheck(_) | Chunk::Resumed(_) => (),
            Chunk::PathAnswer(token) => {
                if let Some(path) = self.roaming.handle_answer(*token) {
                    self.path = path;
                    self.cut_since = None;
                    self.is_held = false;
                }
            }
            Chunk::Ack(ack) => self.handle_ack(now, ack)?,
            Chunk::Credit(total) => self.outbox.handle_credit(*total),
            Chunk::Close { reason, detail } => self.handle_close(now, *reason, detail, inbox),
            // Once we have said that we close, what still arrives is acknowledged and dropped.
            Chunk::Message(_) | Chunk::Parity(_) if !self.is_open() => (),
            Chunk::Message(message) => self.handle_message(now, message, inbox)?,
            Chunk::Parity(parity) => {
                let (stats, id, rates) = (&mut self.stats, self.id, &mut self.rates);
                self.intake.handle_parity(parity, |delivered| {
                    stats.messages_received += 1;
                    stats.recovered += 1;
                    // It was a reliable message, so it counts and is not dropped.
                    if let Some(rates) = rates {
                        rates.handle(now, 1, delivered.data.len());
                        rates.admit(now, delivered.data.len(), false);
                    }
                    inbox.push_message(id, delivered);
                })?;
            }
        }
        Ok(())
    }

    fn handle_message(
        &mut self,
        now: Timestamp,
        message: &MessageChunk<'_>,
        inbox: &mut Inbox,
    ) -> Result<(), Violation> {
        let (stats, id, rates) = (&mut self.stats, self.id, &mut self.rates);
        let is_lossy = message.delivery.is_lossy;
        let is_first = self.intake.handle(message, |delivered| {
            if let Some(rates) = rates {
                let size = delivered.data.len();
                if !is_lossy {
                    rates.handle(now, 1, size);
                }
                if !rates.admit(now, size, is_lossy) {
                    stats.over_rate += 1;
                    return;
                }
            }
            stats.messages_received += 1;
            stats.lossy_dropped += inbox.push_message(id, delivered);
        })?;
        // What is lossy comes once. What is reliable may come again for netplay's own reasons, and counts when it is delivered.
        if is_lossy && let Some(rates) = rates {
            rates.handle(now, u64::from(is_first), message.data.len());
        }
        if let Some(detail) = self.rates.as_ref().and_then(|rates| rates.excess()) {
            self.was_too_fast = true;
            self.abort(now, Reason::TooFast, &detail, inbox);
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
        self.session.handle_acked(ack.largest);
        self.resumed = None;
        if let Some(sample) = outcome.rtt_sample {
            self.rtt.update(now, sample, ack.delay.min(MAX_LAZY_DELAY * 2));
        }
        // What was only late was not lost: it is taken back.
        self.stats.packets_lost = self.stats.packets_lost.saturating_sub(outcome.late_packets);
        self.loss.handle_arrived(outcome.acked_packets, outcome.late_packets);
        if outcome.acked_packets > 0 {
            self.unanswered_since = None;
            if let Some(longer) = self.congestion.handle_ack(now, &outcome, &self.rtt) {
                self.rtt.set_min(now, longer);
            }
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
        let lost = flight.detect_lost(now, &self.rtt, self.loss.is_lossy(now), |carried| match carried {
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
        self.handle_loss(now, lost);
    }

    fn handle_loss(&mut self, now: Timestamp, lost: Lost) {
        self.stats.packets_lost += lost.packets;
        self.loss.handle_lost(now, lost);
        self.congestion.handle_lost(lost.packets);
        self.copies.handle_loss(&self.loss);
    }

    fn handle_close(&mut self, now: Timestamp, reason: u8, detail: &str, inbox: &mut Inbox) {
        if self.is_open() {
            let (reason, detail) = (Reason::from_remote(reason), printable(detail));
            inbox.push_event(self.id, Event::Disconnected { reason, detail });
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
}

fn chunk_urgency(chunk: &Chunk<'_>) -> Urgency {
    match chunk {
        Chunk::Padding | Chunk::Ack(_) => Urgency::None,
        // Nobody sends a sum again: what it stands for has been sent by itself.
        Chunk::Parity(_) => Urgency::Lazy,
        Chunk::Message(message) if message.delivery.is_lossy => Urgency::Lazy,
        _ => Urgency::Soon,
    }
}
