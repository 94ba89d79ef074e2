//! The handshakes of an endpoint: who asks, who is answered, who gets in.

use rand_core::Rng;

use super::seats::Predecessor;
use super::{ConnectionId, Endpoint, MAX_SLOTS, Remote, Slot, Stage};
use crate::address::{Path, Transport};
use crate::answer::{Answer, Finished, Offer, ProvenHello};
use crate::call::Answered;
use crate::config::Key;
use crate::connection::{Connection, Opening};
use crate::message::{Event, MAX_RELIABLE_SIZE, MIN_MESSAGE_SIZE, Origin, RemoteSide};
use crate::noise::NotAuthentic;
use crate::outbox::Outbox;
use crate::reason::Reason;
use crate::text::printable;
use crate::time::Timestamp;
use crate::wire::{COOKIE_LEN, Chunk, Datagram, Introduction, PROTOCOL_VERSION, Seat, SeatClaim};

/// What a handshake with a wrong password costs its host beside its own, in handshakes: who guesses has few guesses.
const WRONG_PASSWORD_COST: u32 = 8;

impl Endpoint {
    /// The server's first packet has come: it has let us in, or says why not.
    pub(super) fn confirm(&mut self, now: Timestamp, index: usize, payload: &[u8]) {
        let Some(mut slot) = self.slots[index].take() else {
            return;
        };
        if let Stage::Confirming(call, mut connection, remote) = slot.stage {
            self.calls.remove(&call.token);
            let (claim, is_new) = (call.claim(), call.is_new());
            slot.terms = Some(Box::new(call.options()));
            // Until its connection is put in its place.
            slot.stage = Stage::Calling(call);
            let mut refusal = None;
            let mut resumed = None;
            for chunk in Chunk::parse_all(payload) {
                match chunk {
                    Ok(Chunk::Close { reason, detail }) => refusal = Some((reason, printable(detail))),
                    Ok(Chunk::Resumed(away)) => resumed = Some(away),
                    _ => (),
                }
            }
            let recall = slot.recall.take();
            if let Some((reason, detail)) = refusal {
                let reason = Reason::from_remote(reason);
                match recall {
                    Some((id, recall)) => {
                        self.forget_recall(id);
                        self.refuse_recall(now, id, recall, reason, &detail);
                    }
                    None => self.inbox.push_event(slot.id, Event::Disconnected { reason, detail }),
                }
                // What follows is only the acknowledgement.
                connection.mute();
            } else {
                slot.remote_key = Some(remote.key);
                // It is still the one that we came back to, or that we were offered first, or the one that was offered now.
                let is_kept = resumed.is_some() || matches!(claim, SeatClaim::Offered(_));
                let kept = claim.seat().filter(|_| is_kept);
                slot.seat = kept.or(remote.introduction.seat.seat());
                connection.handle_confirmed(now);
                if connection.path().remote.is_stream() && slot.has_better_than_stream() {
                    connection.look_for_better(now);
                }
                match recall.and_then(|(id, _)| Some((id, self.take_place(id, index)?))) {
                    Some((id, old)) => {
                        slot.id = id;
                        slot.armed = None;
                        self.go_on(now, &mut slot, &mut connection, *remote, old, resumed.is_some());
                    }
                    None => {
                        let origin = match resumed {
                            _ if is_new => Origin::New,
                            Some(_) => Origin::Resumed,
                            None => Origin::Restarted,
                        };
                        self.established.insert(slot.id);
                        self.push_connected(&slot, *remote, connection.path(), origin);
                        if let Some(after) = resumed.filter(|_| !is_new) {
                            self.inbox.push_event(
                                slot.id,
                                Event::Resumed {
                                    after,
                                    is_restarted: false,
                                },
                            );
                        }
                    }
                }
            }
            slot.stage = Stage::Open(connection);
        }
        self.slots[index] = Some(slot);
    }

