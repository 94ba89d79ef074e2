//! Opening a listener: what its URL and its options ask for, and the sockets that come of it.
//!
//! A part of [`Network`]. It must not know what becomes of those who call.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use netplay_proto::{Accept, Key, Transport};

use super::Network;
use super::asked::Asked;
use crate::error::{Error, ListenError, ListenErrorKind};
use crate::foreign;
use crate::interfaces::reachable_addresses;
use crate::keys::{generate_key, psk_from_password};
use crate::lan::{self, Advert, Advertise};
use crate::local::LocalPort;
use crate::p2p::{self, Port, Relays, Terms};
use crate::rooms::{Role, RoomId};
use crate::socket::{Kinds, Socket, Tcp, bind_listener};
use crate::stream::Terms as StreamTerms;
use crate::streams::Streams;
use crate::tls::ServerTls;
use crate::types::{ListenOptions, ListenerInfo};
use crate::url::{Host, Place, Scheme};

/// How long `listen` waits for a port that a listener of the same network is just letting go of.
const PORT_PATIENCE: Duration = Duration::from_millis(500);

impl Network {
    /// Opens a listener. When this returns, peers can connect.
    ///
    /// Blocks for what the operating system needs to open sockets, about 20 ms for a password, and longer only if the
    /// host is a name that has to be resolved.
    pub fn listen(&self, url: &str, options: ListenOptions) -> Result<ListenerInfo, Error> {
        self.listen_for(url, options, None)
    }

    /// Opens a listener for the game, or for a room with the key that its members know.
    pub(crate) fn listen_for(
        &self,
        url: &str,
        options: ListenOptions,
        room: Option<(RoomId, Role, Key)>,
    ) -> Result<ListenerInfo, Error> {
        let asked = Asked::new(url, &options.name, &options.version, options.relay.as_deref())?;
        let parsed = &asked.url;
        if parsed.pinned_key.is_some() || parsed.pinned_certificate.is_some() {
            let problem = "#k= and #cert= are for those who connect; a listener's key is its identity";
            return Err(asked.refuse("fragment", problem));
        }
        if options.max_peers == 0 {
            return Err(Error::Option("max_peers is 0, it must be at least 1".to_owned()));
        }
        if let Some(advertise) = &options.advertise {
            check_advertise(&asked, advertise)?;
        }
        if parsed.scheme.is_foreign() {
            return self.listen_foreign(&asked, &options);
        }
        let transports = listen_transports(&asked, options.transports.as_deref())?;
        let tls = match &options.certificate {
            Some(_) if !transports.contains(&Transport::Wss) => {
                let problem = "certificate is for play+wss://, by which this listener cannot be reached";
                return Err(Error::Option(problem.to_owned()));
            }
            None if !transports.contains(&Transport::Wss) => None,
            Some((certificate, key)) => Some(ServerTls::from_files(certificate, key)),
            None => Some(ServerTls::self_signed(&options.identity)),
        };
        let tls = tls.transpose().map_err(Error::Option)?;
        let psk = match room {
            Some((_, _, psk)) => psk,
            None => options.password.as_deref().map(psk_from_password).unwrap_or_default(),
        };
        let own_id = options.p2p_secret;
        let own_id = own_id.map_or_else(generate_key, Ok)?;
        let notice = options.advertise.as_ref().map(|advertise| {
            let titles = [&advertise.title, &options.name];
            let title = titles.into_iter().find(|title| lan::check_title(title).is_ok());
            lan::Notice {
                id: String::new(),
                app: advertise.app.clone(),
                title: title.cloned().unwrap_or_else(lan::host_name),
                players: 0,
                max_peers: u32::try_from(options.max_peers)
                    .unwrap_or(u32::MAX)
                    .min(lan::MAX_PLAYERS),
                needs_password: options.password.is_some(),
                transports: Vec::new(),
                key: Some(options.identity.public_key()),
            }
        });
        let accept = Accept {
            name: options.name,
            version: options.version,
            psk,
            max_peers: options.max_peers,
        };
        self.start_thread()?;
        let doors = match &parsed.place {
            Place::P2p { .. } => self.open_p2p_door(&asked, own_id)?,
            _ => self.open_doors(&asked, &transports, options.transports.is_some())?,
        };
        let terms = StreamTerms {
            has_tcp: doors.transports.contains(&Transport::Tcp),
            has_ws: doors.transports.contains(&Transport::Ws),
            tls: tls.as_ref().map(|tls| Arc::clone(&tls.config)),
        };
        let streams = match doors.listeners {
            listeners if listeners.is_empty() => None,
            listeners => Some(Streams::new(listeners, terms)?),
        };
        let mut driver = self.open_driver()?;
        let id = driver.listen(
            room.map(|(room, role, _)| (room, role)),
            accept,
            options.identity,
            options.limits,
            parsed.simulation.clone(),
            doors.sockets,
            streams,
        )?;
        drop(driver);
        self.inner.shared.rouse();
        let title = notice.as_ref().map(|notice| notice.title.clone());
        if let Some(mut notice) = notice {
            notice.id = lan::new_id()?;
            notice.transports.clone_from(&doors.transports);
            let bound = doors.bound;
            self.tell_scout(lan::Command::Advertise(id, Box::new(Advert { notice, bound })))?;
        }
        Ok(ListenerInfo {
            id,
            title,
            url: match &parsed.place {
                Place::P2p { .. } => doors.addresses.concat(),
                _ => parsed.with_port(doors.port),
            },
            addresses: doors.addresses,
            certificate: tls
                .filter(|_| doors.transports.contains(&Transport::Wss))
                .map(|tls| tls.fingerprint),
            transports: doors.transports,
        })
    }

