//! Peers that do not speak netplay: the other ends are the standard library's sockets and `rusty_enet` itself.

#![allow(clippy::unwrap_used)]

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use common::{PATIENCE, Side, both_until, connect_options, listen_options};
use netplay_io::{
    ConnectOptions, Delivery, Error, Event, Kind, ListenOptions, ListenerInfo, Message, PeerId, Reason, SendError,
    Target,
};
use socket2::SockRef;

fn bytes(data: &[u8]) -> Message {
    Message {
        channel: 0,
        delivery: Delivery::RELIABLE,
        kind: Kind::BYTES,
        data: data.to_vec().into(),
    }
}

fn lossy(data: &[u8], is_ordered: bool) -> Message {
    Message {
        delivery: Delivery {
            is_lossy: true,
            is_ordered,
        },
        ..bytes(data)
    }
}

fn address(info: &ListenerInfo) -> SocketAddr {
    info.url.split_once("://").unwrap().1.parse().unwrap()
}

/// Everything that a side has received, put together.
fn joined(side: &Side) -> Vec<u8> {
    let data = side.events.iter().filter_map(|event| match &event.event {
        Event::Message { data, .. } => Some(&data[..]),
        _ => None,
    });
    data.collect::<Vec<_>>().concat()
}

fn noise(len: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..len).map(next).collect()
}

/// A pair of networks connected by this URL.
fn pair(url: &str) -> (Side, Side, PeerId) {
    let (mut server, info) = Side::listening(url);
    let (mut client, called) = Side::calling(&info.url);
    client.network.send(Target::One(called), &[], &bytes(b"hello")).unwrap();
    both_until(&mut server, &mut client, "connected", |server, client| {
        server.connected().len() == 1 && client.connected().len() == 1 && joined(server) == b"hello"
    });
    server
        .events
        .retain(|event| !matches!(event.event, Event::Message { .. }));
    (server, client, called)
}

#[test]
fn two_networks_talk_over_each_of_them_and_say_that_anybody_can_listen() {
    for (url, transport) in [
        ("tcp://127.0.0.1:0", "raw tcp"),
        ("udp://127.0.0.1:0", "raw udp"),
        ("enet://127.0.0.1:0", "enet"),
        ("tcp://localhost:0", "raw tcp"),
        ("enet://*:0", "enet"),
        ("udp://*:0", "raw udp"),
    ] {
        let (mut server, mut client, called) = pair(url);
        let caller = server.connected()[0];
        for (side, peer) in [(&server, caller), (&client, called)] {
            let stats = side.network.peer_stats(peer).unwrap();
            assert_eq!((stats.transport, stats.is_encrypted), (transport, false));
            assert!(!stats.address.is_empty());
        }
        assert!(server.network.peer_listener(caller).is_some());
        let scheme = url.split("://").next().unwrap();
        assert!(
            server
                .network
                .peer_url(caller)
                .unwrap()
                .starts_with(&format!("{scheme}://"))
        );
        assert_eq!(server.network.send(Target::All, &[], &bytes(b"and back")), Ok(1));
        both_until(&mut server, &mut client, "the answer", |_, client| {
            joined(client) == b"and back"
        });
        client.network.close_peer(called, "");
        both_until(&mut server, &mut client, "both ended", |server, client| {
            client.endings().len() == 1 && (server.endings().len() == 1 || scheme == "udp")
        });
        assert_eq!(client.endings()[0].0, Reason::Closed);
        if scheme != "udp" {
            assert_eq!(server.endings()[0].0, Reason::Goodbye, "{url}");
        }
        assert_eq!(client.network.peer_stats(called), None);
    }
}

#[test]
fn a_stream_arrives_whole_however_much_it_is() {
    let (mut server, mut client, called) = pair("tcp://127.0.0.1:0");
    let sent = noise(8 * 1024 * 1024);
    for part in sent.chunks(100_000) {
        client.network.send(Target::One(called), &[], &bytes(part)).unwrap();
    }
    client.network.close_peer(called, "");
    both_until(&mut server, &mut client, "all of it, and the end", |server, _| {
        !server.endings().is_empty()
    });
    assert!(joined(&server) == sent);
}

