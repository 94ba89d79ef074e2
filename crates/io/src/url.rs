//! The URL a game writes, parsed into what it asks for: whom, by what, and how bad a network to simulate.
//!
//! It knows text only: nothing here resolves a name or opens a socket.
//!
//! ```text
//! play://host:port?lag_ms=80&loss_pct=5#k=key
//! └─┬──┘ └┬─┘ └┬─┘ └───────┬──────────┘ └─┬─┘
//! scheme host port    query options    fragment: the server's public key, pinned; `&cert=` its certificate
//! ```

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::ops::RangeInclusive;
use std::time::Duration;

use netplay_netsim::{Conditions, Loss, Pipe};
use netplay_proto::{Key, Transport};

use crate::error::UrlError;
use crate::keys::{key_from_text, key_to_text};
use crate::lan::{check_app, check_title};
use crate::p2p::{self, Relays};

/// The port of a URL that names none.
pub const DEFAULT_PORT: u16 = 5000;

/// A URL that can be used.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Url {
    /// By what.
    pub(crate) scheme: Scheme,
    /// To whom.
    pub(crate) place: Place,
    /// The bad network to simulate when sending; None for the real one as it is.
    pub(crate) simulation: Option<Simulation>,
    /// The only public key the server may have.
    pub(crate) pinned_key: Option<Key>,
    /// `enet://` only: leave ENet's packet throttle on.
    pub(crate) has_throttle: bool,
    /// The SHA-256 of the only certificate the server may have.
    pub(crate) pinned_certificate: Option<Key>,
}

/// By what a URL talks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// `play`: the default.
    Play,
    /// `play+udp`: UDP only.
    PlayUdp,
    /// `play+tcp`: TCP only.
    PlayTcp,
    /// `play+ws`: WebSocket only.
    PlayWs,
    /// `play+wss`: WebSocket under TLS only.
    PlayWss,
    /// `play+p2p`: through routers, from machine to machine.
    PlayP2p,
    /// `local`: inside this process.
    Local,
    /// `udp`: bare datagrams.
    RawUdp,
    /// `tcp`: a bare stream of bytes.
    RawTcp,
    /// `enet`: the protocol of ENet 1.3.
    Enet,
    /// `lan`: a game on the local network, by name.
    Lan,
}

impl Scheme {
    /// Returns how it is written.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Play => "play",
            Self::PlayUdp => "play+udp",
            Self::PlayTcp => "play+tcp",
            Self::PlayWs => "play+ws",
            Self::PlayWss => "play+wss",
            Self::PlayP2p => "play+p2p",
            Self::Local => "local",
            Self::RawUdp => "udp",
            Self::RawTcp => "tcp",
            Self::Enet => "enet",
            Self::Lan => "lan",
        }
    }

    /// Returns true if what is spoken is not netplay.
    pub(crate) const fn is_foreign(self) -> bool {
        matches!(self, Self::RawUdp | Self::RawTcp | Self::Enet)
    }

    /// Returns by what it calls, best first; empty for what has one way only.
    pub(crate) fn transports(self) -> Vec<Transport> {
        match self {
            Self::Play => vec![Transport::Udp, Transport::Tcp, Transport::Ws],
            Self::PlayUdp => vec![Transport::Udp],
            Self::PlayTcp => vec![Transport::Tcp],
            Self::PlayWs => vec![Transport::Ws],
            Self::PlayWss => vec![Transport::Wss],
            Self::PlayP2p => vec![Transport::P2p],
            Self::Local | Self::RawUdp | Self::RawTcp | Self::Enet | Self::Lan => Vec::new(),
        }
    }
}

/// Whom a URL names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A host and port.
    Net {
        /// The host.
        host: Host,
        /// The port; 0 takes any free one when listening.
        port: u16,
    },
    /// A name inside this process.
    Local(String),
    /// One who is reached through routers.
    P2p {
        /// Who; None for a listener, whose own id is meant.
        id: Option<Key>,
        /// By which relays, if the URL says so.
        relays: Option<Relays>,
        /// Where to bind, or where the remote side may be.
        addresses: Vec<SocketAddr>,
    },
    /// A game on the local network.
    Lan {
        /// The name of its app.
        app: String,
        /// Its title; None for any.
        title: Option<String>,
    },
}

