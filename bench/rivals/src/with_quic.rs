//! QUIC, by `quinn-proto`: a stream for each reliable channel, a datagram (RFC 9221) for each lossy message.
//!
//! The transport settings are quinn's defaults, and once more with another congestion controller. A message on a stream is
//! preceded by its length in four bytes. The server accepts whoever comes, and counts its players when their handshakes are
//! done.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use netplay_netsim::Node;
use quinn_proto::{
    ClientConfig, Connection, ConnectionHandle, DatagramEvent, Dir, Endpoint, EndpointConfig, Event, ServerConfig,
    StreamEvent, StreamId, Transmit, TransportConfig, congestion::BbrConfig,
};

use crate::rival::{CHANNELS, Delivery, LOSSY_CHANNEL, Outcome, Rival, SERVER, Side, address, node, seed_bytes};

/// QUIC with quinn's defaults.
pub(crate) const QUIC: Rival = Rival {
    name: "QUIC (quinn-proto)",
    server: |_, seed, slots| Box::new(Quic::new(seed, SERVER, &CUBIC, slots)),
    client: |now, seed, node| client(now, seed, node, &CUBIC),
};

/// QUIC with quinn's experimental BBR, which does not take random loss for congestion.
pub(crate) const QUIC_BBR: Rival = Rival {
    name: "QUIC (quinn-proto), BBR",
    server: |_, seed, slots| Box::new(Quic::new(seed, SERVER, &BBR, slots)),
    client: |now, seed, node| client(now, seed, node, &BBR),
};

const NAME: &str = "localhost";

/// An instant cannot be made from nothing; virtual time counts from this one.
static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

static CUBIC: LazyLock<Setup> = LazyLock::new(|| Setup::new(TransportConfig::default()));

static BBR: LazyLock<Setup> = LazyLock::new(|| {
    let mut transport = TransportConfig::default();
    transport.congestion_controller_factory(Arc::new(BbrConfig::default()));
    Setup::new(transport)
});

struct Quic {
    endpoint: Endpoint,
    slots: usize,
    connections: BTreeMap<ConnectionHandle, Talk>,
    /// What the endpoint answered by itself.
    answers: Vec<(Node, Vec<u8>)>,
    next_at: Option<Duration>,
}

/// One connection with its streams.
struct Talk {
    connection: Connection,
    /// By channel: its stream, and what that has not taken yet.
    outgoing: BTreeMap<u8, (StreamId, BytesMut)>,
    /// By stream: what came in and is not a whole message yet.
    incoming: BTreeMap<StreamId, BytesMut>,
    is_connected: bool,
}

fn client(now: Duration, seed: u64, node: Node, setup: &Setup) -> Box<dyn Side> {
    let mut side = Quic::new(seed, node, setup, 0);
    let (handle, connection) = side
        .endpoint
        .connect(instant(now), setup.client.clone(), address(SERVER), NAME)
        .expect("the address and the name are valid");
    side.connections.insert(handle, Talk::new(connection));
    Box::new(side)
}

impl Quic {
    fn new(seed: u64, node: Node, setup: &Setup, slots: usize) -> Self {
        let server = (slots > 0).then(|| Arc::clone(&setup.server));
        let config = Arc::new(EndpointConfig::default());
        Self {
            endpoint: Endpoint::new(config, server, true, Some(seed_bytes(seed, node))),
            slots,
            connections: BTreeMap::new(),
            answers: Vec::new(),
            next_at: None,
        }
    }

    fn answer(&mut self, transmit: &Transmit, bytes: &[u8]) {
        self.answers
            .push((node(transmit.destination), bytes[..transmit.size].to_vec()));
    }
}

impl Side for Quic {
    fn send(&mut self, _now: Duration, channel: u8, delivery: Delivery, data: &[u8]) {
        let Some(talk) = self.connections.values_mut().next() else {
            return;
        };
        match delivery {
            // The oldest datagrams give way when the buffer is full, which is what a game wants.
            Delivery::Lossy => {
                let _ = talk.connection.datagrams().send(Bytes::copy_from_slice(data), true);
            }
            Delivery::Reliable => {
                if let Some((_, waiting)) = talk.outgoing.get_mut(&channel) {
                    waiting.extend_from_slice(&(data.len() as u32).to_be_bytes());
                    waiting.extend_from_slice(data);
                }
            }
        }
    }

    fn handle_datagram(&mut self, now: Duration, from: Node, bytes: &[u8]) {
        let mut buffer = Vec::new();
        let data = BytesMut::from(bytes);
        match self
            .endpoint
            .handle(instant(now), address(from), None, None, data, &mut buffer)
        {
            Some(DatagramEvent::ConnectionEvent(handle, event)) => {
                if let Some(talk) = self.connections.get_mut(&handle) {
                    talk.connection.handle_event(event);
                }
            }
            Some(DatagramEvent::NewConnection(incoming)) => {
                let players = self.connections.values().filter(|talk| talk.is_connected).count();
                if players >= self.slots {
                    let transmit = self.endpoint.refuse(incoming, &mut buffer);
                    self.answer(&transmit, &buffer);
                    return;
                }
                match self.endpoint.accept(incoming, instant(now), &mut buffer, None) {
                    Ok((handle, connection)) => {
                        self.connections.insert(handle, Talk::new(connection));
                    }
                    Err(error) => {
                        if let Some(transmit) = error.response {
                            self.answer(&transmit, &buffer);
                        }
                    }
                }
            }
            Some(DatagramEvent::Response(transmit)) => self.answer(&transmit, &buffer),
            None => {}
        }
    }

