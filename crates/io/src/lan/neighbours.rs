//! Games in other processes of this machine. A process with a game answers on one of a few loopback ports; who looks asks them all.
//!
//! ```text
//! question   "npla" "L" 1 "?"  token (8)
//! answer     "npla" "L" 1 "!"  token (8)  strings: length (1) and key=value, as in a TXT record
//! ```
//!
//! The keys are those of a [`Notice`], and `at`: addresses with ports, with commas between them.
//! It works where there is no network at all, and a process that was killed does not answer: no clock, file or lock to go stale.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use mio::net::UdpSocket;
use mio::{Interest, Registry, Token};

use super::game::{Game, Notice, host_name};

/// The ports, on 127.0.0.1. Below those that operating systems give out by themselves.
const PORTS: std::ops::Range<u16> = 24690..24722;

/// How often to ask.
const ASK_EVERY: Duration = Duration::from_millis(400);

/// After how much silence a game is gone: three questions without an answer.
const GONE_AFTER: Duration = Duration::from_millis(1300);

/// How many games are kept.
const MAX_GAMES: usize = 256;

/// How many datagrams are read at once, so that a flood holds up nothing else.
const BUDGET: usize = 512;

/// How large an answer may be.
const MAX_ANSWER: usize = 1200;

const QUESTION: &[u8; 7] = b"npla\x4c\x01?";
const ANSWER: &[u8; 7] = b"npla\x4c\x01!";

/// How long the head of both is: what it is, and the token.
const HEAD: usize = 15;

/// The other processes of this machine.
pub(super) struct Neighbours {
    /// Asks, once there is somebody who looks.
    asking: Option<Asking>,
    /// Answers, while there is a game here.
    answering: Option<UdpSocket>,
    games: BTreeMap<String, (Game, Instant)>,
}

struct Asking {
    socket: UdpSocket,
    token: [u8; 8],
    next_at: Instant,
}

impl Neighbours {
    pub(super) const fn new() -> Self {
        Self {
            asking: None,
            answering: None,
            games: BTreeMap::new(),
        }
    }

    /// Begins or stops to answer.
    pub(super) fn answer(&mut self, is_wanted: bool, registry: &Registry, token: Token) {
        if !is_wanted {
            self.answering = None;
        } else if self.answering.is_none() {
            let open = |port| UdpSocket::bind((Ipv4Addr::LOCALHOST, port).into()).ok();
            self.answering = PORTS.into_iter().find_map(open);
            match &mut self.answering {
                Some(socket) => _ = registry.register(socket, token, Interest::READABLE),
                None => log::warn!("other programs of this machine will not find the game: all ports are taken"),
            }
        }
    }

    /// Begins or stops to ask.
    pub(super) fn ask(&mut self, is_wanted: bool, registry: &Registry, token: Token) -> io::Result<()> {
        if !is_wanted {
            self.asking = None;
            self.games.clear();
        } else if self.asking.is_none() {
            let mut socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0).into())?;
            registry.register(&mut socket, token, Interest::READABLE)?;
            let mut secret = [0; 8];
            getrandom::fill(&mut secret).map_err(io::Error::other)?;
            self.asking = Some(Asking {
                socket,
                token: secret,
                next_at: Instant::now(),
            });
        }
        Ok(())
    }

    /// Asks when it is time, reads answers, and forgets who has gone. Returns how many answers could not be used.
    pub(super) fn look(&mut self, now: Instant, is_wanted: impl Fn(&str) -> bool) -> u64 {
        let Some(asking) = &mut self.asking else {
            return 0;
        };
        if asking.next_at <= now {
            asking.next_at = now + ASK_EVERY;
            let question = [&QUESTION[..], &asking.token].concat();
            for port in PORTS {
                // Where nobody listens, the next call tells so; that is no trouble.
                if asking
                    .socket
                    .send_to(&question, (Ipv4Addr::LOCALHOST, port).into())
                    .is_err()
                {
                    let _ = asking.socket.send_to(&question, (Ipv4Addr::LOCALHOST, port).into());
                }
            }
        }
        let mut refused = 0;
        let head = [&ANSWER[..], &asking.token].concat();
        receive(&asking.socket, |from, datagram| {
            let Some(body) = datagram.strip_prefix(&head[..]) else {
                return;
            };
            match read_answer(body).filter(|_| PORTS.contains(&from.port())) {
                Some(game) if !is_wanted(&game.app) => {}
                Some(game) if self.games.len() < MAX_GAMES || self.games.contains_key(&game.id) => {
                    self.games.insert(game.id.clone(), (game, now));
                }
                _ => refused += 1,
            }
        });
        self.games
            .retain(|_, (game, seen)| now.duration_since(*seen) < GONE_AFTER && is_wanted(&game.app));
        refused
    }

    /// Answers what was asked.
    pub(super) fn tell(&self, notices: &[(Notice, Vec<SocketAddr>)]) {
        let Some(socket) = &self.answering else {
            return;
        };
        receive(socket, |from, datagram| {
            if datagram.len() == HEAD && datagram.starts_with(QUESTION) && from.ip().is_loopback() {
                for (notice, addresses) in notices {
                    let _ = socket.send_to(&write_answer(&datagram[QUESTION.len()..], notice, addresses), from);
                }
            }
        });
    }

    pub(super) fn games(&self) -> impl Iterator<Item = &Game> {
        self.games.values().map(|(game, _)| game)
    }
}

