//! One protocol endpoint with its sockets: receives, lets the protocol work, sends.
//!
//! It knows datagrams, paths and moments. It must not know threads, nor which peers a game has given names to beyond
//! keeping their ids beside the connections.
//!
//! ```text
//! sockets ──► Endpoint::handle_datagram
//! sockets ◄── SendBatch ◄── [Pipe: the simulated bad network] ◄── Endpoint::poll_output
//! ```

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use netplay_netsim::Pipe;
use netplay_proto::{
    Address, ConnectionId, Endpoint, EndpointConfig, Identity, Limits, Output, Path, Reason, Timestamp, Transport,
};

use crate::batch::SendBatch;
use crate::dial::Dial;
use crate::p2p::{Arrival, Port, Terms as P2pTerms, Way};
use crate::places::{Place, Places};
use crate::rooms::{Role, RoomId};
use crate::socket::{Socket, bind_udp};
use crate::stream::Terms;
use crate::streams::{self, Streams};
use crate::trains;
use crate::types::{ListenerId, PeerId, SocketStats};
use crate::url::Simulation;

/// How long a datagram that the operating system has no room for waits until it is tried again.
const RETRY_SEND: Duration = Duration::from_millis(1);

/// After how many errors in a row a socket is left alone until the next time.
const MAX_ERRORS_IN_A_ROW: usize = 64;

/// One protocol endpoint with its sockets.
pub(crate) struct Slot {
    pub(crate) endpoint: Endpoint,
    /// What the endpoint was made from, to make it again after a fault of its own.
    config: EndpointConfig,
    /// Which listener this is; None for the side that calls.
    pub(crate) listener: Option<ListenerId>,
    /// The room that it is for, and what it is there.
    pub(crate) room: Option<(RoomId, Role)>,
    /// True once the slot was closed: it only says its goodbyes.
    pub(crate) is_closing: bool,
    /// The connections that were closed by this side, as long as they are saying goodbye.
    goodbyes: Vec<ConnectionId>,
    /// The simulation asked for in the URL, to know which callers can share the slot.
    simulation: Option<Simulation>,
    /// How its end of tunnels is to be opened, for one that calls through them.
    pub(crate) p2p: Option<P2pTerms>,
    /// The ids that the game knows connections by.
    pub(crate) peers: BTreeMap<ConnectionId, PeerId>,
    /// Where our calls go.
    pub(crate) places: Places,
    /// Indexed by [`Path::socket`].
    sockets: Vec<Socket>,
    /// There is one when some came in or were opened, or may.
    streams: Option<Streams>,
    /// What is to be watched has changed since this was taken back.
    pub(crate) has_new_sockets: bool,
    pipe: Option<Pipe<(Path, Bytes)>>,
    batch: SendBatch,
    buffer: Vec<u8>,
    stats: SocketStats,
}

/// How many datagrams from inside the process are taken in where the operating system is not asked.
const INSIDE_BUDGET: usize = 2048;

/// How many datagrams are taken from streams at least.
const MIN_STREAM_BUDGET: usize = 16;

/// Where a [`Slot::drive`] looks for datagrams.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Look {
    /// Everywhere, for at most this many.
    Everywhere {
        /// How many.
        budget: usize,
    },
    /// Only inside the process: the caller is about to ask the operating system whether there are any.
    Inside,
}

/// What is to be done after a [`Slot::drive`].
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Next {
    /// When to drive again at the latest; None: only when something arrives.
    pub(crate) at: Option<Timestamp>,
    /// The budget was used up: more may wait already.
    pub(crate) has_more: bool,
    /// How many datagrams came in.
    pub(crate) received: usize,
    /// Some of them were more than lossy messages: the remote side waits to hear that they arrived.
    pub(crate) is_urgent: bool,
}

impl Next {
    /// Returns what is to be done for both.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            at: Timestamp::first([self.at, other.at]),
            has_more: self.has_more || other.has_more,
            received: self.received + other.received,
            is_urgent: self.is_urgent || other.is_urgent,
        }
    }
}

