//! Datagrams as messages of a WebSocket (RFC 6455), and the little HTTP it begins with. Bytes in, bytes out: no sockets.
//!
//! ```text
//! caller   ── GET / with "Upgrade: websocket" ──►   listener
//!          ◄── 101 Switching Protocols ──
//!          ◄── one binary message for each datagram ──►
//! ```
//!
//! The frames are those of the crate `tungstenite`, which here reads and writes memory. Any other request of HTTP gets a page
//! that says what this is.

use std::io::{self, Read, Write};

use netplay_proto::wire::MAX_DATAGRAM;
use tungstenite::handshake::client::Response;
use tungstenite::handshake::derive_accept_key;
use tungstenite::handshake::machine::TryParse;
use tungstenite::handshake::server::{Request, create_response, write_response};
use tungstenite::protocol::frame::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Error, Message, WebSocket};

/// The most bytes of a request or an answer of HTTP, up to the empty line.
const MAX_HEAD: usize = 8 * 1024;

/// How many bytes may come without completing a message: a datagram in many small fragments, and the first of the next.
const MAX_UNFINISHED: usize = 16 * 1024;

/// What a browser shows that was pointed here.
const PAGE: &str = "<!doctype html><meta charset=utf-8><title>netplay</title>\
    <p>This is a game server that speaks <b>netplay</b>, not a web site. \
    To play, start the game and connect to this address with it.\n";

/// What became of a request of HTTP.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// It is not complete.
    Nothing,
    /// It asks for a WebSocket: what to answer, and how many of the bytes were the request.
    Upgrade { answer: Vec<u8>, size: usize },
    /// It is anything else: what to answer before the stream is closed.
    Other { answer: Vec<u8> },
}

/// Reads a request of HTTP. `is_served` says whether WebSockets are.
pub(crate) fn hear(bytes: &[u8], is_served: bool) -> Heard {
    let other = || Heard::Other { answer: page() };
    match Request::try_parse(bytes) {
        Ok(None) if bytes.len() < MAX_HEAD => Heard::Nothing,
        Ok(Some((size, request))) if is_served && size <= MAX_HEAD => {
            let mut answer = Vec::new();
            match create_response(&request).map(|response| write_response(&mut answer, &response)) {
                Ok(Ok(())) => Heard::Upgrade { answer, size },
                _ => other(),
            }
        }
        _ => other(),
    }
}

fn page() -> Vec<u8> {
    format!(
        "HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\nConnection: Upgrade, close\r\n\
         Content-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\nCache-Control: no-store\r\n\r\n{PAGE}",
        PAGE.len()
    )
    .into_bytes()
}

/// What a caller waits for: the answer to its request.
#[derive(Debug)]
pub(crate) struct Asking {
    accept: String,
    head: Vec<u8>,
}

/// The answer was no WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotWelcome;

impl Asking {
    /// Begins a call: also returns the request to send. `host` is as in a URL, with the port.
    pub(crate) fn new(host: &str) -> (Self, Vec<u8>) {
        let key = tungstenite::handshake::client::generate_key();
        let request = format!(
            "GET / HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
        );
        let accept = derive_accept_key(key.as_bytes());
        let head = Vec::new();
        (Self { accept, head }, request.into_bytes())
    }

    /// Takes in more of the answer. Returns the bytes behind it once it is complete.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Result<Option<Vec<u8>>, NotWelcome> {
        self.head.extend_from_slice(bytes);
        let Some((size, response)) = Response::try_parse(&self.head).map_err(|_| NotWelcome)? else {
            return if self.head.len() < MAX_HEAD {
                Ok(None)
            } else {
                Err(NotWelcome)
            };
        };
        let accept = response.headers().get("Sec-WebSocket-Accept");
        let is_welcome = response.status() == 101 && accept.is_some_and(|accept| accept == self.accept.as_str());
        if is_welcome {
            Ok(Some(self.head.split_off(size)))
        } else {
            Err(NotWelcome)
        }
    }
}

/// A WebSocket that is over: by a goodbye, or because the remote side broke the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    /// It said goodbye.
    Closed,
    /// It sent what no side of ours sends. A goodbye that says so is on its way out.
    Broken,
}

/// One side of a WebSocket.
pub(crate) struct Web {
    socket: WebSocket<Memory>,
    /// How many bytes came since the last complete message.
    unfinished: usize,
}

