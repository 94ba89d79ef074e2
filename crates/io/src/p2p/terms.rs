//! Whom to reach and by which relay: what a `play+p2p://` URL and the options beside it say. Values only, no iroh.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use netplay_proto::Key;

use crate::keys::{key_from_text, key_to_text};

/// Which relays help, and whether anybody is asked where a remote side is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Relays {
    /// The public ones that iroh ships with, and its public lookup.
    #[default]
    Public,
    /// None, and no lookup: addresses must be known.
    None,
    /// This one, and no lookup.
    Own(OwnRelay),
}

/// A relay that was named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OwnRelay {
    /// Its URL, of http or https, with nothing behind the port.
    pub(crate) url: url::Url,
    /// The SHA-256 of the one certificate that it may show; None for one that an authority vouches for.
    pub(crate) certificate: Option<Key>,
}

impl OwnRelay {
    /// Returns true if it is reached in the clear. Then there is nobody to be sure of; a relay can read nothing either way.
    pub(crate) fn is_plain(&self) -> bool {
        self.url.scheme() == "http"
    }
}

impl Relays {
    /// Reads what an option says: "none", or the URL of a relay.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self::None);
        }
        let fail = || {
            format!(
                "relay={text} is not allowed; it must be none, or the URL of a relay, such as http://relay.example:3340"
            )
        };
        let mut url = url::Url::parse(text).map_err(|_| fail())?;
        let is_bare = matches!(url.path(), "" | "/") && url.query().is_none();
        let is_named = url.username().is_empty() && url.password().is_none() && url.host().is_some();
        if !(matches!(url.scheme(), "http" | "https") && is_bare && is_named) {
            return Err(fail());
        }
        let certificate = match url.fragment().map(|fragment| fragment.strip_prefix("cert=")) {
            None => None,
            Some(_) if url.scheme() == "http" => {
                return Err(format!("relay={text} is not allowed; #cert= is for https://, http:// has no certificate"));
            }
            Some(pinned) => Some(pinned.and_then(key_from_text).ok_or_else(|| {
                format!(
                    "relay={text} is not allowed; behind # it may have cert= and the SHA-256 of the relay's certificate, 43 \
                     characters of base64url, as the relay says it, or 64 hexadecimal digits"
                )
            })?),
        };
        url.set_fragment(None);
        Ok(Self::Own(OwnRelay { url, certificate }))
    }

    /// Writes it as the query option of a URL; None for what a URL says by saying nothing.
    pub(crate) fn to_option(&self) -> Option<String> {
        match self {
            Self::Public => None,
            Self::None => Some("relay=none".to_owned()),
            Self::Own(OwnRelay { url, certificate }) => {
                let mut text = url.as_str().trim_end_matches('/').to_owned();
                if let Some(certificate) = certificate {
                    text = format!("{text}#cert={}", key_to_text(certificate));
                }
                let escaped: String = url::form_urlencoded::byte_serialize(text.as_bytes()).collect();
                Some(format!("relay={escaped}"))
            }
        }
    }

    /// Returns true for a relay on this machine: then nothing leaves it.
    fn is_on_this_machine(&self) -> bool {
        match self {
            Self::Own(relay) => match relay.url.host() {
                Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
                Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
                Some(url::Host::Domain(name)) => name == "localhost",
                None => false,
            },
            Self::Public | Self::None => false,
        }
    }
}

/// How a port is opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Terms {
    /// By which relays.
    pub(crate) relays: Relays,
    /// From which our id is made; None for a new one.
    pub(crate) secret: Option<Key>,
    /// Where to bind, one address of each family at most; empty for every address of this machine.
    pub(crate) bind: Vec<SocketAddr>,
}

impl Terms {
    /// Makes those of a listener.
    pub(crate) fn listening(relays: Relays, secret: Key, bind: Vec<SocketAddr>) -> Self {
        let secret = Some(secret);
        let bind = if bind.is_empty() { bind_for(&relays, &[]) } else { bind };
        Self { relays, secret, bind }
    }

    /// Makes those of one who calls a contact.
    pub(crate) fn calling(contact: &Contact) -> Self {
        Self {
            relays: contact.relays.clone(),
            secret: None,
            bind: bind_for(&contact.relays, &contact.addresses),
        }
    }

    /// Returns true if the port is for this machine only: nobody outside is to notice it.
    pub(crate) fn is_on_this_machine(&self) -> bool {
        !self.bind.is_empty() && self.bind.iter().all(|address| address.ip().is_loopback())
    }
}

/// Returns where to bind: to loopback only if everybody who is to be reached is there.
fn bind_for(relays: &Relays, addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let is_local = match relays {
        Relays::Public => false,
        Relays::None => !addresses.is_empty() && addresses.iter().all(|address| address.ip().is_loopback()),
        Relays::Own(_) => relays.is_on_this_machine() && addresses.iter().all(|address| address.ip().is_loopback()),
    };
    if is_local {
        vec![(Ipv4Addr::LOCALHOST, 0).into(), (Ipv6Addr::LOCALHOST, 0).into()]
    } else {
        Vec::new()
    }
}

/// Whom a call goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Contact {
    /// The id of the remote side's port.
    pub(crate) id: Key,
    /// By which relays it is reached.
    pub(crate) relays: Relays,
    /// Where it may be.
    pub(crate) addresses: Vec<SocketAddr>,
}

impl Contact {
    /// Returns the IP addresses to try: where somebody listens at every address of this machine, loopback will do.
    pub(crate) fn targets(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.addresses.iter().map(|address| {
            let ip = match address.ip() {
                IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
                ip => ip,
            };
            SocketAddr::new(ip, address.port())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_is_none_or_a_plain_url() {
        assert_eq!(Relays::parse("none"), Ok(Relays::None));
        let own = Relays::parse("http://relay.example:3340").unwrap();
        assert_eq!(own.to_option().unwrap(), "relay=http%3A%2F%2Frelay.example%3A3340");
        let pinned = format!("https://relay.example#cert={}", "07".repeat(32));
        let own = Relays::parse(&pinned).unwrap();
        assert_eq!(
            own.to_option().unwrap(),
            format!("relay=https%3A%2F%2Frelay.example%23cert%3D{}", key_to_text(&[7; 32]))
        );
        let Relays::Own(relay) = own else { panic!("it is named") };
        assert_eq!(
            (relay.url.as_str(), relay.certificate),
            ("https://relay.example/", Some([7; 32]))
        );
        for wrong in [
            "",
            "https://relay.example#cert=",
            "https://relay.example#cert=07",
            "https://relay.example#k=07",
            "http://relay.example#cert=0707070707070707070707070707070707070707070707070707070707070707",
            "relay.example",
            "ftp://relay.example",
            "http://relay.example/path",
            "http://u@relay.example",
        ] {
            assert!(Relays::parse(wrong).unwrap_err().contains(wrong), "{wrong}");
        }
    }

    #[test]
    fn a_relay_on_this_machine_keeps_everything_on_it() {
        let local = Relays::parse("http://127.0.0.1:3340").unwrap();
        assert!(Terms::listening(local, [1; 32], Vec::new()).is_on_this_machine());
        let remote = Relays::parse("http://192.0.2.1:3340").unwrap();
        assert!(!Terms::listening(remote, [1; 32], Vec::new()).is_on_this_machine());
        assert!(!Terms::listening(Relays::Public, [1; 32], Vec::new()).is_on_this_machine());
    }
}