#[test]
fn a_game_that_takes_nothing_stops_the_sender_and_loses_nothing() {
    let (mut server, info) = Side::listening("tcp://127.0.0.1:0");
    let mut stream = TcpStream::connect(address(&info)).unwrap();
    let sent = noise(16 * 1024 * 1024);
    stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let mut done = 0;
    // Nobody takes anything: the thread of the network reads until its buffer is full, and the kernel's fill too.
    let stopped = loop {
        match stream.write(&sent[done..]) {
            Ok(count) => done += count,
            Err(error) => break error,
        }
        assert!(done < sent.len(), "all of it was taken");
    };
    assert!(
        matches!(stopped.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        "{stopped}"
    );
    let writer = std::thread::spawn(move || {
        stream.set_write_timeout(None).unwrap();
        stream.write_all(&sent[done..]).unwrap();
        sent
    });
    server.until("the end", |server| !server.endings().is_empty());
    assert!(joined(&server) == writer.join().unwrap());
}

#[test]
fn bytes_are_received_when_asked_for_and_the_end_comes_after_the_last() {
    let (mut server, info) = Side::listening("tcp://127.0.0.1:0");
    let mut stream = TcpStream::connect(address(&info)).unwrap();
    server.until("connected", |server| server.connected().len() == 1);
    let peer = server.connected()[0];
    stream.write_all(b"as an event").unwrap();
    server.until("the event", |server| joined(server) == b"as an event");
    assert_eq!(server.network.receive(peer, 0).unwrap(), b"");
    stream.write_all(b"headbody").unwrap();
    drop(stream);
    let mut received = Vec::new();
    let until = Instant::now() + PATIENCE;
    while received.len() < 8 {
        assert!(Instant::now() < until);
        let part = server.network.receive(peer, 3).unwrap();
        assert!(part.len() <= 3);
        received.extend(part);
        server.poll();
        assert!(server.endings().is_empty() || received.len() == 8);
    }
    assert_eq!(received, b"headbody");
    server.until("the end", |server| {
        server.endings() == [(Reason::Goodbye, String::new())]
    });
    assert_eq!(joined(&server), b"as an event");
    assert_eq!(server.network.receive(peer, 3), None);
}

#[test]
fn one_who_has_said_everything_is_still_answered() {
    let (mut server, info) = Side::listening("tcp://127.0.0.1:0");
    let mut stream = TcpStream::connect(address(&info)).unwrap();
    stream.write_all(b"a question").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    server.until("the question", |server| joined(server) == b"a question");
    let peer = server.connected()[0];
    let answer = noise(1_000_000);
    assert!(server.endings().is_empty());
    assert_eq!(server.network.send(Target::One(peer), &[], &bytes(&answer)), Ok(1));
    let reader = std::thread::spawn(move || {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        all
    });
    server.until("the end", |server| {
        server.endings() == [(Reason::Goodbye, String::new())]
    });
    assert!(reader.join().unwrap() == answer);
}

#[test]
fn a_call_that_leads_nowhere_is_an_event_that_says_why() {
    let nobody = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap();
    let (mut client, _) = Side::calling(&format!("tcp://{nobody}"));
    client.until("refused", |client| !client.endings().is_empty());
    let (reason, detail) = &client.endings()[0];
    assert_eq!(*reason, Reason::NoAnswer);
    assert!(detail.contains("refused"), "{detail}");
    let short = || ConnectOptions {
        timeout: Duration::from_millis(300),
        ..connect_options()
    };
    for url in [
        "tcp://192.0.2.1:9",
        &format!("enet://{nobody}"),
        "tcp://name.invalid:9",
        "udp://name.invalid:9",
    ] {
        let mut client = Side::new();
        client.network.connect(url, short()).unwrap();
        client.until("no answer", |client| !client.endings().is_empty());
        let expected = match url.contains("invalid") {
            true => Reason::UnknownHost,
            false => Reason::NoAnswer,
        };
        assert_eq!(client.endings()[0].0, expected, "{url}: {:?}", client.endings());
    }
}

#[test]
fn a_reset_in_the_middle_is_an_event_after_what_came_before() {
    let (mut server, info) = Side::listening("tcp://127.0.0.1:0");
    let mut stream = TcpStream::connect(address(&info)).unwrap();
    stream.write_all(b"half a").unwrap();
    server.until("half of it", |server| joined(server) == b"half a");
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(stream);
    server.until("the end", |server| !server.endings().is_empty());
    assert_eq!(
        server.endings(),
        [(Reason::Goodbye, "the connection was reset".to_owned())]
    );
}

#[test]
fn one_that_does_not_read_is_ended_as_too_slow_and_hurts_nobody() {
    let mut options = listen_options();
    options.limits.send_queue = 1024 * 1024;
    let mut server = Side::new();
    let info = server.network.listen("tcp://127.0.0.1:0", options).unwrap();
    let slow = TcpStream::connect(address(&info)).unwrap();
    let mut honest = TcpStream::connect(address(&info)).unwrap();
    server.until("both", |server| server.connected().len() == 2);
    let reader = std::thread::spawn(move || {
        let mut all = Vec::new();
        honest.read_to_end(&mut all).unwrap();
        all.len()
    });
    let mut sent = 0;
    let until = Instant::now() + PATIENCE;
    while server.endings().is_empty() {
        assert!(Instant::now() < until);
        server.network.send(Target::All, &[], &bytes(&[7; 65_536])).unwrap();
        sent += 65_536;
        server.poll();
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(server.endings()[0].0, Reason::TooSlow, "{:?}", server.endings());
    server.network.close(PATIENCE);
    assert_eq!(reader.join().unwrap(), sent);
    drop(slow);
}

#[test]
fn a_listener_that_is_full_closes_the_door_and_opens_it_again() {
    let mut server = Side::new();
    let options = ListenOptions {
        max_peers: 1,
        ..listen_options()
    };
    let info = server.network.listen("tcp://127.0.0.1:0", options).unwrap();
    let first = TcpStream::connect(address(&info)).unwrap();
    server.until("the first", |server| server.connected().len() == 1);
    let mut second = TcpStream::connect(address(&info)).unwrap();
    assert_eq!(second.read(&mut [0; 8]).unwrap_or(0), 0);
    assert_eq!(server.network.listener_stats(info.id).unwrap().endpoint.refused, 1);
    drop(first);
    server.until("its end", |server| server.endings().len() == 1);
    let _third = TcpStream::connect(address(&info)).unwrap();
    server.until("the third", |server| server.connected().len() == 2);
}

#[test]
fn what_makes_no_sense_is_said_to_the_caller() {
    let (mut server, mut client, called) = pair("tcp://127.0.0.1:0");
    let to = Target::One(called);
    let value = Message {
        kind: Kind::VALUE,
        ..bytes(b"\xc0")
    };
    let channel = Message {
        channel: 3,
        ..bytes(b"x")
    };
    for target in [to, Target::All, Target::Many(&[called])] {
        let scheme = "tcp";
        assert_eq!(
            client.network.send(target, &[], &lossy(b"x", true)),
            Err(SendError::NotLossy { scheme })
        );
        assert_eq!(
            client.network.send(target, &[], &value),
            Err(SendError::NotBytes { scheme })
        );
        assert_eq!(
            client.network.send(target, &[], &channel),
            Err(SendError::NoChannel {
                scheme,
                channel: 3,
                last: 0
            })
        );
    }
    assert_eq!(client.network.send(Target::All, &[called], &value), Ok(0));
    let with_password = ListenOptions {
        password: Some("swordfish".into()),
        ..listen_options()
    };
    let refused = client.network.listen("enet://127.0.0.1:0", with_password);
    assert!(
        matches!(&refused, Err(Error::Option(text)) if text.contains("password")),
        "{refused:?}"
    );
    server.poll();
    client.poll();
}

#[test]
fn a_thousand_streams_come_and_go() {
    let mut server = Side::new();
    let options = ListenOptions {
        max_peers: 400,
        ..listen_options()
    };
    let info = server.network.listen("tcp://127.0.0.1:0", options).unwrap();
    for round in 0..3 {
        let mut streams: Vec<TcpStream> = (0..350).map(|_| TcpStream::connect(address(&info)).unwrap()).collect();
        server.until("all in", |server| server.connected().len() == 350 * (round + 1));
        for stream in &mut streams {
            stream.write_all(b"hi").unwrap();
        }
        server.until("all heard", |server| joined(server).len() == 700 * (round + 1));
        drop(streams);
        server.until("all gone", |server| server.endings().len() == 350 * (round + 1));
    }
    assert_eq!(server.network.listener_stats(info.id).unwrap().peers, 0);
}

#[test]
fn lag_holds_a_stream_back_and_keeps_its_order() {
    let (mut server, info) = Side::listening("tcp://127.0.0.1:0");
    let (mut client, called) = Side::calling(&format!("{}?lag_ms=150&rate_kbps=8000", info.url));
    both_until(&mut server, &mut client, "connected", |server, client| {
        server.connected().len() == 1 && client.connected().len() == 1
    });
    let began = Instant::now();
    let sent = noise(100_000);
    for part in sent.chunks(1000) {
        client.network.send(Target::One(called), &[], &bytes(part)).unwrap();
    }
    server.until("all of it", |server| joined(server).len() == sent.len());
    // 100 kB take a tenth of a second at 8 Mbit/s.
    assert!(began.elapsed() >= Duration::from_millis(240), "{:?}", began.elapsed());
    assert!(joined(&server) == sent);
}

#[test]
fn whoever_sends_a_datagram_is_a_peer_and_is_answered() {
    let (mut server, info) = Side::listening("udp://127.0.0.1:0");
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.send_to(b"", address(&info)).unwrap();
    socket.send_to(&noise(60_000), address(&info)).unwrap();
    server.until("both", |server| joined(server).len() == 60_000);
    let first = |event: &Event| match event {
        Event::Message { data, sequence_id, .. } => Some((data.len(), *sequence_id)),
        _ => None,
    };
    let sizes: Vec<_> = server.events.iter().filter_map(|event| first(&event.event)).collect();
    assert_eq!(sizes, [(0, 0), (60_000, 1)]);
    let peer = server.connected()[0];
    assert_eq!(
        server.network.peer_url(peer).unwrap(),
        format!("udp://{}", socket.local_addr().unwrap())
    );
    server
        .network
        .send(Target::One(peer), &[], &bytes(&[1; 65_507]))
        .unwrap();
    server.poll();
    let mut buffer = vec![0; 70_000];
    assert_eq!(socket.recv_from(&mut buffer).unwrap(), (65_507, address(&info)));
    assert_eq!(
        server.network.send(Target::All, &[], &bytes(&[1; 65_508])),
        Err(SendError::DatagramTooLarge {
            size: 65_508,
            limit: 65_507
        })
    );
}

#[test]
fn a_flood_of_forged_senders_is_bounded_and_counted_and_does_not_reach_those_who_were_there() {
    let mut server = Side::new();
    let options = ListenOptions {
        max_peers: 8,
        ..listen_options()
    };
    let info = server.network.listen("udp://127.0.0.1:0", options).unwrap();
    let honest = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    honest.send_to(b"first", address(&info)).unwrap();
    server.until("the honest one", |server| joined(server) == b"first");
    // Each from an address of its own.
    for number in 1..=2000_u16 {
        let [high, low] = number.to_be_bytes();
        let forged = UdpSocket::bind((Ipv4Addr::new(127, 9, high, low), 0)).unwrap();
        forged.send_to(b"forged", address(&info)).unwrap();
        if number % 100 == 0 {
            server.poll();
        }
    }
    honest.send_to(b"still here", address(&info)).unwrap();
    server.until("the honest one again", |server| joined(server).ends_with(b"still here"));
    let stats = server.network.listener_stats(info.id).unwrap();
    assert_eq!((stats.peers, server.connected().len()), (8, 8));
    assert!(stats.sockets.strangers_dropped > 1000, "{stats:?}");
}

#[test]
fn a_datagram_needs_no_connection() {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let side = Side::new();
    let port = socket.local_addr().unwrap().port();
    for host in ["127.0.0.1", "localhost"] {
        side.network
            .send_datagram(&format!("udp://{host}:{port}"), &bytes(host.as_bytes()))
            .unwrap();
        let mut buffer = [0; 64];
        let count = socket.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..count], host.as_bytes());
    }
    side.network
        .send_datagram("udp://name.invalid:9", &bytes(b"lost"))
        .unwrap();
    let large = side.network.send_datagram("udp://127.0.0.1:9", &bytes(&[0; 65_508]));
    assert!(
        matches!(large, Err(Error::Send(SendError::DatagramTooLarge { .. }))),
        "{large:?}"
    );
    for wrong in ["tcp://127.0.0.1:9", "udp://127.0.0.1:9?loss_pct=5", "udp://127.0.0.1:0"] {
        assert!(matches!(
            side.network.send_datagram(wrong, &bytes(b"x")),
            Err(Error::Url(_))
        ));
    }
}