    /// Ours has its way again, or the server has forgotten it and it begins anew under the same id.
    fn go_on(
        &mut self,
        now: Timestamp,
        slot: &mut Slot,
        connection: &mut Connection,
        remote: Remote,
        mut old: Predecessor,
        is_resumed: bool,
    ) {
        slot.terms = old.terms.or(slot.terms.take());
        connection.set_id(slot.id);
        if is_resumed {
            slot.seat = old.seat;
            if let Some(after) = connection.inherit(now, old.connection) {
                self.inbox.push_event(
                    slot.id,
                    Event::Resumed {
                        after,
                        is_restarted: false,
                    },
                );
            }
        } else {
            old.connection.lose(Reason::Restarted, &mut self.inbox);
            connection.owe(&mut old.connection);
            connection.set_restarts(old.connection.stats().restarts + 1);
            self.push_connected(slot, remote, connection.path(), Origin::Restarted);
        }
    }

    fn push_connected(&mut self, slot: &Slot, remote: Remote, path: Path, origin: Origin) {
        let is_incoming = slot.answer_key.is_some();
        let remote = RemoteSide {
            name: remote.introduction.name,
            key: remote.key,
            path,
            seat: slot.seat.filter(|_| !is_incoming),
        };
        let event = Event::Connected {
            remote: Box::new(remote),
            is_incoming,
            origin,
        };
        self.inbox.push_event(slot.id, event);
    }

    pub(super) fn handle_hello(
        &mut self,
        now: Timestamp,
        hello: &ProvenHello<'_>,
        cookie: Option<&[u8; COOKIE_LEN]>,
        has_seat: bool,
    ) -> bool {
        let Some(accept) = &self.config.accept else {
            return false;
        };
        if self.bans.has_address(now, hello.path.remote) {
            self.stats.banned += 1;
            self.push_refusal(hello.path, hello.token, Reason::Banned, "");
            return true;
        }
        if let Some(&index) = self.answers.get(&(hello.path, hello.token)) {
            if let Some(Slot {
                stage: Stage::Answering(answer),
                ..
            }) = &mut self.slots[index]
            {
                let reply = answer.reply(now);
                self.push_outgoing(hello.path, reply);
            }
            return true;
        }
        // Who says that it has a seat must prove it first.
        if self.seats.len() >= accept.max_peers && !has_seat {
            let detail = format!("all {} places are taken", accept.max_peers);
            self.push_refusal(hello.path, hello.token, Reason::Full, &detail);
            return true;
        }
        // Whoever opened a stream or a tunnel has shown where it is.
        if !hello.path.remote.is_opened()
            && !cookie.is_some_and(|cookie| self.cookies.check(now, hello.path, hello.token, cookie))
        {
            let cookie = self.cookies.make(now, hello.path, hello.token);
            let mut bytes = Vec::new();
            Datagram::Cookie {
                token: hello.token,
                cookie: &cookie,
            }
            .emit(&mut bytes);
            self.stats.cookies_sent += 1;
            self.push_outgoing(hello.path, bytes);
            return true;
        }
        // Silence, because the client asks again by itself: an answer would only make it ask sooner.
        if !self.door.admit(now, hello.path.remote) {
            self.stats.handshakes_limited += 1;
            return true;
        }
        self.answer(now, hello)
    }

    fn answer(&mut self, now: Timestamp, hello: &ProvenHello<'_>) -> bool {
        let Some(accept) = self.config.accept.clone() else {
            return false;
        };
        if self.slots.len() - self.free.len() >= MAX_SLOTS {
            return true;
        }
        let (identity, size) = (self.config.identity.clone(), self.config.limits.message_size);
        let (seed, mut seat) = (self.seed(), Seat::default());
        self.random.fill_bytes(&mut seat);
        let key = (hello.path, hello.token);
        let (index, local_id) = self.allocate();
        let offer = Offer {
            connection_id: local_id,
            seat,
            message_size: size,
        };
        let Some(mut answer) = Answer::new(now, hello, &accept, &identity, &offer, seed) else {
            self.free.push(index);
            return false;
        };
        let reply = answer.reply(now);
        let id = self.insert(index, local_id, Some(key), Stage::Answering(Box::new(answer)));
        self.push_outgoing(hello.path, reply);
        if let Some(oldest) = self.door.begin(id, hello.path.remote)
            && let Some(oldest) = self.index(oldest)
        {
            self.stats.handshakes_displaced += 1;
            self.remove(oldest);
        }
        self.answers.insert(key, index);
        self.touch(now, index);
        true
    }

