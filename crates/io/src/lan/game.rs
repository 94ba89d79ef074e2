//! A game on the local network: what it says of itself, and what may be believed of that. It knows text and addresses only.
//!
//! What a game says is a list of `key=value`, the TXT record of DNS-SD (RFC 6763, section 6); the keys are in docs/protocol.md.
//! Anybody on the network can say anything, so it is read into a value that cannot be wrong, or not at all.

use std::fmt::Write;
use std::io;
use std::net::{IpAddr, SocketAddr};

use netplay_proto::{Key, Transport};

use crate::keys::{key_from_text, key_to_text};
use crate::url::pin_fragment;

/// The version of the protocol that is announced, and of which games are listed.
const VERSION: &str = "1";

/// How long the name of an app may be, in bytes.
const MAX_APP_LEN: usize = 32;

/// How long a title may be, in bytes.
const MAX_TITLE_LEN: usize = 64;

/// How long an id may be, in bytes: ours are 16, those made of the name of a foreign service are longer.
const MAX_ID_LEN: usize = 80;

/// How long the name of a host may be, in bytes: a label of DNS.
const MAX_HOST_LEN: usize = 63;

/// How many addresses of one game are kept.
pub(crate) const MAX_ADDRESSES: usize = 8;

/// The largest number of players that is believed.
pub(crate) const MAX_PLAYERS: u32 = 1_000_000;

/// How a listener is announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertise {
    /// The name of the app, by which it is looked for.
    pub app: String,
    /// The title; empty for our name, or else the host's.
    pub title: String,
}

/// What a game says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Notice {
    /// Chosen at random by the listener; the same as long as it is open.
    pub(crate) id: String,
    pub(crate) app: String,
    pub(crate) title: String,
    pub(crate) players: u32,
    pub(crate) max_peers: u32,
    pub(crate) needs_password: bool,
    /// By what players come, best first; empty if that is not said.
    pub(crate) transports: Vec<Transport>,
    /// The listener's public key, if that is said.
    pub(crate) key: Option<Key>,
}

/// A game on the local network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Game {
    /// Tells it from every other.
    pub id: String,
    /// The name of the app.
    pub app: String,
    /// Its title, for a person to read.
    pub title: String,
    /// How many players are in it.
    pub players: u32,
    /// How many there may be.
    pub max_peers: u32,
    /// Whether a password is needed.
    pub needs_password: bool,
    /// By what players come, best first.
    pub transports: Vec<Transport>,
    /// Its public key, if it says so.
    pub key: Option<Key>,
    /// The name of its machine.
    pub host: String,
    /// Where it is, best first; at least one.
    pub addresses: Vec<SocketAddr>,
}

impl Notice {
    /// Writes it as keys and values.
    pub(crate) fn to_txt(&self) -> Vec<(&'static str, String)> {
        let transports: Vec<&str> = self.transports.iter().map(|transport| name(*transport)).collect();
        let mut txt = vec![
            ("v", VERSION.to_owned()),
            ("app", self.app.clone()),
            ("id", self.id.clone()),
            ("title", self.title.clone()),
            ("players", self.players.to_string()),
            ("max", self.max_peers.to_string()),
            ("by", transports.join(",")),
            ("pw", u8::from(self.needs_password).to_string()),
        ];
        txt.extend(self.key.as_ref().map(|key| ("key", key_to_text(key))));
        txt
    }

    /// Reads what somebody says; None if it is not for us or cannot be believed. A service that gives itself no id or title, as
    /// one that netplay did not announce, has those of its name.
    pub(crate) fn from_txt<'a>(get: impl Fn(&str) -> Option<&'a [u8]>, name: &str) -> Option<Self> {
        let text = |key: &str| get(key).map(std::str::from_utf8).transpose();
        let number = |key: &str| match text(key).ok()? {
            None => Some(0),
            Some(digits) => digits.parse().ok().filter(|number| *number <= MAX_PLAYERS),
        };
        if text("v").ok()? != Some(VERSION) {
            return None;
        }
        let app = text("app").ok()??.to_owned();
        let id = text("id").ok()?.unwrap_or(name).to_owned();
        let title = text("title").ok()?.unwrap_or(name).to_owned();
        let is_id = (1..=MAX_ID_LEN).contains(&id.len()) && !id.chars().any(is_treacherous);
        if check_app(&app).is_err() || check_title(&title).is_err() || !is_id {
            return None;
        }
        Some(Self {
            players: number("players")?,
            max_peers: number("max")?,
            needs_password: match text("pw").ok()? {
                None | Some("0") => false,
                Some("1") => true,
                Some(_) => return None,
            },
            transports: match text("by").ok()? {
                None | Some("") => Vec::new(),
                // Those of later versions are passed over.
                Some(names) => names.split(',').take(8).filter_map(transport).collect(),
            },
            key: match text("key").ok()? {
                None => None,
                Some(key) => Some(key_from_text(key)?),
            },
            id,
            app,
            title,
        })
    }

    /// Makes a game of it that is there; None without an address at which it could be.
    pub(crate) fn at(&self, host: &str, addresses: impl IntoIterator<Item = SocketAddr>) -> Option<Game> {
        let mut usable: Vec<SocketAddr> = addresses.into_iter().filter(is_usable).collect();
        usable.sort_by_key(|address| (preference(address), *address));
        usable.dedup();
        usable.truncate(MAX_ADDRESSES);
        if usable.is_empty() || host.len() > MAX_HOST_LEN || host.chars().any(is_treacherous) {
            return None;
        }
        Some(Game {
            id: self.id.clone(),
            app: self.app.clone(),
            title: self.title.clone(),
            players: self.players,
            max_peers: self.max_peers,
            needs_password: self.needs_password,
            transports: self.transports.clone(),
            key: self.key,
            host: host.to_owned(),
            addresses: usable,
        })
    }
}