    /// Opens a listener for those who do not speak netplay.
    fn listen_foreign(&self, asked: &Asked<'_>, options: &ListenOptions) -> Result<ListenerInfo, Error> {
        let parsed = &asked.url;
        let others = [
            ("password", options.password.is_some()),
            ("transports", options.transports.is_some()),
            ("certificate", options.certificate.is_some()),
        ];
        foreign::check(parsed, &options.limits, &others)?;
        let Place::Net { host, port } = &parsed.place else {
            return Err(Error::Closed);
        };
        self.start_thread()?;
        let opened = self.patiently(|| foreign::open(host, *port, parsed, options));
        let (engine, bound) = opened.map_err(|error| listen_error(asked.text(), host, &error))?;
        let mut driver = self.open_driver()?;
        let id = driver.listen_foreign(self.inner.shared.now(), parsed.scheme, engine);
        drop(driver);
        self.inner.shared.rouse();
        let port = bound.first().map_or(*port, |address| address.port());
        let scheme = parsed.scheme.name();
        let addresses = reachable_addresses(&bound);
        Ok(ListenerInfo {
            id,
            url: parsed.with_port(port),
            addresses: addresses
                .iter()
                .map(|address| format!("{scheme}://{address}"))
                .collect(),
            transports: Vec::new(),
            certificate: None,
            title: None,
        })
    }

    /// Opens a listener's sockets.
    fn open_doors(
        &self,
        asked: &Asked<'_>,
        transports: &[Transport],
        is_asked_for: bool,
    ) -> Result<Doors, ListenError> {
        let (url, parsed) = (asked.text(), &asked.url);
        match &parsed.place {
            Place::Local(name) => {
                let open = || LocalPort::listen(name, self.inner.shared.rouser());
                let port = self
                    .patiently(open)
                    .map_err(|error| ListenError::from_io(url, &error))?;
                Ok(Doors {
                    sockets: vec![Socket::Local(port)],
                    listeners: Vec::new(),
                    bound: Vec::new(),
                    port: 0,
                    addresses: vec![parsed.with_port(0)],
                    transports: Vec::new(),
                })
            }
            // `open_p2p_door` opens those.
            Place::P2p { .. } => Err(ListenError::from_io(url, &std::io::ErrorKind::Unsupported.into())),
            Place::Lan { .. } => Err(ListenError {
                url: url.to_owned(),
                kind: ListenErrorKind::Other,
                detail: "lan:// is for connect()".to_owned(),
            }),
            Place::Net { host, port } => {
                let has_udp = transports.contains(&Transport::Udp);
                let tcp = match transports {
                    [Transport::Udp] => Tcp::No,
                    _ if has_udp && !is_asked_for => Tcp::IfFree,
                    _ => Tcp::Yes,
                };
                let kinds = Kinds { has_udp, tcp };
                let bound = self
                    .patiently(|| bind_listener(host, *port, kinds))
                    .map_err(|error| listen_error(url, host, &error))?;
                let own = bound.addresses();
                let port = own.first().map_or(*port, |address| address.port());
                let scheme = parsed.scheme.name();
                let addresses = reachable_addresses(&own)
                    .iter()
                    .map(|address| format!("{scheme}://{address}"))
                    .collect();
                let is_open = |transport: &&Transport| match transport {
                    Transport::Udp => !bound.udp.is_empty(),
                    _ => !bound.tcp.is_empty(),
                };
                Ok(Doors {
                    port,
                    bound: own,
                    addresses,
                    transports: transports.iter().filter(is_open).copied().collect(),
                    sockets: bound.udp.into_iter().map(Socket::udp).collect(),
                    listeners: bound.tcp,
                })
            }
        }
    }

