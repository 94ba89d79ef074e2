//! What a server needs to send 1 KiB to many clients at 20 Hz while each sends 32 B at 20 Hz, over loopback, beside bare
//! `sendto` and `recvfrom` loops with the same traffic, in turns (Linux):
//! `cargo run --release -p netplay-io --example fanout [clients] [seconds] [rounds]`.
//!
//! The clients are in a process of their own, spread over sockets so that no two neighbours in the server's order share one:
//! nothing can leave together for two of them, as it never could for real players. Each sends when its turn comes, evenly
//! spread over each period. Lines of numbers for a program go to the standard output, words for people to the other.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use netplay_io::{Delivery, Kind};
use netplay_io::{Event, Identity, Key, Limits, ListenOptions, Message, Network, Target, generate_key};
use netplay_proto::{Address, Connect, ConnectionId, Endpoint, EndpointConfig, Output, Path, Timestamp};
use nix::poll::{PollFd, PollFlags, ppoll};

type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

const PERIOD: Duration = Duration::from_millis(50);
const DOWN: usize = 1024;
const UP: usize = 32;

/// How long what is under way at the end may still take.
const SETTLE: Duration = Duration::from_millis(300);

/// What the clients share.
const SOCKETS: usize = 50;

/// Bytes with which a bare client says which it is.
const NUMBER: usize = 4;

/// Room for any datagram here.
const LARGEST: usize = 2048;

/// Who serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Server {
    Netplay,
    /// A bare loop that waits as netplay does.
    BareLikewise,
    /// A bare loop that wakes up for every datagram.
    BareEach,
}

impl Server {
    const ALL: [Self; 3] = [Self::Netplay, Self::BareLikewise, Self::BareEach];

    const fn words(self) -> &'static str {
        match self {
            Self::Netplay => "netplay",
            Self::BareLikewise => "bare loop, the same waits",
            Self::BareEach => "bare loop, woken by each datagram",
        }
    }
}

/// What one round of one server found out.
#[derive(Clone, Copy, Debug, Default)]
struct Outcome {
    /// Processor time by time.
    share: f64,
    sent: usize,
    arrived: usize,
    sent_up: usize,
    arrived_up: usize,
}

fn main() -> Fallible<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, default: usize| arguments.get(at).map_or(Ok(default), |text| text.parse());
    if arguments.first().is_some_and(|word| word == "call") {
        return call(&arguments[1], arguments[2].parse()?, number(3, 0)?, number(4, 0)?);
    }
    let (clients, seconds, rounds) = (number(0, 1000)?, number(1, 3)?, number(2, 3)?);
    let mut outcomes: Vec<Vec<Outcome>> = vec![Vec::new(); Server::ALL.len()];
    for round in 0..rounds {
        for turn in 0..Server::ALL.len() {
            let which = (round + turn) % Server::ALL.len();
            let server = Server::ALL[which];
            let outcome = match server {
                Server::Netplay => serve(clients, seconds)?,
                _ => serve_bare(clients, seconds, server == Server::BareLikewise)?,
            };
            eprintln!(
                "{clients} clients, {}: {:.1} % of a core; {} of {} arrived, and {} of {} here",
                server.words(),
                100.0 * outcome.share,
                outcome.arrived,
                outcome.sent,
                outcome.arrived_up,
                outcome.sent_up
            );
            outcomes[which].push(outcome);
        }
    }
    let lost = |sent: usize, arrived: usize| sent.saturating_sub(arrived);
    for (server, outcomes) in Server::ALL.iter().zip(&outcomes) {
        println!(
            "{}\t{:.4}",
            server.words(),
            median(outcomes.iter().map(|one| one.share))
        );
        let down: usize = outcomes.iter().map(|one| lost(one.sent, one.arrived)).sum();
        let up: usize = outcomes.iter().map(|one| lost(one.sent_up, one.arrived_up)).sum();
        println!("{}, lost\t{}", server.words(), down + up);
    }
    for (which, server) in Server::ALL.iter().enumerate().skip(1) {
        let pairs = outcomes[0].iter().zip(&outcomes[which]);
        println!(
            "netplay : {}\t{:.3}",
            server.words(),
            median(pairs.map(|(ours, bare)| ours.share / bare.share))
        );
    }
    Ok(())
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 {
        values[middle]
    } else {
        (values[middle - 1] + values[middle]) / 2.0
    }
}