impl Game {
    /// Returns the URL that leads there, with the key pinned if it is known.
    pub fn url(&self) -> String {
        let scheme = match self.transports[..] {
            [one] => format!("play+{}", name(one)),
            _ => "play".to_owned(),
        };
        let address = &self.addresses[0];
        let mut url = match address {
            SocketAddr::V6(v6) if v6.scope_id() != 0 => {
                format!("{scheme}://[{}%{}]:{}", v6.ip(), v6.scope_id(), v6.port())
            }
            address => format!("{scheme}://{address}"),
        };
        if let Some(key) = &self.key {
            let _ = write!(url, "{}", pin_fragment(key));
        }
        url
    }

    /// Returns true if a player would see no difference: the same words, and the same URL.
    pub(crate) fn looks_like(&self, other: &Self) -> bool {
        let is_named_so =
            (&self.id, &self.app, &self.title, &self.host) == (&other.id, &other.app, &other.title, &other.host);
        is_named_so
            && (self.players, self.max_peers, self.needs_password)
                == (other.players, other.max_peers, other.needs_password)
            && (&self.transports, self.key) == (&other.transports, other.key)
            && self.addresses.first() == other.addresses.first()
    }

    /// Returns by what to call it.
    pub(crate) fn callable(&self) -> Vec<Transport> {
        let all = [Transport::Udp, Transport::Tcp, Transport::Ws];
        let said = |transport: &Transport| self.transports.is_empty() || self.transports.contains(transport);
        all.into_iter().filter(said).collect()
    }
}

/// Says what is wrong with the name of an app.
pub fn check_app(app: &str) -> Result<(), String> {
    let is_fine = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
    if (1..=MAX_APP_LEN).contains(&app.len()) && app.bytes().all(is_fine) {
        return Ok(());
    }
    Err(format!(
        "the app is {app:?}, it must be 1 to {MAX_APP_LEN} of a to z, 0 to 9, - and _"
    ))
}

/// Says what is wrong with a title.
pub fn check_title(title: &str) -> Result<(), String> {
    if !(1..=MAX_TITLE_LEN).contains(&title.len()) {
        return Err(format!(
            "the title {title:?} is {} bytes of UTF-8, it must be 1 to {MAX_TITLE_LEN}",
            title.len()
        ));
    }
    if let Some(bad) = title.chars().find(|character| is_treacherous(*character)) {
        return Err(format!(
            "the title {title:?} has the character {bad:?}, which nobody can see"
        ));
    }
    Ok(())
}

/// Makes the id of a listener: 16 hexadecimal digits.
pub(crate) fn new_id() -> io::Result<String> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(format!("{:016x}", u64::from_le_bytes(bytes)))
}

/// Returns the name of this machine, as far as it can be shown to others.
pub(crate) fn host_name() -> String {
    #[cfg(unix)]
    let name = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    #[cfg(not(unix))]
    let name = std::env::var("COMPUTERNAME").ok();
    let label = name.unwrap_or_default();
    let label = label.split('.').next().unwrap_or_default();
    let is_fine = |character: &char| character.is_ascii_alphanumeric() || *character == '-';
    let label: String = label.chars().filter(is_fine).take(MAX_HOST_LEN - 17).collect();
    if label.is_empty() { "somebody".to_owned() } else { label }
}

/// Returns true for what can change how the text around it looks, what nobody sees, and what is no text.
fn is_treacherous(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180e}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}'
            | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

fn is_usable(address: &SocketAddr) -> bool {
    let ip = address.ip();
    let is_one = match ip {
        IpAddr::V4(v4) => !v4.is_broadcast(),
        // A link-local address means nothing without its interface.
        IpAddr::V6(v6) => {
            v6.to_ipv4_mapped().is_none()
                && (!v6.is_unicast_link_local() || matches!(address, SocketAddr::V6(scoped) if scoped.scope_id() != 0))
        }
    };
    is_one && address.port() != 0 && !ip.is_unspecified() && !ip.is_multicast()
}

/// Orders addresses: inside the machine first, then those that work on most networks.
fn preference(address: &SocketAddr) -> u8 {
    match address.ip() {
        ip if ip.is_loopback() => 0,
        IpAddr::V4(ip) if !ip.is_link_local() => 1,
        IpAddr::V6(ip) if !ip.is_unicast_link_local() => 2,
        IpAddr::V4(_) => 3,
        IpAddr::V6(_) => 4,
    }
}

