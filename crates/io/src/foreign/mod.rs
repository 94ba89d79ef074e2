//! Conversations in something that is not netplay: bare datagrams, bare streams of bytes, ENet.
//!
//! To a game their peers are peers like any other: they have ids, connect, send and end by the same events. Below that
//! nothing is shared: an [`Engine`] has sockets of its own and speaks for all that talk through them, its guests. Whoever
//! holds the lock of the [`Driver`] drives the engines beside the slots, so none may block.
//!
//! | file | noun |
//! |---|---|
//! | `udp`, `tcp`, `enet` | the engines |
//! | `courier` | single datagrams to somewhere, with no peer at all |
//! | `hold` | the driver's part: which peer is which guest of which engine |
//!
//! It must not know threads, nor the protocol of netplay beyond its words for messages, events and reasons.

pub(crate) mod courier;
pub(crate) mod enet;
mod hold;
pub(crate) mod tcp;
pub(crate) mod udp;

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use netplay_proto::{
    Address, Bans, Event, IncomingRate, Kind, Limits, Message, Origin, Path, Reason, RemoteSide, Timestamp,
};

use self::enet::Enet;
pub(crate) use self::hold::Foreign;
use self::hold::ForeignCall;
use self::tcp::Tcp;
use self::udp::Udp;
use crate::driver::Driver;
use crate::error::{Error, SendError};
use crate::slot::{Look, Next};
use crate::socket::{self, Kinds, Socket, bind_listener};
use crate::types::{ListenOptions, ListenerStats, PeerId, PeerStats};
use crate::url::{Host, Scheme, Url};

/// Names a guest within its engine; never used again for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct GuestId(pub(crate) u64);

/// Speaks with any number of remote sides over sockets of its own.
///
/// Things are put in by `call`, `found`, `send`, `end` and `close`; `drive` moves bytes between sockets and queues and says
/// when to come again; `poll_event` takes out what happened. A guest's first event is `Connected`, unless a call failed, and
/// its last is `Disconnected`. Moments never go backwards.
pub(crate) trait Engine: Send {
    /// Returns what it is called in statistics.
    fn transport(&self) -> &'static str;

    /// Receives, sends, and lets time pass.
    fn drive(&mut self, now: Timestamp, look: Look) -> Next;

    /// Returns how many events wait, or at least whether any do.
    fn events_waiting(&self) -> usize;

    /// Takes out the next event. Those of one look of the game share a `take`, which counts up.
    fn poll_event(&mut self, take: u64) -> Option<(GuestId, Event)>;

    /// Begins a call that fails after this time; where to, `found` says.
    fn call(&mut self, now: Timestamp, timeout: Duration) -> GuestId;

    /// Says where a call goes: these addresses, best first.
    fn found(&mut self, now: Timestamp, guest: GuestId, addresses: &[SocketAddr]);

    /// Returns why a message could not be sent to any guest: it is the caller's fault, and said before anything is sent.
    fn refusal(&self, message: &Message) -> Option<SendError>;

    /// Queues a message. Returns false if it is lossy and the guest not connected yet.
    fn send(&mut self, now: Timestamp, guest: GuestId, message: &Message) -> Result<bool, SendError>;

    /// Takes at most `max` bytes of a stream, from now on instead of its events; None if it is none, or has ended.
    fn receive(&mut self, _now: Timestamp, _guest: GuestId, _max: usize) -> Option<Vec<u8>> {
        None
    }

    /// Ends a guest. Politely: what was sent goes first, and it is told; otherwise at once.
    fn end(&mut self, now: Timestamp, guest: GuestId, reason: Reason, detail: &str, is_polite: bool);

    /// Returns the numbers of a guest, None if it has ended.
    fn stats(&self, guest: GuestId) -> Option<PeerStats>;

    /// Returns what is counted for all; the number of peers is not known here.
    fn listener_stats(&self) -> ListenerStats;

    /// Ends every guest politely and takes no more.
    fn close(&mut self, now: Timestamp);

    /// Ends every guest that is still being ended politely.
    fn hurry(&mut self, now: Timestamp);

    /// Returns true if everybody has ended and nobody else can come. Events may still wait.
    fn is_done(&self) -> bool;

    /// Returns true if the port it listened on is still taken.
    fn holds_port(&self) -> bool;

    /// Closes its sockets: it is done, though events of it may still wait.
    fn let_go(&mut self);

    /// Returns true if something waits that a drive would move.
    fn has_output(&self) -> bool;

    /// Says who may not come in, and ends those who are meant.
    fn set_bans(&mut self, now: Timestamp, bans: &Bans);

    /// Returns what to watch for something to read.
    fn watches(&self) -> Vec<Watch>;

    /// Lets go of everything after a panic inside.
    fn abandon(self: Box<Self>) {}
}

