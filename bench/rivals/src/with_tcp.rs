//! TCP of the Linux kernel: two network namespaces of our own, each with a TUN device, joined by the simulated network.
//!
//! The kernel has a clock of its own, so this alone plays in real time. Scenarios run beside each other, each in its own pair of
//! namespaces, which are gone with their threads. It needs root. There is one connection, without Nagle's delay; what a game
//! sends in a frame is written at once, each message preceded by its length in four bytes. Positions beside a download have a
//! connection of their own. Bytes are counted, and the link is used, as for the others: an IP packet less the 28 bytes that IP
//! and UDP would have.

use std::fs::File;
use std::io::{self, Read, Write};
use std::mem;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use netplay_netsim::{Conditions, Network};

use crate::rival::{BULK_CHANNEL, LOSSY_CHANNEL, RELIABLE_CHANNELS, SERVER};
use crate::scenarios::{self, LAG, PATIENCE, POSITION_EVERY, Plan, SCENARIOS, Scenario, frames};
use crate::world::{CLIENT, Entry, FRAME};

const CLIENT_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const SERVER_ADDRESS: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 1), 5000);

/// The headers of IP and UDP, which the figures of the others leave out.
const HEADERS: usize = 28;

/// Plays every scenario that TCP can take part in, all seeds at once: first the small messages, then the downloads. Returns for
/// each of [`SCENARIOS`] the figures of each seed, none where TCP cannot take part.
pub(crate) fn play(plan: &Plan) -> io::Result<Vec<Vec<Vec<f64>>>> {
    let mut figures = vec![Vec::new(); SCENARIOS.len()];
    for is_bulk in [false, true] {
        let wave = SCENARIOS
            .into_iter()
            .enumerate()
            .filter(|(_, scenario)| match scenario {
                Scenario::Reliable { .. } => !is_bulk,
                Scenario::Bulk { .. } => is_bulk,
                Scenario::Lossy { .. } | Scenario::Flood => false,
            });
        let played = thread::scope(|scope| {
            let mut threads = Vec::new();
            for (number, scenario) in wave {
                for &seed in &plan.seeds {
                    threads.push((number, scope.spawn(move || play_once(scenario, seed, plan))));
                }
            }
            let joined = threads.into_iter().map(|(number, thread)| Ok((number, join(thread)?)));
            joined.collect::<io::Result<Vec<_>>>()
        })?;
        for (number, one) in played {
            figures[number].push(one);
        }
    }
    Ok(figures)
}

/// What the threads of one scenario share.
struct Lab {
    began: Instant,
    network: Mutex<Network<Vec<u8>>>,
    ledger: Mutex<Vec<Entry>>,
    is_done: AtomicBool,
}

fn play_once(scenario: Scenario, seed: u64, plan: &Plan) -> io::Result<Vec<f64>> {
    let lab = &Lab {
        began: Instant::now(),
        network: Mutex::new(Network::new(Conditions::lag(LAG), seed)),
        ledger: Mutex::default(),
        is_done: AtomicBool::new(false),
    };
    let (tuns, tuns_made) = mpsc::channel();
    thread::scope(|scope| {
        let server = scope.spawn({
            let tuns = tuns.clone();
            move || {
                tuns.send((SERVER, enter_namespace(*SERVER_ADDRESS.ip())?))
                    .map_err(io::Error::other)?;
                TcpListener::bind(SERVER_ADDRESS)
            }
        });
        let listener = join(server)?;
        let client = scope.spawn(move || {
            tuns.send((CLIENT, enter_namespace(CLIENT_ADDRESS)?))
                .map_err(io::Error::other)?;
            let result = connect_and_play(lab, scenario, plan);
            lab.is_done.store(true, Ordering::Relaxed);
            result
        });
        let mut made: Vec<_> = tuns_made.iter().take(2).collect();
        made.sort_unstable_by_key(|&(node, _)| node);
        if let [(_, server_tun), (_, client_tun)] = &made[..] {
            scope.spawn(move || accept(lab, &listener));
            lab.forward(server_tun, client_tun)?;
        }
        join(client)
    })
}

fn join<T>(thread: thread::ScopedJoinHandle<'_, io::Result<T>>) -> io::Result<T> {
    thread.join().map_err(|_| io::Error::other("a thread panicked"))?
}

// --- The game.