    pub(super) fn handle_cookie(&mut self, now: Timestamp, path: Path, token: u64, cookie: &[u8; COOKIE_LEN]) -> bool {
        let Some(&index) = self.calls.get(&token) else {
            return false;
        };
        if let Some(Slot {
            stage: Stage::Calling(call),
            ..
        }) = &mut self.slots[index]
        {
            call.handle_cookie(now, path, cookie);
        }
        self.touch(now, index);
        true
    }

    pub(super) fn handle_reply(&mut self, now: Timestamp, path: Path, token: u64, noise: &[u8]) -> bool {
        let Some(&index) = self.calls.get(&token) else {
            return false;
        };
        let Some(slot) = &mut self.slots[index] else {
            return false;
        };
        let Stage::Calling(call) = &mut slot.stage else {
            return true;
        };
        let id = slot.id;
        match call.handle_reply(now, path, noise) {
            Answered::Nothing => (),
            // Somebody else is there now, or says so; it may be the server's place again.
            Answered::KeyChanged(_) if slot.recall.is_some() => self.ask_anew(now, index),
            Answered::KeyChanged(key) => {
                let detail = format!("the server's key is now {}", hex(&key));
                self.end(now, id, Reason::KeyChanged, &detail, false);
            }
            Answered::Session {
                session,
                remote_key,
                introduction,
            } => {
                let mut outbox = std::mem::replace(&mut call.outbox, Outbox::new(0));
                let limit = message_limit(&introduction);
                if let Some(size) = outbox.set_remote_message_size(limit) {
                    let detail = format!("a message of {size} bytes waited, the server accepts {limit}");
                    self.end(now, id, Reason::TooLarge, &detail, false);
                    return true;
                }
                let opening = Opening {
                    now,
                    id,
                    session: *session,
                    remote_id: introduction.connection_id,
                    path,
                    is_client: true,
                    first_rtt: call.first_rtt(),
                    outbox,
                };
                let connection = Box::new(Connection::new(opening, &self.config.limits));
                let remote = Box::new(Remote {
                    key: remote_key,
                    introduction,
                });
                if let Some(slot) = self.slots[index].take()
                    && let Stage::Calling(call) = slot.stage
                {
                    let stage = Stage::Confirming(call, connection, remote);
                    self.slots[index] = Some(Slot { stage, ..slot });
                }
            }
        }
        self.touch(now, index);
        true
    }

    pub(super) fn handle_finish(&mut self, now: Timestamp, path: Path, server_id: u32, noise: &[u8]) -> bool {
        let Some(index) = self.index_of_local_id(server_id) else {
            return false;
        };
        let Some(slot) = &mut self.slots[index] else {
            return false;
        };
        let answer = match &mut slot.stage {
            Stage::Answering(answer) if answer.path == path => answer,
            // The client asks again until it has our first packet: that one was lost, or is late.
            Stage::Open(connection) if connection.path() == path => {
                connection.handle_repeated_finish();
                self.make_ready(index);
                return true;
            }
            _ => return false,
        };
        let (id, token, offered) = (slot.id, answer.token, answer.seat);
        match answer.finish(now, noise) {
            Err(NotAuthentic) => {
                // Once for each handshake: what is repeated tells the client nothing more.
                if !std::mem::replace(&mut answer.has_failed, true) {
                    self.door.charge(now, path.remote, WRONG_PASSWORD_COST);
                }
                self.push_refusal(path, token, Reason::WrongPassword, "");
            }
            Ok(Finished {
                session,
                remote_key,
                introduction,
                first_rtt,
            }) => {
                self.door.end(id);
                let opening = Opening {
                    now,
                    id,
                    session,
                    remote_id: introduction.connection_id,
                    path,
                    is_client: false,
                    first_rtt,
                    outbox: Outbox::new(message_limit(&introduction)),
                };
                let connection = Box::new(Connection::new(opening, &self.config.limits));
                let remote = Remote {
                    key: remote_key,
                    introduction,
                };
                if let Some(mut slot) = self.slots[index].take() {
                    slot.remote_key = Some(remote_key);
                    let connection = self.let_in(now, index, &mut slot, connection, remote, offered);
                    slot.stage = Stage::Open(connection);
                    self.slots[index] = Some(slot);
                }
                self.touch(now, index);
            }
        }
        true
    }

