//! iroh's side of a port: an endpoint that is bound when needed, and the tasks that dial, accept, and read each tunnel.
//!
//! All of it runs on one thread of this process. It must not know the protocol, nor who drives.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_core::Stream;
use iroh::dns::DnsResolver;
use iroh::endpoint::{
    BindOpts, Connection, Incoming, NetReportConfig, PortmapperConfig, QuicTransportConfig, RelayStatus, VarInt,
    presets,
};
use iroh::tls::CaTlsConfig;
use iroh::{
    Endpoint, EndpointAddr, EndpointId, RelayConfig, RelayMap, RelayMode, RelayUrl, SecretKey, TransportAddr, Watcher,
};
use iroh_relay::RelayQuicConfig;
use netplay_proto::{ConnectionId, Key};
use tokio::runtime::Handle;
use tokio::sync::{OnceCell, Semaphore};

use super::port::Inbox;
use super::steady::Steady;
use super::{Contact, Relays, Terms, Way};
use crate::tls;

/// What is spoken inside the QUIC connection.
const ALPN: &[u8] = b"netplay/1";

/// How long opening a tunnel may take, either way. Who wants one asks again.
const OPEN_TIME: Duration = Duration::from_secs(10);

/// A tunnel of which nothing is heard for so long has ended. Long before that, netplay has called again.
const IDLE_TIME: Duration = Duration::from_secs(20);

/// A way of a tunnel by which nothing is heard for so long is given up for another, such as the relay's; and how often each
/// way says a word, so that silence means something. A link of a room is told of as lost a little later.
const PATH_IDLE_TIME: Duration = Duration::from_millis(2500);
const PATH_KEEP_ALIVE: Duration = Duration::from_millis(800);

/// The round trip that QUIC begins with: what of its first packets is lost, as before the relay is reached, goes again after
/// three of these.
const FIRST_RTT: Duration = Duration::from_millis(80);

/// How many may be coming in at once; with more than a few, each must first show that it can receive where it says it is.
const MAX_INCOMING: usize = 128;
const FEW_INCOMING: usize = 16;

/// How many bytes wait in iroh for one remote side; beyond it the oldest are lost. What waits longer than that is late.
const SEND_BUFFER: usize = 256 * 1024;

/// How many datagrams a task takes at once.
const READ_LEN: usize = 64;

/// How often a task looks by itself how large datagrams may be.
const LOOK: Duration = Duration::from_millis(500);

/// The port on which a relay tells what address it sees, unless the relay's URL has a port.
const DEFAULT_QUIC_PORT: u16 = 7842;

/// An iroh endpoint, bound or to be bound.
pub(super) struct Node {
    terms: Terms,
    is_listening: bool,
    runtime: Handle,
    endpoint: OnceCell<Endpoint>,
    incoming: Semaphore,
    has_reached_relay: Arc<AtomicBool>,
}

