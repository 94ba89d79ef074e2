//! One TCP stream and what is spoken on it: datagrams behind their lengths, a WebSocket, either under TLS. Nothing blocks.
//!
//! ```text
//!             called                                came in
//!          ┌───────────┐                        ┌─────────────┐
//!          │ Connecting│                        │   Silent    │ first bytes: the magic, "GET ", or TLS,
//!          └─────┬─────┘                        └──┬───┬───┬──┘ under which it begins again
//!       tcp      │      ws, wss              magic │   │   │ any other request of HTTP
//!        ┌───────┴────────┐                ┌───────┘   │   └─────────┐
//!        │                ▼                │           ▼             ▼
//!        │           ┌────────┐            │       an upgrade   ┌─────────┐
//!        │           │ Asking │            │           │        │ Leaving │ the last words go out, what comes in
//!        ▼           └────┬───┘            ▼           ▼        └─────────┘ is thrown away
//!    ┌────────┐           │ 101        ┌────────┐  ┌───────┐         ▲
//!    │ Frames │           ▼            │ Frames │  │  Web  │ ────────┘ a goodbye, or rules broken
//!    └────────┘       ┌───────┐        └────────┘  └───────┘
//!                     │  Web  │
//!                     └───────┘
//! ```
//!
//! It must not know whose stream it is, nor what is in a datagram.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;

use mio::net::TcpStream;
use netplay_proto::Transport;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection};

use crate::framing::{self, Frames, MAGIC};
use crate::web::{Asking, Heard, Web, hear};

/// How many bytes wait here for the operating system to take them. Then datagrams are dropped, as a full UDP buffer would.
pub(crate) const MAX_QUEUE: usize = 256 * 1024;

/// How many bytes may wait with the answers to pings, which are not dropped: who takes none of them is not one who plays.
const MAX_UNTAKEN: usize = 2 * MAX_QUEUE;

/// What a buffer may keep once it is empty.
const MAX_KEPT: usize = 32 * 1024;

/// How many bytes the operating system may hold that have not left yet: what is older than this is for us to drop.
#[cfg(target_os = "linux")]
const MAX_UNSENT: u32 = 16 * 1024;

/// The first byte of a record of TLS that carries a ClientHello.
const TLS_HANDSHAKE: u8 = 0x16;

/// A record of TLS that says: the handshake has failed, for good. For who speaks TLS where it is not served.
const TLS_REFUSAL: [u8; 7] = [0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x28];

/// The longest word that a request of HTTP begins with, and some.
const MAX_WORD: usize = 16;

/// What a listener takes.
#[derive(Clone, Default)]
pub(crate) struct Terms {
    pub(crate) has_tcp: bool,
    pub(crate) has_ws: bool,
    /// With it, `wss` is served.
    pub(crate) tls: Option<Arc<ServerConfig>>,
}

/// What a caller asks for.
pub(crate) struct Wish {
    pub(crate) transport: Transport,
    /// The host as in the URL, with the port.
    pub(crate) host: String,
    /// For `wss`.
    pub(crate) tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

/// Why a stream is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The remote side or the network ended it.
    Closed,
    /// What came is none of what may come.
    Broken,
}

/// One stream.
pub(crate) struct Stream {
    socket: TcpStream,
    remote: SocketAddr,
    /// None until it is known.
    transport: Option<Transport>,
    tls: Option<Box<Connection>>,
    speech: Speech,
    /// What is to be encrypted; empty without TLS.
    clear: Vec<u8>,
    /// What is to be written, from `written` on.
    out: Vec<u8>,
    written: usize,
    /// The writing side is to be shut down when everything is written.
    is_shutting: bool,
}

enum Speech {
    Connecting(Box<Wish>),
    Silent(Vec<u8>),
    Asking(Box<Asking>),
    Frames(Frames),
    Web(Box<Web>),
    Leaving,
}

impl Stream {
    /// Makes one that came in.
    pub(crate) fn incoming(socket: TcpStream, remote: SocketAddr) -> Self {
        Self::new(socket, remote, Speech::Silent(Vec::new()))
    }

    /// Starts to connect one. [`Self::check_connected`] tells when it is.
    pub(crate) fn connect(remote: SocketAddr, wish: Wish) -> io::Result<Self> {
        let socket = TcpStream::connect(remote)?;
        Ok(Self::new(socket, remote, Speech::Connecting(Box::new(wish))))
    }