    /// Opens the end of the tunnels that lead to a listener.
    fn open_p2p_door(&self, asked: &Asked<'_>, secret: Key) -> Result<Doors, Error> {
        let parsed = &asked.url;
        let Place::P2p { id, relays, addresses } = &parsed.place else {
            return Err(Error::Closed);
        };
        if id.is_some() {
            return Err(asked.refuse("host", "to listen, leave it out: the id is this side's own"));
        }
        let relays = asked.relays(relays.as_ref(), addresses);
        let terms = Terms::listening(relays, secret, addresses.clone());
        let open = || Port::listen(&terms, self.inner.shared.rouser());
        let port = self
            .patiently(open)
            .map_err(|error| ListenError::from_io(asked.text(), &error))?;
        let mut query: Vec<String> = terms.relays.to_option().into_iter().collect();
        if terms.relays == Relays::None {
            let own = reachable_addresses(&port.addresses());
            query.extend(own.iter().map(|address| format!("addr={address}")));
        }
        let mut contact = format!("{}://{}", parsed.scheme.name(), p2p::id_of(&secret));
        if !query.is_empty() {
            contact = format!("{contact}?{}", query.join("&"));
        }
        Ok(Doors {
            sockets: vec![Socket::P2p(port)],
            listeners: Vec::new(),
            bound: Vec::new(),
            port: 0,
            addresses: vec![contact],
            transports: vec![Transport::P2p],
        })
    }

    /// Opens something; if it is taken while a listener of this network is still saying its goodbyes, tries again until
    /// those are said.
    fn patiently<T>(&self, open: impl Fn() -> std::io::Result<T>) -> std::io::Result<T> {
        let until = Instant::now() + PORT_PATIENCE;
        loop {
            // Asked first: what is let go of after a failed try is worth another.
            let is_letting_go = self.inner.shared.is_letting_go();
            let result = open();
            let is_taken = matches!(&result, Err(error) if error.kind() == std::io::ErrorKind::AddrInUse);
            if !is_taken || !is_letting_go || Instant::now() >= until {
                return result;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// What a listener has opened.
struct Doors {
    sockets: Vec<Socket>,
    listeners: Vec<TcpListener>,
    bound: Vec<SocketAddr>,
    port: u16,
    addresses: Vec<String>,
    transports: Vec<Transport>,
}

/// Makes the error of a listener that could not be opened.
fn listen_error(url: &str, host: &Host, error: &std::io::Error) -> ListenError {
    match host {
        // Names fail in the resolver, with whatever words it has.
        Host::Name(_) if error.raw_os_error().is_none() => ListenError {
            url: url.to_owned(),
            kind: ListenErrorKind::UnknownHost,
            detail: error.to_string(),
        },
        _ => ListenError::from_io(url, error),
    }
}

/// Returns by what a listener lets come: what the URL says, or else what was asked for, or else everything.
fn listen_transports(asked: &Asked<'_>, wanted: Option<&[Transport]>) -> Result<Vec<Transport>, Error> {
    let all = [Transport::Udp, Transport::Tcp, Transport::Ws, Transport::Wss];
    match (asked.url.scheme, wanted) {
        (Scheme::Play, Some([])) => Err(Error::Option(
            "transports is empty, there must be at least one of udp, tcp, ws and wss".to_owned(),
        )),
        (Scheme::Play, None) => Ok(all.to_vec()),
        (Scheme::Play, Some(wanted)) => Ok(all.into_iter().filter(|one| wanted.contains(one)).collect()),
        (_, Some(_)) => Err(Error::Option(format!(
            "transports is for play:// URLs; {:?} says already by what peers come",
            asked.text()
        ))),
        (scheme, None) => Ok(scheme.transports()),
    }
}

/// Says why a listener cannot be announced so.
fn check_advertise(asked: &Asked<'_>, advertise: &Advertise) -> Result<(), Error> {
    if !matches!(
        asked.url.scheme,
        Scheme::Play | Scheme::PlayUdp | Scheme::PlayTcp | Scheme::PlayWs
    ) {
        return Err(Error::Option(format!(
            "advertise is for play://, play+udp://, play+tcp:// and play+ws://; nobody on the network could come to {:?}",
            asked.text()
        )));
    }
    lan::check_app(&advertise.app).map_err(Error::Option)?;
    if advertise.title.is_empty() {
        return Ok(());
    }
    lan::check_title(&advertise.title).map_err(Error::Option)
}
