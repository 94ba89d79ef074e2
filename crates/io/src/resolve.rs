//! What must be found out before a call can be made, and takes time: addresses from a name, a key from a password.
//!
//! Runs on threads of its own, never the game's.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, ToSocketAddrs};
use std::sync::{Arc, Weak};
use std::time::Duration;

use netplay_proto::Reason;

use crate::call::Remote;
use crate::keys::psk_from_password;
use crate::local;
use crate::shared::Shared;
use crate::types::PeerId;
use crate::url::{Host, Place};

/// How long to wait before each further try: a network that has just come up may not know any name for a moment.
const RETRIES: [Duration; 2] = [Duration::from_millis(500), Duration::from_millis(1500)];

/// How many addresses of a name are tried.
const MAX_ADDRESSES: usize = 16;

/// Returns where a place is, if that can be told without asking anybody.
pub(crate) fn known_place(place: &Place) -> Option<Remote> {
    Some(match place {
        Place::Local(name) => Remote::Local(local::number_of(name)),
        // iroh looks for it.
        Place::P2p { .. } => return None,
        Place::Lan { .. } => return None,
        Place::Net {
            host: Host::LinkLocal(ip, zone),
            port,
        } => Remote::Ip(vec![SocketAddrV6::new(*ip, *port, 0, *zone).into()]),
        // A listener's own URL: every address of this machine. To call it, loopback will do, on either family.
        Place::Net { host: Host::Any, port } => Remote::Ip(loopback(*port)),
        Place::Net {
            host: Host::Name(name),
            port,
        } if name == "localhost" => Remote::Ip(loopback(*port)),
        Place::Net {
            host: Host::Name(_), ..
        } => return None,
        Place::Net {
            host: Host::Ip(ip),
            port,
        } => {
            let ip = match ip {
                IpAddr::V4(v4) if v4.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(v6) if v6.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
                IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(*ip, IpAddr::V4),
                IpAddr::V4(_) => *ip,
            };
            Remote::Ip(vec![SocketAddr::new(ip, *port)])
        }
    })
}

fn loopback(port: u16) -> Vec<SocketAddr> {
    vec![(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()]
}

/// What is still to be found out for a call.
pub(crate) struct Lookup {
    pub(crate) peer: PeerId,
    /// The password to make a key from.
    pub(crate) password: Option<String>,
    /// The name to resolve, and the port.
    pub(crate) name: Option<(String, u16)>,
    /// It was resolved before, so that failing does no harm.
    pub(crate) is_again: bool,
}

impl Lookup {
    /// Finds it out and tells the network, if it is still there. Blocks.
    pub(crate) fn run(self, shared: &Weak<Shared>) {
        if let Some(password) = &self.password {
            let psk = psk_from_password(password);
            let Some(shared) = shared.upgrade() else {
                return;
            };
            shared.lock().key_made(shared.now(), self.peer, Some(psk));
            shared.rouse();
        }
        let Some((name, port)) = self.name else {
            return;
        };
        let found = if self.is_again {
            resolve(&name, port)
        } else {
            resolve_with_retries(&name, port)
        };
        let Some(shared) = shared.upgrade() else {
            return;
        };
        if !self.is_again || found.is_ok() {
            tell(&shared, self.peer, &name, found);
        }
    }
}

fn tell(shared: &Arc<Shared>, peer: PeerId, name: &str, found: io::Result<Vec<SocketAddr>>) {
    let mut driver = shared.lock();
    let now = shared.now();
    match found {
        Ok(addresses) => driver.found(now, peer, &Remote::Ip(addresses), &shared.rouser()),
        Err(error) => {
            let detail = format!("{name:?} has no address: {error}");
            driver.abort_peer(now, peer, Reason::UnknownHost, &detail);
        }
    }
    shared.publish(&driver);
    drop(driver);
    shared.rouse();
}

/// Finds out where a name is to which a datagram is to be sent. Blocks.
pub(crate) fn tell_courier(shared: &Weak<Shared>, name: &str, port: u16) {
    let found = resolve(name, port);
    if let Err(error) = &found {
        log::debug!("datagrams to {name:?} are lost: {error}");
    }
    let Some(shared) = shared.upgrade() else {
        return;
    };
    let address = found.ok().and_then(|addresses| addresses.first().copied());
    let mut driver = shared.lock();
    driver.courier.found(shared.now(), name, port, address);
}

fn resolve_with_retries(name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let mut result = resolve(name, port);
    for pause in RETRIES {
        if result.is_ok() {
            break;
        }
        std::thread::sleep(pause);
        result = resolve(name, port);
    }
    result
}

fn resolve(name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in (name, port).to_socket_addrs()? {
        if !addresses.contains(&address) && addresses.len() < MAX_ADDRESSES {
            addresses.push(address);
        }
    }
    if addresses.is_empty() {
        Err(io::Error::other("the name server knows none"))
    } else {
        Ok(addresses)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(host: Host) -> Option<Vec<String>> {
        match known_place(&Place::Net { host, port: 7 })? {
            Remote::Ip(addresses) => Some(addresses.iter().map(ToString::to_string).collect()),
            Remote::Local(_) => None,
        }
    }

    #[test]
    fn localhost_is_both_loopbacks_without_asking_anybody() {
        let both = Some(vec!["127.0.0.1:7".to_owned(), "[::1]:7".to_owned()]);
        assert_eq!(known(Host::Name("localhost".into())), both);
        assert_eq!(known(Host::Any), both);
    }

    #[test]
    fn a_listeners_own_url_can_be_called() {
        assert_eq!(
            known(Host::Ip("0.0.0.0".parse().unwrap())),
            Some(vec!["127.0.0.1:7".to_owned()])
        );
        assert_eq!(known(Host::Ip("::".parse().unwrap())), Some(vec!["[::1]:7".to_owned()]));
        assert_eq!(
            known(Host::Ip("::ffff:192.0.2.7".parse().unwrap())),
            Some(vec!["192.0.2.7:7".to_owned()])
        );
    }

    #[test]
    fn other_names_must_be_asked_for() {
        assert_eq!(known(Host::Name("example.org".into())), None);
    }

    #[test]
    fn a_name_that_cannot_be_is_an_error() {
        assert!(resolve("name.invalid", 7).is_err());
    }
}