impl Web {
    /// Begins after the handshake.
    pub(crate) fn new(is_caller: bool) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(2048)
            .write_buffer_size(0)
            .max_message_size(Some(MAX_DATAGRAM))
            .max_frame_size(Some(MAX_DATAGRAM));
        let role = if is_caller { Role::Client } else { Role::Server };
        Self {
            socket: WebSocket::from_raw_socket(Memory::default(), role, Some(config)),
            unfinished: 0,
        }
    }

    /// Takes in bytes and hands out the datagrams that are complete with them. Afterwards something may wait to be sent.
    pub(crate) fn take(&mut self, bytes: &[u8], handle: &mut dyn FnMut(&[u8])) -> Result<(), Over> {
        self.socket.get_mut().feed(bytes);
        self.unfinished += bytes.len();
        loop {
            let (code, words) = match self.socket.read() {
                Ok(Message::Binary(datagram)) if !datagram.is_empty() => {
                    self.unfinished = self.socket.get_ref().left();
                    handle(&datagram);
                    continue;
                }
                Ok(Message::Ping(_) | Message::Pong(_) | Message::Close(_)) => continue,
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.unfinished <= MAX_UNFINISHED {
                        return Ok(());
                    }
                    (CloseCode::Policy, "too much without a datagram")
                }
                Err(Error::ConnectionClosed | Error::AlreadyClosed) => return Err(Over::Closed),
                Ok(Message::Text(_)) => (CloseCode::Unsupported, "binary messages only"),
                Err(Error::Capacity(_)) => (CloseCode::Size, "a message is at most 1200 bytes"),
                Ok(_) => (CloseCode::Policy, "a message is at least one byte"),
                Err(_) => (CloseCode::Protocol, "that is no WebSocket"),
            };
            let reason = words.into();
            // Whether it gets through does not matter any more.
            let _ = self.socket.close(Some(CloseFrame { code, reason }));
            return Err(Over::Broken);
        }
    }

    /// Puts a datagram into a message.
    pub(crate) fn push(&mut self, datagram: &[u8]) {
        // Memory takes everything, and whether the other side is still there shows when reading.
        let _ = self.socket.write(Message::binary(datagram.to_vec()));
    }

    /// Says goodbye.
    pub(crate) fn close(&mut self) {
        let _ = self.socket.close(None);
    }

    /// Moves what is to be sent to the end of `out`.
    pub(crate) fn take_output(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.socket.get_mut().output);
    }
}

/// What stands in for a socket.
#[derive(Debug, Default)]
struct Memory {
    input: Vec<u8>,
    read: usize,
    output: Vec<u8>,
}

impl Memory {
    fn feed(&mut self, bytes: &[u8]) {
        self.input.drain(..self.read);
        self.read = 0;
        self.input.extend_from_slice(bytes);
    }

    fn left(&self) -> usize {
        self.input.len() - self.read
    }
}