fn receive(socket: &UdpSocket, mut handle: impl FnMut(SocketAddr, &[u8])) {
    let mut buffer = [0; MAX_ANSWER];
    for _ in 0..BUDGET {
        match socket.recv_from(&mut buffer) {
            Ok((length, from)) => handle(from, &buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            // A port where nobody listens; there may be more behind it.
            Err(_) => {}
        }
    }
}

fn write_answer(token: &[u8], notice: &Notice, addresses: &[SocketAddr]) -> Vec<u8> {
    let mut answer = [ANSWER, token].concat();
    let addresses: Vec<String> = addresses.iter().take(4).map(ToString::to_string).collect();
    let mut txt = notice.to_txt();
    txt.push(("at", addresses.join(",")));
    for (key, value) in txt {
        let text = format!("{key}={value}");
        // Every value is bounded far below that.
        answer.push(u8::try_from(text.len()).unwrap_or(0));
        answer.extend(text.bytes().take(255));
    }
    answer
}

fn read_answer(body: &[u8]) -> Option<Game> {
    let mut txt: Vec<(&str, &[u8])> = Vec::new();
    let mut rest = body;
    while let Some((length, after)) = rest.split_first() {
        let (text, after) = after.split_at_checked(usize::from(*length))?;
        let equals = text.iter().position(|byte| *byte == b'=')?;
        txt.push((std::str::from_utf8(&text[..equals]).ok()?, &text[equals + 1..]));
        rest = after;
    }
    let get = |key: &str| txt.iter().find(|(name, _)| *name == key).map(|(_, value)| *value);
    let notice = Notice::from_txt(get, "")?;
    let addresses = std::str::from_utf8(get("at")?).ok()?;
    let addresses: Vec<SocketAddr> = addresses
        .split(',')
        .take(4)
        .filter_map(|address| address.parse().ok())
        .collect();
    notice.at(&host_name(), addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice() -> Notice {
        Notice {
            id: "0123456789abcdef".to_owned(),
            app: "pong".to_owned(),
            title: "Ada's table".to_owned(),
            players: 1,
            max_peers: 4,
            needs_password: false,
            transports: vec![netplay_proto::Transport::Udp],
            key: Some([7; 32]),
        }
    }

    #[test]
    fn an_answer_reads_back_and_no_part_of_it_does_harm() {
        let addresses = ["127.0.0.1:5000".parse().unwrap(), "[::1]:5000".parse().unwrap()];
        let answer = write_answer(&[0; 8], &notice(), &addresses);
        assert!(answer.len() < MAX_ANSWER);
        let game = read_answer(&answer[HEAD..]).unwrap();
        assert_eq!(
            (game.title.as_str(), &game.addresses[..]),
            ("Ada's table", &addresses[..])
        );
        for length in 0..answer.len() - HEAD {
            assert_eq!(read_answer(&answer[HEAD..HEAD + length]), None, "{length}");
        }
        for place in HEAD..answer.len() {
            let mut other = answer.clone();
            other[place] ^= 0xff;
            let _ = read_answer(&other[HEAD..]);
        }
    }
}