    fn new(socket: TcpStream, remote: SocketAddr, speech: Speech) -> Self {
        Self {
            socket,
            remote,
            transport: None,
            tls: None,
            speech,
            clear: Vec::new(),
            out: Vec::new(),
            written: 0,
            is_shutting: false,
        }
    }

    pub(crate) fn socket(&mut self) -> &mut TcpStream {
        &mut self.socket
    }

    pub(crate) const fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// Returns what it is, once datagrams can go through it.
    pub(crate) const fn transport(&self) -> Option<Transport> {
        match self.speech {
            Speech::Frames(_) | Speech::Web(_) => self.transport,
            _ => None,
        }
    }

    /// Goes on once the connection is made. Returns an error if it cannot be.
    pub(crate) fn check_connected(&mut self) -> Result<(), End> {
        let Speech::Connecting(_) = &self.speech else {
            return Ok(());
        };
        if !matches!(self.socket.take_error(), Ok(None)) {
            return Err(End::Closed);
        }
        if self.socket.peer_addr().is_err() {
            return Ok(());
        }
        self.tune();
        let Speech::Connecting(wish) = std::mem::replace(&mut self.speech, Speech::Leaving) else {
            return Ok(());
        };
        self.transport = Some(wish.transport);
        if wish.transport == Transport::Tcp {
            self.out.extend_from_slice(&MAGIC);
            self.speech = Speech::Frames(Frames::default());
            return Ok(());
        }
        if let Some((config, name)) = wish.tls {
            let connection = ClientConnection::new(config, name).map_err(|_| End::Broken)?;
            self.set_tls(connection.into());
        }
        let (asking, request) = Asking::new(&wish.host);
        self.say(&request);
        self.speech = Speech::Asking(Box::new(asking));
        Ok(())
    }

    /// Asks the operating system to hold back nothing and to hoard nothing.
    pub(crate) fn tune(&self) {
        // Without them it is slower, and works.
        let _ = self.socket.set_nodelay(true);
        #[cfg(target_os = "linux")]
        let _ = socket2::SockRef::from(&self.socket).set_tcp_notsent_lowat(MAX_UNSENT);
    }

    /// Reads once, and hands out the datagrams that are complete with it. Returns false when there was nothing to read.
    pub(crate) fn read(
        &mut self,
        buffer: &mut [u8],
        terms: &Terms,
        handle: &mut dyn FnMut(Transport, &[u8]),
    ) -> Result<bool, End> {
        self.check_connected()?;
        if matches!(self.speech, Speech::Connecting(_)) {
            return Ok(false);
        }
        let size = match self.socket.read(buffer) {
            Ok(0) => return Err(End::Closed),
            Ok(size) => size,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(true),
            Err(_) => return Err(End::Closed),
        };
        let result = self.take_raw(&buffer[..size], terms, handle);
        if let Err(end) = result {
            // What is said last, an alert or a goodbye, deserves a try.
            self.write();
            return Err(end);
        }
        Ok(true)
    }

    fn take_raw(&mut self, bytes: &[u8], terms: &Terms, handle: &mut dyn FnMut(Transport, &[u8])) -> Result<(), End> {
        if matches!(self.speech, Speech::Leaving) {
            return Ok(());
        }
        if self.tls.is_some() {
            return self.take_tls(bytes, terms, handle);
        }
        match &self.speech {
            Speech::Silent(first) if first.is_empty() && bytes.first() == Some(&TLS_HANDSHAKE) => {
                let Some(connection) = terms
                    .tls
                    .as_ref()
                    .and_then(|tls| ServerConnection::new(Arc::clone(tls)).ok())
                else {
                    self.out.extend_from_slice(&TLS_REFUSAL);
                    return Err(End::Broken);
                };
                self.set_tls(connection.into());
                self.take_tls(bytes, terms, handle)
            }
            _ => self.take(bytes, terms, handle),
        }
    }

    fn set_tls(&mut self, mut connection: Connection) {
        // What waits is bounded here, before it is encrypted.
        connection.set_buffer_limit(None);
        self.tls = Some(Box::new(connection));
    }