impl Read for Memory {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left() == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let size = buffer.len().min(self.left());
        buffer[..size].copy_from_slice(&self.input[self.read..self.read + size]);
        self.read += size;
        Ok(size)
    }
}

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lets a caller and a listener talk until both have a WebSocket.
    fn pair() -> (Web, Web) {
        let (mut asking, request) = Asking::new("example.org:5000");
        let Heard::Upgrade { answer, size } = hear(&request, true) else {
            panic!("our own request is one");
        };
        assert_eq!(size, request.len());
        assert_eq!(asking.take(&answer[..20]), Ok(None));
        assert_eq!(asking.take(&answer[20..]), Ok(Some(Vec::new())));
        (Web::new(true), Web::new(false))
    }

    fn output(web: &mut Web) -> Vec<u8> {
        let mut out = Vec::new();
        web.take_output(&mut out);
        out
    }

    fn taken(web: &mut Web, bytes: &[u8]) -> (Vec<Vec<u8>>, Result<(), Over>) {
        let mut datagrams = Vec::new();
        let result = web.take(bytes, &mut |datagram| datagrams.push(datagram.to_vec()));
        (datagrams, result)
    }

    /// A frame as a caller writes it, masked with zeros.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![first];
        if payload.len() < 126 {
            frame.push(0x80 | payload.len() as u8);
        } else {
            frame.push(0xfe);
            frame.extend_from_slice(&(payload.len() as u16).to_be_bytes());
        }
        frame.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(payload);
        frame
    }

    #[test]
    fn datagrams_go_both_ways_however_the_stream_is_cut() {
        let (mut caller, mut listener) = pair();
        let datagrams: Vec<Vec<u8>> = [1, 125, 126, 1200, 3].iter().map(|size| vec![7; *size]).collect();
        for piece in [1, 2, 5, 1000, 10_000] {
            for datagram in &datagrams {
                caller.push(datagram);
                listener.push(datagram);
            }
            let (there, back) = (output(&mut caller), output(&mut listener));
            for (web, bytes) in [(&mut listener, there), (&mut caller, back)] {
                let mut arrived = Vec::new();
                for part in bytes.chunks(piece) {
                    let (datagrams, result) = taken(web, part);
                    assert_eq!(result, Ok(()));
                    arrived.extend(datagrams);
                }
                assert_eq!(arrived, datagrams, "in pieces of {piece}");
            }
        }
    }

    #[test]
    fn pings_are_answered_and_goodbyes_too() {
        let (_, mut listener) = pair();
        assert_eq!(taken(&mut listener, &frame(0x89, b"hello")), (vec![], Ok(())));
        assert_eq!(output(&mut listener), b"\x8a\x05hello");
        let (datagrams, result) = taken(&mut listener, &frame(0x88, &1000u16.to_be_bytes()));
        assert_eq!((datagrams, result), (vec![], Err(Over::Closed)));
        assert_eq!(output(&mut listener), b"\x88\x02\x03\xe8");
    }

    #[test]
    fn a_datagram_in_fragments_is_one() {
        let (_, mut listener) = pair();
        let bytes = [frame(0x02, b"one "), frame(0x00, b"and "), frame(0x80, b"two")].concat();
        assert_eq!(taken(&mut listener, &bytes), (vec![b"one and two".to_vec()], Ok(())));
    }

    #[test]
    fn what_breaks_the_rules_ends_it_with_a_reason() {
        let unmasked = b"\x82\x01x".to_vec();
        let long_header = [vec![0x82, 0xff], u64::MAX.to_be_bytes().to_vec(), vec![0; 4]].concat();
        let huge_fragments = [frame(0x02, &[0; 700]), frame(0x00, &[0; 700])].concat();
        let endless = [frame(0x02, b""), frame(0x00, b"").repeat(3000)].concat();
        let cases = [
            ("unmasked", unmasked, 1002u16),
            ("text", frame(0x81, b"hello"), 1003),
            ("empty", frame(0x82, b""), 1008),
            ("oversized", frame(0x82, &[0; 1201]), 1009),
            ("beyond all measure", long_header, 1009),
            ("oversized in fragments", huge_fragments, 1009),
            ("fragments without end", endless, 1008),
            ("nothing but pings", frame(0x89, b"").repeat(4000), 1008),
            ("a reserved bit", frame(0xc2, b"x"), 1002),
            ("a frame of no kind", frame(0x83, b"x"), 1002),
        ];
        for (what, bytes, code) in cases {
            let (_, mut listener) = pair();
            assert_eq!(taken(&mut listener, &bytes), (vec![], Err(Over::Broken)), "{what}");
            let out = output(&mut listener);
            let goodbye = out
                .windows(4)
                .rfind(|window| window[0] == 0x88)
                .map(|window| [window[2], window[3]]);
            assert_eq!(goodbye, Some(code.to_be_bytes()), "{what}: {out:?}");
        }
    }

    #[test]
    fn any_other_request_gets_the_page() {
        let requests: [&[u8]; 5] = [
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET / HTTP/1.0\r\n\r\n",
            b"GET \0\0\0\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        ];
        for request in requests {
            let Heard::Other { answer } = hear(request, true) else {
                panic!("{}", String::from_utf8_lossy(request));
            };
            let answer = String::from_utf8(answer).unwrap();
            assert!(
                answer.starts_with("HTTP/1.1 426 ") && answer.contains("netplay"),
                "{answer}"
            );
        }
        let (_, request) = Asking::new("x:1");
        assert!(matches!(hear(&request, false), Heard::Other { .. }));
        assert_eq!(hear(&request[..request.len() - 1], true), Heard::Nothing);
        let endless = [b"GET / HTTP/1.1\r\nX: ".to_vec(), vec![b'x'; MAX_HEAD]].concat();
        assert!(matches!(hear(&endless, true), Heard::Other { .. }));
    }

    #[test]
    fn an_answer_that_is_none_is_not_taken_for_one() {
        for answer in [
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: c29tZXRoaW5nIGVsc2U=\r\n\r\n",
            "SSH-2.0-OpenSSH\r\n",
        ] {
            assert_eq!(
                Asking::new("x:1").0.take(answer.as_bytes()),
                Err(NotWelcome),
                "{answer}"
            );
        }
        assert_eq!(Asking::new("x:1").0.take(&[b'H'; MAX_HEAD]), Err(NotWelcome));
    }
}