fn connect_and_play(lab: &Lab, scenario: Scenario, plan: &Plan) -> io::Result<Vec<f64>> {
    let mut stream = connect()?;
    match scenario {
        Scenario::Reliable { channels, .. } => {
            let before = lab.set_conditions(scenario.conditions());
            lab.play_frames(plan.time, |_| {
                let mut bytes = Vec::new();
                for channel in RELIABLE_CHANNELS.take(usize::from(channels)) {
                    bytes.extend(lab.message(channel, 64));
                }
                stream.write_all(&bytes).map(|()| true)
            })?;
            lab.play_frames(PATIENCE, |_| {
                Ok(lab.ledger().iter().any(|entry| entry.arrived_at.is_none()))
            })?;
            let bytes = lab.network().stats().sent_bytes - before;
            Ok(scenarios::reliable_figures(&lab.ledger(), bytes))
        }
        _ => {
            let mut positions = connect()?;
            lab.set_conditions(scenario.conditions());
            let mut send_position = |frame: u64| match frame % POSITION_EVERY {
                0 => positions.write_all(&lab.message(LOSSY_CHANNEL, 32)),
                _ => Ok(()),
            };
            lab.play_frames(plan.time, |frame| send_position(frame).map(|()| true))?;
            thread::sleep(4 * LAG);
            let alone = scenarios::positions_p99(&lab.ledger());

            let before = lab.network().stats().sent_bytes;
            let level = lab.message(BULK_CHANNEL, plan.bulk_bytes);
            let number = lab.ledger().len() - 1;
            let arrived_at = || lab.ledger()[number].arrived_at;
            // A download that is not done when patience ends, is cut off when its stream is dropped.
            let writing = stream.try_clone()?;
            thread::scope(|scope| {
                let writer = scope.spawn(|| stream.write_all(&level));
                lab.play_frames(PATIENCE, |frame| {
                    send_position(frame)?;
                    Ok(arrived_at().is_none())
                })?;
                writing.shutdown(std::net::Shutdown::Both)?;
                join(writer).or_else(|error| if arrived_at().is_none() { Ok(()) } else { Err(error) })
            })?;
            let bytes = lab.network().stats().sent_bytes - before;
            thread::sleep(10 * LAG);
            let ledger = lab.ledger();
            let began = ledger[number].sent_at;
            let end = ledger[number].arrived_at;
            let beside = ledger[number + 1..]
                .iter()
                .filter(|entry| end.is_none_or(|end| entry.sent_at <= end));
            let mut figures = scenarios::bulk_figures(end.map(|end| end - began), plan, bytes, beside);
            figures.push(alone);
            Ok(figures)
        }
    }
}

/// Connects to the server, by the congestion control that most kernels come with.
fn connect() -> io::Result<TcpStream> {
    let socket = socket(libc::SOCK_STREAM)?;
    let cubic = c"cubic".to_bytes();
    // SAFETY: the name is valid for its length, and the kernel only reads it.
    check(unsafe {
        let (name, length) = (cubic.as_ptr().cast(), cubic.len() as libc::socklen_t);
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_CONGESTION,
            name,
            length,
        )
    })?;
    let address = sockaddr(*SERVER_ADDRESS.ip(), SERVER_ADDRESS.port());
    // SAFETY: the address is valid for its size, and the kernel only reads it.
    check(unsafe {
        let size = mem::size_of_val(&address) as libc::socklen_t;
        libc::connect(socket.as_raw_fd(), (&raw const address).cast(), size)
    })?;
    let stream = TcpStream::from(std::os::fd::OwnedFd::from(socket));
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Accepts whoever connects, and reads what they send, until the scenario is over.
fn accept(lab: &Lab, listener: &TcpListener) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    thread::scope(|scope| {
        while !lab.is_done.load(Ordering::Relaxed) {
            match listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false)?;
                    stream.set_read_timeout(Some(Duration::from_millis(200)))?;
                    scope.spawn(move || lab.read(stream));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(Duration::from_millis(5)),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    })
}