const fn name(transport: Transport) -> &'static str {
    match transport {
        Transport::Udp => "udp",
        Transport::Tcp => "tcp",
        Transport::Ws => "ws",
        Transport::Wss => "wss",
        Transport::P2p => "p2p",
    }
}

fn transport(name: &str) -> Option<Transport> {
    match name {
        "udp" => Some(Transport::Udp),
        "tcp" => Some(Transport::Tcp),
        "ws" => Some(Transport::Ws),
        "wss" => Some(Transport::Wss),
        _ => None,
    }
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
            needs_password: true,
            transports: vec![Transport::Udp, Transport::Tcp],
            key: Some([7; 32]),
        }
    }

    fn read(txt: &[(&str, &[u8])]) -> Option<Notice> {
        Notice::from_txt(
            |key| txt.iter().find(|(name, _)| *name == key).map(|(_, value)| *value),
            "Its name",
        )
    }

    #[test]
    fn what_is_written_reads_back_as_itself() {
        let txt = notice().to_txt();
        let get = |key: &str| {
            txt.iter()
                .find(|(name, _)| *name == key)
                .map(|(_, value)| value.as_bytes())
        };
        assert_eq!(Notice::from_txt(get, "other"), Some(notice()));
        assert!(txt.iter().all(|(key, value)| key.len() + value.len() < 255));
    }

    #[test]
    fn a_service_of_somebody_else_needs_an_app_and_a_version() {
        let found = read(&[("v", b"1"), ("app", b"pong")]).unwrap();
        assert_eq!((&found.id[..], &found.title[..]), ("Its name", "Its name"));
        assert_eq!((found.players, found.key, found.needs_password), (0, None, false));
        assert_eq!(read(&[("app", b"pong")]), None);
        assert_eq!(read(&[("v", b"2"), ("app", b"pong")]), None);
        assert_eq!(read(&[("v", b"1")]), None);
    }

    #[test]
    fn what_cannot_be_believed_is_not_read() {
        let long = [b'a'; 300];
        for (key, value) in [
            ("app", &b""[..]),
            ("app", b"Pong"),
            ("app", b"po ng"),
            ("app", &long[..33]),
            ("app", b"\xff"),
            ("title", b""),
            ("title", &long[..65]),
            ("title", b"\xc3"),
            ("title", b"two\nlines"),
            ("title", b"\x1b[2J"),
            ("title", "evil\u{202e}txt".as_bytes()),
            ("title", "\u{3164}\u{115f}".as_bytes()),
            ("title", "evil\u{61c}txt".as_bytes()),
            ("id", b""),
            ("id", &long[..81]),
            ("id", b"\0"),
            ("players", b"-1"),
            ("players", b"many"),
            ("players", b"4294967296"),
            ("max", b"1000001"),
            ("pw", b"yes"),
            ("key", b"short"),
            ("by", b"\xfe"),
        ] {
            let mut txt: Vec<(&str, &[u8])> = vec![("v", b"1"), ("app", b"pong")];
            txt.retain(|(name, _)| *name != key);
            txt.push((key, value));
            assert_eq!(read(&txt), None, "{key}={value:?}");
        }
        assert_eq!(
            read(&[("v", b"1"), ("app", b"pong"), ("by", b"smoke,udp")])
                .unwrap()
                .transports,
            [Transport::Udp]
        );
    }

    #[test]
    fn the_best_address_is_in_the_url_with_the_key() {
        let addresses = [
            "[fe80::1%3]:5",
            "[2001:db8::1]:5",
            "192.0.2.1:5",
            "0.0.0.0:5",
            "224.0.0.1:5",
            "192.0.2.2:0",
        ];
        let game = notice()
            .at("ada", addresses.iter().map(|address| address.parse().unwrap()))
            .unwrap();
        assert_eq!(game.addresses.len(), 3);
        assert!(game.url().starts_with("play://192.0.2.1:5#k="), "{}", game.url());
        let link_local = notice().at("ada", ["[fe80::1%3]:5".parse().unwrap()]).unwrap();
        assert!(
            link_local.url().starts_with("play://[fe80::1%3]:5#k="),
            "{}",
            link_local.url()
        );
        assert_eq!(notice().at("ada", ["[fe80::1]:5".parse().unwrap()]), None);
        assert_eq!(notice().at("a\nda", ["192.0.2.1:5".parse().unwrap()]), None);
    }

    #[test]
    fn one_transport_is_the_scheme() {
        let mut only = notice();
        only.transports = vec![Transport::Tcp];
        let game = only.at("ada", ["192.0.2.1:5".parse().unwrap()]).unwrap();
        assert!(game.url().starts_with("play+tcp://"));
        assert_eq!(game.callable(), [Transport::Tcp]);
    }

    #[test]
    fn this_machine_has_a_name() {
        assert!(!host_name().is_empty());
    }
}
