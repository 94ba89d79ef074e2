//! Which addresses of this machine to give to other players. It asks the operating system; it sends nothing.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// Returns the addresses at which sockets bound like this can be reached, the most useful first: the way out to other
/// networks before other interfaces, IPv4 before IPv6, this machine's own loopback last. No link-local IPv6: it means
/// nothing without the name of an interface.
pub(crate) fn reachable_addresses(bound: &[SocketAddr]) -> Vec<SocketAddr> {
    let interfaces: Vec<IpAddr> = match if_addrs::get_if_addrs() {
        Ok(list) => list.iter().map(if_addrs::Interface::ip).collect(),
        // Without the list there is still the way out, and loopback.
        Err(_) => [IpAddr::V4(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()]
            .into_iter()
            .chain(way_out(false))
            .chain(way_out(true))
            .collect(),
    };
    choose(bound, &interfaces, &[way_out(false), way_out(true)])
}

/// Returns the interfaces that are up, each with one of its addresses: one with several is there several times.
pub fn interface_addresses() -> io::Result<Vec<(String, IpAddr)>> {
    let list = if_addrs::get_if_addrs()?;
    let up = list.iter().filter(|interface| interface.is_oper_up());
    Ok(up.map(|interface| (interface.name.clone(), interface.ip())).collect())
}

/// Does the choosing of [`reachable_addresses`] on given lists.
fn choose(bound: &[SocketAddr], interfaces: &[IpAddr], ways_out: &[Option<IpAddr>]) -> Vec<SocketAddr> {
    let mut found = Vec::new();
    for address in bound {
        if address.ip().is_unspecified() {
            let same_family = interfaces.iter().filter(|ip| ip.is_ipv4() == address.is_ipv4());
            found.extend(same_family.map(|ip| SocketAddr::new(*ip, address.port())));
        } else {
            found.push(*address);
        }
    }
    found.retain(|address| !matches!(address.ip(), IpAddr::V6(ip) if ip.is_unicast_link_local()));
    found.sort_by_key(|address| {
        let ip = address.ip();
        let is_link_local = matches!(ip, IpAddr::V4(ip) if ip.is_link_local());
        (
            ip.is_loopback(),
            ip.is_ipv6(),
            is_link_local,
            !ways_out.contains(&Some(ip)),
            ip,
        )
    });
    found.dedup();
    found
}

/// Returns the address this machine would use to talk to another network; None if it knows no way there.
fn way_out(is_ipv6: bool) -> Option<IpAddr> {
    // Connecting a UDP socket only chooses a route. Both places are set aside for documentation.
    let (from, to): (IpAddr, IpAddr) = if is_ipv6 {
        (
            Ipv6Addr::UNSPECIFIED.into(),
            Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
        )
    } else {
        (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::new(192, 0, 2, 1).into())
    };
    let socket = UdpSocket::bind((from, 0)).ok()?;
    socket.connect((to, 9)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(list: &[&str]) -> Vec<IpAddr> {
        list.iter().map(|ip| ip.parse().unwrap()).collect()
    }

    fn chosen(bound: &[&str], interfaces: &[&str], ways_out: &[&str]) -> Vec<String> {
        let bound: Vec<SocketAddr> = bound.iter().map(|address| address.parse().unwrap()).collect();
        let ways_out: Vec<Option<IpAddr>> = ips(ways_out).into_iter().map(Some).collect();
        choose(&bound, &ips(interfaces), &ways_out)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn the_way_out_comes_first_and_loopback_last() {
        let interfaces = [
            "127.0.0.1",
            "::1",
            "172.17.0.1",
            "169.254.3.4",
            "192.168.1.20",
            "fe80::1",
            "2001:db8::20",
            "fd00::2",
        ];
        assert_eq!(
            chosen(
                &["0.0.0.0:5000", "[::]:5000"],
                &interfaces,
                &["192.168.1.20", "2001:db8::20"]
            ),
            [
                "192.168.1.20:5000",
                "172.17.0.1:5000",
                "169.254.3.4:5000",
                "[2001:db8::20]:5000",
                "[fd00::2]:5000",
                "127.0.0.1:5000",
                "[::1]:5000",
            ]
        );
    }

    #[test]
    fn only_what_was_bound_is_given_out() {
        let interfaces = ["127.0.0.1", "::1", "192.168.1.20", "2001:db8::20"];
        assert_eq!(
            chosen(&["0.0.0.0:7"], &interfaces, &[]),
            ["192.168.1.20:7", "127.0.0.1:7"]
        );
        assert_eq!(
            chosen(&["127.0.0.1:7", "[::1]:7"], &interfaces, &[]),
            ["127.0.0.1:7", "[::1]:7"]
        );
        assert_eq!(chosen(&["192.168.1.20:7"], &interfaces, &[]), ["192.168.1.20:7"]);
    }

    #[test]
    fn this_machine_can_at_least_be_reached_by_itself() {
        let addresses = reachable_addresses(&["0.0.0.0:5000".parse().unwrap()]);
        assert!(addresses.contains(&"127.0.0.1:5000".parse().unwrap()), "{addresses:?}");
    }
}