#[test]
fn enet_carries_every_delivery_on_its_channels_and_says_which_it_was() {
    let (mut server, mut client, called) = pair("enet://127.0.0.1:0");
    let to = Target::One(called);
    let large = noise(50_000);
    let sent = [
        (7, Delivery::RELIABLE, large.clone()),
        (7, Delivery::LOSSY, b"lossy".to_vec()),
        (9, Delivery::LOSSY_UNORDERED, b"unsequenced".to_vec()),
        (254, Delivery::RELIABLE, b"last channel".to_vec()),
        (8, Delivery::LOSSY, large),
        (7, Delivery::RELIABLE, Vec::new()),
    ];
    for (index, (channel, delivery, data)) in sent.iter().enumerate() {
        let message = Message {
            channel: *channel,
            delivery: *delivery,
            ..bytes(data)
        };
        assert_eq!(client.network.send(to, &[], &message), Ok(1));
        both_until(&mut server, &mut client, "it", |server, _| {
            let is_message = |event: &&netplay_io::PeerEvent| matches!(event.event, Event::Message { .. });
            server.events.iter().filter(is_message).count() == index + 1
        });
    }
    let got: Vec<_> = server
        .events
        .iter()
        .filter_map(|event| match &event.event {
            Event::Message {
                channel,
                delivery,
                data,
                ..
            } => Some((*channel, *delivery, data.to_vec())),
            _ => None,
        })
        .collect();
    assert!(
        got == sent,
        "{:?}",
        got.iter().map(|(c, d, b)| (c, d, b.len())).collect::<Vec<_>>()
    );
    let none = Message {
        channel: 255,
        ..bytes(b"x")
    };
    let (scheme, channel, last) = ("enet", 255, 254);
    assert_eq!(
        client.network.send(to, &[], &none),
        Err(SendError::NoChannel { scheme, channel, last })
    );
    // Only a number travels with the goodbye.
    client.network.close_peer(called, "4294967295");
    server.until("the goodbye", |server| {
        server.endings() == [(Reason::Goodbye, "4294967295".to_owned())]
    });
}

