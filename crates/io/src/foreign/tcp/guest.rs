//! One remote side of bare streams: what it has sent and what is to be sent to it. It must not know the other guests.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use bytes::BytesMut;
use mio::Token;
use mio::net::TcpStream;
use netplay_proto::{ConnectionStats, Payload, Reason, Timestamp};

use super::dial::Dial;
use crate::foreign::{GuestId, earlier};
use crate::url::Simulation;

/// How many bytes of one stream wait for the game before reading stops.
const MAX_WAITING: usize = 256 * 1024;

/// How long a stream that was closed may take to send what waits, and then to be closed by the other side too.
pub(super) const FLUSH: Duration = Duration::from_secs(10);
const LINGER: Duration = Duration::from_secs(1);

/// How many slices are written at once.
const MAX_SLICES: usize = 32;

/// What a message counts for beside its bytes while it waits.
pub(super) const MESSAGE_COST: usize = 64;

/// One that called or was called.
pub(super) struct Guest {
    pub(super) stream: Option<TcpStream>,
    pub(super) token: Option<Token>,
    pub(super) dial: Option<Dial>,
    pub(super) address: Option<SocketAddr>,
    pub(super) is_incoming: bool,
    /// Its `Connected` is still to be told.
    pub(super) is_new: bool,
    pub(super) can_read: bool,
    pub(super) can_write: bool,
    pub(super) incoming: BytesMut,
    pub(super) outgoing: VecDeque<Payload>,
    pub(super) outgoing_bytes: usize,
    pub(super) slow: Option<Slow>,
    /// The game takes its bytes by `receive`, not as events.
    pub(super) is_taken: bool,
    /// The look of the game that took bytes of it last.
    pub(super) took: u64,
    /// The remote side has sent everything.
    pub(super) is_half_closed: bool,
    /// How it ended, to be told when what came before has been taken.
    pub(super) end: Option<(Reason, String)>,
    /// It has a place among `turns` or `later`.
    pub(super) has_turn: bool,
    pub(super) closing: Option<Closing>,
    pub(super) sequence_id: u64,
    pub(super) stats: ConnectionStats,
}

/// A stream that the game has closed: it still sends what waits.
pub(super) struct Closing {
    pub(super) until: Timestamp,
    pub(super) is_shut: bool,
    /// Its end has been told.
    pub(super) is_told: bool,
}

/// A slower way out: the simulated bad network of a stream, which loses nothing and changes no order.
pub(super) struct Slow {
    pub(super) lag: Duration,
    pub(super) rate: Option<u64>,
    pub(super) busy_until: Timestamp,
    pub(super) under_way: VecDeque<(Timestamp, Payload)>,
}

impl Guest {
    /// Makes one that has no stream yet.
    pub(super) fn new(simulation: Option<&Simulation>) -> Self {
        let slow = simulation.map(|simulation| Slow {
            lag: simulation.conditions.lag,
            rate: simulation.conditions.rate,
            busy_until: Timestamp::ZERO,
            under_way: VecDeque::new(),
        });
        Self {
            stream: None,
            token: None,
            dial: None,
            address: None,
            is_incoming: false,
            is_new: false,
            can_read: false,
            can_write: false,
            incoming: BytesMut::new(),
            outgoing: VecDeque::new(),
            outgoing_bytes: 0,
            slow,
            is_taken: false,
            took: 0,
            is_half_closed: false,
            end: None,
            has_turn: false,
            closing: None,
            sequence_id: 0,
            stats: ConnectionStats::default(),
        }
    }

    pub(super) fn next_at(&self) -> Option<Timestamp> {
        if let Some(dial) = &self.dial {
            let next = (!dial.addresses.is_empty()).then_some(dial.next_at);
            return earlier(Some(dial.deadline), next);
        }
        let slow = self.slow.as_ref().and_then(|slow| slow.under_way.front());
        let closing = self.closing.as_ref().filter(|_| self.stream.is_some());
        earlier(slow.map(|(due, _)| *due), closing.map(|closing| closing.until))
    }

