//! Whether what is said to everybody on a network comes back, interface by interface: a question of multicast DNS, sent and heard
//! by a socket of each. It must not know games; it is for somebody who wonders why none are found.
//!
//! The system hands such a datagram back to whoever listens on the same machine, after its own firewall, both ways. So an echo says
//! that this machine is in order, and only somebody else's answer that the network carries it.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use super::new_id;

/// Where multicast DNS is spoken (RFC 6762, section 3).
const PORT: u16 = 5353;
const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);

/// How many interfaces are asked, by both families.
const MAX_INTERFACES: usize = 16;

/// How often the question is asked; wifi loses some.
const TIMES: u32 = 3;

/// How many others are counted.
const MAX_OTHERS: usize = 256;

/// What came of asking on one interface, over one family of addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Echo {
    /// The name of the interface.
    pub interface: String,
    /// Its address.
    pub address: IpAddr,
    /// Why it could not be asked; None if it was.
    pub problem: Option<String>,
    /// The question came back.
    pub is_heard: bool,
    /// Who else was heard meanwhile.
    pub others: BTreeSet<IpAddr>,
}

struct Interface {
    name: String,
    index: u32,
    address: IpAddr,
}

/// Asks on every interface that is up but loopback, for so long.
pub fn echoes(time: Duration) -> io::Result<Vec<Echo>> {
    let list = if_addrs::get_if_addrs()?;
    let own: BTreeSet<IpAddr> = list.iter().map(if_addrs::Interface::ip).collect();
    let mut asked = BTreeSet::new();
    let mut interfaces = Vec::new();
    for each in list.iter().filter(|each| each.is_oper_up() && !each.is_loopback()) {
        if interfaces.len() < MAX_INTERFACES && asked.insert((each.name.clone(), each.ip().is_ipv4())) {
            interfaces.push(Interface {
                name: each.name.clone(),
                index: each.index.unwrap_or(0),
                address: each.ip(),
            });
        }
    }
    let id = new_id()?;
    let mut echoes = std::thread::scope(|scope| {
        let own = &own;
        let start = |(number, interface)| {
            let question = question(&format!("netplay-doctor-{id}-{number}"));
            scope.spawn(move || ask(interface, &question, own, time))
        };
        let threads: Vec<_> = interfaces.into_iter().enumerate().map(start).collect();
        threads
            .into_iter()
            .filter_map(|thread| thread.join().ok())
            .collect::<Vec<Echo>>()
    });
    echoes.sort_by(|one, other| (&one.interface, one.address).cmp(&(&other.interface, other.address)));
    Ok(echoes)
}

fn ask(interface: Interface, question: &[u8], own: &BTreeSet<IpAddr>, time: Duration) -> Echo {
    let mut echo = Echo {
        interface: interface.name.clone(),
        address: interface.address,
        problem: None,
        is_heard: false,
        others: BTreeSet::new(),
    };
    if let Err(error) = open(&interface).and_then(|socket| listen(&socket, question, own, time, &mut echo)) {
        echo.problem = Some(error.to_string());
    }
    echo
}

fn listen(
    socket: &UdpSocket,
    question: &[u8],
    own: &BTreeSet<IpAddr>,
    time: Duration,
    echo: &mut Echo,
) -> io::Result<()> {
    let group = if echo.address.is_ipv4() {
        GROUP_V4.into()
    } else {
        GROUP_V6.into()
    };
    let began = Instant::now();
    let mut asked = 0;
    let mut bytes = [0; 9000];
    while began.elapsed() < time {
        if began.elapsed() >= time / (TIMES + 1) * asked && asked < TIMES {
            asked += 1;
            socket.send_to(question, SocketAddr::new(group, PORT))?;
        }
        let next = if asked < TIMES {
            time / (TIMES + 1) * asked
        } else {
            time
        };
        // A timeout of zero would be none.
        let left = next.saturating_sub(began.elapsed()).max(Duration::from_millis(1));
        socket.set_read_timeout(Some(left))?;
        match socket.recv_from(&mut bytes) {
            Ok((len, _)) if bytes[..len] == *question => echo.is_heard = true,
            Ok((_, from)) if !own.contains(&from.ip()) && echo.others.len() < MAX_OTHERS => {
                _ = echo.others.insert(from.ip())
            }
            Ok(_) => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Opens a socket that speaks and hears on one interface alone, beside whoever else does on this machine.
fn open(interface: &Interface) -> io::Result<UdpSocket> {
    let is_ipv4 = interface.address.is_ipv4();
    let socket = Socket::new(if is_ipv4 { Domain::IPV4 } else { Domain::IPV6 }, Type::DGRAM, None)?;
    socket.set_reuse_address(true)?;
    #[cfg(unix)]
    socket.set_reuse_port(true)?;
    match interface.address {
        IpAddr::V4(address) => {
            socket.bind(&SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), PORT).into())?;
            #[cfg(target_os = "linux")]
            socket.set_multicast_all_v4(false)?;
            socket.join_multicast_v4(&GROUP_V4, &address)?;
            socket.set_multicast_if_v4(&address)?;
            socket.set_multicast_loop_v4(true)?;
            socket.set_multicast_ttl_v4(255)?;
        }
        IpAddr::V6(_) => {
            socket.set_only_v6(true)?;
            socket.bind(&SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), PORT).into())?;
            #[cfg(target_os = "linux")]
            socket.set_multicast_all_v6(false)?;
            socket.join_multicast_v6(&GROUP_V6, interface.index)?;
            socket.set_multicast_if_v6(interface.index)?;
            socket.set_multicast_loop_v6(true)?;
            socket.set_multicast_hops_v6(255)?;
        }
    }
    Ok(socket.into())
}

/// Writes a question for everything that is announced, and for a name that nobody has, by which it is known again.
fn question(mark: &str) -> Vec<u8> {
    const PTR: u16 = 12;
    const TXT: u16 = 16;
    const INTERNET: u16 = 1;
    let asked: [(&[&str], u16); 3] = [
        (&["_services", "_dns-sd", "_udp", "local"], PTR),
        (&["_netplay", "_udp", "local"], PTR),
        (&[mark, "local"], TXT),
    ];
    let mut bytes = vec![0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0];
    for (labels, kind) in asked {
        for label in labels {
            // Ours are all short.
            bytes.push(label.len() as u8);
            bytes.extend_from_slice(label.as_bytes());
        }
        bytes.push(0);
        bytes.extend_from_slice(&kind.to_be_bytes());
        bytes.extend_from_slice(&INTERNET.to_be_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_questions_are_told_apart_and_are_short_enough_for_every_network() {
        let (one, other) = (
            question("netplay-doctor-0123456789abcdef-0"),
            question("netplay-doctor-0123456789abcdef-1"),
        );
        assert_ne!(one, other);
        assert!(one.len() < 512 && one.starts_with(&[0, 0, 0, 0, 0, 3]));
        assert!(one.windows(9).any(|window| window == b"\x08_netplay"));
    }
}