    fn poll(&mut self, now: Duration, outcome: &mut Outcome) {
        outcome.datagrams.append(&mut self.answers);
        for (&handle, talk) in &mut self.connections {
            if talk.connection.poll_timeout().is_some_and(|at| at <= instant(now)) {
                talk.connection.handle_timeout(instant(now));
            }
            while let Some(event) = talk.connection.poll_endpoint_events() {
                if let Some(event) = self.endpoint.handle_event(handle, event) {
                    talk.connection.handle_event(event);
                }
            }
            talk.handle_events(outcome);
            talk.write();
            let mut buffer = Vec::new();
            while let Some(transmit) = talk.connection.poll_transmit(instant(now), 1, &mut buffer) {
                let bytes = buffer[..transmit.size].to_vec();
                outcome.datagrams.push((node(transmit.destination), bytes));
                buffer.clear();
            }
        }
        let timeouts = self
            .connections
            .values_mut()
            .filter_map(|talk| talk.connection.poll_timeout());
        self.next_at = timeouts.min().map(|at| at - *ORIGIN);
        self.connections.retain(|_, talk| !talk.connection.is_drained());
    }

    fn next_at(&self) -> Option<Duration> {
        self.next_at
    }

    fn is_connected(&self) -> bool {
        self.connections.values().any(|talk| talk.is_connected)
    }
}

impl Talk {
    fn new(connection: Connection) -> Self {
        Self {
            connection,
            outgoing: BTreeMap::new(),
            incoming: BTreeMap::new(),
            is_connected: false,
        }
    }

    fn handle_events(&mut self, outcome: &mut Outcome) {
        while let Some(event) = self.connection.poll() {
            match event {
                Event::Connected => {
                    self.is_connected = true;
                    for channel in (0..CHANNELS).filter(|&channel| channel != LOSSY_CHANNEL) {
                        if let Some(stream) = self.connection.streams().open(Dir::Uni) {
                            self.outgoing.insert(channel, (stream, BytesMut::new()));
                        }
                    }
                }
                Event::Stream(StreamEvent::Opened { dir }) => {
                    while let Some(stream) = self.connection.streams().accept(dir) {
                        self.read(stream, outcome);
                    }
                }
                Event::Stream(StreamEvent::Readable { id }) => self.read(id, outcome),
                Event::DatagramReceived => {
                    while let Some(data) = self.connection.datagrams().recv() {
                        outcome.messages.push(data.to_vec());
                    }
                }
                _ => {}
            }
        }
    }

    /// Reads what a stream has, and takes out the messages that are whole.
    fn read(&mut self, id: StreamId, outcome: &mut Outcome) {
        let waiting = self.incoming.entry(id).or_default();
        let mut stream = self.connection.recv_stream(id);
        let Ok(mut chunks) = stream.read(true) else {
            return;
        };
        while let Ok(Some(chunk)) = chunks.next(usize::MAX) {
            waiting.extend_from_slice(&chunk.bytes);
        }
        // Whether a window update is to be sent is asked by `poll_transmit` right after.
        let _ = chunks.finalize();
        while let Some((length, _)) = waiting.split_first_chunk() {
            let length = u32::from_be_bytes(*length) as usize;
            if waiting.len() < 4 + length {
                break;
            }
            outcome.messages.push(waiting.split_to(4 + length)[4..].to_vec());
        }
    }

    /// Gives the streams as much as they take.
    fn write(&mut self) {
        for (stream, waiting) in self.outgoing.values_mut() {
            while !waiting.is_empty()
                && let Ok(taken) = self.connection.send_stream(*stream).write(waiting)
            {
                let _ = waiting.split_to(taken);
            }
        }
    }
}

/// What both sides are made from.
struct Setup {
    server: Arc<ServerConfig>,
    client: ClientConfig,
}

impl Setup {
    /// Makes a self-signed certificate, a server that shows it and a client that trusts it alone.
    fn new(transport: TransportConfig) -> Self {
        // The provider is the only one compiled in; a second call finds it installed, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let transport = Arc::new(transport);
        let certified = rcgen::generate_simple_self_signed([NAME.to_owned()]).expect("the name is valid");
        let certificate = certified.cert.der().clone();
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der());
        let mut server = ServerConfig::with_single_cert(vec![certificate.clone()], key.into())
            .expect("the certificate and the key belong together");
        server.transport_config(Arc::clone(&transport));
        let mut roots = rustls::RootCertStore::empty();
        roots.add(certificate).expect("the certificate is well-formed");
        let mut client = ClientConfig::with_root_certificates(Arc::new(roots)).expect("the roots are not empty");
        client.transport_config(transport);
        Self {
            server: Arc::new(server),
            client,
        }
    }
}

fn instant(now: Duration) -> Instant {
    *ORIGIN + now
}