/// Returns the processor time of this process, all its threads, in the program and in the kernel.
fn processor_time() -> Fallible<Duration> {
    let mut sum = 0;
    for task in std::fs::read_dir("/proc/self/task")? {
        let line = std::fs::read_to_string(task?.path().join("schedstat"))?;
        sum += line.split_whitespace().next().unwrap_or("0").parse::<u64>()?;
    }
    Ok(Duration::from_nanos(sum))
}

fn snapshot(size: usize) -> Message {
    Message {
        channel: 0,
        delivery: Delivery::LOSSY,
        kind: Kind::BYTES,
        data: vec![7; size].into(),
    }
}

// ---- The servers ----

/// Sends when it is time and receives in between, then lets what is under way arrive. Returns the processor's share.
fn run_server(
    seconds: usize,
    mut send_to_all: impl FnMut() -> Fallible<()>,
    mut receive_until: impl FnMut(Instant) -> Fallible<()>,
) -> Fallible<f64> {
    let (started, processor) = (Instant::now(), processor_time()?);
    let ticks = seconds * (Duration::from_secs(1).as_nanos() / PERIOD.as_nanos()) as usize;
    for tick in 0..ticks {
        send_to_all()?;
        receive_until(started + PERIOD * (tick as u32 + 1))?;
    }
    let share = (processor_time()? - processor).as_secs_f64() / started.elapsed().as_secs_f64();
    receive_until(Instant::now() + SETTLE)?;
    Ok(share)
}

fn serve(clients: usize, seconds: usize) -> Fallible<Outcome> {
    let server = Network::new();
    let options = ListenOptions {
        name: String::new(),
        version: String::new(),
        password: None,
        max_peers: clients,
        identity: Identity::from_secret(generate_key()?),
        limits: Limits::default(),
        transports: None,
        certificate: None,
        relay: None,
        p2p_secret: None,
        advertise: None,
    };
    let url = server.listen("play://127.0.0.1:0", options)?.url;
    let mut crowd = Crowd::start("netplay", url.trim_start_matches("play://"), clients, seconds)?;
    let mut events = Vec::new();
    let mut connected = 0;
    while connected < clients {
        server.wait(Duration::from_secs(10));
        events.clear();
        server.take_arrived(usize::MAX, &mut events);
        let is_connected = |event: &&netplay_io::PeerEvent| matches!(event.event, Event::Connected { .. });
        connected += events.iter().filter(is_connected).count();
    }
    crowd.go()?;
    let snapshot = snapshot(DOWN);
    let (mut sent, mut arrived_up) = (0, 0);
    let share = run_server(
        seconds,
        || {
            sent += server.send(Target::All, &[], &snapshot)?;
            Ok(())
        },
        |until| {
            while let Some(left) = until.checked_duration_since(Instant::now()) {
                server.wait(left);
                events.clear();
                arrived_up += server.take_arrived(usize::MAX, &mut events);
            }
            Ok(())
        },
    )?;
    let (sent_up, arrived) = crowd.outcome()?;
    server.close(Duration::ZERO);
    Ok(Outcome {
        share,
        sent,
        arrived,
        sent_up,
        arrived_up,
    })
}

fn serve_bare(clients: usize, seconds: usize, pauses: bool) -> Fallible<Outcome> {
    let socket = open_socket()?;
    let mut crowd = Crowd::start("bare", &socket.local_addr()?.to_string(), clients, seconds)?;
    let mut addresses: Vec<Option<SocketAddr>> = vec![None; clients];
    let mut buffer = [0; LARGEST];
    let mut connected = 0;
    while connected < clients {
        wait_for(&socket, Instant::now() + Duration::from_secs(1))?;
        while let Ok((_, address)) = socket.recv_from(&mut buffer) {
            let number = u32::from_le_bytes(buffer[..NUMBER].try_into()?) as usize;
            connected += usize::from(addresses[number].replace(address).is_none());
        }
    }
    crowd.go()?;
    let addresses: Vec<SocketAddr> = addresses.into_iter().flatten().collect();
    let snapshot = [7; DOWN];
    let (mut sent, mut arrived_up) = (0, 0);
    let mut leisure = Leisure::default();
    let share = run_server(
        seconds,
        || {
            for address in &addresses {
                sent += usize::from(socket.send_to(&snapshot, address)? == DOWN);
            }
            Ok(())
        },
        |until| {
            while Instant::now() < until {
                let is_pausing = pauses && !leisure.spend();
                if is_pausing {
                    std::thread::sleep(until.saturating_duration_since(Instant::now()).min(Leisure::PAUSE));
                }
                if !is_pausing && !wait_for(&socket, until)? {
                    continue;
                }
                let before = arrived_up;
                while (is_pausing || arrived_up == before) && socket.recv_from(&mut buffer).is_ok() {
                    arrived_up += 1;
                }
                if arrived_up > before + 1 {
                    leisure.skip();
                }
            }
            Ok(())
        },
    )?;
    let (sent_up, arrived) = crowd.outcome()?;
    Ok(Outcome {
        share,
        sent,
        arrived,
        sent_up,
        arrived_up,
    })
}