/// Returns which option makes no sense for a peer that does not speak netplay.
pub(crate) fn check(url: &Url, limits: &Limits, others: &[(&str, bool)]) -> Result<(), Error> {
    let scheme = url.scheme.name();
    let refuse = |option: &str| {
        let text = format!("{option} is for netplay's own protocol; {scheme}:// has none");
        Err(Error::Option(text))
    };
    if let Some((option, _)) = others.iter().find(|(_, is_given)| *is_given) {
        return refuse(option);
    }
    match limits.incoming {
        _ if limits.send_rate.is_some() => refuse("send_rate"),
        IncomingRate { messages: Some(_), .. } => refuse("max_messages"),
        IncomingRate { bytes: Some(_), .. } => refuse("max_rate"),
        IncomingRate { .. } => Ok(()),
    }
}

/// Opens the sockets of a listener and makes its engine; also returns where it listens.
pub(crate) fn open(
    host: &Host,
    port: u16,
    url: &Url,
    options: &ListenOptions,
) -> io::Result<(Box<dyn Engine>, Vec<SocketAddr>)> {
    let max_peers = options.max_peers;
    if url.scheme == Scheme::RawTcp {
        let listeners = bind_listener(
            host,
            port,
            Kinds {
                has_udp: false,
                tcp: socket::Tcp::Yes,
            },
        )?
        .tcp;
        let bound = listeners
            .iter()
            .filter_map(|listener| listener.local_addr().ok())
            .collect();
        let listeners = listeners.into_iter().map(mio::net::TcpListener::from_std).collect();
        let engine = Tcp::listening(listeners, max_peers, options.limits.send_queue, url.simulation.clone())?;
        return Ok((Box::new(engine), bound));
    }
    let sockets = bind_listener(
        host,
        port,
        Kinds {
            has_udp: true,
            tcp: socket::Tcp::No,
        },
    )?
    .udp;
    let bound = sockets.iter().filter_map(|socket| socket.local_addr().ok()).collect();
    let engine: Box<dyn Engine> = if url.scheme == Scheme::Enet {
        Box::new(Enet::listening(
            sockets,
            max_peers.min(enet::MAX_GUESTS),
            &settings(url, &options.limits),
        )?)
    } else {
        let sockets = sockets.into_iter().map(Socket::udp).collect();
        Box::new(Udp::listening(sockets, max_peers, url.simulation.as_ref()))
    };
    Ok((engine, bound))
}

/// Begins a call.
pub(crate) fn call(
    driver: &mut Driver,
    now: Timestamp,
    url: &str,
    parsed: &Url,
    timeout: Duration,
    limits: &Limits,
) -> io::Result<PeerId> {
    let call = ForeignCall {
        url: url.to_owned(),
        scheme: parsed.scheme,
        timeout,
        simulation: parsed.simulation.clone(),
    };
    driver.call_foreign(now, call, || {
        Ok(match parsed.scheme {
            Scheme::RawTcp => Box::new(Tcp::calling(limits.send_queue, parsed.simulation.clone())?),
            Scheme::Enet => Box::new(Enet::calling(&settings(parsed, limits))?),
            _ => Box::new(Udp::calling(parsed.simulation.as_ref())),
        })
    })
}

fn settings(url: &Url, limits: &Limits) -> enet::Settings {
    enet::Settings {
        message_size: limits.message_size,
        send_queue: limits.send_queue,
        has_throttle: url.has_throttle,
        simulation: url.simulation.clone(),
    }
}

/// Something that the operating system can be asked to watch, kept open by whoever watches.
#[derive(Clone)]
pub(crate) enum Watch {
    /// A socket.
    Udp(Arc<UdpSocket>),
    /// What watches many streams.
    #[cfg(unix)]
    Poll(Arc<std::os::fd::OwnedFd>),
}

#[cfg(unix)]
impl std::os::fd::AsFd for Watch {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        match self {
            Self::Udp(socket) => socket.as_fd(),
            Self::Poll(poll) => poll.as_fd(),
        }
    }
}

#[cfg(unix)]
impl std::os::fd::AsRawFd for Watch {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        std::os::fd::AsFd::as_fd(self).as_raw_fd()
    }
}

/// Returns why a message is none that can travel without netplay's protocol: such a peer is sent bytes, or text as UTF-8.
fn not_bytes(scheme: &'static str, message: &Message) -> Option<SendError> {
    let is_bytes = matches!(message.kind, Kind::BYTES | Kind::TEXT);
    (!is_bytes).then_some(SendError::NotBytes { scheme })
}

/// Returns the event of a guest that has connected.
fn connected(socket: u16, remote: SocketAddr, is_incoming: bool) -> Event {
    let remote = RemoteSide {
        name: String::new(),
        // There is none.
        key: [0; 32],
        path: Path {
            socket,
            remote: Address::Ip(remote),
        },
        seat: None,
    };
    Event::Connected {
        remote: Box::new(remote),
        is_incoming,
        origin: Origin::New,
    }
}

/// Returns the event of a guest that has ended.
fn disconnected(reason: Reason, detail: &str) -> Event {
    Event::Disconnected {
        reason,
        detail: detail.to_owned(),
    }
}

/// Returns the earlier of two moments that may not be.
fn earlier(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
