//! Sockets: UDP ones, opened the way a game needs them, and ports inside the process beside them.
//!
//! It knows addresses. It must not know what is in a datagram, nor who waits for one.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;

use socket2::{Domain, Protocol, Type};

use crate::local::LocalPort;
use crate::trains;
use crate::url::Host;

/// How much the operating system is asked to hold for a socket, each way. It may give less. A game that does nothing for
/// a while does not need it, the I/O thread reads on; a burst of many peers in one moment does.
const BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// How often a port that is free for IPv4 is looked for that is also free for IPv6.
pub(crate) const PORT_TRIES: usize = 16;

/// One socket of an endpoint.
pub(crate) enum Socket {
    /// The operating system's. A thread that watches it keeps it open.
    Udp(Arc<UdpSocket>),
    /// A queue inside this process.
    Local(LocalPort),
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

/// Opens a listener's sockets: one for every address the host means, all on the same port.
///
/// Name resolution may block; only names other than `localhost` need it.
pub(crate) fn bind_listener(host: &Host, port: u16) -> io::Result<Vec<UdpSocket>> {
    let addresses = listen_addresses(host, port)?;
    if port != 0 {
        return bind_all(&addresses, port);
    }
    let mut result = bind_all(&addresses, 0);
    for _ in 1..PORT_TRIES {
        match &result {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => result = bind_all(&addresses, 0),
            _ => break,
        }
    }
    result
}

pub(crate) fn listen_addresses(host: &Host, port: u16) -> io::Result<Vec<IpAddr>> {
    Ok(match host {
        Host::Any => vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()],
        Host::Ip(ip) => vec![*ip],
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
fn bind_all(addresses: &[IpAddr], port: u16) -> io::Result<Vec<UdpSocket>> {
    let mut sockets: Vec<UdpSocket> = Vec::new();
    let mut port = port;
    let mut missing = None;
    for ip in addresses {
        match bind_udp(SocketAddr::new(*ip, port)) {
            Ok(socket) => {
                port = socket.local_addr()?.port();
                sockets.push(socket);
            }
            Err(error) if is_family_missing(&error) => missing = Some(error),
            Err(error) => return Err(error),
        }
    }
    match missing {
        Some(error) if sockets.is_empty() => Err(error),
        _ => Ok(sockets),
    }
}

/// Returns true if the error says that this machine has no such family of addresses, or not this address.
pub(crate) fn is_family_missing(error: &io::Error) -> bool {
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

    fn ports(sockets: &[UdpSocket]) -> Vec<u16> {
        sockets
            .iter()
            .map(|socket| socket.local_addr().unwrap().port())
            .collect()
    }

    #[test]
    fn every_interface_means_both_families_on_one_port() {
        let sockets = bind_listener(&Host::Any, 0).unwrap();
        let ports = ports(&sockets);
        assert!(
            !ports.is_empty() && ports.iter().all(|port| *port == ports[0] && *port != 0),
            "{ports:?}"
        );
    }

    #[test]
    fn localhost_is_loopback_of_both_families() {
        let sockets = bind_listener(&Host::Name("localhost".into()), 0).unwrap();
        assert!(
            sockets
                .iter()
                .all(|socket| socket.local_addr().unwrap().ip().is_loopback())
        );
        assert!(ports(&sockets).windows(2).all(|pair| pair[0] == pair[1]));
    }

    #[test]
    fn a_port_that_is_taken_is_reported_as_such() {
        let first = bind_listener(&Host::Ip(Ipv4Addr::LOCALHOST.into()), 0).unwrap();
        let port = ports(&first)[0];
        for host in [
            Host::Ip(Ipv4Addr::LOCALHOST.into()),
            Host::Any,
            Host::Name("localhost".into()),
        ] {
            assert_eq!(
                bind_listener(&host, port).unwrap_err().kind(),
                io::ErrorKind::AddrInUse,
                "{host:?}"
            );
        }
    }

    #[test]
    fn an_address_of_another_machine_is_reported_as_such() {
        let error = bind_listener(&Host::Ip("192.0.2.1".parse().unwrap()), 0).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrNotAvailable);
    }
}