/// netplay's way of telling a trickle of datagrams from a stream.
struct Leisure {
    saved: Duration,
    counted: Instant,
}

impl Default for Leisure {
    fn default() -> Self {
        Self {
            saved: Duration::ZERO,
            counted: Instant::now(),
        }
    }
}

impl Leisure {
    const PAUSE: Duration = Duration::from_millis(1);
    const MOST: Duration = Duration::from_millis(16);

    fn skip(&mut self) {
        self.counted = Instant::now();
    }

    fn spend(&mut self) -> bool {
        let now = Instant::now();
        self.saved = (self.saved + (now - self.counted)).min(Self::MOST);
        self.counted = now;
        let has_time = self.saved >= Self::PAUSE;
        if has_time {
            self.saved -= Self::PAUSE;
        }
        has_time
    }
}

/// Returns true if the socket has something to read, false if this moment has come.
fn wait_for(socket: &UdpSocket, until: Instant) -> Fallible<bool> {
    let left = until.saturating_duration_since(Instant::now());
    Ok(ppoll(
        &mut [PollFd::new(socket.as_fd(), PollFlags::POLLIN)],
        Some(left.into()),
        None,
    )? > 0)
}

fn open_socket() -> Fallible<UdpSocket> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None)?;
    socket.set_recv_buffer_size(4 << 20)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    Ok(socket.into())
}

/// The process of the clients.
struct Crowd {
    child: Child,
    answers: BufReader<ChildStdout>,
}

impl Crowd {
    fn start(kind: &str, address: &str, clients: usize, seconds: usize) -> Fallible<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["call", kind, address, &clients.to_string(), &seconds.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let answers = BufReader::new(child.stdout.take().ok_or("no output")?);
        Ok(Self { child, answers })
    }

    /// Lets the clients send, once they all know that they are connected.
    fn go(&mut self) -> Fallible<()> {
        self.answers.read_line(&mut String::new())?;
        self.child.stdin.as_mut().ok_or("no input")?.write_all(b"go\n")?;
        Ok(())
    }

    /// Returns how many messages the clients have sent and how many arrived there.
    fn outcome(&mut self) -> Fallible<(usize, usize)> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        self.child.wait()?;
        let (sent, arrived) = line.trim().split_once(' ').ok_or("no numbers")?;
        Ok((sent.parse()?, arrived.parse()?))
    }
}

// ---- The clients ----

/// Clients that share a socket.
trait Share {
    fn open(socket: UdpSocket, server: SocketAddr) -> Fallible<Self>
    where
        Self: Sized;

    /// Adds the client with this number and returns once the server knows it.
    fn add(&mut self, number: usize) -> Fallible<()>;

    /// Sends from the client that was added as this one.
    fn send(&mut self, at: usize) -> Fallible<()>;

    /// Takes in what has arrived and returns how many messages it was.
    fn receive(&mut self) -> Fallible<usize>;
}

fn call(kind: &str, server: SocketAddr, clients: usize, seconds: usize) -> Fallible<()> {
    match kind {
        "netplay" => call_by::<Protocol>(server, clients, seconds),
        _ => call_by::<Bare>(server, clients, seconds),
    }
}