impl Node {
    /// Makes one that is not bound yet.
    pub(super) fn new(terms: Terms, is_listening: bool) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            terms,
            is_listening,
            runtime: runtime()?,
            endpoint: OnceCell::new(),
            incoming: Semaphore::new(MAX_INCOMING),
            has_reached_relay: Arc::default(),
        }))
    }

    /// Binds, says how that went, and from then on accepts.
    pub(super) fn start(self: &Arc<Self>, inbox: &Arc<Inbox>, tell: impl FnOnce(io::Result<()>) + Send + 'static) {
        let (node, inbox) = (Arc::clone(self), Arc::clone(inbox));
        self.runtime.spawn(async move {
            match node.endpoint().await {
                Ok(endpoint) => {
                    let endpoint = endpoint.clone();
                    tell(Ok(()));
                    node.accept(&endpoint, &inbox).await;
                }
                Err(error) => tell(Err(error)),
            }
        });
    }

    /// Returns where it is bound.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.endpoint.get().map(Endpoint::bound_sockets).unwrap_or_default()
    }

    /// Returns true once a relay has let it in.
    pub(super) fn has_reached_relay(&self) -> bool {
        self.has_reached_relay.load(Relaxed)
    }

    /// Opens a tunnel, and tells of it or that it could not be.
    pub(super) fn dial(self: &Arc<Self>, inbox: &Arc<Inbox>, caller: ConnectionId, contact: &Contact) {
        let (node, inbox, contact) = (Arc::clone(self), Arc::clone(inbox), contact.clone());
        self.runtime.spawn(async move {
            let opened = tokio::time::timeout(OPEN_TIME, node.connect(&contact)).await;
            match opened.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                Ok(connection) => run(&inbox, connection, Some(caller)).await,
                Err(error) => {
                    log::debug!("no tunnel could be opened: {error}");
                    inbox.fail(caller);
                }
            }
        });
    }

    /// Says goodbye to everybody.
    pub(super) fn close(self: &Arc<Self>) {
        let node = Arc::clone(self);
        self.runtime.spawn(async move {
            if let Some(endpoint) = node.endpoint.get() {
                endpoint.close().await;
            }
        });
    }

    async fn connect(&self, contact: &Contact) -> io::Result<Connection> {
        let id = EndpointId::from_bytes(&contact.id).map_err(io::Error::other)?;
        let mut addresses: Vec<TransportAddr> = contact.targets().map(TransportAddr::Ip).collect();
        if let Relays::Own(relay) = &contact.relays {
            addresses.push(TransportAddr::Relay(RelayUrl::from(relay.url.clone())));
        }
        let endpoint = self.endpoint().await?;
        let address = EndpointAddr::from_parts(id, addresses);
        endpoint.connect(address, ALPN).await.map_err(io::Error::other)
    }

    /// Returns the endpoint, binding it the first time.
    async fn endpoint(&self) -> io::Result<&Endpoint> {
        self.endpoint.get_or_try_init(|| self.bind()).await
    }

    async fn bind(&self) -> io::Result<Endpoint> {
        let terms = &self.terms;
        let mut builder = match &terms.relays {
            Relays::Public => Endpoint::builder(presets::N0),
            Relays::None => Endpoint::builder(presets::Minimal).relay_mode(RelayMode::Disabled),
            Relays::Own(relay) => {
                let map = RelayMode::Custom(relay_map(&relay.url));
                let builder = Endpoint::builder(presets::Minimal).relay_mode(map);
                if relay.is_plain() || relay.certificate.is_some() {
                    builder.ca_tls_config(certificate(relay.certificate))
                } else {
                    builder
                }
            }
        };
        if terms.relays != Relays::Public {
            let mut report = NetReportConfig::default();
            report.captive_portal_check = false;
            // Without the public resolvers that are asked when the system's does not answer.
            let resolver = DnsResolver::builder().with_system_defaults().disable_fallback().build();
            builder = builder.net_report_config(report).dns_resolver(resolver);
        }
        if terms.is_on_this_machine() || terms.relays == Relays::None {
            builder = builder.portmapper_config(PortmapperConfig::Disabled);
        }
        if !terms.bind.is_empty() {
            builder = builder.clear_ip_transports();
            for address in &terms.bind {
                // A machine without IPv6 is one of this kind, too.
                let options = BindOpts::default().set_is_required(address.is_ipv4());
                builder = builder
                    .bind_addr_with_opts(*address, options)
                    .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
            }
        }
        if let Some(secret) = &terms.secret {
            builder = builder.secret_key(SecretKey::from_bytes(secret));
        }
        if self.is_listening {
            builder = builder.alpns(vec![ALPN.to_vec()]);
        }
        let endpoint = builder.transport_config(transport_config()).bind().await;
        let endpoint = endpoint.map_err(io::Error::other)?;
        if terms.relays != Relays::None {
            tokio::spawn(watch(endpoint.home_relay_status(), Arc::clone(&self.has_reached_relay)));
        }
        Ok(endpoint)
    }

    async fn accept(self: &Arc<Self>, endpoint: &Endpoint, inbox: &Arc<Inbox>) {
        while let Some(incoming) = endpoint.accept().await {
            let left = self.incoming.available_permits();
            if left == 0 || !inbox.has_room() {
                incoming.refuse();
                continue;
            }
            if left < MAX_INCOMING - FEW_INCOMING && !incoming.remote_addr_validated() {
                // One that has nothing to come back with is none of ours.
                let _ = incoming.retry();
                continue;
            }
            let (node, inbox) = (Arc::clone(self), Arc::clone(inbox));
            tokio::spawn(async move {
                if let Some(connection) = node.take_in(incoming).await {
                    run(&inbox, connection, None).await;
                }
            });
        }
    }

    async fn take_in(&self, incoming: Incoming) -> Option<Connection> {
        let _permit = self.incoming.try_acquire().ok()?;
        tokio::time::timeout(OPEN_TIME, incoming).await.ok()?.ok()
    }
}

