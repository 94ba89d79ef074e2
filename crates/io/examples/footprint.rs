//! What connections cost a server in memory and processor time, without sockets: ten thousand of them in one endpoint,
//! every allocation counted: `cargo run --release -p netplay-io --example footprint [connections]`.
//!
//! Lines of numbers for a program go to the standard output.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use netplay_proto::Payload;
use netplay_proto::{
    Accept, Address, Connect, ConnectionId, Delivery, Endpoint, EndpointConfig, Event, Identity, Kind, Limits, Message,
    Output, Path, Timestamp,
};

/// The system's allocator, with an account.
struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(layout.size(), Relaxed);
        ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        HELD.fetch_add(size, Relaxed);
        HELD.fetch_sub(layout.size(), Relaxed);
        ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// One of many who call.
struct Client {
    endpoint: Endpoint,
    connection: ConnectionId,
    is_connected: bool,
}

/// A server and its clients, joined by a network that loses nothing and takes no time.
struct World {
    server: Endpoint,
    clients: Vec<Client>,
    server_ids: Vec<ConnectionId>,
    now: Timestamp,
    /// What the server has worked, and how often it has allocated meanwhile.
    worked: Duration,
    allocated: usize,
    /// What the server keeps.
    kept: isize,
}

impl World {
    fn new() -> Self {
        let accept = Accept {
            max_peers: 1 << 20,
            ..Accept::default()
        };
        Self {
            server: endpoint(1, Some(accept)),
            clients: Vec::new(),
            server_ids: Vec::new(),
            now: Timestamp::from_millis(1000),
            worked: Duration::ZERO,
            allocated: 0,
            kept: 0,
        }
    }

    /// Lets the server do something, on its account.
    fn server_does<T>(&mut self, action: impl FnOnce(&mut Endpoint, Timestamp) -> T) -> T {
        let (held, allocations, started) = (HELD.load(Relaxed), ALLOCATIONS.load(Relaxed), Instant::now());
        let result = action(&mut self.server, self.now);
        self.worked += started.elapsed();
        self.allocated += ALLOCATIONS.load(Relaxed) - allocations;
        self.kept += HELD.load(Relaxed) as isize - held as isize;
        result
    }

    /// Lets one client talk with the server until neither has more to say. `buffer` is not the server's.
    fn talk(&mut self, index: usize, buffer: &mut Vec<u8>) {
        let remote = Address::Virtual(index as u64 + 1);
        let server = Address::Virtual(0);
        loop {
            let mut is_quiet = true;
            loop {
                buffer.clear();
                if let Output::Datagram { bytes, .. } = self.clients[index].endpoint.poll_output(self.now) {
                    buffer.extend_from_slice(bytes);
                } else {
                    break;
                }
                is_quiet = false;
                let path = Path { socket: 0, remote };
                self.server_does(|endpoint, now| endpoint.handle_datagram(now, path, buffer));
            }
            loop {
                buffer.clear();
                buffer.reserve(2048);
                let to = self.server_does(|endpoint, now| match endpoint.poll_output(now) {
                    Output::Datagram { path, bytes } => {
                        buffer.extend_from_slice(bytes);
                        Some(path.remote)
                    }
                    Output::Dial { .. } | Output::Timeout(_) => None,
                });
                let Some(Address::Virtual(to)) = to else { break };
                is_quiet = false;
                let path = Path {
                    socket: 0,
                    remote: server,
                };
                let now = self.now;
                let client = &mut self.clients[to as usize - 1];
                client.endpoint.handle_datagram(now, path, buffer);
            }
            while let Some((id, event)) = self.server_does(|endpoint, _| endpoint.poll_event()) {
                if let Event::Connected { .. } = event {
                    self.server_ids.push(id);
                }
            }
            let client = &mut self.clients[index];
            while let Some((_, event)) = client.endpoint.poll_event() {
                client.is_connected |= matches!(event, Event::Connected { .. });
            }
            if is_quiet {
                return;
            }
        }
    }

    fn connect(&mut self, buffer: &mut Vec<u8>) {
        let index = self.clients.len();
        let mut endpoint = endpoint(index as u64 + 2, None);
        let connect = Connect {
            paths: vec![Path {
                socket: 0,
                remote: Address::Virtual(0),
            }],
            timeout: Duration::from_secs(10),
            ..Connect::default()
        };
        let connection = endpoint.connect(self.now, connect);
        self.clients.push(Client {
            endpoint,
            connection,
            is_connected: false,
        });
        self.talk(index, buffer);
        assert!(self.clients[index].is_connected, "client {index} is in");
    }

    /// Forgets what was counted.
    fn settle(&mut self) {
        (self.worked, self.allocated) = (Duration::ZERO, 0);
    }
}

fn endpoint(number: u64, accept: Option<Accept>) -> Endpoint {
    let mut secret = [7; 32];
    secret[..8].copy_from_slice(&number.to_le_bytes());
    let config = EndpointConfig {
        identity: Identity::from_secret(secret),
        accept,
        limits: Limits::default(),
    };
    secret[31] = 1;
    Endpoint::new(config, secret)
}

fn message(size: usize, delivery: Delivery) -> Message {
    Message {
        channel: 0,
        delivery,
        kind: Kind::BYTES,
        data: Payload::from(vec![7; size]),
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let count: usize = std::env::args().nth(1).map_or(Ok(10_000), |text| text.parse())?;
    let mut world = World::new();
    let mut buffer = Vec::with_capacity(2048);
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        world.settle();
        world.connect(&mut buffer);
        times.push(world.worked);
    }
    times.sort();
    println!("handshake, server, µs\t{:.1}", times[count / 2].as_secs_f64() * 1e6);

    // A minute in which nobody says anything but that he is there.
    world.settle();
    let started = world.now;
    for second in 1..=60 {
        world.now = started + Duration::from_secs(second);
        for index in 0..count {
            world.talk(index, &mut buffer);
        }
    }
    println!("idle connection, server, bytes\t{}", world.kept / count as isize);

    // A waking up for which no timer is due.
    world.settle();
    for _ in 0..1000 {
        world.server_does(|endpoint, now| matches!(endpoint.poll_output(now), Output::Datagram { .. }));
    }
    println!(
        "waking up among idle connections, server, µs\t{:.2}",
        world.worked.as_secs_f64() * 1e3
    );

    // The game's own traffic, for as many as a server has.
    let few = count.min(1000);
    let (down, up) = (message(1024, Delivery::LOSSY), message(32, Delivery::LOSSY));
    let mut per_packet = (0.0, 0.0);
    let ids = world.server_ids.clone();
    for tick in 0..200 {
        if tick == 100 {
            world.settle();
        }
        world.now += Duration::from_millis(50);
        for (index, id) in ids.iter().enumerate().take(few) {
            world.server_does(|endpoint, now| endpoint.send(now, *id, &down))?;
            let client = &mut world.clients[index];
            client.endpoint.send(world.now, client.connection, &up)?;
            world.talk(index, &mut buffer);
        }
        per_packet = (
            world.worked.as_secs_f64() * 1e6 / ((tick % 100 + 1) * few) as f64,
            world.allocated as f64 / ((tick % 100 + 1) * few) as f64,
        );
    }
    println!("1 KiB out and 32 B in, server, µs\t{:.2}", per_packet.0);
    println!("1 KiB out and 32 B in, server, allocations\t{:.2}", per_packet.1);
    println!("busy connection, server, bytes\t{}", world.kept / count as isize);
    Ok(())
}
