//! UDP sockets: opened the way a game needs them, and what goes out through them in batches.
//!
//! It knows addresses and datagrams. It must not know what is in a datagram, nor who waits for one.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;

use netplay_proto::{Address, Path};
use socket2::{Domain, Protocol, Type};

use crate::local::LocalPort;
use crate::types::SocketStats;
use crate::url::Host;

/// How much the operating system is asked to hold for a socket, each way. It may give less. A game that does nothing for
/// a while does not need it, the I/O thread reads on; a burst of many peers in one moment does.
const BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// Room for the largest datagram of the protocol, and more to see that one was larger.
pub(crate) const RECEIVE_BYTES: usize = 2048;

/// How often a port that is free for IPv4 is looked for that is also free for IPv6.
const PORT_TRIES: usize = 16;

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
    Ok(socket.into())
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

fn listen_addresses(host: &Host, port: u16) -> io::Result<Vec<IpAddr>> {
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

/// Datagrams on their way out, kept together until they are handed to the operating system.
///
/// The buffers are used again: sending allocates nothing once they have grown.
#[derive(Default)]
pub(crate) struct SendBatch {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    /// How many of the entries are done.
    done: usize,
}

struct Entry {
    path: Path,
    end: usize,
}

/// How many datagrams a batch takes before it must be flushed.
const BATCH_LEN: usize = 64;

impl SendBatch {
    /// Adds a datagram.
    pub(crate) fn push(&mut self, path: Path, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.entries.push(Entry {
            path,
            end: self.bytes.len(),
        });
    }

    /// Returns true if it must be flushed before more is added.
    pub(crate) fn is_full(&self) -> bool {
        self.entries.len() >= BATCH_LEN
    }

    /// Returns true if nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Sends what waits. Returns false if the operating system has no room now: the rest stays for another time.
    ///
    /// A datagram that the operating system refuses (no route, a firewall, too large) is counted and passed over, as if
    /// lost on the way: the protocol sends again what matters.
    pub(crate) fn flush(&mut self, sockets: &[Socket], stats: &mut SocketStats) -> bool {
        while self.done < self.entries.len() {
            let start = if self.done == 0 {
                0
            } else {
                self.entries[self.done - 1].end
            };
            let Entry { path, end } = self.entries[self.done];
            let bytes = &self.bytes[start..end];
            match (sockets.get(usize::from(path.socket)), path.remote) {
                (Some(Socket::Udp(socket)), Address::Ip(remote)) => match socket.send_to(bytes, remote) {
                    Ok(_) => stats.datagrams_sent += 1,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(_) => stats.send_errors += 1,
                },
                (Some(Socket::Local(port)), Address::Virtual(remote)) => {
                    if port.send(remote, bytes) {
                        stats.datagrams_sent += 1;
                    } else {
                        stats.local_dropped += 1;
                    }
                }
                // The socket is gone, or was never of this kind.
                _ => stats.send_errors += 1,
            }
            self.done += 1;
        }
        self.bytes.clear();
        self.entries.clear();
        self.done = 0;
        true
    }
}

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

    #[test]
    fn a_batch_arrives_whole_and_what_is_refused_is_counted() {
        let sender = Socket::udp(bind_udp((Ipv4Addr::LOCALHOST, 0).into()).unwrap());
        let receiver = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        receiver
            .set_read_timeout(Some(std::time::Duration::from_secs(5)))
            .unwrap();
        let to = |socket, remote: SocketAddr| Path {
            socket,
            remote: Address::Ip(remote),
        };
        let there = receiver.local_addr().unwrap();
        let mut batch = SendBatch::default();
        let mut stats = SocketStats::default();
        batch.push(to(0, there), b"one");
        // An IPv6 address through an IPv4 socket, a socket that is not there, a datagram that is too large: none of them
        // holds up the next.
        batch.push(to(0, "[::1]:9".parse().unwrap()), b"lost");
        batch.push(to(1, there), b"lost");
        batch.push(to(0, there), &[0; 70_000]);
        batch.push(to(0, there), b"two");
        assert!(batch.flush(&[sender], &mut stats));
        assert!(batch.is_empty());
        let mut buffer = [0; 16];
        for expected in [b"one", b"two"] {
            let size = receiver.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..size], expected);
        }
        assert_eq!((stats.datagrams_sent, stats.send_errors), (2, 3));
    }
}