    fn take_tls(
        &mut self,
        mut bytes: &[u8],
        terms: &Terms,
        handle: &mut dyn FnMut(Transport, &[u8]),
    ) -> Result<(), End> {
        while !bytes.is_empty() {
            let Some(tls) = &mut self.tls else {
                return Err(End::Broken);
            };
            let mut plain = Vec::new();
            let is_fed = matches!(tls.read_tls(&mut bytes), Ok(1..));
            let processed = tls.process_new_packets();
            while tls.wants_write() && tls.write_tls(&mut self.out).is_ok() {}
            let state = processed.map_err(|_| End::Broken)?;
            if !is_fed {
                return Err(End::Broken);
            }
            if state.plaintext_bytes_to_read() > 0 {
                plain.resize(state.plaintext_bytes_to_read(), 0);
                tls.reader().read_exact(&mut plain).map_err(|_| End::Broken)?;
                self.take(&plain, terms, handle)?;
            }
            if state.peer_has_closed() {
                return Err(End::Closed);
            }
        }
        Ok(())
    }

    /// Takes in what is left when TLS is taken off.
    fn take(&mut self, bytes: &[u8], terms: &Terms, handle: &mut dyn FnMut(Transport, &[u8])) -> Result<(), End> {
        match &mut self.speech {
            Speech::Connecting(_) | Speech::Leaving => Ok(()),
            Speech::Silent(first) => {
                first.extend_from_slice(bytes);
                let first = std::mem::take(first);
                self.hear_first(first, terms, handle)
            }
            Speech::Asking(asking) => match asking.take(bytes) {
                Ok(None) => Ok(()),
                Ok(Some(rest)) => {
                    self.speech = Speech::Web(Box::new(Web::new(true)));
                    self.take(&rest, terms, handle)
                }
                Err(_) => Err(End::Broken),
            },
            Speech::Frames(frames) => {
                let result = frames.take(bytes, &mut |datagram| handle(Transport::Tcp, datagram));
                result.map_err(|_| End::Broken)
            }
            Speech::Web(web) => {
                let transport = self.transport.unwrap_or(Transport::Ws);
                let result = web.take(bytes, &mut |datagram| handle(transport, datagram));
                let target = if self.tls.is_some() {
                    &mut self.clear
                } else {
                    &mut self.out
                };
                web.take_output(target);
                result.map_err(|over| {
                    self.encrypt();
                    match over {
                        crate::web::Over::Closed => End::Closed,
                        crate::web::Over::Broken => End::Broken,
                    }
                })?;
                // One who asks for answers and takes none must not fill our memory with them.
                if self.queued() > MAX_UNTAKEN {
                    Err(End::Broken)
                } else {
                    Ok(())
                }
            }
        }
    }

    /// Finds out what the other side speaks.
    fn hear_first(
        &mut self,
        first: Vec<u8>,
        terms: &Terms,
        handle: &mut dyn FnMut(Transport, &[u8]),
    ) -> Result<(), End> {
        let is_clear = self.tls.is_none();
        let common = first.len().min(MAGIC.len());
        if is_clear && first[..common] == MAGIC[..common] {
            if !terms.has_tcp {
                return Err(End::Broken);
            }
            if common < MAGIC.len() {
                self.speech = Speech::Silent(first);
                return Ok(());
            }
            self.transport = Some(Transport::Tcp);
            self.speech = Speech::Frames(Frames::default());
            return self.take(&first[MAGIC.len()..], terms, handle);
        }
        // A request of HTTP begins with a word in capitals and a space.
        let word = first.iter().position(|byte| !byte.is_ascii_uppercase());
        let is_http = match word {
            None => first.len() <= MAX_WORD,
            Some(end) => (1..=MAX_WORD).contains(&end) && first[end] == b' ',
        };
        if !is_http {
            return Err(End::Broken);
        }
        match hear(&first, !is_clear || terms.has_ws) {
            Heard::Nothing => {
                self.speech = Speech::Silent(first);
                Ok(())
            }
            Heard::Upgrade { answer, size } => {
                self.say(&answer);
                self.transport = Some(if is_clear { Transport::Ws } else { Transport::Wss });
                self.speech = Speech::Web(Box::new(Web::new(false)));
                self.take(&first[size..], terms, handle)
            }
            Heard::Other { answer } => {
                self.say(&answer);
                self.leave();
                Ok(())
            }
        }
    }