impl Place {
    /// Returns the host as one asks for it; of an address without its brackets.
    pub(crate) fn host(&self) -> String {
        match self {
            Self::Lan { app: name, .. }
            | Self::Local(name)
            | Self::Net {
                host: Host::Name(name), ..
            } => name.clone(),
            Self::P2p { .. } => String::new(),
            Self::Net { host: Host::Any, .. } => "localhost".to_owned(),
            Self::Net { host: Host::Ip(ip), .. } => ip.to_string(),
            Self::Net {
                host: Host::LinkLocal(ip, _),
                ..
            } => ip.to_string(),
        }
    }
}

/// The host of a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    /// `*` or nothing: every address of this machine.
    Any,
    /// An address.
    Ip(IpAddr),
    /// An address that means something on one interface only, and the number of that.
    LinkLocal(Ipv6Addr, u32),
    /// A name to resolve.
    Name(String),
}

/// A bad network to simulate in the sending direction.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Simulation {
    /// How bad.
    pub(crate) conditions: Conditions,
    /// Where its chance comes from; None for another one every time.
    pub(crate) seed: Option<u64>,
}

impl Simulation {
    /// Makes a pipe that is so bad.
    pub(crate) fn pipe<T>(&self) -> Pipe<T> {
        let chance = || {
            let mut bytes = [0; 8];
            // Without randomness the same things are lost every time.
            let _ = getrandom::fill(&mut bytes);
            u64::from_le_bytes(bytes)
        };
        Pipe::new(self.conditions.clone(), self.seed.unwrap_or_else(chance))
    }
}

impl Url {
    /// Parses a URL, or says which part is wrong and what is allowed.
    pub(crate) fn parse(text: &str) -> Result<Self, UrlError> {
        let fail = |part, problem: String| UrlError {
            url: text.to_owned(),
            part,
            problem,
        };
        if !text.contains("://") {
            return Err(fail(
                "scheme",
                format!("there is none; write \"play://{}\"", text.trim_start_matches('/')),
            ));
        }
        // The url crate takes no empty host before a port; to us it means every address.
        let (filled, zone) = without_zone(text).map_err(|problem| fail("host", problem))?;
        let filled = filled.replacen("://:", "://*:", 1);
        let parsed = url::Url::parse(&filled).map_err(|error| {
            let part = match error {
                url::ParseError::InvalidPort => "port",
                url::ParseError::RelativeUrlWithoutBase => "scheme",
                _ => "host",
            };
            let problem = match error {
                url::ParseError::InvalidPort => "it must be a number from 0 to 65535".to_owned(),
                other => other.to_string(),
            };
            fail(part, problem)
        })?;
        let scheme = parse_scheme(parsed.scheme()).map_err(|problem| fail("scheme", problem))?;
        if !parsed.username().is_empty() || parsed.password().is_some() {
            return Err(fail(
                "host",
                "there is no user name in a game's URL; give a password as an option".to_owned(),
            ));
        }
        let host = parsed.host_str().unwrap_or("");
        let mut place = if scheme == Scheme::Local {
            if parsed.port().is_some() {
                return Err(fail(
                    "port",
                    "a local:// URL has a name only, such as local://arena".to_owned(),
                ));
            }
            if host.is_empty() {
                return Err(fail(
                    "host",
                    "a local:// URL needs a name, such as local://arena".to_owned(),
                ));
            }
            Place::Local(host.to_owned())
        } else if scheme == Scheme::PlayP2p {
            if parsed.port().is_some() {
                return Err(fail(
                    "port",
                    "there is none; the endpoint id says whom, and addr= may say where".to_owned(),
                ));
            }
            let id = (!matches!(host, "" | "*")).then(|| p2p::check_id(host));
            Place::P2p {
                id: id.transpose().map_err(|problem| fail("host", problem))?,
                relays: None,
                addresses: Vec::new(),
            }
        } else if scheme == Scheme::Lan {
            if parsed.port().is_some() {
                let problem = "a lan:// URL has the name of an app, such as lan://pong; it finds the port itself";
                return Err(fail("port", problem.to_owned()));
            }
            check_app(host).map_err(|problem| fail("host", problem))?;
            let title = parse_title(parsed.path()).map_err(|problem| fail("path", problem))?;
            Place::Lan {
                app: host.to_owned(),
                title,
            }
        } else {
            let host = parse_host(parsed.host()).map_err(|problem| fail("host", problem))?;
            let host = match (host, zone) {
                (Host::Ip(IpAddr::V6(ip)), Some(zone)) if ip.is_unicast_link_local() => Host::LinkLocal(ip, zone),
                (host, _) => host,
            };
            Place::Net {
                host,
                port: parsed.port().unwrap_or(DEFAULT_PORT),
            }
        };
        if scheme != Scheme::Lan && !matches!(parsed.path(), "" | "/") {
            return Err(fail(
                "path",
                format!("nothing may follow the host and port, but {:?} does", parsed.path()),
            ));
        }
        let Query {
            simulation,
            has_throttle,
            relays: asked_relays,
            addresses: asked_addresses,
        } = parse_query(&parsed, scheme).map_err(|problem| fail("query option", problem))?;
        if let Place::P2p { relays, addresses, .. } = &mut place {
            *relays = asked_relays;
            *addresses = asked_addresses;
        }
        if scheme.is_foreign() && !matches!(parsed.fragment(), None | Some("")) {
            let problem = format!("{}:// has no keys, so none can be pinned", scheme.name());
            return Err(fail("fragment", problem));
        }
        let (pinned_key, pinned_certificate) =
            parse_fragment(parsed.fragment().unwrap_or("")).map_err(|problem| fail("fragment", problem))?;
        if pinned_certificate.is_some() && scheme != Scheme::PlayWss {
            let hint = match scheme {
                Scheme::PlayP2p => "; that of a relay is a part of relay=, where # is written %23",
                _ => "",
            };
            let problem = format!("only play+wss:// has a certificate, to be pinned by cert={hint}");
            return Err(fail("fragment", problem));
        }
        Ok(Self {
            scheme,
            place,
            simulation,
            pinned_key,
            has_throttle,
            pinned_certificate,
        })
    }