impl Slot {
    /// Makes a slot without sockets.
    pub(crate) fn new(
        config: EndpointConfig,
        seed: [u8; 32],
        listener: Option<ListenerId>,
        simulation: Option<Simulation>,
    ) -> Self {
        let pipe = simulation.as_ref().map(|simulation| {
            let chance = u64::from_le_bytes([seed[0], seed[1], seed[2], seed[3], seed[4], seed[5], seed[6], seed[7]]);
            Pipe::new(simulation.conditions.clone(), simulation.seed.unwrap_or(chance))
        });
        Self {
            endpoint: Endpoint::new(config.clone(), seed),
            config,
            listener,
            room: None,
            is_closing: false,
            goodbyes: Vec::new(),
            simulation,
            p2p: None,
            peers: BTreeMap::new(),
            places: Places::default(),
            sockets: Vec::new(),
            streams: None,
            has_new_sockets: false,
            pipe,
            batch: SendBatch::default(),
            buffer: trains::new_buffer(),
            stats: SocketStats::default(),
        }
    }

    /// Returns true if a call with these terms can be made from here.
    pub(crate) fn suits(
        &self,
        simulation: Option<&Simulation>,
        p2p: Option<&P2pTerms>,
        limits: &Limits,
        identity: &Identity,
    ) -> bool {
        self.listener.is_none()
            && self.p2p.as_ref() == p2p
            && self.simulation.as_ref() == simulation
            && self.config.limits == *limits
            && self.config.identity == *identity
    }

    /// Makes it one of a room.
    pub(crate) fn set_room(&mut self, room: RoomId, role: Role) {
        self.room = Some((room, role));
        self.endpoint.set_aside();
    }

    /// Returns the bounds and times of its connections.
    pub(crate) fn limits(&self) -> &Limits {
        &self.config.limits
    }

    /// Adds a socket and returns its number for [`Path::socket`].
    pub(crate) fn add_socket(&mut self, socket: Socket) -> u16 {
        self.sockets.push(socket);
        // A slot has one socket for each address it listens on, or up to three to call from.
        u16::try_from(self.sockets.len() - 1).unwrap_or(u16::MAX)
    }

    /// Returns its sockets, in the order of [`Path::socket`].
    pub(crate) fn sockets(&self) -> &[Socket] {
        &self.sockets
    }

    /// Closes its sockets and streams.
    pub(crate) fn close_sockets(&mut self) {
        self.sockets.clear();
        if let Some(streams) = &mut self.streams {
            streams.finish();
        }
        self.streams = None;
    }

    /// Returns true if it holds a socket or streams.
    pub(crate) fn has_sockets(&self) -> bool {
        !self.sockets.is_empty() || self.streams.is_some()
    }

    /// Returns its streams.
    pub(crate) const fn streams(&self) -> Option<&Streams> {
        self.streams.as_ref()
    }

    /// Takes in the streams that it listens for.
    pub(crate) fn set_streams(&mut self, streams: Streams) {
        self.streams = Some(streams);
        self.has_new_sockets = true;
    }

    /// Takes in where a call goes, as far as that is known.
    pub(crate) fn add_place(&mut self, id: ConnectionId, place: Place) {
        self.places.retain(|id| self.endpoint.connection_stats(id).is_some());
        self.places.add(id, place);
    }

    /// Says where a connection that we called is, and opens the ways that were asked for already. Local paths are simply added.
    pub(crate) fn found(&mut self, now: Timestamp, id: ConnectionId, addresses: &[SocketAddr]) {
        let wanted = self.places.found(id, addresses);
        for transport in wanted {
            self.open_ways(now, id, transport);
        }
        if let Some(streams) = &mut self.streams {
            streams.add_addresses(id, addresses);
        }
    }

    /// Opens ways of one kind to where a connection called, as soon as it is known where that is.
    pub(crate) fn open_ways(&mut self, now: Timestamp, id: ConnectionId, transport: Transport) {
        if transport == Transport::P2p {
            let port = self.p2p_port().zip(self.places.contact(id));
            return match port {
                Some(((_, port), contact)) => port.dial(id, contact),
                None => self.endpoint.handle_no_path(now, id, transport),
            };
        }
        let Some(place) = self.places.ask(id, transport) else {
            return;
        };
        if transport == Transport::Udp {
            let paths: Vec<Path> = place
                .addresses
                .iter()
                .filter_map(|address| self.udp_path(*address))
                .collect();
            if paths.is_empty() {
                self.endpoint.handle_no_path(now, id, transport);
            }
            for path in paths {
                self.endpoint.add_path(now, id, path);
            }
            return;
        }
        if self.streams.is_none() {
            match Streams::new(Vec::new(), Terms::default()) {
                Ok(streams) => self.set_streams(streams),
                Err(error) => log::warn!("there is nothing to watch streams with: {error}"),
            }
        }
        match &mut self.streams {
            Some(streams) => {
                let dial = Dial::new(now, id, transport, &place.host, place.certificate, &place.addresses);
                streams.dial(now, &mut self.endpoint, dial);
            }
            None => self.endpoint.handle_no_path(now, id, transport),
        }
    }