fn call_by<S: Share>(server: SocketAddr, clients: usize, seconds: usize) -> Fallible<()> {
    let shares: Fallible<Vec<S>> = (0..SOCKETS).map(|_| S::open(open_socket()?, server)).collect();
    let mut shares = shares?;
    for number in 0..clients {
        shares[number % SOCKETS].add(number)?;
    }
    println!("ready");
    std::io::stdin().read_line(&mut String::new())?;
    let started = Instant::now();
    let length = Duration::from_secs(seconds as u64);
    let total = (length.as_nanos() / PERIOD.as_nanos()) as usize * clients;
    let (mut sent, mut arrived) = (0, 0);
    while started.elapsed() < length + SETTLE / 2 {
        let due = (started.elapsed().as_nanos() * clients as u128 / PERIOD.as_nanos()) as usize;
        while sent < due.min(total) {
            let number = sent % clients;
            shares[number % SOCKETS].send(number / SOCKETS)?;
            sent += 1;
        }
        for share in &mut shares {
            arrived += share.receive()?;
        }
    }
    println!("{sent} {arrived}");
    Ok(())
}

struct Bare {
    socket: UdpSocket,
    server: SocketAddr,
    messages: Vec<[u8; UP]>,
}

impl Share for Bare {
    fn open(socket: UdpSocket, server: SocketAddr) -> Fallible<Self> {
        Ok(Self {
            socket,
            server,
            messages: Vec::new(),
        })
    }

    fn add(&mut self, number: usize) -> Fallible<()> {
        let mut message = [7; UP];
        message[..NUMBER].copy_from_slice(&(number as u32).to_le_bytes());
        self.messages.push(message);
        // Not so fast that the server's buffer is full.
        std::thread::sleep(Duration::from_micros(50));
        self.send(self.messages.len() - 1)
    }

    fn send(&mut self, at: usize) -> Fallible<()> {
        self.socket.send_to(&self.messages[at], self.server)?;
        Ok(())
    }

    fn receive(&mut self) -> Fallible<usize> {
        let mut buffer = [0; LARGEST];
        let mut count = 0;
        while self.socket.recv_from(&mut buffer).is_ok() {
            count += 1;
        }
        Ok(count)
    }
}

/// The protocol without the I/O layer: its threads would need more than all the rest here.
struct Protocol {
    socket: UdpSocket,
    server: SocketAddr,
    endpoint: Endpoint,
    peers: Vec<ConnectionId>,
    connected: usize,
    input: Message,
    started: Instant,
}

impl Share for Protocol {
    fn open(socket: UdpSocket, server: SocketAddr) -> Fallible<Self> {
        let config = EndpointConfig {
            identity: Identity::from_secret(generate_key()?),
            accept: None,
            limits: Limits::default(),
        };
        let seed: Key = generate_key()?;
        Ok(Self {
            socket,
            server,
            endpoint: Endpoint::new(config, seed),
            peers: Vec::new(),
            connected: 0,
            input: snapshot(UP),
            started: Instant::now(),
        })
    }

    fn add(&mut self, _number: usize) -> Fallible<()> {
        let connect = Connect {
            paths: vec![Path {
                socket: 0,
                remote: Address::Ip(self.server),
            }],
            timeout: Duration::from_secs(10),
            ..Connect::default()
        };
        let now = self.now();
        self.peers.push(self.endpoint.connect(now, connect));
        while self.connected < self.peers.len() {
            self.receive()?;
        }
        Ok(())
    }

    fn send(&mut self, at: usize) -> Fallible<()> {
        let now = self.now();
        self.endpoint.send(now, self.peers[at], &self.input)?;
        self.flush(now)
    }

    fn receive(&mut self) -> Fallible<usize> {
        let mut buffer = [0; LARGEST];
        while let Ok((len, remote)) = self.socket.recv_from(&mut buffer) {
            let path = Path {
                socket: 0,
                remote: Address::Ip(remote),
            };
            self.endpoint.handle_datagram(self.now(), path, &buffer[..len]);
        }
        self.flush(self.now())?;
        let mut count = 0;
        while let Some((_, event)) = self.endpoint.poll_event() {
            match event {
                Event::Message { .. } => count += 1,
                Event::Connected { .. } => self.connected += 1,
                other => return Err(format!("{other:?}").into()),
            }
        }
        Ok(count)
    }
}

impl Protocol {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.started.elapsed().as_micros() as u64)
    }

    fn flush(&mut self, now: Timestamp) -> Fallible<()> {
        while let Output::Datagram { path, bytes } = self.endpoint.poll_output(now) {
            if let Address::Ip(remote) = path.remote {
                self.socket.send_to(bytes, remote)?;
            }
        }
        Ok(())
    }
}
