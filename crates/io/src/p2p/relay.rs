//! A relay of one's own, for classrooms, offline networks, and those who want nobody else's: iroh's relay server, with bounds and
//! something to say about who comes and goes.
//!
//! A relay passes on what is encrypted from end to end, and tells each side which address it comes from: by HTTP or HTTPS on a
//! port of TCP, and by QUIC on the port of UDP with the same number. It must not know netplay's protocol.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use iroh::EndpointId;
use iroh_relay::server::{
    Access, AccessControl, CertConfig, ClientRateLimit, ClientRequest, ConnectionId, QuicConfig, RelayConfig, Server,
    ServerConfig, TlsConfig,
};
use netplay_proto::{Identity, Key};
use tokio::runtime::Runtime;

use crate::interfaces::reachable_addresses;
use crate::keys::generate_key;
use crate::tls::ServerTls;

/// How many events wait to be told; those beyond are not told.
const MAX_EVENTS: usize = 1024;

/// How long ending it may take.
const END_TIME: Duration = Duration::from_secs(2);

/// How often a port is looked for that is free for TCP and for UDP.
const PORT_TRIES: usize = 16;

/// How a relay is run.
#[derive(Clone, Debug)]
pub struct RelayOptions {
    /// The address to listen on.
    pub host: IpAddr,
    /// The port, of TCP and of UDP; 0 for any that is free.
    pub port: u16,
    /// Where numbers can be read, by HTTP in Prometheus's format; None for nowhere.
    pub metrics: Option<SocketAddr>,
    /// How many may be connected at once.
    pub max_clients: usize,
    /// How many bytes a second one of them may send; None for as many as it can.
    pub client_rate: Option<NonZeroU32>,
    /// A certificate and its key, two PEM files, for HTTPS; None for HTTP.
    pub certificate: Option<(PathBuf, PathBuf)>,
}

/// Something that happened at a relay, for a line of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RelayEvent {
    /// A client came.
    Came {
        /// The first digits of its id.
        client: String,
        /// How many there are now.
        clients: usize,
    },
    /// A client went.
    Went {
        /// The first digits of its id.
        client: String,
        /// How many there are now.
        clients: usize,
    },
    /// A client was refused, because there were as many as there may be.
    Refused {
        /// The first digits of its id.
        client: String,
    },
}

impl fmt::Display for RelayEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Came { client, clients } => write!(f, "{client} came, {clients} here"),
            Self::Went { client, clients } => write!(f, "{client} went, {clients} here"),
            Self::Refused { client } => write!(f, "{client} was refused: full"),
        }
    }
}

/// A relay that runs. Ends when dropped.
pub struct Relay {
    urls: Vec<String>,
    certificate: Option<Key>,
    metrics_url: Option<String>,
    events: Mutex<Receiver<RelayEvent>>,
    untold: Arc<AtomicU64>,
    server: Option<Server>,
    runtime: Option<Runtime>,
}

impl Relay {
    /// Starts one. Blocks until it listens.
    pub fn start(options: &RelayOptions) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("netplay-relay")
            .enable_all()
            .build()?;
        let (tell, events) = sync_channel(MAX_EVENTS);
        let untold = Arc::new(AtomicU64::new(0));
        let access = Arc::new(Door {
            max_clients: options.max_clients,
            clients: AtomicUsize::new(0),
            tell,
            untold: Arc::clone(&untold),
        });
        let mut result = runtime.block_on(spawn(options, &access));
        for _ in 1..PORT_TRIES {
            match &result {
                Err(error) if options.port == 0 && error.kind() == io::ErrorKind::AddrInUse => {
                    result = runtime.block_on(spawn(options, &access));
                }
                _ => break,
            }
        }
        let (server, port, certificate) = result?;
        let scheme = if options.certificate.is_some() { "https" } else { "http" };
        let own = reachable_addresses(&[SocketAddr::new(options.host, port)]);
        Ok(Self {
            urls: own.iter().map(|address| format!("{scheme}://{address}")).collect(),
            certificate,
            metrics_url: options.metrics.map(|address| format!("http://{address}/metrics")),
            events: Mutex::new(events),
            untold,
            server: Some(server),
            runtime: Some(runtime),
        })
    }

    /// Returns its URLs, with the real port, the most useful first.
    pub fn urls(&self) -> &[String] {
        &self.urls
    }

    /// Returns the SHA-256 of the certificate it shows, which `#cert=` behind its URL pins; None by HTTP.
    pub fn certificate(&self) -> Option<&Key> {
        self.certificate.as_ref()
    }

    /// Returns where its numbers can be read.
    pub fn metrics_url(&self) -> Option<&str> {
        self.metrics_url.as_deref()
    }

    /// Waits for something to happen, no longer than this, and returns it. None if nothing has.
    pub fn next_event(&self, timeout: Duration) -> Option<RelayEvent> {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        events.recv_timeout(timeout).ok()
    }

    /// Returns how many events were not told because too many waited.
    pub fn untold(&self) -> u64 {
        self.untold.load(SeqCst)
    }

    /// Ends it: who is connected is told, and the ports are free. A second call does nothing.
    pub fn close(&mut self) {
        let (Some(server), Some(runtime)) = (self.server.take(), self.runtime.take()) else {
            return;
        };
        let end = runtime.block_on(async { tokio::time::timeout(END_TIME, server.shutdown()).await });
        if let Ok(Err(error)) = end {
            log::debug!("the relay ended with: {error}");
        }
        runtime.shutdown_timeout(END_TIME);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.close();
    }
}