    /// Returns the path for datagrams to an address, opening the socket it needs. None if this machine has no such network.
    fn udp_path(&mut self, address: SocketAddr) -> Option<Path> {
        let is_family = |socket: &Socket| match socket {
            Socket::Udp(udp) => udp.local_addr().is_ok_and(|own| own.is_ipv4() == address.is_ipv4()),
            Socket::Local(_) | Socket::P2p(_) => false,
        };
        let socket = match self.sockets.iter().position(is_family) {
            Some(number) => u16::try_from(number).ok()?,
            None => {
                let own: SocketAddr = match address {
                    SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
                    SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
                };
                let socket = bind_udp(own).ok()?;
                self.has_new_sockets = true;
                self.add_socket(Socket::udp(socket))
            }
        };
        let remote = Address::Ip(address);
        Some(Path { socket, remote })
    }

    /// Returns its end of tunnels, and the number of that for [`Path::socket`].
    pub(crate) fn p2p_port(&self) -> Option<(u16, &Port)> {
        self.sockets
            .iter()
            .enumerate()
            .find_map(|(number, socket)| match socket {
                Socket::P2p(port) => Some((number as u16, port)),
                Socket::Udp(_) | Socket::Local(_) => None,
            })
    }

    /// Returns where a path leads below, if it is a tunnel.
    pub(crate) fn way(&self, path: Path) -> Option<Way> {
        match path.remote {
            Address::Tunnel { number } => self.p2p_port()?.1.way(number),
            _ => None,
        }
    }

    /// Returns what its sockets counted.
    pub(crate) fn stats(&self) -> SocketStats {
        self.stats
    }