    /// Lets a client in that has proven itself: as new, or back to its seat; or tells it why not.
    fn let_in(
        &mut self,
        now: Timestamp,
        index: usize,
        slot: &mut Slot,
        mut connection: Box<Connection>,
        remote: Remote,
        offered: Seat,
    ) -> Box<Connection> {
        let (path, claim) = (connection.path(), remote.introduction.seat);
        let owner = self.seat_owner(claim, &remote.key);
        if let Some((reason, detail)) = self.objection(now, path, &remote, owner) {
            self.stats.refused += 1;
            self.stats.banned += u64::from(reason == Reason::Banned);
            connection.refuse(now, reason, &detail);
            return connection;
        }
        let Some((id, old)) = owner.and_then(|id| Some((id, self.take_place(id, index)?))) else {
            // An offer that came to nothing is as good as the one of now, and the client may have heard of no other.
            let seat = match claim {
                SeatClaim::Offered(seat) if !self.tickets.contains_key(&seat) => seat,
                _ => offered,
            };
            self.seats.insert(slot.id);
            self.established.insert(slot.id);
            self.tickets.insert(seat, slot.id);
            slot.seat = Some(seat);
            self.push_connected(slot, remote, path, Origin::New);
            return connection;
        };
        slot.id = id;
        slot.armed = None;
        slot.seat = old.seat;
        connection.set_id(id);
        let mut old = old.connection;
        connection.set_resumed(now - old.last_heard());
        if !matches!(claim, SeatClaim::Fresh(_)) {
            // A client that did not know that it was in has nothing, which is all that it has had.
            if let Some(after) = connection.inherit(now, old) {
                self.inbox.push_event(
                    id,
                    Event::Resumed {
                        after,
                        is_restarted: false,
                    },
                );
            }
        } else {
            // The game must hear of it, even if nobody had missed the client yet: it knows nothing of what was.
            old.lose(Reason::Restarted, &mut self.inbox);
            let after = now - connection.inherit_unheard(now, old);
            self.inbox.push_event(
                id,
                Event::Resumed {
                    after,
                    is_restarted: true,
                },
            );
        }
        connection
    }

    /// Returns why a client that has proven itself may not come in.
    fn objection(
        &self,
        now: Timestamp,
        path: Path,
        remote: &Remote,
        owner: Option<ConnectionId>,
    ) -> Option<(Reason, String)> {
        let introduction = &remote.introduction;
        let accept = self.config.accept.as_ref()?;
        if self.bans.has_key(now, &remote.key) || self.bans.has_address(now, path.remote) {
            return Some((Reason::Banned, String::new()));
        }
        if introduction.version != accept.version {
            let (theirs, ours) = (&introduction.version, &accept.version);
            return Some((
                Reason::WrongVersion,
                format!("the game has version {theirs:?}, the server {ours:?}"),
            ));
        }
        if let Some(words) = self.closing_words(introduction.seat) {
            return Some(words);
        }
        if matches!(introduction.seat, SeatClaim::Fresh(_)) && owner.is_some_and(|id| self.has_full_inbox(id)) {
            let detail = "the server has not taken yet what came before";
            return Some((Reason::TooFast, detail.to_owned()));
        }
        if owner.is_none() && self.seats.len() >= accept.max_peers {
            return Some((Reason::Full, format!("all {} places are taken", accept.max_peers)));
        }
        None
    }

    pub(super) fn handle_refuse(&mut self, now: Timestamp, path: Path, token: u64, reason: u8, detail: &str) -> bool {
        let Some(&index) = self.calls.get(&token) else {
            return false;
        };
        let Some(slot) = &self.slots[index] else { return false };
        let (Stage::Calling(call) | Stage::Confirming(call, ..)) = &slot.stage else {
            return false;
        };
        if !call.has_asked(path) {
            return false;
        }
        if slot.recall.is_some() {
            // Anybody on the path can say so. What is not authentic does not end a connection.
            self.ask_anew(now, index);
            return true;
        }
        let reason = Reason::from_remote(reason);
        let (id, detail) = (slot.id, printable(detail));
        self.end(now, id, reason, &detail, false);
        true
    }