    /// Writes the URL again with this port, without what only concerns this side.
    pub(crate) fn with_port(&self, port: u16) -> String {
        match &self.place {
            Place::P2p { .. } => format!("{}://", self.scheme.name()),
            Place::Local(name) | Place::Lan { app: name, .. } => format!("{}://{name}", self.scheme.name()),
            Place::Net { host, .. } => {
                let scheme = self.scheme.name();
                match host {
                    Host::Any => format!("{scheme}://*:{port}"),
                    Host::Ip(ip) => format!("{scheme}://{}", SocketAddr::new(*ip, port)),
                    Host::LinkLocal(ip, zone) => format!("{scheme}://{}", SocketAddrV6::new(*ip, port, 0, *zone)),
                    Host::Name(name) => format!("{scheme}://{name}:{port}"),
                }
            }
        }
    }
}

/// Writes the fragment that pins a server's public key, to be appended to a URL.
pub fn pin_fragment(key: &Key) -> String {
    format!("#k={}", key_to_text(key))
}

fn parse_scheme(scheme: &str) -> Result<Scheme, String> {
    match scheme {
        "play" => Ok(Scheme::Play),
        "play+udp" => Ok(Scheme::PlayUdp),
        "play+tcp" => Ok(Scheme::PlayTcp),
        "play+ws" => Ok(Scheme::PlayWs),
        "play+wss" => Ok(Scheme::PlayWss),
        "play+p2p" if cfg!(feature = "p2p") => Ok(Scheme::PlayP2p),
        "play+p2p" => Err("this netplay was built without p2p, the Cargo feature that play+p2p:// needs".to_owned()),
        "local" => Ok(Scheme::Local),
        "udp" => Ok(Scheme::RawUdp),
        "tcp" => Ok(Scheme::RawTcp),
        "enet" => Ok(Scheme::Enet),
        "lan" => Ok(Scheme::Lan),
        "room" => Err("a room has many members and is no single peer: give the URL to join_room()".to_owned()),
        other => Err(format!("{other:?} is not known; there are {SCHEMES}")),
    }
}

/// Every scheme there is, in words.
const SCHEMES: &str = "play://, play+udp://, play+tcp://, play+ws://, play+wss://, play+p2p://, lan://, local://, and without netplay's protocol tcp://, udp:// and enet://";