    /// Returns what carries the datagrams of a path.
    pub(crate) fn transport(&self, path: Path) -> &'static str {
        let of_socket = || self.sockets.get(usize::from(path.socket)).map_or("", Socket::transport);
        streams::name_of(path).unwrap_or_else(of_socket)
    }

    /// Says goodbye on one connection; reliable messages already sent go first.
    pub(crate) fn close_connection(&mut self, now: Timestamp, connection: ConnectionId, detail: &str) {
        self.forget_gone();
        self.goodbyes.push(connection);
        self.endpoint.close(now, connection, detail);
    }

    /// Says goodbye on every connection.
    pub(crate) fn close(&mut self, now: Timestamp) {
        self.is_closing = true;
        let open: Vec<ConnectionId> = self.endpoint.established().chain(self.peers.keys().copied()).collect();
        for connection in &open {
            self.endpoint.close(now, *connection, "");
        }
        self.goodbyes.extend(open);
    }

    /// Says goodbye without waiting for anything that was sent before.
    pub(crate) fn hurry(&mut self, now: Timestamp) {
        for connection in &self.goodbyes {
            self.endpoint.abort(now, *connection, Reason::Closed, "");
        }
    }

    /// Returns true if the slot was closed and everybody has heard its goodbye, or will never hear anything.
    pub(crate) fn is_done(&mut self) -> bool {
        // Not the endpoint's own `is_idle`: that also waits for remote sides that might repeat a goodbye of theirs.
        self.goodbyes
            .retain(|connection| self.endpoint.connection_stats(*connection).is_some());
        self.is_closing
            && self.goodbyes.is_empty()
            && self.batch.is_empty()
            && self.pipe.as_ref().is_none_or(|pipe| pipe.in_flight() == 0)
    }

    fn forget_gone(&mut self) {
        self.goodbyes
            .retain(|connection| self.endpoint.connection_stats(*connection).is_some());
    }

    /// Puts a new endpoint in the place of one that failed, and returns the peers that are lost with it.
    pub(crate) fn start_over(&mut self, seed: [u8; 32]) -> BTreeMap<ConnectionId, PeerId> {
        self.endpoint = Endpoint::new(self.config.clone(), seed);
        if self.room.is_some() {
            self.endpoint.set_aside();
        }
        self.batch = SendBatch::default();
        self.goodbyes.clear();
        self.places = Places::default();
        if let Some(streams) = &mut self.streams {
            streams.forget_dials();
        }
        std::mem::take(&mut self.peers)
    }

    /// Receives at most `budget` datagrams, lets the protocol work, and sends until nothing is left or the operating
    /// system has no more room.
    pub(crate) fn drive(&mut self, now: Timestamp, look: Look) -> Next {
        let (before, urgent_before) = (self.stats.datagrams_received, self.endpoint.urgent_datagrams());
        let has_more = self.receive(now, look);
        let received = (self.stats.datagrams_received - before) as usize;
        let is_urgent = self.endpoint.urgent_datagrams() != urgent_before;
        let at = self.send(now);
        Next {
            at,
            has_more,
            received,
            is_urgent,
        }
    }

    /// Returns true if the budget was used up.
    fn receive(&mut self, now: Timestamp, look: Look) -> bool {
        let (mut left, is_inside_only) = match look {
            Look::Everywhere { budget } => (budget, false),
            Look::Inside => (INSIDE_BUDGET, true),
        };
        for (number, socket) in self.sockets.iter().enumerate() {
            if is_inside_only && matches!(socket, Socket::Udp(_)) {
                continue;
            }
            let path = |remote| Path {
                socket: number as u16,
                remote,
            };
            // A socket that reports nothing but errors must not hold up the others.
            let mut errors_left = MAX_ERRORS_IN_A_ROW;
            while left > 0 && errors_left > 0 {
                match socket {
                    Socket::Udp(udp) => match trains::receive(udp, &mut self.buffer) {
                        Ok(train) => {
                            errors_left = MAX_ERRORS_IN_A_ROW;
                            let path = path(Address::Ip(train.remote));
                            for datagram in train.datagrams(&self.buffer) {
                                self.stats.datagrams_received += 1;
                                self.endpoint.handle_datagram(now, path, datagram);
                                // The last train may be longer than the budget; it is not put back.
                                left = left.saturating_sub(1);
                            }
                        }
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                        // A refusal from some remote machine, reported here (on Windows as WSAECONNRESET or
                        // WSAEMSGSIZE): it says nothing about the other peers, and the next datagram is behind it.
                        Err(_) => {
                            errors_left -= 1;
                            left -= 1;
                            self.stats.receive_errors += 1;
                        }
                    },
                    Socket::Local(port) => match port.receive() {
                        Some((remote, datagram)) => {
                            left -= 1;
                            self.stats.datagrams_received += 1;
                            self.endpoint
                                .handle_datagram(now, path(Address::Virtual(remote)), &datagram);
                        }
                        None => break,
                    },
                    Socket::P2p(port) => match port.receive() {
                        Some(arrival) => {
                            left -= 1;
                            let is_datagram = matches!(arrival, Arrival::Datagram { .. });
                            self.stats.datagrams_received += u64::from(is_datagram);
                            handle_arrival(now, &mut self.endpoint, number as u16, arrival);
                        }
                        None => break,
                    },
                }
            }
        }
        self.sweep_tunnels(now);
        let mut has_more = left == 0;
        // What a stream is known to have, nobody will be told of again by the operating system.
        let is_looking = |streams: &&mut Streams| !is_inside_only || streams.has_more();
        if let Some(streams) = self.streams.as_mut().filter(is_looking) {
            // Whatever the others took: who talks through a stream is not to starve.
            let mut left = left.max(MIN_STREAM_BUDGET);
            has_more |= streams.receive(now, &mut self.endpoint, &mut self.stats, &mut left);
        }
        has_more
    }

    fn sweep_tunnels(&self, now: Timestamp) {
        if let Some((_, port)) = self.p2p_port().filter(|(_, port)| port.is_sweep_due(now)) {
            let used = self.endpoint.used_paths();
            let numbers = used.iter().filter_map(|path| match path.remote {
                Address::Tunnel { number } => Some(number),
                _ => None,
            });
            port.sweep(now, &numbers.collect());
        }
    }

    /// Returns when the protocol or the simulation wants to be asked again.
    fn send(&mut self, now: Timestamp) -> Option<Timestamp> {
        let virtual_now = Duration::from_micros(now.as_micros());
        let mut protocol_at = None;
        self.tell_holds();
        while self.has_room() {
            match self.endpoint.poll_output(now) {
                Output::Datagram { path, bytes } => match &mut self.pipe {
                    Some(pipe) => drop(pipe.send(virtual_now, bytes.len(), (path, Bytes::copy_from_slice(bytes)))),
                    None => self.batch.push(path, bytes),
                },
                Output::Dial { id, transport } => self.open_ways(now, id, transport),
                Output::Timeout(at) => {
                    protocol_at = at;
                    break;
                }
            }
        }
        while self.has_room() {
            let Some((path, bytes)) = self.pipe.as_mut().and_then(|pipe| pipe.receive(virtual_now)) else {
                break;
            };
            self.batch.push(path, &bytes);
        }
        let pipe_at = self.pipe.as_ref().and_then(Pipe::next_at);
        let pipe_at = pipe_at.map(|at| Timestamp::ZERO + at);
        if !self.batch.is_empty() && !self.flush() {
            return Some(now + RETRY_SEND);
        }
        let streams_at = self.streams.as_ref().and_then(|streams| streams.next_at(now));
        let tunnels_at = self.p2p_port().and_then(|(_, port)| port.next_at());
        let tunnels_at = tunnels_at.map(|at| at.max(now));
        Timestamp::first([protocol_at, pipe_at, streams_at, tunnels_at])
    }

    /// Makes room for more datagrams if need be; false if the operating system takes no more now.
    fn has_room(&mut self) -> bool {
        !self.batch.is_full() || self.flush()
    }

    fn flush(&mut self) -> bool {
        let is_done = self.batch.flush(&self.sockets, self.streams.as_mut(), &mut self.stats);
        self.tell_holds();
        is_done
    }

    fn tell_holds(&mut self) -> bool {
        let streams = self.streams.as_mut();
        streams.is_some_and(|streams| streams.tell_holds(&mut self.endpoint))
    }
}