/// Takes note of the first relay that lets an endpoint in; ends with the endpoint.
async fn watch(mut relays: impl Watcher<Value = Vec<RelayStatus>>, has_reached: Arc<AtomicBool>) {
    let mut status = relays.get();
    while !status.iter().any(RelayStatus::is_connected) {
        status = match relays.updated().await {
            Ok(status) => status,
            Err(_) => return,
        };
    }
    has_reached.store(true, Relaxed);
}

/// Reads a tunnel until it ends.
async fn run(inbox: &Inbox, connection: Connection, caller: Option<ConnectionId>) {
    let number = inbox.open(&connection, caller, way(&connection));
    let mut datagrams = vec![Bytes::new(); READ_LEN];
    let mut paths = pin!(connection.paths_stream());
    let mut is_watching = true;
    let mut look = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            read = connection.read_many_datagrams(&mut datagrams) => match read {
                Ok(count) => inbox.push(number, &mut datagrams[..count]),
                Err(_) => break,
            },
            changed = poll_fn(|context| paths.as_mut().poll_next(context)), if is_watching => {
                is_watching = changed.is_some();
                inbox.handle_way(number, way(&connection));
                inbox.handle_size(number, &connection);
            }
            _ = look.tick() => inbox.handle_size(number, &connection),
        }
        if inbox.is_closed() {
            connection.close(VarInt::from_u32(0), b"closed");
            break;
        }
    }
    inbox.close(number);
}

/// Returns where a connection leads now.
fn way(connection: &Connection) -> Way {
    let paths = connection.paths();
    let mut chosen = paths.iter().filter(|path| path.is_selected());
    let path = chosen.next().or_else(|| paths.iter().next());
    Way {
        remote_id: connection.remote_id().to_z32(),
        is_direct: path.as_ref().map(|path| path.is_ip()),
        address: match path.as_ref().map(|path| path.remote_addr()) {
            Some(TransportAddr::Ip(address)) => address.to_string(),
            Some(TransportAddr::Relay(url)) => url.as_str().trim_end_matches('/').to_owned(),
            _ => String::new(),
        },
    }
}

fn relay_map(url: &url::Url) -> RelayMap {
    let quic = RelayQuicConfig::new(quic_port(url));
    RelayConfig::new(RelayUrl::from(url.clone()), Some(quic)).into()
}

/// Returns the port of UDP on which a relay tells what address it sees.
pub(super) fn quic_port(relay: &url::Url) -> u16 {
    relay.port().unwrap_or(DEFAULT_QUIC_PORT)
}

/// Takes the relay that shows this certificate, or with None any.
pub(super) fn certificate(pinned: Option<Key>) -> CaTlsConfig {
    CaTlsConfig::custom_server_cert_verifier(Arc::new(move |provider| Ok(tls::verifier(pinned, provider))))
}

fn transport_config() -> QuicTransportConfig {
    let none = VarInt::from_u32(0);
    let idle = IDLE_TIME.try_into().ok();
    QuicTransportConfig::builder()
        .congestion_controller_factory(Arc::new(Steady))
        .max_idle_timeout(idle)
        .default_path_max_idle_timeout(PATH_IDLE_TIME)
        .default_path_keep_alive_interval(PATH_KEEP_ALIVE)
        .initial_rtt(FIRST_RTT)
        .max_concurrent_bidi_streams(none)
        .max_concurrent_uni_streams(none)
        .datagram_send_buffer_size(SEND_BUFFER)
        .build()
}

/// Returns the one thread's runtime, which lives as long as the process; starts it the first time.
fn runtime() -> io::Result<Handle> {
    static RUNTIME: Mutex<Option<(u32, Handle)>> = Mutex::new(None);
    let mut running = RUNTIME.lock().unwrap_or_else(PoisonError::into_inner);
    let process = std::process::id();
    // A process that was forked has the memory of its parent, but not its threads.
    if let Some((owner, handle)) = &*running
        && *owner == process
    {
        return Ok(handle.clone());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    std::thread::Builder::new()
        .name("netplay-p2p".to_owned())
        .spawn(move || runtime.block_on(std::future::pending::<()>()))?;
    *running = Some((process, handle.clone()));
    Ok(handle)
}