/// Returns the key and the certificate that are pinned.
fn parse_fragment(fragment: &str) -> Result<(Option<Key>, Option<Key>), String> {
    let (mut key, mut certificate) = (None, None);
    for part in fragment.split('&').filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        match (name, key_from_text(value)) {
            ("k", Some(value)) => key = Some(value),
            ("cert", Some(value)) => certificate = Some(value),
            _ => {
                return Err(
                    "it must be #k= and a key of 43 base64url characters or 64 hexadecimal digits, \
                    or #cert= and the SHA-256 of a certificate, or both with & between them"
                        .to_owned(),
                );
            }
        }
    }
    Ok((key, certificate))
}

/// Takes the zone of a link-local address out of a URL, which the url crate takes for a mistake, and returns its number.
fn without_zone(text: &str) -> Result<(String, Option<u32>), String> {
    let zone = text
        .split_once("://[")
        .and_then(|(_, rest)| rest.split_once(']'))
        .and_then(|(host, _)| host.split_once('%'));
    let Some((_, zone)) = zone else {
        return Ok((text.to_owned(), None));
    };
    let without = text.replacen(&format!("%{zone}]"), "]", 1);
    // RFC 6874 writes the sign itself as %25.
    let name = zone.strip_prefix("25").filter(|name| !name.is_empty()).unwrap_or(zone);
    if let Ok(number) = name.parse() {
        return Ok((without, Some(number)));
    }
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    match interfaces.into_iter().find(|interface| interface.name == name) {
        Some(interface) => Ok((without, interface.index)),
        None => Err(format!("this machine has no interface {name:?}")),
    }
}

/// Returns the title of a game in the path of a `lan://` URL, None if there is none.
fn parse_title(path: &str) -> Result<Option<String>, String> {
    let escaped = path.strip_prefix('/').unwrap_or(path);
    if escaped.is_empty() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    let mut rest = escaped.bytes();
    while let Some(byte) = rest.next() {
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        bytes.push(match byte {
            b'%' => match (digit(rest.next()), digit(rest.next())) {
                (Some(high), Some(low)) => (high << 4 | low) as u8,
                _ => return Err("% must be followed by two hexadecimal digits".to_owned()),
            },
            byte => byte,
        });
    }
    let title = String::from_utf8(bytes).map_err(|_| "the title is not UTF-8".to_owned())?;
    check_title(&title)?;
    Ok(Some(title))
}

fn parse_host(host: Option<url::Host<&str>>) -> Result<Host, String> {
    let name = match host {
        None => return Ok(Host::Any),
        Some(url::Host::Ipv4(ip)) => return Ok(Host::Ip(ip.into())),
        Some(url::Host::Ipv6(ip)) => return Ok(Host::Ip(ip.into())),
        Some(url::Host::Domain(name)) => name,
    };
    if name.is_empty() || name == "*" {
        return Ok(Host::Any);
    }
    // The url crate leaves the host of a scheme it does not know as it is: addresses are still text, and letters outside
    // ASCII are escaped. Read again as the host of a web address, it comes out as the name server wants it.
    match url::Host::parse(name) {
        Ok(url::Host::Domain(name)) => Ok(Host::Name(name)),
        Ok(url::Host::Ipv4(ip)) => Ok(Host::Ip(ip.into())),
        Ok(url::Host::Ipv6(ip)) => Ok(Host::Ip(ip.into())),
        Err(_) => Err(format!(
            "{name:?} is neither a name nor an address, such as example.org, 192.0.2.7 or [2001:db8::7]"
        )),
    }
}

/// The longest simulated delay, in milliseconds: longer is lost, as far as a game is concerned.
const MAX_MS: f64 = 10_000.0;

/// Every query option, with its range; `seed` takes any whole number.
const OPTIONS: [(&str, RangeInclusive<f64>); 6] = [
    ("lag_ms", 0.0..=MAX_MS),
    ("jitter_ms", 0.0..=MAX_MS),
    ("loss_pct", 0.0..=100.0),
    ("dup_pct", 0.0..=100.0),
    ("reorder_pct", 0.0..=100.0),
    ("rate_kbps", 1.0..=10_000_000.0),
];

/// What the query options ask for.
struct Query {
    simulation: Option<Simulation>,
    has_throttle: bool,
    relays: Option<Relays>,
    addresses: Vec<SocketAddr>,
}