/// Starts the server, and returns it, its port and its certificate's SHA-256.
async fn spawn(options: &RelayOptions, access: &Arc<Door>) -> io::Result<(Server, u16, Option<Key>)> {
    // The ports of TCP and UDP are to be the same: the first to be bound decides.
    let probe = tokio::net::UdpSocket::bind((options.host, options.port)).await?;
    let port = probe.local_addr()?.port();
    drop(probe);
    let address = SocketAddr::new(options.host, port);
    let mut relay = RelayConfig::new(address);
    relay.access = access.clone();
    relay.limits.client_rx = options.client_rate.map(ClientRateLimit::new);
    // To tell a client its address takes TLS, but nobody who knows the relay's name.
    let own = match &options.certificate {
        Some((certificate, key)) => ServerTls::from_files(certificate, key),
        None => ServerTls::self_signed(&Identity::from_secret(generate_key()?)),
    };
    let own = own.map_err(|problem| io::Error::new(io::ErrorKind::InvalidInput, problem))?;
    if options.certificate.is_some() {
        let server_config = (*own.config).clone();
        relay.tls = Some(TlsConfig::new(address, CertConfig::Manual { server_config }));
        // What a browser's first request would go to has no place beside it.
        relay.http_bind_addr = SocketAddr::new(
            if options.host.is_ipv4() {
                std::net::Ipv4Addr::LOCALHOST.into()
            } else {
                std::net::Ipv6Addr::LOCALHOST.into()
            },
            0,
        );
    }
    let mut quic = QuicConfig::new(address);
    quic.server_config = Some((*own.config).clone());
    let mut config = ServerConfig::default();
    config.relay = Some(relay);
    config.quic = Some(quic);
    config.metrics_addr = options.metrics;
    let server = Server::spawn(config).await.map_err(|error| to_io(&error))?;
    Ok((server, port, options.certificate.is_some().then_some(own.fingerprint)))
}

/// Returns the error of the operating system in an error of iroh's, or its words.
fn to_io(error: &(dyn std::error::Error + 'static)) -> io::Error {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return io::Error::new(error.kind(), error.to_string());
        }
        cause = error.source();
    }
    io::Error::other(error.to_string())
}

/// Who may come in.
#[derive(Debug)]
struct Door {
    max_clients: usize,
    clients: AtomicUsize,
    tell: SyncSender<RelayEvent>,
    untold: Arc<AtomicU64>,
}

impl Door {
    fn tell(&self, event: RelayEvent) {
        if self.tell.try_send(event).is_err() {
            self.untold.fetch_add(1, SeqCst);
        }
    }
}

impl AccessControl for Door {
    async fn on_connect(&self, request: &ClientRequest) -> Access {
        let client = request.endpoint_id().fmt_short().to_string();
        let more = |clients| (clients < self.max_clients).then_some(clients + 1);
        match self.clients.fetch_update(SeqCst, SeqCst, more) {
            Ok(before) => {
                let clients = before + 1;
                self.tell(RelayEvent::Came { client, clients });
                Access::Allow
            }
            Err(_) => {
                self.tell(RelayEvent::Refused { client });
                let reason = Some("full".to_owned());
                Access::Deny { reason }
            }
        }
    }

    fn on_disconnect(&self, endpoint_id: EndpointId, _connection_id: ConnectionId) {
        let client = endpoint_id.fmt_short().to_string();
        let clients = self.clients.fetch_sub(1, SeqCst) - 1;
        self.tell(RelayEvent::Went { client, clients });
    }
}