    /// Queues a datagram; false if there is no room, or no way to send any.
    pub(crate) fn push(&mut self, datagram: &[u8]) -> bool {
        if self.queued() >= MAX_QUEUE {
            return false;
        }
        let target = if self.tls.is_some() {
            &mut self.clear
        } else {
            &mut self.out
        };
        match &mut self.speech {
            Speech::Frames(_) => framing::emit(datagram, target),
            Speech::Web(web) => {
                web.push(datagram);
                web.take_output(target);
            }
            _ => return false,
        }
        true
    }

    /// Returns how many bytes wait to be written.
    pub(crate) fn queued(&self) -> usize {
        self.clear.len() + self.out.len() - self.written
    }

    fn say(&mut self, bytes: &[u8]) {
        let target = if self.tls.is_some() {
            &mut self.clear
        } else {
            &mut self.out
        };
        target.extend_from_slice(bytes);
    }

    /// Takes no more; closes when the last words are out.
    fn leave(&mut self) {
        self.speech = Speech::Leaving;
        self.is_shutting = true;
        self.encrypt();
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
        }
    }

    fn encrypt(&mut self) {
        let Some(tls) = &mut self.tls else {
            return;
        };
        if !self.clear.is_empty() {
            // Its buffer has no limit: it takes everything.
            let _ = tls.writer().write_all(&self.clear);
            self.clear.clear();
            self.clear.shrink_to(MAX_KEPT);
        }
        while tls.wants_write() && tls.write_tls(&mut self.out).is_ok() {}
    }

    /// Writes as much as the operating system takes. An error shows when reading.
    pub(crate) fn write(&mut self) {
        if matches!(self.speech, Speech::Connecting(_)) {
            return;
        }
        self.encrypt();
        while self.written < self.out.len() {
            match self.socket.write(&self.out[self.written..]) {
                Ok(0) => break,
                Ok(size) => self.written += size,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => {
                    // Nothing of it will arrive. The end is read soon, and then said to everybody.
                    self.written = self.out.len();
                }
            }
        }
        if self.written == self.out.len() {
            self.out.clear();
            self.out.shrink_to(MAX_KEPT);
            self.written = 0;
            if std::mem::take(&mut self.is_shutting) {
                let _ = self.socket.shutdown(Shutdown::Write);
            }
        } else if self.written > MAX_QUEUE / 2 {
            self.out.drain(..self.written);
            self.written = 0;
        }
    }

    /// Says goodbye as far as there is something to say, before it is dropped.
    pub(crate) fn finish(&mut self, buffer: &mut [u8]) {
        if let Speech::Web(web) = &mut self.speech {
            web.close();
            let target = if self.tls.is_some() {
                &mut self.clear
            } else {
                &mut self.out
            };
            web.take_output(target);
        }
        self.encrypt();
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
        }
        self.is_shutting = true;
        self.write();
        // Closing with bytes unread resets the stream, and what was said last may be lost.
        for _ in 0..4 {
            if !matches!(self.socket.read(buffer), Ok(1..)) {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_who_pings_and_takes_no_answer_is_left_before_they_fill_the_memory() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let _remote = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (socket, remote) = listener.accept().unwrap();
        socket.set_nonblocking(true).unwrap();
        let mut stream = Stream::incoming(TcpStream::from_std(socket), remote);
        let terms = Terms {
            has_ws: true,
            ..Terms::default()
        };
        let (_, request) = Asking::new("x:1");
        stream.take_raw(&request, &terms, &mut |_, _| ()).unwrap();
        // A hundred pings, and a datagram, so that it does say something.
        let ping = [&[0x89, 0x80 | 125, 0, 0, 0, 0], [0; 125].as_slice()].concat();
        let piece = [ping.repeat(100), b"\x82\x81\0\0\0\0x".to_vec()].concat();
        let mut most = 0;
        let end = (0..1000).find_map(|_| {
            let result = stream.take_raw(&piece, &terms, &mut |_, _| ());
            most = most.max(stream.queued());
            result.err()
        });
        assert_eq!(end, Some(End::Broken), "{most} bytes wait");
        assert!(most < MAX_UNTAKEN + 2 * piece.len(), "{most} bytes wait");
    }
}