/// How many addresses a URL may name.
const MAX_ADDRESSES: usize = 16;

fn parse_query(parsed: &url::Url, scheme: Scheme) -> Result<Query, String> {
    let mut has_throttle = false;
    let mut relays = None;
    let mut addresses = Vec::new();
    let mut conditions = Conditions::default();
    let mut seed = None;
    let mut is_simulated = false;
    for (name, value) in parsed.query_pairs() {
        if name == "seed" {
            let number = value.parse::<u64>().map_err(|_| {
                format!(
                    "seed={value} is not allowed; it must be a whole number from 0 to {}",
                    u64::MAX
                )
            })?;
            seed = Some(number);
            continue;
        }
        if name == "relay" && scheme == Scheme::PlayP2p {
            relays = Some(Relays::parse(&value)?);
            continue;
        }
        if name == "addr" && scheme == Scheme::PlayP2p {
            let address = value.parse::<SocketAddr>().map_err(|_| {
                format!("addr={value} is not allowed; it must be an address and a port, such as 192.0.2.7:4000 or [2001:db8::7]:4000")
            })?;
            if addresses.len() == MAX_ADDRESSES {
                return Err(format!("addr may be given {MAX_ADDRESSES} times"));
            }
            addresses.push(address);
            continue;
        }
        if name == "throttle" && scheme == Scheme::Enet {
            has_throttle = match value.as_ref() {
                "0" => false,
                "1" => true,
                other => return Err(format!("throttle={other} is not allowed; it must be 0 or 1")),
            };
            continue;
        }
        if scheme == Scheme::RawTcp && !matches!(name.as_ref(), "lag_ms" | "rate_kbps") {
            return Err(format!(
                "{name} makes no sense for a stream of bytes, of which nothing may be lost or change places; tcp:// has lag_ms and rate_kbps"
            ));
        }
        let Some((_, range)) = OPTIONS.iter().find(|(option, _)| *option == name) else {
            let known: Vec<&str> = OPTIONS.iter().map(|(option, _)| *option).collect();
            return Err(format!(
                "{name:?} is not known; there are {} and seed",
                known.join(", ")
            ));
        };
        let number = value
            .parse::<f64>()
            .ok()
            .filter(|number| range.contains(number))
            .ok_or_else(|| {
                format!(
                    "{name}={value} is not allowed; it must be a number from {} to {}",
                    range.start(),
                    range.end()
                )
            })?;
        is_simulated = true;
        match name.as_ref() {
            "lag_ms" => conditions.lag = Duration::from_secs_f64(number / 1000.0),
            "jitter_ms" => conditions.jitter = Duration::from_secs_f64(number / 1000.0),
            "loss_pct" => conditions.loss = Loss::Independent(number / 100.0),
            "dup_pct" => conditions.duplicate = number / 100.0,
            "reorder_pct" => conditions.reorder = number / 100.0,
            // The only one left in the list.
            _ => conditions.rate = Some((number * 1000.0) as u64),
        }
    }
    Ok(Query {
        simulation: is_simulated.then_some(Simulation { conditions, seed }),
        has_throttle,
        relays,
        addresses,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lan_url_names_an_app_and_perhaps_a_title() {
        let lan = |app: &str, title: Option<&str>| Place::Lan {
            app: app.to_owned(),
            title: title.map(str::to_owned),
        };
        assert_eq!(place("lan://pong"), lan("pong", None));
        assert_eq!(place("lan://pong/"), lan("pong", None));
        assert_eq!(place("lan://pong/Ada's%20table"), lan("pong", Some("Ada's table")));
        assert_eq!(place("lan://pong/a%2Fb?lag_ms=5"), lan("pong", Some("a/b")));
        for (url, part) in [
            ("lan://", "host"),
            ("lan://Pong", "host"),
            ("lan://pong:5000", "port"),
            ("lan://pong/%ff", "path"),
            ("lan://pong/%0a", "path"),
            ("lan://pong?why=1", "query option"),
        ] {
            assert_eq!(Url::parse(url).unwrap_err().part, part, "{url}");
        }
    }

    #[test]
    fn a_link_local_address_has_its_interface() {
        let host = Host::LinkLocal("fe80::1".parse().unwrap(), 3);
        assert_eq!(place("play://[fe80::1%3]:7"), Place::Net { host, port: 7 });
        assert_eq!(Url::parse("play://[fe80::1%no-such]:7").unwrap_err().part, "host");
    }

    fn place(text: &str) -> Place {
        Url::parse(text).unwrap().place
    }

    fn net(host: Host, port: u16) -> Place {
        Place::Net { host, port }
    }

    fn problem(text: &str) -> (&'static str, String) {
        let error = Url::parse(text).unwrap_err();
        assert_eq!(error.url, text);
        (error.part, error.problem)
    }

    #[test]
    fn hosts_are_names_addresses_or_everything() {
        let ip = |text: &str| Host::Ip(text.parse().unwrap());
        assert_eq!(
            place("play://example.org:7000"),
            net(Host::Name("example.org".into()), 7000)
        );
        assert_eq!(
            place("play://LOCALHOST"),
            net(Host::Name("localhost".into()), DEFAULT_PORT)
        );
        assert_eq!(place("play://192.0.2.7:1"), net(ip("192.0.2.7"), 1));
        assert_eq!(place("play://0.0.0.0:0"), net(ip("0.0.0.0"), 0));
        assert_eq!(place("play+udp://[::1]:9"), net(ip("::1"), 9));
        assert_eq!(place("play://[2001:db8::7]"), net(ip("2001:db8::7"), DEFAULT_PORT));
        for everything in ["play://*:7000", "play://:7000"] {
            assert_eq!(place(everything), net(Host::Any, 7000), "{everything}");
        }
        for everything in ["play://*", "play://", "play:///"] {
            assert_eq!(place(everything), net(Host::Any, DEFAULT_PORT), "{everything}");
        }
        assert_eq!(
            place("play://bücher.example"),
            net(Host::Name("xn--bcher-kva.example".into()), DEFAULT_PORT)
        );
        assert_eq!(
            place("play://example.org/"),
            net(Host::Name("example.org".into()), DEFAULT_PORT)
        );
    }

    #[test]
    fn a_local_url_is_a_name() {
        assert_eq!(place("local://arena"), Place::Local("arena".into()));
        assert_eq!(problem("local://").0, "host");
        assert_eq!(problem("local://arena:5000").0, "port");
    }

    #[test]
    fn a_wrong_scheme_says_which_there_are() {
        let (part, text) = problem("room://ABC");
        assert_eq!(part, "scheme");
        assert!(text.contains("join_room()"), "{text}");
        let (part, text) = problem("http://host");
        assert_eq!(part, "scheme");
        assert!(
            text.contains("\"http\" is not known") && text.contains("play+udp://"),
            "{text}"
        );
    }

    #[test]
    fn a_url_without_a_scheme_shows_how_to_write_it() {
        for url in ["localhost:5000", "127.0.0.1", "//localhost:5000", "example.org"] {
            let (part, text) = problem(url);
            assert_eq!(part, "scheme");
            assert!(text.contains("play://"), "{text}");
        }
        assert!(problem("localhost:5000").1.contains("play://localhost:5000"));
        assert_eq!(problem("").0, "scheme");
        assert_eq!(problem("://x").0, "scheme");
    }

    #[test]
    fn wrong_ports_hosts_and_paths_are_named() {
        assert_eq!(problem("play://host:70000").0, "port");
        assert_eq!(problem("play://host:abc").0, "port");
        assert_eq!(problem("play://host:-1").0, "port");
        assert_eq!(problem("play://a b:1").0, "host");
        assert_eq!(problem("play://[::1:5000").0, "host");
        assert_eq!(problem("play://300.1.1.1").0, "host");
        assert_eq!(problem("play://ada@host").0, "host");
        assert_eq!(problem("play://host:5000/room").0, "path");
    }

    #[test]
    fn query_options_make_a_bad_network() {
        let url = "play://host?lag_ms=80&jitter_ms=20.5&loss_pct=5&dup_pct=1&reorder_pct=2&rate_kbps=500&seed=7";
        let simulation = Url::parse(url).unwrap().simulation.unwrap();
        assert_eq!(simulation.seed, Some(7));
        assert_eq!(
            simulation.conditions,
            Conditions {
                lag: Duration::from_millis(80),
                jitter: Duration::from_micros(20_500),
                loss: Loss::Independent(0.05),
                duplicate: 0.01,
                reorder: 0.02,
                rate: Some(500_000),
                ..Conditions::default()
            }
        );
        assert_eq!(Url::parse("play://host").unwrap().simulation, None);
        assert_eq!(Url::parse("play://host?seed=7").unwrap().simulation, None);
        assert!(Url::parse("local://arena?lag_ms=5").unwrap().simulation.is_some());
    }

    #[test]
    fn a_wrong_query_option_is_named_with_its_range() {
        let (part, text) = problem("play://host?loss_pct=101");
        assert_eq!(part, "query option");
        assert!(text.contains("loss_pct=101") && text.contains("0 to 100"), "{text}");
        assert!(problem("play://host?lag=80").1.contains("lag_ms"));
        for wrong in [
            "lag_ms=-1",
            "lag_ms=NaN",
            "lag_ms=inf",
            "lag_ms=",
            "jitter_ms=10001",
            "rate_kbps=0",
            "seed=-1",
        ] {
            let (part, text) = problem(&format!("play://host?{wrong}"));
            assert_eq!(part, "query option");
            assert!(text.contains(wrong.split('=').next().unwrap()), "{text}");
        }
    }

    #[test]
    fn schemes_that_are_not_netplay_have_options_of_their_own() {
        assert_eq!(Url::parse("tcp://host:7").unwrap().scheme, Scheme::RawTcp);
        assert!(
            Url::parse("tcp://host?lag_ms=5&rate_kbps=9")
                .unwrap()
                .simulation
                .is_some()
        );
        for wrong in ["tcp://host?loss_pct=5", "tcp://host?jitter_ms=5"] {
            let (part, text) = problem(wrong);
            assert_eq!(part, "query option");
            assert!(text.contains("lag_ms and rate_kbps"), "{text}");
        }
        assert!(Url::parse("udp://host?loss_pct=5").unwrap().simulation.is_some());
        assert!(Url::parse("enet://host?throttle=1").unwrap().has_throttle);
        assert!(!Url::parse("enet://host?throttle=0&loss_pct=1").unwrap().has_throttle);
        assert!(problem("enet://host?throttle=yes").1.contains("0 or 1"));
        assert!(problem("play://host?throttle=1").1.contains("not known"));
        let key = pin_fragment(&[7; 32]);
        for scheme in ["udp", "tcp", "enet"] {
            assert_eq!(problem(&format!("{scheme}://host{key}")).0, "fragment");
        }
    }

    #[test]
    fn the_fragment_pins_a_key() {
        let key = [7; 32];
        let url = format!("play://host{}", pin_fragment(&key));
        assert_eq!(Url::parse(&url).unwrap().pinned_key, Some(key));
        let hex = "07".repeat(32);
        assert_eq!(
            Url::parse(&format!("play://host:1?lag_ms=1#k={hex}"))
                .unwrap()
                .pinned_key,
            Some(key)
        );
        let url = format!("play+wss://host#cert={hex}&k={hex}");
        let parsed = Url::parse(&url).unwrap();
        assert_eq!((parsed.pinned_key, parsed.pinned_certificate), (Some(key), Some(key)));
        assert_eq!(problem(&format!("play://host#cert={hex}")).0, "fragment");
        assert_eq!(problem("play+wss://host#cert=abc").0, "fragment");
        assert_eq!(problem("play://host#k=abc").0, "fragment");
        assert_eq!(problem("play://host#key").0, "fragment");
    }

    #[test]
    fn a_url_is_written_again_with_the_real_port() {
        let written = |text: &str, port| Url::parse(text).unwrap().with_port(port);
        assert_eq!(written("play://*:0?lag_ms=3", 49152), "play://*:49152");
        assert_eq!(written("play+udp://[::1]:0", 7), "play+udp://[::1]:7");
        assert_eq!(written("play://localhost", 5000), "play://localhost:5000");
        assert_eq!(written("local://arena", 0), "local://arena");
    }

    #[test]
    fn any_text_is_parsed_or_refused_without_a_panic() {
        for text in [
            "play://\u{0}",
            "play://%",
            "play://[",
            "play://?",
            "play://#",
            "play://:::",
            "local://%00",
            "play://?=&&==",
        ] {
            let _ = Url::parse(text);
        }
    }
}