#[test]
fn a_game_that_takes_nothing_holds_a_peer_of_enet_up_and_loses_nothing() {
    let (mut server, mut client, called) = pair("enet://127.0.0.1:0");
    let part = noise(1024 * 1024);
    for _ in 0..20 {
        client.network.send(Target::One(called), &[], &bytes(&part)).unwrap();
    }
    // The thread of the server reads for it, until 16 MiB wait.
    let mut before = 0;
    let until = Instant::now() + PATIENCE;
    while server.network.events_waiting() < 16 || server.network.events_waiting() != before {
        assert!(Instant::now() < until, "{before} wait");
        before = server.network.events_waiting();
        std::thread::sleep(Duration::from_millis(300));
        client.poll();
    }
    assert!(before < 20, "{before} wait");
    both_until(&mut server, &mut client, "all of it", |server, _| {
        joined(server).len() == 20 * part.len()
    });
    assert!(server.endings().is_empty() && client.endings().is_empty());
}

#[test]
fn enet_goes_through_a_bad_network_in_order() {
    let (mut server, info) = Side::listening("enet://127.0.0.1:0");
    let url = format!("{}?lag_ms=5&jitter_ms=5&loss_pct=10&dup_pct=5&seed=3", info.url);
    let (mut client, called) = Side::calling(&url);
    for number in 0..200_u8 {
        client
            .network
            .send(Target::One(called), &[], &bytes(&[number]))
            .unwrap();
    }
    both_until(&mut server, &mut client, "all", |server, _| joined(server).len() == 200);
    assert_eq!(joined(&server), (0..200).collect::<Vec<u8>>());
}