    pub(super) fn refuse_version(&mut self, path: Path, version: u8, datagram: &[u8]) -> bool {
        let Some(token) = Datagram::hello_token(datagram).filter(|_| self.config.accept.is_some()) else {
            return false;
        };
        let detail = format!("the server speaks netplay protocol {PROTOCOL_VERSION}, the game {version}");
        self.push_refusal(path, token, Reason::WrongProtocol, &detail);
        true
    }

    fn push_refusal(&mut self, path: Path, token: u64, reason: Reason, detail: &str) {
        let mut bytes = Vec::new();
        Datagram::Refuse {
            token,
            reason: reason.number(),
            detail,
        }
        .emit(&mut bytes);
        self.stats.refused += 1;
        self.push_outgoing(path, bytes);
    }

    /// Begins another handshake, after a while, in the place of one that was answered by the wrong side.
    fn ask_anew(&mut self, now: Timestamp, index: usize) {
        self.call_anew(now, index);
        let (token, seed) = (self.random.next_u64(), self.seed());
        if let Some(Slot {
            stage: Stage::Calling(call),
            ..
        }) = &mut self.slots[index]
        {
            self.calls.remove(&call.token);
            self.calls.insert(token, index);
            let outbox = std::mem::replace(&mut call.outbox, Outbox::new(0));
            call.begin_anew(now, &self.config.identity, token, seed, outbox);
            call.wait_longer(now);
        }
    }

    /// The server has forgotten our handshake: begins another one, with what the game has sent meanwhile.
    pub(super) fn call_anew(&mut self, now: Timestamp, index: usize) {
        let (token, seed) = (self.random.next_u64(), self.seed());
        if let Some(slot) = self.slots[index].take_if(Slot::is_unconfirmed)
            && let Stage::Confirming(mut call, mut connection, remote) = slot.stage
        {
            self.calls.remove(&call.token);
            self.calls.insert(token, index);
            call.handle_offer(remote.introduction.seat.seat());
            call.begin_anew(now, &self.config.identity, token, seed, connection.take_outbox());
            let stage = Stage::Calling(call);
            self.slots[index] = Some(Slot { stage, ..slot });
        }
    }

    /// The server may have let us in already, without our knowing: it must not keep the seat for one who is gone.
    pub(super) fn say_goodbye_unconfirmed(&mut self, now: Timestamp, index: usize, reason: Reason, detail: &str) {
        if let Some(slot) = self.slots[index].take_if(Slot::is_unconfirmed)
            && let Stage::Confirming(call, mut connection, _) = slot.stage
        {
            self.calls.remove(&call.token);
            if let Some((id, _)) = slot.recall {
                self.recalls.remove(&id);
            }
            connection.refuse(now, reason, detail);
            let stage = Stage::Open(connection);
            self.slots[index] = Some(Slot {
                stage,
                recall: None,
                ..slot
            });
            self.touch(now, index);
        }
    }
}

impl Slot {
    fn is_unconfirmed(&mut self) -> bool {
        matches!(self.stage, Stage::Confirming(..))
    }

    /// Returns true if the game would rather have a connection by single datagrams.
    fn has_better_than_stream(&self) -> bool {
        let transports = self.terms.as_ref().map(|terms| &terms.transports);
        transports.is_some_and(|transports| transports.first() == Some(&Transport::Udp))
    }
}

/// Returns the largest message we may send to one who says this of itself: within what the protocol allows either way, so that a
/// remote side cannot make every send a mistake of the game's.
fn message_limit(introduction: &Introduction) -> usize {
    let size = usize::try_from(introduction.message_size).unwrap_or(usize::MAX);
    size.clamp(MIN_MESSAGE_SIZE, MAX_RELIABLE_SIZE)
}

fn hex(key: &Key) -> String {
    key.iter().map(|byte| format!("{byte:02x}")).collect()
}