/// Tells the endpoint what happened to a tunnel.
fn handle_arrival(now: Timestamp, endpoint: &mut Endpoint, socket: u16, arrival: Arrival) {
    let path = |number| Path {
        socket,
        remote: Address::Tunnel { number },
    };
    match arrival {
        Arrival::Datagram { number, bytes } => endpoint.handle_datagram(now, path(number), &bytes),
        Arrival::Opened { number, caller } => {
            if let Some(caller) = caller {
                endpoint.add_path(now, caller, path(number));
            }
        }
        Arrival::Size { number, size } => {
            if !endpoint.set_path_size(path(number), size) {
                log::warn!("a tunnel carries {size} bytes at most, which is too little for netplay");
                endpoint.handle_path_closed(now, path(number));
            }
        }
        Arrival::Route { number, is_direct } => endpoint.handle_route(path(number), is_direct),
        Arrival::Closed { number } => endpoint.handle_path_closed(now, path(number)),
        Arrival::Failed { caller } => endpoint.handle_no_path(now, caller, Transport::P2p),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;

    use super::*;
    use crate::framing::{self, MAGIC};

    /// The operating system tells of what has arrived once. What was left over then must not wait for more to arrive, or for
    /// the end of the game's wait, which begins with a look inside.
    #[test]
    fn what_a_stream_has_left_over_is_read_without_asking_the_system_again() {
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.set_nonblocking(true).unwrap();
        let address = socket.local_addr().unwrap();
        let terms = Terms {
            has_tcp: true,
            ..Terms::default()
        };
        let config = EndpointConfig {
            identity: Identity::from_secret([1; 32]),
            accept: None,
            limits: Limits::default(),
        };
        let mut slot = Slot::new(config, [2; 32], None, None);
        slot.set_streams(Streams::new(vec![socket], terms).unwrap());
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        let mut bytes = MAGIC.to_vec();
        (0..50).for_each(|_| framing::emit(&[0xff; 1200], &mut bytes));
        stream.write_all(&bytes).unwrap();
        let now = Timestamp::from_millis(1);
        while slot.stats().datagrams_received == 0 {
            slot.drive(now, Look::Everywhere { budget: 1 });
        }
        assert!(slot.stats().datagrams_received < 50, "some are left over");
        for _ in 0..50 {
            slot.drive(now, Look::Inside);
        }
        assert_eq!(slot.stats().datagrams_received, 50);
    }
}