    /// Lets go on what has been on its slow way for long enough.
    pub(super) fn release(&mut self, now: Timestamp) {
        let Some(slow) = &mut self.slow else {
            return;
        };
        while let Some((due, _)) = slow.under_way.front()
            && *due <= now
        {
            self.outgoing.extend(slow.under_way.pop_front().map(|(_, bytes)| bytes));
        }
    }

    /// Reads until there is no more now, or enough waits. Returns how many bytes came.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> (usize, io::Result<()>) {
        let mut received = 0;
        while self.can_read && !self.is_half_closed && (self.incoming.len() < MAX_WAITING || self.closing.is_some()) {
            let Some(stream) = &mut self.stream else {
                break;
            };
            match stream.read(buffer) {
                Ok(0) => {
                    self.is_half_closed = true;
                    self.can_read = false;
                }
                Ok(count) => {
                    received += count;
                    // Nobody wants to know any more what comes after a close.
                    if self.closing.is_none() {
                        self.incoming.extend_from_slice(&buffer[..count]);
                    } else if received > MAX_WAITING {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.can_read = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return (received, Err(error)),
            }
        }
        self.stats.bytes_received += received as u64;
        (received, Ok(()))
    }

    /// Writes until there is no more, or no room.
    pub(super) fn write(&mut self) -> io::Result<()> {
        while self.can_write && !self.outgoing.is_empty() {
            let Some(stream) = &mut self.stream else {
                break;
            };
            let slices: Vec<IoSlice<'_>> = self
                .outgoing
                .iter()
                .take(MAX_SLICES)
                .map(|bytes| IoSlice::new(bytes))
                .collect();
            match stream.write_vectored(&slices) {
                Ok(count) => self.handle_written(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.can_write = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn handle_written(&mut self, count: usize) {
        self.stats.bytes_sent += count as u64;
        let mut left = count;
        while let Some(bytes) = self.outgoing.front_mut() {
            if bytes.len() > left {
                *bytes = bytes.without_first(left);
                self.outgoing_bytes -= left;
                return;
            }
            left -= bytes.len();
            self.outgoing_bytes -= bytes.len() + MESSAGE_COST;
            self.outgoing.pop_front();
        }
    }

    /// Goes on with closing, if it is being closed. Returns true when the stream can go: the other side has closed it too, or
    /// took too long.
    pub(super) fn close_stream(&mut self, now: Timestamp) -> bool {
        let (Some(closing), Some(stream)) = (&mut self.closing, &self.stream) else {
            return false;
        };
        if self.outgoing_bytes == 0 && !closing.is_shut {
            closing.is_shut = true;
            closing.until = now + LINGER;
            if stream.shutdown(Shutdown::Write).is_err() {
                return true;
            }
        }
        closing.until <= now || closing.is_shut && self.is_half_closed
    }

    pub(super) fn drop_stream(&mut self, tokens: &mut BTreeMap<Token, GuestId>) {
        self.stream = None;
        if let Some(token) = self.token.take() {
            tokens.remove(&token);
        }
        (self.can_read, self.can_write) = (false, false);
        self.outgoing.clear();
        self.outgoing_bytes = 0;
        if let Some(slow) = &mut self.slow {
            slow.under_way.clear();
        }
    }

    /// Returns true if its end can be told: all that came has been taken, and all that was answered has gone.
    pub(super) fn is_over(&self) -> bool {
        let is_finished = self.is_half_closed && self.outgoing_bytes == 0;
        self.closing.is_none() && self.incoming.is_empty() && (self.end.is_some() || is_finished)
    }

    pub(super) fn has_something_to_tell(&self) -> bool {
        let is_told = self.closing.as_ref().is_some_and(|closing| closing.is_told);
        !is_told
            && (self.is_new || !self.is_taken && !self.incoming.is_empty() || self.is_over() || self.closing.is_some())
    }
}
