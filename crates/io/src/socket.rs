//! Sockets: UDP ones, opened the way a game needs them, and ports inside the process beside them.
//!
//! It knows addresses. It must not know what is in a datagram, nor who waits for one.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;

use socket2::{Domain, Protocol, Type};

use crate::local::LocalPort;
use crate::p2p::Port;
use crate::trains;
use crate::url::Host;

/// How much the operating system is asked to hold for a socket, each way. It may give less. A game that does nothing for
/// a while does not need it, the I/O thread reads on; a burst of many peers in one moment does.
const BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// How often a port that is free for one socket is looked for that is also free for the others: IPv4 and IPv6, UDP and TCP.
const PORT_TRIES: usize = 64;

/// How many connections may wait to be accepted. A burst of players who join at once is more than a drive takes.
const BACKLOG: i32 = 1024;

/// Which kinds of socket a listener needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kinds {
    pub(crate) has_udp: bool,
    pub(crate) tcp: Tcp,
}

/// Whether a listener takes streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tcp {
    /// None.
    No,
    /// If no other program has the port.
    IfFree,
    /// In any case.
    Yes,
}

/// The sockets of a listener.
#[derive(Debug, Default)]
pub(crate) struct Bound {
    pub(crate) udp: Vec<UdpSocket>,
    pub(crate) tcp: Vec<TcpListener>,
}

impl Bound {
    /// Returns their addresses, each once.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        let udp = self.udp.iter().map(UdpSocket::local_addr);
        let mut addresses: Vec<_> = udp
            .chain(self.tcp.iter().map(TcpListener::local_addr))
            .flatten()
            .collect();
        addresses.sort();
        addresses.dedup();
        addresses
    }
}

/// One socket of an endpoint.
pub(crate) enum Socket {
    /// The operating system's. A thread that watches it keeps it open.
    Udp(Arc<UdpSocket>),
    /// A queue inside this process.
    Local(LocalPort),
    /// An endpoint of iroh, with its tunnels.
    P2p(Port),
}

impl Socket {
    /// Makes one from the operating system's.
    pub(crate) fn udp(socket: UdpSocket) -> Self {
        Self::Udp(Arc::new(socket))
    }

    /// Returns what it is called in statistics.
    pub(crate) const fn transport(&self) -> &'static str {
        match self {
            Self::Udp(_) => "udp",
            Self::Local(_) => "local",
            Self::P2p(_) => "p2p",
        }
    }
}

/// Opens a UDP socket bound to this address that never blocks. An IPv6 one takes no IPv4.
pub(crate) fn bind_udp(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    // A smaller buffer than asked for, or none of our choosing, is no reason to fail.
    let _ = socket.set_recv_buffer_size(BUFFER_BYTES);
    let _ = socket.set_send_buffer_size(BUFFER_BYTES);
    socket.bind(&address.into())?;
    let socket = UdpSocket::from(socket);
    trains::accept(&socket);
    Ok(socket)
}

/// Opens a TCP socket that listens on this address and never blocks. An IPv6 one takes no IPv4.
fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Connections of the listener before us linger for a minute, and must not keep us from the port. On Windows it would
    // mean to share the port with anybody.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Opens a listener's sockets: for every address the host means one of each kind, all on the same port.
///
/// Name resolution may block; only names other than `localhost` need it.
pub(crate) fn bind_listener(host: &Host, port: u16, kinds: Kinds) -> io::Result<Bound> {
    let addresses = listen_addresses(host, port)?;
    if port != 0 {
        return match bind_all(&addresses, port, kinds) {
            Err(error) if kinds.tcp == Tcp::IfFree && error.kind() == io::ErrorKind::AddrInUse => {
                let bound = bind_all(&addresses, port, Kinds { tcp: Tcp::No, ..kinds })?;
                log::warn!("another program has port {port} of TCP: only those get in whose network lets UDP through");
                Ok(bound)
            }
            other => other,
        };
    }
    let mut result = bind_all(&addresses, 0, kinds);
    for _ in 1..PORT_TRIES {
        match &result {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => result = bind_all(&addresses, 0, kinds),
            _ => break,
        }
    }
    result
}

fn listen_addresses(host: &Host, port: u16) -> io::Result<Vec<IpAddr>> {
    Ok(match host {
        Host::Any => vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()],
        Host::Ip(ip) => vec![*ip],
        // Not bound to one interface: the sockets of a listener are told apart by their addresses alone.
        Host::LinkLocal(ip, _) => vec![(*ip).into()],
        Host::Name(name) if name == "localhost" => vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
        Host::Name(name) => {
            let mut addresses = Vec::new();
            for address in std::net::ToSocketAddrs::to_socket_addrs(&(name.as_str(), port))? {
                if !addresses.contains(&address.ip()) {
                    addresses.push(address.ip());
                }
            }
            addresses
        }
    })
}