#[test]
fn garbage_at_the_port_of_enet_hurts_nobody() {
    let (mut server, mut client, called) = pair("enet://127.0.0.1:0");
    let caller: SocketAddr = server
        .network
        .peer_stats(server.connected()[0])
        .unwrap()
        .address
        .parse()
        .unwrap();
    let listener: SocketAddr = client.network.peer_stats(called).unwrap().address.parse().unwrap();
    let stranger = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let noise = noise(400_000);
    for (index, part) in noise.chunks(97).enumerate() {
        let mut datagram = part[..part.len().min(1 + index % 97)].to_vec();
        if index % 3 == 0 && datagram.len() > 4 {
            // As from one that is about to connect: the number of no peer, and the command for it.
            datagram[0] = 0x8f;
            datagram[1] = 0xff;
            datagram[4] = 0x82;
        }
        stranger.send_to(&datagram, listener).unwrap();
        stranger.send_to(&datagram, caller).unwrap();
        if index % 50 == 0 {
            server.poll();
            client.poll();
        }
    }
    client
        .network
        .send(Target::One(called), &[], &bytes(b"still here"))
        .unwrap();
    both_until(&mut server, &mut client, "the honest one", |server, _| {
        joined(server).ends_with(b"still here")
    });
}

/// Carries datagrams between a caller and this listener, each way, and spoils some of them.
fn spoiling(listener: SocketAddr, seed: u32) -> (SocketAddr, std::sync::Arc<std::sync::atomic::AtomicBool>) {
    use std::sync::atomic::{AtomicBool, Ordering};
    let near = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = near.local_addr().unwrap();
    let is_over = std::sync::Arc::new(AtomicBool::new(false));
    let flag = std::sync::Arc::clone(&is_over);
    std::thread::spawn(move || {
        let far = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        for socket in [&near, &far] {
            socket.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        }
        let mut state = seed;
        let mut random = move |below: usize| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as usize % below.max(1)
        };
        let (mut caller, mut buffer) = (None, [0; 4096]);
        while !flag.load(Ordering::SeqCst) {
            for (from, to) in [(&near, &far), (&far, &near)] {
                let Ok((len, source)) = from.recv_from(&mut buffer) else {
                    continue;
                };
                if std::ptr::eq(from, &near) {
                    caller = Some(source);
                }
                let target = if std::ptr::eq(to, &far) { Some(listener) } else { caller };
                let Some(target) = target else {
                    continue;
                };
                to.send_to(&buffer[..len], target).unwrap();
                // Spoilt ones come beside the sound ones, so that the conversation goes on and every state is met.
                for _ in 0..4 {
                    let mut spoilt = buffer[..len].to_vec();
                    for _ in 0..1 + random(4) {
                        let at = random(len.min(48));
                        spoilt[at] = [0, 1, 0x7f, 0x80, 0xff, random(256) as u8][random(6)];
                    }
                    spoilt.truncate(if random(4) == 0 { random(len) } else { len });
                    to.send_to(&spoilt, target).unwrap();
                }
            }
        }
    });
    (address, is_over)
}

