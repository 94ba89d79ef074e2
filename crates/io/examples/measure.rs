//! Measures echo latency and one-way throughput over loopback, two networks in two threads of one process:
//! `cargo run --release -p netplay-io --example measure [messages]`.

use std::time::{Duration, Instant};

use netplay_io::{
    ConnectOptions, Delivery, Event, Identity, Kind, Limits, ListenOptions, Message, Network, Target, generate_key,
};

fn message(size: usize) -> Message {
    Message {
        channel: 0,
        delivery: Delivery::RELIABLE,
        kind: Kind::BYTES,
        data: vec![7; size].into(),
    }
}

fn listen(network: &Network, url: &str) -> Result<String, Box<dyn std::error::Error>> {
    let options = ListenOptions {
        name: String::new(),
        version: String::new(),
        password: None,
        max_peers: 8,
        identity: Identity::from_secret(generate_key()?),
        limits: Limits::default(),
        transports: None,
        certificate: None,
        relay: None,
        p2p_secret: None,
        advertise: None,
    };
    Ok(network.listen(url, options)?.url)
}

/// Answers everything, until the peer says goodbye. Returns how many messages came.
fn serve(network: &Network, is_echo: bool) -> usize {
    let mut events = Vec::new();
    let mut count = 0;
    loop {
        network.wait(Duration::from_secs(5));
        network.take(4096, &mut events);
        for event in events.drain(..) {
            match event.event {
                Event::Message {
                    channel,
                    delivery,
                    kind,
                    data,
                    ..
                } => {
                    count += 1;
                    if is_echo {
                        let _ = network.send(
                            Target::One(event.peer),
                            &[],
                            &Message {
                                channel,
                                delivery,
                                kind,
                                data,
                            },
                        );
                    }
                }
                Event::Disconnected { .. } => return count,
                _ => {}
            }
        }
    }
}

fn percentile(times: &mut [Duration], share: f64) -> Duration {
    times.sort();
    times[((times.len() - 1) as f64 * share) as usize]
}

fn echo(url: &str, rounds: usize, pause: Duration) -> Result<(), Box<dyn std::error::Error>> {
    let server = Network::new();
    let url = listen(&server, url)?;
    let thread = std::thread::spawn(move || serve(&server, true));
    let client = Network::new();
    client.connect(&url, ConnectOptions::default())?;
    let mut events = Vec::new();
    let mut times = Vec::new();
    for round in 0..rounds + 100 {
        std::thread::sleep(pause);
        let started = Instant::now();
        client.send(Target::All, &[], &message(64))?;
        loop {
            events.clear();
            client.wait(Duration::from_secs(5));
            client.take(64, &mut events);
            if events.iter().any(|event| matches!(event.event, Event::Message { .. })) {
                break;
            }
        }
        if round >= 100 {
            times.push(started.elapsed());
        }
    }
    client.close(Duration::from_secs(1));
    let _ = thread.join();
    let (p50, p99) = (percentile(&mut times, 0.5), percentile(&mut times, 0.99));
    println!("echo of 64 B over {url:24} with {pause:4?} between: p50 {p50:7.1?}, p99 {p99:7.1?}");
    Ok(())
}

fn throughput(size: usize, count: usize) -> Result<(), Box<dyn std::error::Error>> {
    let server = Network::new();
    let url = listen(&server, "play://127.0.0.1:0")?;
    let thread = std::thread::spawn(move || {
        let count = serve(&server, false);
        (count, Instant::now())
    });
    let client = Network::new();
    client.connect(&url, ConnectOptions::default())?;
    let mut events = Vec::new();
    while !events
        .iter()
        .any(|event: &netplay_io::PeerEvent| matches!(event.event, Event::Connected { .. }))
    {
        client.wait(Duration::from_secs(5));
        client.take(64, &mut events);
    }
    let peer = events[0].peer;
    let message = message(size);
    let started = Instant::now();
    for number in 0..count {
        client.send(Target::All, &[], &message)?;
        if number % 64 == 0 {
            client.take(64, &mut events);
            while client
                .peer_stats(peer)
                .is_some_and(|stats| stats.connection.queued_bytes > 1 << 20)
            {
                client.wait(Duration::from_millis(1));
                client.take(64, &mut events);
            }
        }
    }
    client.close(Duration::from_secs(10));
    let (arrived, ended) = thread.join().map_err(|_| "the server failed")?;
    let seconds = (ended - started).as_secs_f64();
    println!(
        "{size:5} B one way: {:9.0} messages/s, {:6.1} MB/s ({arrived} of {count} arrived)",
        arrived as f64 / seconds,
        (arrived * size) as f64 / seconds / 1e6
    );
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let count = std::env::args().nth(1).map_or(Ok(200_000), |text| text.parse())?;
    for url in ["play://127.0.0.1:0", "local://measure"] {
        echo(url, 5_000, Duration::ZERO)?;
        echo(url, 200, Duration::from_millis(10))?;
    }
    throughput(64, count)?;
    throughput(1024, count / 4)?;
    throughput(65_536, count / 100)?;
    Ok(())
}
