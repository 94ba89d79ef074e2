//! A call of `tcp://` on its way: one address after the other, each with a head start, and the first that answers is taken.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Interest, Token};
use netplay_proto::{Reason, Timestamp};

use super::Tcp;
use crate::foreign::GuestId;

/// How long to wait for one address before the next is tried beside it (RFC 8305 §5).
const HEAD_START: Duration = Duration::from_millis(250);

/// A call on its way.
pub(super) struct Dial {
    pub(super) addresses: VecDeque<SocketAddr>,
    pub(super) attempts: Vec<(Token, TcpStream)>,
    pub(super) next_at: Timestamp,
    pub(super) deadline: Timestamp,
    pub(super) has_addresses: bool,
    pub(super) problem: String,
}

impl Tcp {
    /// Lets a call go on.
    pub(super) fn work_on_dial(&mut self, now: Timestamp, id: GuestId) {
        let Some(guest) = self.guests.get_mut(&id) else {
            return;
        };
        let Some(dial) = &mut guest.dial else {
            return;
        };
        let mut index = 0;
        while index < dial.attempts.len() {
            let (token, stream) = &dial.attempts[index];
            let problem = match stream.take_error() {
                Ok(Some(error)) | Err(error) => Some(error),
                Ok(None) => match stream.peer_addr() {
                    Ok(address) => {
                        let token = *token;
                        let (_, stream) = dial.attempts.swap_remove(index);
                        for (token, _) in &dial.attempts {
                            self.tokens.remove(token);
                        }
                        return self.open(id, token, stream, address, false);
                    }
                    Err(error) if is_on_its_way(&error) => None,
                    Err(error) => Some(error),
                },
            };
            match problem {
                Some(error) => {
                    dial.problem = dial_words(&error);
                    self.tokens.remove(token);
                    dial.attempts.swap_remove(index);
                    // The next one need not wait.
                    dial.next_at = now;
                }
                None => index += 1,
            }
        }
        while dial.next_at <= now
            && let Some(address) = dial.addresses.pop_front()
        {
            self.last_token += 1;
            let token = Token(self.last_token);
            let interest = Interest::READABLE | Interest::WRITABLE;
            let begun = TcpStream::connect(address).and_then(|mut stream| {
                self.poll.registry().register(&mut stream, token, interest)?;
                Ok(stream)
            });
            match begun {
                Ok(stream) => {
                    self.tokens.insert(token, id);
                    dial.attempts.push((token, stream));
                    dial.next_at = now + HEAD_START;
                }
                Err(error) => dial.problem = dial_words(&error),
            }
        }
        let is_late = dial.deadline <= now;
        if is_late || dial.has_addresses && dial.attempts.is_empty() && dial.addresses.is_empty() {
            for (token, _) in &dial.attempts {
                self.tokens.remove(token);
            }
            let reason = match dial.has_addresses {
                true => Reason::NoAnswer,
                false => Reason::UnknownHost,
            };
            let detail = match (is_late, dial.has_addresses) {
                (true, true) if !dial.attempts.is_empty() => String::new(),
                (true, false) => "its name could not be resolved in time".to_owned(),
                _ => std::mem::take(&mut dial.problem),
            };
            guest.dial = None;
            guest.end = Some((reason, detail));
            self.timed.remove(&id);
            self.give_turn(id);
        }
    }
}

fn is_on_its_way(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotConnected || error.kind() == io::ErrorKind::WouldBlock
}

/// Returns why a call led nowhere.
fn dial_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "refused: nobody listens there".to_owned(),
        _ => error.to_string(),
    }
}