#[test]
fn spoilt_datagrams_of_a_peer_of_enet_hurt_nobody_else() {
    let (mut server, info) = Side::listening("enet://127.0.0.1:0");
    let (mut honest, to_server) = Side::calling(&info.url);
    for seed in 0..6 {
        let (proxy, is_over) = spoiling(address(&info), seed);
        let (mut client, called) = Side::calling(&format!("enet://{proxy}"));
        let until = Instant::now() + Duration::from_millis(700);
        let mut number = 0_usize;
        while Instant::now() < until {
            number += 1;
            let message = Message {
                channel: (number % 5) as u8,
                ..match number % 4 {
                    0 => bytes(&noise(9000)),
                    1 => lossy(&noise(5000), true),
                    2 => lossy(b"small", false),
                    _ => bytes(b"small"),
                }
            };
            let _ = client.network.send(Target::One(called), &[], &message);
            let _ = server.network.send(Target::All, &[], &message);
            server.poll();
            client.poll();
            honest.poll();
            std::thread::sleep(Duration::from_millis(2));
        }
        is_over.store(true, std::sync::atomic::Ordering::SeqCst);
        let faults = |side: &Side| side.endings().iter().any(|(reason, _)| *reason == Reason::Internal);
        assert!(!faults(&server) && !faults(&client), "a fault inside, seed {seed}");
    }
    honest
        .network
        .send(Target::One(to_server), &[], &bytes(b"still here"))
        .unwrap();
    both_until(&mut server, &mut honest, "the honest one", |server, _| {
        joined(server).ends_with(b"still here")
    });
}