impl Lab {
    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn network(&self) -> MutexGuard<'_, Network<Vec<u8>>> {
        self.network.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ledger(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the network what the scenario wants, and returns how many bytes were sent before.
    fn set_conditions(&self, conditions: Conditions) -> u64 {
        let mut network = self.network();
        network.set_conditions(conditions);
        network.stats().sent_bytes
    }

    /// Enters a message into the ledger, and returns its bytes on the stream.
    fn message(&self, channel: u8, size: usize) -> Vec<u8> {
        let mut ledger = self.ledger();
        let mut bytes = (size as u32).to_be_bytes().to_vec();
        bytes.extend((ledger.len() as u64).to_be_bytes());
        bytes.resize(4 + size, channel);
        ledger.push(Entry {
            channel,
            sent_at: self.now(),
            arrived_at: None,
        });
        bytes
    }

    /// Does something at each frame for some time, or until it answers false.
    fn play_frames(&self, time: Duration, mut act: impl FnMut(u64) -> io::Result<bool>) -> io::Result<()> {
        let began = self.now();
        for frame in 0..frames(time) {
            let at = began + FRAME.mul_f64(frame as f64);
            thread::sleep(at.saturating_sub(self.now()));
            if !act(frame)? {
                break;
            }
        }
        Ok(())
    }

    /// Reads messages from a stream until it or the scenario ends.
    fn read(&self, mut stream: TcpStream) {
        let (mut waiting, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
        while !self.is_done.load(Ordering::Relaxed) {
            match stream.read(&mut buffer) {
                Ok(0) => return,
                Ok(length) => waiting.extend_from_slice(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
            let now = self.now();
            while let Some((length, rest)) = waiting.split_first_chunk() {
                let length = u32::from_be_bytes(*length) as usize;
                let Some(number) = rest.get(..length).and_then(|message| message.first_chunk()) else {
                    break;
                };
                self.ledger()[u64::from_be_bytes(*number) as usize].arrived_at = Some(now);
                waiting.drain(..4 + length);
            }
        }
    }

    /// Carries packets between the two devices, through the simulated network, until the scenario is over.
    fn forward(&self, server: &File, client: &File) -> io::Result<()> {
        let mut buffer = [0; 2048];
        while !self.is_done.load(Ordering::Relaxed) {
            for (mut tun, from, to) in [(server, SERVER, CLIENT), (client, CLIENT, SERVER)] {
                while let Some(length) = read_now(&mut tun, &mut buffer)? {
                    // What is not IPv4 is the kernel looking for IPv6 neighbours.
                    if buffer[0] >> 4 == 4 {
                        let size = length.saturating_sub(HEADERS);
                        self.network()
                            .send(self.now(), from, to, size, buffer[..length].to_vec());
                    }
                }
            }
            let mut network = self.network();
            while let Some((_, to, packet)) = network.receive(self.now()) {
                let mut tun = if to == SERVER { server } else { client };
                tun.write_all(&packet)?;
            }
            let next_at = network.next_at();
            drop(network);
            let wait = next_at.map_or(LAG, |at| at.saturating_sub(self.now())).min(LAG);
            wait_readable([server, client], wait)?;
        }
        Ok(())
    }
}

// --- The kernel.

/// Moves this thread into a network namespace of its own, and returns the TUN device in it, which has this address.
fn enter_namespace(address: Ipv4Addr) -> io::Result<File> {
    // SAFETY: no memory is passed.
    check(unsafe { libc::unshare(libc::CLONE_NEWNET) })?;
    let tun = File::options().read(true).write(true).open("/dev/net/tun")?;
    // SAFETY: the structure is plain numbers, for which zeros are valid.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    for (to, &from) in request.ifr_name.iter_mut().zip(b"tun0") {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
    ioctl(&tun, libc::TUNSETIFF, &mut request)?;
    let socket = socket(libc::SOCK_DGRAM)?;
    for (number, value) in [
        (libc::SIOCSIFADDR, address),
        (libc::SIOCSIFNETMASK, Ipv4Addr::new(255, 255, 255, 0)),
    ] {
        let value = sockaddr(value, 0);
        // SAFETY: both are plain numbers of the same size.
        request.ifr_ifru.ifru_addr = unsafe { mem::transmute::<libc::sockaddr_in, libc::sockaddr>(value) };
        ioctl(&socket, number, &mut request)?;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    ioctl(&socket, libc::SIOCSIFFLAGS, &mut request)?;
    // SAFETY: no memory is passed.
    check(unsafe { libc::fcntl(tun.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) })?;
    Ok(tun)
}

fn socket(kind: libc::c_int) -> io::Result<File> {
    // SAFETY: no memory is passed; the descriptor is new, so nobody else owns it.
    unsafe {
        let socket = check(libc::socket(libc::AF_INET, kind | libc::SOCK_CLOEXEC, 0))?;
        Ok(File::from_raw_fd(socket))
    }
}

fn sockaddr(address: Ipv4Addr, port: u16) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr {
            s_addr: address.to_bits().to_be(),
        },
        sin_zero: [0; 8],
    }
}

fn ioctl(file: &File, number: libc::Ioctl, request: &mut libc::ifreq) -> io::Result<()> {
    // SAFETY: each of these calls reads and writes an `ifreq`, which this is.
    check(unsafe { libc::ioctl(file.as_raw_fd(), number, &raw mut *request) }).map(drop)
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// Reads one packet, None if none is there.
fn read_now(tun: &mut &File, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    match tun.read(buffer) {
        Ok(length) => Ok(Some(length)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

/// Waits until one of the devices has a packet, or this time has passed.
fn wait_readable(tuns: [&File; 2], time: Duration) -> io::Result<()> {
    let mut wanted = tuns.map(|tun| libc::pollfd {
        fd: tun.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    });
    let time = libc::timespec {
        tv_sec: time.as_secs() as libc::time_t,
        tv_nsec: time.subsec_nanos().into(),
    };
    // SAFETY: both are valid for the call, the first for its length.
    check(unsafe { libc::ppoll(wanted.as_mut_ptr(), 2, &raw const time, std::ptr::null()) }).map(drop)
}
