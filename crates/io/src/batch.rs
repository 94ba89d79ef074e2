//! Datagrams on their way out, kept together until they are handed to the operating system.
//!
//! It knows paths and sockets. It must not know what is in a datagram.

use std::io;

use netplay_proto::{Address, Path};

use crate::socket::Socket;
use crate::streams::Streams;
use crate::trains;
use crate::types::SocketStats;

/// How many datagrams a batch takes before it must be flushed.
const BATCH_LEN: usize = 64;

/// Datagrams on their way out.
///
/// The buffers are used again: sending allocates nothing once they have grown.
#[derive(Default)]
pub(crate) struct SendBatch {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    /// How many of the entries are done.
    done: usize,
    /// The operating system has refused a train: what it would have carried goes one by one.
    has_no_trains: bool,
}

struct Entry {
    path: Path,
    end: usize,
}

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
    pub(crate) fn flush(&mut self, sockets: &[Socket], streams: Option<&mut Streams>, stats: &mut SocketStats) -> bool {
        let mut streams = streams;
        while self.done < self.entries.len() {
            let count = if self.has_no_trains { 1 } else { self.train_len() };
            let (start, end) = (self.start(self.done), self.entries[self.done + count - 1].end);
            let size = self.entries[self.done].end - start;
            let path = self.entries[self.done].path;
            let bytes = &self.bytes[start..end];
            if let Address::Stream { number, .. } = path.remote {
                let queued = bytes
                    .chunks(size.max(1))
                    .filter(|datagram| streams.as_mut().is_some_and(|streams| streams.push(number, datagram)))
                    .count();
                stats.datagrams_sent += queued as u64;
                stats.stream_dropped += (count - queued) as u64;
                self.done += count;
                continue;
            }
            let sent = match (sockets.get(usize::from(path.socket)), path.remote) {
                (Some(Socket::Udp(socket)), Address::Ip(remote)) if count > 1 => {
                    trains::send(socket, remote, bytes, size)
                }
                (Some(Socket::Udp(socket)), Address::Ip(remote)) => socket.send_to(bytes, remote).map(drop),
                (Some(Socket::Local(port)), Address::Virtual(remote)) => {
                    let arrived = bytes
                        .chunks(size.max(1))
                        .filter(|datagram| port.send(remote, datagram))
                        .count();
                    stats.datagrams_sent += arrived as u64;
                    stats.local_dropped += (count - arrived) as u64;
                    self.done += count;
                    continue;
                }
                (Some(Socket::P2p(port)), Address::Tunnel { number }) => {
                    let taken = port.send(number, bytes, size);
                    stats.datagrams_sent += taken as u64;
                    stats.stream_dropped += (count - taken) as u64;
                    self.done += count;
                    continue;
                }
                // The socket is gone, or was never of this kind.
                _ => Err(io::ErrorKind::NotConnected.into()),
            };
            match sent {
                Ok(()) => stats.datagrams_sent += count as u64,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if count > 1 && trains::is_refusal(&error) => {
                    self.has_no_trains = true;
                    continue;
                }
                Err(_) => stats.send_errors += count as u64,
            }
            self.done += count;
        }
        self.bytes.clear();
        self.entries.clear();
        self.done = 0;
        if let Some(streams) = streams {
            streams.flush();
        }
        true
    }

    /// Returns how many of the next datagrams go out together: to one place, of one size; the last may be shorter.
    fn train_len(&self) -> usize {
        let path = self.entries[self.done].path;
        let first = self.entries[self.done].end - self.start(self.done);
        let mut count = 1;
        let mut total = first;
        for (index, entry) in self.entries.iter().enumerate().skip(self.done + 1) {
            let size = entry.end - self.start(index);
            total += size;
            if entry.path != path || size > first || size == 0 || total > trains::MAX_BYTES || count == trains::MAX_LEN
            {
                break;
            }
            count += 1;
            if size < first {
                break;
            }
        }
        count
    }

    fn start(&self, index: usize) -> usize {
        if index == 0 { 0 } else { self.entries[index - 1].end }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
    use std::time::Duration;

    use super::*;
    use crate::socket::bind_udp;

    fn receiver() -> UdpSocket {
        // Not one of ours, which might take several datagrams at once.
        let receiver = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        receiver.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        receiver
    }

    fn to(socket: u16, remote: SocketAddr) -> Path {
        Path {
            socket,
            remote: Address::Ip(remote),
        }
    }

    #[test]
    fn a_batch_arrives_whole_and_what_is_refused_is_counted() {
        let sender = Socket::udp(bind_udp((Ipv4Addr::LOCALHOST, 0).into()).unwrap());
        let receiver = receiver();
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
        assert!(batch.flush(&[sender], None, &mut stats));
        assert!(batch.is_empty());
        let mut buffer = [0; 16];
        for expected in [b"one", b"two"] {
            let size = receiver.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..size], expected);
        }
        assert_eq!((stats.datagrams_sent, stats.send_errors), (2, 3));
    }

    #[test]
    fn datagrams_of_every_size_arrive_one_by_one_in_order() {
        let sender = [Socket::udp(bind_udp((Ipv4Addr::LOCALHOST, 0).into()).unwrap())];
        let (one, other) = (receiver(), receiver());
        let mut batch = SendBatch::default();
        let mut stats = SocketStats::default();
        let sizes = [1200, 1200, 1200, 700, 700, 1200, 0, 0, 5, 5, 5, 6, 1, 1200, 1200];
        for (number, size) in sizes.into_iter().enumerate() {
            batch.push(to(0, one.local_addr().unwrap()), &vec![number as u8; size]);
            if number % 4 == 3 {
                batch.push(to(0, other.local_addr().unwrap()), &[number as u8]);
            }
        }
        assert!(batch.flush(&sender, None, &mut stats));
        assert!(batch.is_empty());
        let mut buffer = [0; 2048];
        for (number, size) in sizes.into_iter().enumerate() {
            assert_eq!(one.recv(&mut buffer).unwrap(), size);
            assert!(buffer[..size].iter().all(|byte| *byte == number as u8));
        }
        for number in [3, 7, 11] {
            assert_eq!(other.recv(&mut buffer).unwrap(), 1);
            assert_eq!(buffer[0], number);
        }
        assert_eq!((stats.datagrams_sent, stats.send_errors), (sizes.len() as u64 + 3, 0));
    }

    #[test]
    fn what_goes_out_together_comes_in_one_by_one() {
        let sender = [Socket::udp(bind_udp((Ipv4Addr::LOCALHOST, 0).into()).unwrap())];
        let receiver = bind_udp((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        receiver.set_nonblocking(false).unwrap();
        receiver.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut batch = SendBatch::default();
        let mut stats = SocketStats::default();
        for number in 0..100u8 {
            if batch.is_full() {
                assert!(batch.flush(&sender, None, &mut stats));
            }
            batch.push(
                to(0, receiver.local_addr().unwrap()),
                &vec![number; if number == 99 { 3 } else { 1100 }],
            );
        }
        assert!(batch.flush(&sender, None, &mut stats));
        let mut buffer = trains::new_buffer();
        let mut arrived = Vec::new();
        while arrived.len() < 100 {
            let train = trains::receive(&receiver, &mut buffer).unwrap();
            arrived.extend(train.datagrams(&buffer).map(|datagram| (datagram[0], datagram.len())));
        }
        let expected: Vec<_> = (0..100u8)
            .map(|number| (number, if number == 99 { 3 } else { 1100 }))
            .collect();
        assert_eq!(arrived, expected);
    }
}
