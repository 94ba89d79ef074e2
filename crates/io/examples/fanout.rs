//! Measures what a server's process needs to send 1 KiB to many clients at 20 Hz while each sends 32 B at 20 Hz, over
//! loopback, the clients in a process of their own (Linux):
//! `cargo run --release -p netplay-io --example fanout [clients] [seconds]`.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use netplay_io::{
    ConnectOptions, Delivery, Event, Identity, Kind, Limits, ListenOptions, Message, Network, Target, generate_key,
};

type Outcome = Result<(), Box<dyn std::error::Error>>;

const TICK: Duration = Duration::from_millis(50);

fn message(size: usize) -> Message {
    Message {
        channel: 0,
        delivery: Delivery::LOSSY,
        kind: Kind::BYTES,
        data: vec![7; size].into(),
    }
}

/// Returns the processor time of this process, in seconds.
fn processor_seconds() -> Result<f64, Box<dyn std::error::Error>> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    Ok((fields[11].parse::<f64>()? + fields[12].parse::<f64>()?) / 100.0)
}

fn serve(clients: usize, seconds: u64) -> Outcome {
    let server = Network::new();
    let options = ListenOptions {
        name: String::new(),
        version: String::new(),
        password: None,
        max_peers: clients,
        identity: Identity::from_secret(generate_key()?),
        limits: Limits::default(),
    };
    let url = server.listen("play://127.0.0.1:0", options)?.url;
    let mut child = Command::new(std::env::current_exe()?)
        .args(["call", &url, &clients.to_string()])
        .stdout(Stdio::piped())
        .spawn()?;
    let mut events = Vec::new();
    let mut connected = 0;
    while connected < clients {
        server.wait(Duration::from_secs(10));
        events.clear();
        server.take(usize::MAX, &mut events);
        connected += events
            .iter()
            .filter(|event| matches!(event.event, Event::Connected { .. }))
            .count();
    }
    let snapshot = message(1024);
    let (started, processor_started) = (Instant::now(), processor_seconds()?);
    let (mut sent, mut received) = (0, 0);
    let mut tick = started;
    while started.elapsed() < Duration::from_secs(seconds) {
        sent += server.send(Target::All, &[], &snapshot)?;
        tick += TICK;
        while let Some(left) = tick.checked_duration_since(Instant::now()) {
            server.wait(left);
            events.clear();
            server.take(usize::MAX, &mut events);
            received += events.len();
        }
    }
    let processor = processor_seconds()? - processor_started;
    server.close(Duration::from_secs(2));
    let mut line = String::new();
    BufReader::new(child.stdout.take().ok_or("no output")?).read_line(&mut line)?;
    child.wait()?;
    println!(
        "{clients} clients: server processor {:.1} %, received {received}, sent {sent}, arrived {}",
        100.0 * processor / started.elapsed().as_secs_f64(),
        line.trim()
    );
    Ok(())
}

fn call(url: &str, clients: usize) -> Outcome {
    let network = Network::new();
    for _ in 0..clients {
        network.connect(url, ConnectOptions::default())?;
    }
    let input = message(32);
    let mut events = Vec::new();
    let (mut arrived, mut ended) = (0, 0);
    let mut tick = Instant::now();
    while ended < clients {
        tick += TICK;
        network.send(Target::All, &[], &input)?;
        while let Some(left) = tick.checked_duration_since(Instant::now()) {
            network.wait(left);
            events.clear();
            network.take(usize::MAX, &mut events);
            arrived += events
                .iter()
                .filter(|event| matches!(event.event, Event::Message { .. }))
                .count();
            ended += events
                .iter()
                .filter(|event| matches!(event.event, Event::Disconnected { .. }))
                .count();
        }
    }
    println!("{arrived}");
    Ok(())
}

fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [word, url, clients] if word == "call" => call(url, clients.parse()?),
        [] => serve(100, 5),
        [clients] => serve(clients.parse()?, 5),
        [clients, seconds, ..] => serve(clients.parse()?, seconds.parse()?),
    }
}
