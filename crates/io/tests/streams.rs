//! Streams over real sockets on this machine: every transport, and what strangers do to a port that serves them.

#![allow(clippy::unwrap_used)]

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use common::{PATIENCE, Side, both_until, connect_options, listen_options, text_message};
use netplay_io::{
    ConnectOptions, Delivery, Error, ListenOptions, ListenerInfo, Message, Reason, Target, Transport, key_to_text,
};

const HOME: &str = "play://127.0.0.1:0";

const STREAMS: [&str; 3] = ["tcp", "ws", "wss"];

fn address(info: &ListenerInfo) -> SocketAddr {
    info.addresses[0].rsplit('/').next().unwrap().parse().unwrap()
}

fn url_by(transport: &str, info: &ListenerInfo) -> String {
    format!("play+{transport}://{}", address(info))
}

fn connected_by(transport: &str) -> (Side, Side, ListenerInfo) {
    let (mut server, info) = Side::listening(HOME);
    let (mut client, _) = Side::calling(&url_by(transport, &info));
    both_until(&mut server, &mut client, "connected", |server, client| {
        !server.connected().is_empty() && !client.connected().is_empty()
    });
    (server, client, info)
}

/// A stranger's connection, in plain TCP.
fn stranger(info: &ListenerInfo) -> TcpStream {
    let stream = TcpStream::connect(address(info)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Reads until the other side closes, which must come before the patience ends.
fn read_to_end(stream: &mut TcpStream, server: &mut Side) -> Vec<u8> {
    let mut all = Vec::new();
    let mut buffer = [0; 4096];
    stream.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
    let deadline = Instant::now() + PATIENCE;
    loop {
        server.poll();
        match stream.read(&mut buffer) {
            Ok(0) => return all,
            Ok(size) => all.extend_from_slice(&buffer[..size]),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return all,
            Err(_) => assert!(Instant::now() < deadline, "still open"),
        }
    }
}

#[test]
fn every_transport_connects_and_talks_both_ways_on_one_port() {
    let (mut server, info) = Side::listening(HOME);
    for transport in ["udp", "tcp", "ws", "wss"] {
        let (mut client, called) = Side::calling(&url_by(transport, &info));
        // Sent before the connection is made: reliable messages wait for it.
        assert_eq!(client.send(Target::One(called), transport), 1);
        both_until(&mut server, &mut client, transport, |server, _| {
            server.texts().last().is_some_and(|text| text == transport)
        });
        let caller = *server.connected().last().unwrap();
        assert_eq!(server.send(Target::One(caller), "back"), 1);
        client.until("an answer", |client| client.texts() == ["back"]);
        assert_eq!(server.network.peer_stats(caller).unwrap().transport, transport);
        assert_eq!(client.network.peer_stats(called).unwrap().transport, transport);
        let url = server.network.peer_url(caller).unwrap();
        let scheme = if transport == "udp" {
            "play".to_owned()
        } else {
            format!("play+{transport}")
        };
        assert!(url.starts_with(&format!("{scheme}://127.0.0.1:")), "{url}");
        client.network.close(Duration::from_secs(1));
        server.until("gone", |server| server.endings().len() == server.connected().len());
        assert_eq!(server.endings().last().unwrap().0, Reason::Goodbye);
    }
}

#[test]
fn big_messages_arrive_whole_both_ways() {
    for transport in STREAMS {
        let (mut server, mut client, _) = connected_by(transport);
        let big = "x".repeat(3_000_000);
        for side in [&server, &client] {
            side.send(Target::All, &big);
        }
        both_until(&mut server, &mut client, "both", |server, client| {
            !server.texts().is_empty() && !client.texts().is_empty()
        });
        for side in [&server, &client] {
            assert!(side.texts() == [big.clone()], "{transport}");
        }
    }
}

#[test]
fn the_io_thread_alone_keeps_streams_going() {
    for transport in STREAMS {
        let (mut server, client, _) = connected_by(transport);
        client.send(Target::All, "while both games sleep");
        let deadline = Instant::now() + PATIENCE;
        while server.network.events_waiting() == 0 {
            assert!(Instant::now() < deadline, "nothing arrived by {transport}");
            std::thread::sleep(Duration::from_millis(5));
        }
        server.poll();
        assert_eq!(server.texts(), ["while both games sleep"]);
    }
}

#[test]
fn fifty_clients_talk_through_streams_at_once() {
    let (mut server, info) = Side::listening(HOME);
    let mut clients: Vec<Side> = (0..50)
        .map(|number| Side::calling(&url_by(STREAMS[number % 3], &info)).0)
        .collect();
    for (number, client) in clients.iter().enumerate() {
        client.send(Target::All, &format!("from {number}"));
    }
    server.until("all of them", |server| server.texts().len() == 50);
    let mut texts = server.texts();
    texts.sort();
    let mut expected: Vec<String> = (0..50).map(|number| format!("from {number}")).collect();
    expected.sort();
    assert_eq!(texts, expected);
    assert_eq!(server.send(Target::All, "to all"), 50);
    for client in &mut clients {
        client.until("the answer", |client| client.texts() == ["to all"]);
    }
    assert_eq!(server.network.listener_stats(info.id).unwrap().streams, 50);
}

#[test]
fn a_listener_serves_what_its_url_or_its_options_say() {
    for (url, transports, served) in [
        ("play+tcp://127.0.0.1:0", None, vec![Transport::Tcp]),
        ("play+ws://127.0.0.1:0", None, vec![Transport::Ws]),
        ("play+wss://127.0.0.1:0", None, vec![Transport::Wss]),
        ("play+udp://127.0.0.1:0", None, vec![Transport::Udp]),
        (
            HOME,
            Some(vec![Transport::Wss, Transport::Udp]),
            vec![Transport::Udp, Transport::Wss],
        ),
    ] {
        let server = Side::new();
        let options = ListenOptions {
            transports,
            ..listen_options()
        };
        let info = server.network.listen(url, options).unwrap();
        assert_eq!(info.transports, served, "{url}");
        assert_eq!(info.certificate.is_some(), served.contains(&Transport::Wss), "{url}");
        for (name, transport) in [
            ("udp", Transport::Udp),
            ("tcp", Transport::Tcp),
            ("ws", Transport::Ws),
            ("wss", Transport::Wss),
        ] {
            let mut client = Side::new();
            let is_served = served.contains(&transport);
            let timeout = if is_served {
                PATIENCE
            } else {
                Duration::from_millis(300)
            };
            let options = ConnectOptions {
                timeout,
                ..connect_options()
            };
            client.network.connect(&url_by(name, &info), options).unwrap();
            client.until("an outcome", |client| {
                client.connected().len() + client.endings().len() > 0
            });
            assert_eq!(client.connected().len() == 1, is_served, "{name} of {url}");
        }
    }
    let options = ListenOptions {
        transports: Some(vec![Transport::Tcp]),
        ..listen_options()
    };
    let error = Side::new()
        .network
        .listen("play+udp://127.0.0.1:0", options)
        .unwrap_err();
    assert!(matches!(error, Error::Option(_)), "{error}");
}

#[test]
fn a_pinned_certificate_must_be_the_one() {
    let (_server, info) = Side::listening(HOME);
    let pin = key_to_text(&info.certificate.unwrap());
    let (mut client, _) = Side::calling(&format!("{}#cert={pin}", url_by("wss", &info)));
    client.until("connected", |client| client.connected().len() == 1);
    let other = key_to_text(&[7; 32]);
    let mut client = Side::new();
    let options = ConnectOptions {
        timeout: Duration::from_millis(500),
        ..connect_options()
    };
    let url = format!("{}#cert={other}", url_by("wss", &info));
    client.network.connect(&url, options).unwrap();
    client.until("refused", |client| client.endings().len() == 1);
    assert!(client.connected().is_empty());
}

#[test]
fn what_is_no_stream_of_ours_is_closed_and_disturbs_nobody() {
    let (mut server, client, info) = connected_by("tcp");
    let mut broken = 0;
    let cases: [(&str, Vec<u8>); 6] = [
        ("a length of 65535", b"NPLY\x01\xff\xff".to_vec()),
        ("a length of 0", b"NPLY\x01\0\0".to_vec()),
        ("another version of the framing", b"NPLY\x02".to_vec()),
        ("another protocol", b"\0\0\0\x05hello".to_vec()),
        ("a word that never ends", vec![b'A'; 40]),
        ("a ClientHello that is none", b"\x16\x03\x01\0\x05hello".to_vec()),
    ];
    for (what, bytes) in cases {
        let mut stream = stranger(&info);
        stream.write_all(&bytes).unwrap();
        read_to_end(&mut stream, &mut server);
        broken += 1;
        let stats = server.network.listener_stats(info.id).unwrap();
        assert_eq!(stats.sockets.stream_errors, broken, "{what}");
    }
    client.send(Target::All, "undisturbed");
    server.until("it", |server| server.texts() == ["undisturbed"]);
}

#[test]
fn a_browser_gets_a_page() {
    let (mut server, info) = Side::listening(HOME);
    let mut stream = stranger(&info);
    stream
        .write_all(b"GET /favicon.ico HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    let page = String::from_utf8(read_to_end(&mut stream, &mut server)).unwrap();
    assert!(
        page.starts_with("HTTP/1.1 426 ") && page.contains("text/html"),
        "{page}"
    );
}

#[test]
fn who_speaks_tls_where_it_is_not_served_is_told_so() {
    let mut server = Side::new();
    let options = ListenOptions {
        transports: Some(vec![Transport::Tcp, Transport::Ws]),
        ..listen_options()
    };
    let info = server.network.listen(HOME, options).unwrap();
    let mut stream = stranger(&info);
    stream.write_all(b"\x16\x03\x01\x02\0\x01").unwrap();
    assert_eq!(read_to_end(&mut stream, &mut server), b"\x15\x03\x03\0\x02\x02\x28");
}

#[test]
fn two_hundred_who_say_nothing_cost_a_few_seconds_and_keep_nobody_out() {
    let (mut server, client, info) = connected_by("tcp");
    let beginnings: [&[u8]; 5] = [
        b"",
        b"NP",
        b"NPLY\x01\x10",
        b"GET / HTTP/1.1\r\nHost:",
        b"\x16\x03\x01\x02\0",
    ];
    let mut strangers: Vec<TcpStream> = (0..200)
        .map(|number| {
            let mut stream = stranger(&info);
            stream.write_all(beginnings[number % beginnings.len()]).unwrap();
            stream
        })
        .collect();
    for transport in STREAMS {
        let (mut late, _) = Side::calling(&url_by(transport, &info));
        late.until("connected", |late| late.connected().len() == 1);
    }
    client.send(Target::All, "undisturbed");
    server.until("it", |server| server.texts() == ["undisturbed"]);
    for stream in &mut strangers {
        read_to_end(stream, &mut server);
    }
    let stats = server.network.listener_stats(info.id).unwrap();
    assert!(stats.sockets.streams_idle >= 200, "{stats:?}");
    client.send(Target::All, "still there");
    server.until("it", |server| server.texts().len() == 2);
}

#[test]
fn more_than_there_is_room_for_push_out_the_oldest_of_them_and_nobody_else() {
    let (mut server, client, info) = connected_by("ws");
    let mut strangers: Vec<TcpStream> = (0..300)
        .map(|_| {
            let stream = stranger(&info);
            server.poll();
            stream
        })
        .collect();
    read_to_end(&mut strangers[0], &mut server);
    server.until("some were refused", |server| {
        server.network.listener_stats(info.id).unwrap().sockets.streams_refused >= 40
    });
    client.send(Target::All, "undisturbed");
    server.until("it", |server| server.texts() == ["undisturbed"]);
}

#[test]
fn a_reader_that_sleeps_costs_bounded_memory_and_only_its_own_messages() {
    let (mut server, info) = Side::listening("play+tcp://127.0.0.1:0");
    // In between stands one that takes a connection and then reads nothing.
    let lazy = TcpListener::bind("127.0.0.1:0").unwrap();
    let lazy_address = lazy.local_addr().unwrap();
    let (mut client, _) = Side::calling(&format!("play+tcp://{lazy_address}"));
    let (mut near, _) = lazy.accept().unwrap();
    let mut far = TcpStream::connect(address(&info)).unwrap();
    let (mut near_again, mut far_again) = (near.try_clone().unwrap(), far.try_clone().unwrap());
    let there = std::thread::spawn(move || drop(std::io::copy(&mut near, &mut far)));
    let (stop, is_stopped) = std::sync::mpsc::channel::<()>();
    let back = std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        far_again.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
        while is_stopped.try_recv().is_err() {
            if let Ok(size) = far_again.read(&mut buffer) {
                near_again.write_all(&buffer[..size]).unwrap();
            }
        }
        // From here on it is silent, and the stream stays open.
        is_stopped.recv().unwrap_err();
    });
    both_until(&mut server, &mut client, "connected", |server, client| {
        server.connected().len() == 1 && client.connected().len() == 1
    });
    stop.send(()).unwrap();
    let (mut awake, _) = Side::calling(&info.url);
    awake.until("connected", |awake| awake.connected().len() == 1);
    for _ in 0..3000 {
        let message = Message {
            delivery: Delivery::LOSSY,
            ..text_message(&"x".repeat(1000))
        };
        server.network.send(Target::All, &[], &message).unwrap();
        server.poll();
        awake.poll();
    }
    server.send(Target::One(*server.connected().last().unwrap()), "at once");
    awake.until("it", |awake| awake.texts().last().is_some_and(|text| text == "at once"));
    drop(stop);
    drop(client);
    drop(server);
    there.join().unwrap();
    back.join().unwrap();
}