#[test]
fn a_ban_shuts_out_whoever_it_is() {
    for scheme in ["tcp", "udp", "enet"] {
        let (mut server, mut client, called) = pair(&format!("{scheme}://127.0.0.1:0"));
        server.network.ban("127.0.0.1".parse().unwrap(), None).unwrap();
        server.until("out", |server| server.endings() == [(Reason::Banned, String::new())]);
        let _ = client.network.send(Target::One(called), &[], &bytes(b"let me in"));
        client.poll();
        std::thread::sleep(Duration::from_millis(50));
        server.poll();
        assert_eq!(server.connected().len(), 1, "{scheme}");
    }
}

#[test]
fn a_port_is_free_again_when_its_listener_is_closed() {
    for scheme in ["tcp", "udp", "enet"] {
        let (mut server, mut client, _) = pair(&format!("{scheme}://127.0.0.1:0"));
        let port = client.network.peer_stats(client.connected()[0]).unwrap().address;
        assert!(server.network.close_listener(server.events[0].listener.unwrap()));
        client.poll();
        let again = server.network.listen(&format!("{scheme}://{port}"), listen_options());
        assert!(again.is_ok(), "{again:?}");
        server.until("its end", |server| !server.endings().is_empty());
    }
}

#[test]
fn a_connection_made_for_one_message_ends_when_nothing_passes() {
    for url in ["tcp://127.0.0.1:0", "play://127.0.0.1:0"] {
        let (mut server, mut client, called) = pair(url);
        client.network.close_when_idle(called, Duration::from_millis(200));
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(400) {
            client.network.send(Target::One(called), &[], &bytes(b"x")).unwrap();
            client.poll();
            server.poll();
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(client.endings().is_empty());
        both_until(&mut server, &mut client, "idle", |server, client| {
            client.endings() == [(Reason::Closed, "idle".to_owned())] && server.endings().len() == 1
        });
    }
}