/// Binds every address on one port; the first decides which if the port is 0. Addresses of a family that this machine
/// does not have are passed over as long as one remains.
fn bind_all(addresses: &[IpAddr], port: u16, kinds: Kinds) -> io::Result<Bound> {
    let mut bound = Bound::default();
    let mut port = port;
    let mut missing = None;
    for ip in addresses {
        let mut bind = || {
            if kinds.has_udp {
                let socket = bind_udp(SocketAddr::new(*ip, port))?;
                port = socket.local_addr()?.port();
                bound.udp.push(socket);
            }
            if kinds.tcp != Tcp::No {
                let socket = bind_tcp(SocketAddr::new(*ip, port))?;
                port = socket.local_addr()?.port();
                bound.tcp.push(socket);
            }
            Ok(())
        };
        match bind() {
            Ok(()) => {}
            Err(error) if is_family_missing(&error) => missing = Some(error),
            Err(error) => return Err(error),
        }
    }
    match missing {
        Some(error) if bound.udp.is_empty() && bound.tcp.is_empty() => Err(error),
        _ => Ok(bound),
    }
}

/// Returns true if the error says that this machine has no such family of addresses, or not this address.
fn is_family_missing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported
    ) || matches!(error.raw_os_error(), Some(code) if code == AF_NOT_SUPPORTED)
}

#[cfg(target_os = "linux")]
const AF_NOT_SUPPORTED: i32 = 97;
#[cfg(windows)]
const AF_NOT_SUPPORTED: i32 = 10047;
#[cfg(not(any(target_os = "linux", windows)))]
const AF_NOT_SUPPORTED: i32 = 47;

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: Kinds = Kinds {
        has_udp: true,
        tcp: Tcp::Yes,
    };

    fn ports(bound: &Bound) -> Vec<u16> {
        let udp = bound.udp.iter().map(|socket| socket.local_addr().unwrap().port());
        let tcp = bound.tcp.iter().map(|socket| socket.local_addr().unwrap().port());
        udp.chain(tcp).collect()
    }

    #[test]
    fn every_interface_means_both_families_on_one_port() {
        let sockets = bind_listener(&Host::Any, 0, BOTH).unwrap();
        let ports = ports(&sockets);
        assert!(
            !ports.is_empty() && ports.iter().all(|port| *port == ports[0] && *port != 0),
            "{ports:?}"
        );
    }

    #[test]
    fn localhost_is_loopback_of_both_families() {
        let sockets = bind_listener(&Host::Name("localhost".into()), 0, BOTH).unwrap();
        assert!(sockets.addresses().iter().all(|address| address.ip().is_loopback()));
        assert!(ports(&sockets).windows(2).all(|pair| pair[0] == pair[1]));
    }

    #[test]
    fn a_port_that_is_taken_is_reported_as_such() {
        let first = bind_listener(&Host::Ip(Ipv4Addr::LOCALHOST.into()), 0, BOTH).unwrap();
        let port = ports(&first)[0];
        for host in [
            Host::Ip(Ipv4Addr::LOCALHOST.into()),
            Host::Any,
            Host::Name("localhost".into()),
        ] {
            assert_eq!(
                bind_listener(&host, port, BOTH).unwrap_err().kind(),
                io::ErrorKind::AddrInUse,
                "{host:?}"
            );
        }
    }

    #[test]
    fn a_port_of_tcp_that_another_program_has_is_done_without_if_nobody_asked_for_it() {
        let home = Host::Ip(Ipv4Addr::LOCALHOST.into());
        let streams_only = Kinds {
            has_udp: false,
            tcp: Tcp::Yes,
        };
        let other = bind_listener(&home, 0, streams_only).unwrap();
        let port = ports(&other)[0];
        let bound = bind_listener(
            &home,
            port,
            Kinds {
                tcp: Tcp::IfFree,
                ..BOTH
            },
        )
        .unwrap();
        assert_eq!((bound.udp.len(), bound.tcp.len()), (1, 0));
        drop(bound);
        let error = bind_listener(&home, port, BOTH).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn an_address_of_another_machine_is_reported_as_such() {
        let error = bind_listener(&Host::Ip("192.0.2.1".parse().unwrap()), 0, BOTH).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrNotAvailable);
    }
}
