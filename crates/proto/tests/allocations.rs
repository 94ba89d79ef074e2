//! In a steady state a packet allocates nothing, on either side and in either direction: only the bytes of each long message that
//! is handed to the game are a piece of memory of its own; short ones lie in place.

#![allow(clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use netplay_proto::Payload;
use netplay_proto::{
    Accept, Address, Connect, ConnectionId, Delivery, Endpoint, EndpointConfig, Event, Identity, Kind, Limits, Message,
    Output, Path, Timestamp,
};

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// What a side has been told.
#[derive(Default)]
struct Heard {
    connected: Vec<ConnectionId>,
    messages: usize,
}

fn endpoint(number: u8, accept: Option<Accept>) -> Endpoint {
    let config = EndpointConfig {
        identity: Identity::from_secret([number; 32]),
        accept,
        limits: Limits::default(),
    };
    Endpoint::new(config, [number + 100; 32])
}

fn path(remote: u64) -> Path {
    Path {
        socket: 0,
        remote: Address::Virtual(remote),
    }
}

/// Lets both sides talk until neither has anything to say; the network takes no time and no memory.
fn talk(now: Timestamp, sides: &mut [Endpoint; 2], heard: &mut [Heard; 2]) {
    loop {
        let mut is_quiet = true;
        for from in [0, 1] {
            let [one, other] = sides;
            let (sender, receiver) = if from == 0 { (one, other) } else { (other, one) };
            while let Output::Datagram { bytes, .. } = sender.poll_output(now) {
                receiver.handle_datagram(now, path(from as u64), bytes);
                is_quiet = false;
            }
            while let Some((id, event)) = receiver.poll_event() {
                match event {
                    Event::Connected { .. } => heard[1 - from].connected.push(id),
                    Event::Message { .. } => heard[1 - from].messages += 1,
                    other => panic!("{other:?}"),
                }
            }
        }
        if is_quiet {
            return;
        }
    }
}

#[test]
fn in_a_steady_state_only_long_messages_that_are_delivered_allocate() {
    let accept = Accept {
        max_peers: 1,
        ..Accept::default()
    };
    let mut sides = [endpoint(1, Some(accept)), endpoint(2, None)];
    let mut heard = [Heard::default(), Heard::default()];
    let mut now = Timestamp::from_millis(1000);
    let connect = Connect {
        paths: vec![path(0)],
        timeout: Duration::from_secs(10),
        ..Connect::default()
    };
    sides[1].connect(now, connect);
    talk(now, &mut sides, &mut heard);
    let ids = [heard[0].connected[0], heard[1].connected[0]];
    let message = |size, delivery| Message {
        channel: 0,
        delivery,
        kind: Kind::BYTES,
        data: Payload::from(vec![7; size]),
    };
    let (down, up) = (message(1000, Delivery::LOSSY), message(32, Delivery::LOSSY));
    let chat = message(40, Delivery::RELIABLE);
    let mut begun = (0, 0);
    for tick in 0..2000 {
        if tick == 1000 {
            begun = (ALLOCATIONS.load(Relaxed), heard[0].messages + heard[1].messages);
        }
        now += Duration::from_millis(16);
        for _ in 0..2 {
            sides[0].send(now, ids[0], &down).unwrap();
            sides[1].send(now, ids[1], &up).unwrap();
        }
        sides[0].send(now, ids[0], &chat).unwrap();
        sides[1].send(now, ids[1], &chat).unwrap();
        talk(now, &mut sides, &mut heard);
    }
    let allocated = ALLOCATIONS.load(Relaxed) - begun.0;
    let delivered = heard[0].messages + heard[1].messages - begun.1;
    assert_eq!(delivered, 6 * 1000);
    let long = 2 * 1000;
    assert_eq!(
        allocated, long,
        "{allocated} allocations for {long} long messages of {delivered}"
    );
}
