//! What must hold over real sockets on this machine: every wait has a deadline, every port is chosen by the system.

#![allow(clippy::unwrap_used)]

mod common;

use std::net::{Ipv4Addr, Ipv6Addr, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use common::{PATIENCE, Side, both_until, connect_options, listen_options, text_message, url_at};
use netplay_io::{
    ConnectOptions, Delivery, Error, Identity, Limits, ListenErrorKind, ListenOptions, Message, Network, Reason,
    SendError, Target, generate_key, pin_fragment,
};

const HOME: &str = "play://127.0.0.1:0";

/// A listener and a caller that are connected.
fn connected_pair() -> (Side, Side) {
    let (mut server, info) = Side::listening(HOME);
    let (mut client, _) = Side::calling(&info.url);
    both_until(&mut server, &mut client, "connected", |server, client| {
        !server.connected().is_empty() && !client.connected().is_empty()
    });
    (server, client)
}

#[test]
fn messages_go_each_way_and_name_their_peers() {
    let (mut server, info) = Side::listening(HOME);
    let (mut client, called) = Side::calling(&info.url);
    // Sent before the connection is made: reliable messages wait for it.
    assert_eq!(client.send(Target::One(called), "first"), 1);
    both_until(&mut server, &mut client, "the first text", |server, _| {
        server.texts() == ["first"]
    });
    let caller = server.connected()[0];
    assert_eq!(server.network.peer_listener(caller), Some(info.id));
    assert!(server.events.iter().all(|event| event.listener == Some(info.id)));
    assert!(
        server
            .network
            .peer_url(caller)
            .unwrap()
            .starts_with("play://127.0.0.1:")
    );
    assert_eq!(server.network.peer_stats(caller).unwrap().transport, "udp");
    assert_eq!(server.send(Target::All, "to all"), 1);
    assert_eq!(server.send(Target::Many(&[caller]), "to many"), 1);
    assert_eq!(
        server.network.send(Target::All, &[caller], &text_message("to nobody")),
        Ok(0)
    );
    assert_eq!(server.send(Target::One(caller), "to one"), 1);
    client.until("three texts", |client| client.texts().len() == 3);
    assert_eq!(client.texts(), ["to all", "to many", "to one"]);
    assert_eq!(client.network.peer_url(called), Some(info.url));
    assert_eq!(client.network.peer_listener(called), None);
}

#[test]
fn localhost_reaches_a_listener_on_either_family() {
    for url in [HOME, "play://[::1]:0", "play://localhost:0", "play://*:0"] {
        if url.contains("::1") && UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
            println!("not tried: this machine has no IPv6");
            continue;
        }
        let (_server, info) = Side::listening(url);
        let (mut client, _) = Side::calling(&url_at("localhost", &info));
        client.until("connected", |client| client.connected().len() == 1);
    }
}

#[test]
fn a_client_that_asks_before_its_server_is_up_gets_in_later() {
    let port = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let url = format!("play://127.0.0.1:{port}");
    let (mut client, _) = Side::calling(&url);
    // Long enough for the machine to have refused a few datagrams.
    client.network.wait(Duration::from_millis(300));
    client.poll();
    assert_eq!(client.events, []);
    let (_server, _) = Side::listening(&url);
    client.until("connected", |client| client.connected().len() == 1);
}

#[test]
fn garbage_ends_nothing_and_is_counted() {
    let (mut server, info) = Side::listening(HOME);
    let stranger = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let to = info.url.strip_prefix("play://").unwrap();
    for size in [0, 1, 3, 4, 12, 13, 100, 1200, 1201, 1500, 9000] {
        for byte in [0, 1, 0x7f, 0xff] {
            stranger.send_to(&vec![byte; size], to).unwrap();
            // The same once more: a duplicate is no special case.
            stranger.send_to(&vec![byte; size], to).unwrap();
        }
    }
    // Whoever is answered now is refused by the operating system.
    drop(stranger);
    let (mut client, _) = Side::calling(&info.url);
    client.send(Target::All, "still there?");
    both_until(&mut server, &mut client, "a text", |server, _| {
        server.texts() == ["still there?"]
    });
    assert!(server.network.listener_stats(info.id).unwrap().endpoint.bad_datagrams > 0);
    assert_eq!(server.network.listener_stats(info.id).unwrap().peers, 1);
}

#[test]
fn a_game_that_does_nothing_stays_connected_and_finds_everything_in_order() {
    let limits = Limits {
        lost_after: Duration::from_secs(1),
        grace: Duration::from_millis(500),
        ..Limits::default()
    };
    let mut server = Side::new();
    let options = ListenOptions {
        limits: limits.clone(),
        ..listen_options()
    };
    let info = server.network.listen(HOME, options).unwrap();
    let mut client = Side::new();
    client
        .network
        .connect(
            &info.url,
            ConnectOptions {
                limits,
                ..connect_options()
            },
        )
        .unwrap();
    both_until(&mut server, &mut client, "connected", |server, client| {
        !server.connected().is_empty() && !client.connected().is_empty()
    });
    // The client's game loads a level; the server's game goes on.
    let until = Instant::now() + Duration::from_secs(2);
    let mut sent = Vec::new();
    while Instant::now() < until {
        let text = format!("message {}", sent.len());
        server.send(Target::All, &text);
        sent.push(text);
        server.poll();
        std::thread::sleep(Duration::from_millis(15));
    }
    assert_eq!(server.endings(), []);
    client.until("every text", |client| client.texts().len() == sent.len());
    assert_eq!(client.texts(), sent);
    // Connected and messages: the link was never so much as lost.
    assert_eq!(client.events.len(), sent.len() + 1);
}

#[test]
fn a_send_goes_out_although_nobody_polls_afterwards() {
    let (mut server, client) = connected_pair();
    for round in 0..5 {
        // Once the network has gone quiet, as between two frames of a slow game.
        std::thread::sleep(Duration::from_millis(30));
        let sent = Instant::now();
        client.send(Target::All, &format!("round {round}"));
        server.until("the text", |server| server.texts().len() == round + 1);
        assert!(sent.elapsed() < Duration::from_millis(500), "took {:?}", sent.elapsed());
    }
}

#[test]
fn simulated_lag_shows_in_the_round_trip() {
    let (mut server, info) = Side::listening("play://127.0.0.1:0?lag_ms=40&seed=1");
    let (mut client, peer) = Side::calling(&format!("{}?lag_ms=40&seed=2", info.url));
    client.send(Target::All, "hello");
    both_until(&mut server, &mut client, "a text", |server, _| {
        server.texts() == ["hello"]
    });
    server.send(Target::All, "hello back");
    both_until(&mut server, &mut client, "an answer and a measurement", |_, client| {
        let rtt = client.network.peer_stats(peer).unwrap().connection.rtt;
        client.texts() == ["hello back"] && rtt >= Duration::from_millis(80) && rtt < Duration::from_millis(400)
    });
}

#[test]
fn simulated_loss_loses_no_reliable_message() {
    let (mut server, info) = Side::listening("play://127.0.0.1:0?loss_pct=20&jitter_ms=5&dup_pct=5&seed=3");
    let (mut client, _) = Side::calling(&format!("{}?loss_pct=20&reorder_pct=10&seed=4", info.url));
    let expected: Vec<String> = (0..100).map(|number| format!("message {number}")).collect();
    for text in &expected {
        client.send(Target::All, text);
    }
    both_until(&mut server, &mut client, "every text", |server, _| {
        server.texts().len() == 100
    });
    assert_eq!(server.texts(), expected);
}

#[test]
fn fifty_clients_are_served() {
    let (mut server, info) = Side::listening(HOME);
    let clients = Side::new();
    let peers: Vec<_> = (0..50)
        .map(|_| clients.network.connect(&info.url, connect_options()).unwrap())
        .collect();
    for (index, peer) in peers.iter().enumerate() {
        clients.send(Target::One(*peer), &format!("client {index}"));
    }
    let mut clients = clients;
    both_until(&mut server, &mut clients, "every client's text", |server, _| {
        server.texts().len() == 50
    });
    assert_eq!(server.connected().len(), 50);
    let mut texts = server.texts();
    texts.sort();
    texts.dedup();
    assert_eq!(texts.len(), 50);
    assert_eq!(server.send(Target::All, "welcome"), 50);
    both_until(&mut server, &mut clients, "fifty answers", |_, clients| {
        clients.texts().len() == 50
    });
}

#[test]
fn one_more_than_allowed_is_refused_as_full() {
    let mut server = Side::new();
    let info = server
        .network
        .listen(
            HOME,
            ListenOptions {
                max_peers: 1,
                ..listen_options()
            },
        )
        .unwrap();
    let (mut first, _) = Side::calling(&info.url);
    first.until("connected", |first| first.connected().len() == 1);
    let (mut second, _) = Side::calling(&info.url);
    second.until("refused", |second| second.endings().len() == 1);
    assert_eq!(second.endings()[0].0, Reason::Full);
    server.poll();
    assert_eq!(server.connected().len(), 1);
}

#[test]
fn a_listener_says_what_to_give_to_others() {
    let (_everywhere, info) = Side::listening("play://*:0");
    let port = info.url.rsplit(':').next().unwrap().to_owned();
    assert_ne!(port, "0");
    assert!(info.addresses.contains(&format!("play://127.0.0.1:{port}")), "{info:?}");
    assert!(
        info.addresses
            .iter()
            .all(|address| address.ends_with(&format!(":{port}"))),
        "{info:?}"
    );
    assert!(
        !info
            .addresses
            .iter()
            .any(|address| address.contains("0.0.0.0") || address.contains("fe80")),
        "{info:?}"
    );
    let (_home, info) = Side::listening(HOME);
    assert_eq!(info.addresses, [info.url]);
}

#[test]
fn a_port_in_use_is_an_error_that_says_what_to_do() {
    let (_first, info) = Side::listening(HOME);
    let error = Network::new().listen(&info.url, listen_options()).unwrap_err();
    let Error::Listen(error) = error else {
        panic!("{error:?}")
    };
    assert_eq!(error.kind, ListenErrorKind::InUse);
    let text = error.to_string();
    assert!(text.contains(&info.url) && text.contains("another port"), "{text}");
    let error = Network::new()
        .listen("play://192.0.2.1:0", listen_options())
        .unwrap_err();
    assert!(
        matches!(&error, Error::Listen(error) if error.kind == ListenErrorKind::NoSuchAddress),
        "{error}"
    );
}

#[test]
fn wrong_options_are_named() {
    let network = Network::new();
    let long = "é".repeat(33);
    let error = network
        .connect(
            "play://host",
            ConnectOptions {
                name: long,
                ..connect_options()
            },
        )
        .unwrap_err();
    assert_eq!(error.to_string(), "name is 66 bytes of UTF-8, it may be 64");
    let error = network
        .listen(
            HOME,
            ListenOptions {
                max_peers: 0,
                ..listen_options()
            },
        )
        .unwrap_err();
    assert!(error.to_string().contains("max_peers"), "{error}");
    assert!(
        matches!(network.connect("play://host:0", connect_options()), Err(Error::Url(error)) if error.part == "port")
    );
    let pinned = format!("{HOME}{}", pin_fragment(&[1; 32]));
    assert!(matches!(network.listen(&pinned, listen_options()), Err(Error::Url(error)) if error.part == "fragment"));
}

#[test]
fn closing_says_goodbye_and_sends_first_what_was_sent() {
    let (mut server, client) = connected_pair();
    client.send(Target::All, "my last words");
    let started = Instant::now();
    client.network.close(Duration::from_secs(2));
    assert!(
        started.elapsed() < Duration::from_secs(1),
        "took {:?}",
        started.elapsed()
    );
    assert!(!client.network.is_open());
    server.until("an ending", |server| server.endings().len() == 1);
    assert_eq!(server.texts(), ["my last words"]);
    assert_eq!(server.endings()[0].0, Reason::Goodbye);
    // A closed network refuses, and is otherwise harmless.
    assert!(matches!(
        client.network.connect("play://localhost", connect_options()),
        Err(Error::Closed)
    ));
    assert!(matches!(
        client.network.listen(HOME, listen_options()),
        Err(Error::Closed)
    ));
    assert_eq!(client.send(Target::All, "to nobody"), 0);
    assert!(!client.network.wait(Duration::from_secs(60)));
    client.network.close(Duration::from_secs(60));
}

#[test]
fn closing_one_peer_leaves_the_others() {
    let (mut server, info) = Side::listening(HOME);
    let (mut one, _) = Side::calling(&info.url);
    one.until("connected", |side| side.connected().len() == 1);
    server.until("one", |server| server.connected().len() == 1);
    let (mut other, _) = Side::calling(&info.url);
    other.until("connected", |side| side.connected().len() == 1);
    server.until("two", |server| server.connected().len() == 2);
    let closed = server.connected()[0];
    assert!(server.network.close_peer(closed, "you cheated"));
    one.until("an ending", |side| side.endings().len() == 1);
    assert_eq!(one.endings()[0], (Reason::Goodbye, "you cheated".to_owned()));
    server.until("an ending", |server| server.endings().len() == 1);
    assert_eq!(server.endings()[0].0, Reason::Closed);
    assert_eq!(server.network.peer_stats(closed), None);
    assert!(!server.network.close_peer(closed, ""));
    assert_eq!(
        server.network.send(Target::One(closed), &[], &text_message("?")),
        Err(SendError::Closed)
    );
    assert_eq!(server.send(Target::Many(&[closed, server.connected()[1]]), "?"), 1);
    assert_eq!(server.send(Target::All, "!"), 1);
    other.until("two texts", |side| side.texts().len() == 2);
}

#[test]
fn a_closed_listener_says_goodbye_and_frees_its_port() {
    let (mut server, info) = Side::listening(HOME);
    let (mut client, _) = Side::calling(&info.url);
    both_until(&mut server, &mut client, "connected", |server, client| {
        !server.connected().is_empty() && !client.connected().is_empty()
    });
    assert!(server.network.close_listener(info.id));
    assert!(!server.network.close_listener(info.id));
    assert_eq!(server.network.listener_stats(info.id), None);
    let again = server.network.listen(&info.url, listen_options()).unwrap();
    assert_ne!(again.id, info.id);
    client.until("an ending", |client| client.endings().len() == 1);
    assert_eq!(client.endings()[0].0, Reason::Goodbye);
    let (mut next, _) = Side::calling(&info.url);
    next.until("connected", |next| next.connected().len() == 1);
    server.network.close(Duration::from_secs(1));
    // And so does a closed network, at once.
    let (_server, _) = Side::listening(&info.url);
}

#[test]
fn a_password_opens_and_another_does_not() {
    let server = Side::new();
    let with = |password: &str| Some(password.to_owned());
    let info = server
        .network
        .listen(
            HOME,
            ListenOptions {
                password: with("swordfish"),
                ..listen_options()
            },
        )
        .unwrap();
    let mut server = server;
    for (password, is_let_in) in [(with("swordfish"), true), (with("sword"), false), (None, false)] {
        let mut client = Side::new();
        let peer = client
            .network
            .connect(
                &info.url,
                ConnectOptions {
                    password,
                    ..connect_options()
                },
            )
            .unwrap();
        // Sent while the key is still being made.
        assert_eq!(client.send(Target::One(peer), "hello"), 1);
        client.until("an outcome", |client| !client.events.is_empty());
        if is_let_in {
            server.until("a text", |server| server.texts() == ["hello"]);
        } else {
            assert_eq!(client.endings()[0].0, Reason::WrongPassword);
        }
    }
    server.poll();
    assert_eq!(server.texts(), ["hello"]);
}

#[test]
fn a_pinned_key_is_checked() {
    let identity = Identity::from_secret(generate_key().unwrap());
    let server = Side::new();
    let info = server
        .network
        .listen(
            HOME,
            ListenOptions {
                identity: identity.clone(),
                ..listen_options()
            },
        )
        .unwrap();
    let (mut right, _) = Side::calling(&format!("{}{}", info.url, pin_fragment(&identity.public_key())));
    right.until("connected", |right| right.connected().len() == 1);
    let (mut wrong, _) = Side::calling(&format!("{}{}", info.url, pin_fragment(&[9; 32])));
    wrong.until("refused", |wrong| wrong.endings().len() == 1);
    assert_eq!(wrong.endings()[0].0, Reason::KeyChanged);
}

#[test]
fn nobody_there_is_no_answer() {
    let port = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let mut client = Side::new();
    let options = ConnectOptions {
        timeout: Duration::from_millis(400),
        ..connect_options()
    };
    let peer = client
        .network
        .connect(&format!("play://localhost:{port}"), options)
        .unwrap();
    client.until("an ending", |client| client.endings().len() == 1);
    assert_eq!(client.endings()[0].0, Reason::NoAnswer);
    assert_eq!(client.events[0].peer, peer);
}

#[test]
fn a_name_without_an_address_is_an_unknown_host() {
    let started = Instant::now();
    let mut client = Side::new();
    // Less than our patience: where no name server answers at all, the call ends by its own time, for the same reason.
    let options = ConnectOptions {
        timeout: Duration::from_secs(5),
        ..connect_options()
    };
    client.network.connect("play://name.invalid:5000", options).unwrap();
    assert!(
        started.elapsed() < Duration::from_secs(1),
        "connect blocked for {:?}",
        started.elapsed()
    );
    client.until("an ending", |client| client.endings().len() == 1);
    let (reason, detail) = &client.endings()[0];
    assert_eq!(*reason, Reason::UnknownHost);
    assert!(
        detail.contains("\"name.invalid\" has no address") || detail == "no address found in 5 seconds",
        "{detail}"
    );
}

#[test]
fn too_large_a_message_is_an_error_even_to_nobody() {
    let network = Network::new();
    let message = |size: usize, delivery| Message {
        delivery,
        data: vec![0; size].into(),
        ..text_message("")
    };
    let lossy = message(65_537, Delivery::LOSSY);
    let expected = SendError::TooLarge {
        size: 65_537,
        limit: 65_536,
    };
    assert_eq!(network.send(Target::All, &[], &lossy), Err(expected));
    assert_eq!(network.send(Target::All, &[], &message(65_536, Delivery::LOSSY)), Ok(0));
    let reliable = message(16 * 1024 * 1024 + 1, Delivery::RELIABLE);
    assert!(matches!(
        network.send(Target::All, &[], &reliable),
        Err(SendError::TooLarge { .. })
    ));
}

#[test]
fn a_lossy_message_to_one_who_is_not_there_yet_goes_to_nobody() {
    let port = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let (client, peer) = Side::calling(&format!("play://127.0.0.1:{port}"));
    let lossy = Message {
        delivery: Delivery::LOSSY,
        ..text_message("position")
    };
    assert_eq!(client.network.send(Target::All, &[], &lossy), Ok(0));
    assert_eq!(client.network.send(Target::One(peer), &[], &lossy), Ok(0));
    assert_eq!(client.send(Target::All, "reliable"), 1);
}

#[test]
fn waiting_ends_with_a_message_and_with_closing() {
    let (mut server, client) = connected_pair();
    server.poll();
    let sender = client.network.clone();
    let thread = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        sender.send(Target::All, &[], &text_message("wake up")).unwrap();
    });
    assert!(server.network.wait(PATIENCE));
    server.until("the text", |server| server.texts() == ["wake up"]);
    thread.join().unwrap();
    assert!(!server.network.wait(Duration::ZERO));
    let started = Instant::now();
    assert!(!server.network.wait(Duration::from_millis(50)));
    assert!(started.elapsed() >= Duration::from_millis(50));
    let closer = server.network.clone();
    let thread = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        closer.close(Duration::ZERO);
    });
    let started = Instant::now();
    // What it returns depends on whether the peers' endings were seen; that it returns does not.
    server.network.wait(PATIENCE);
    assert!(started.elapsed() < PATIENCE / 2, "took {:?}", started.elapsed());
    thread.join().unwrap();
}

#[test]
fn in_a_stream_of_lossy_messages_a_waiting_game_wakes_up_about_once_a_millisecond() {
    let (mut server, client) = connected_pair();
    let count = 3000;
    let sender = std::thread::spawn(move || {
        let input = Message {
            delivery: Delivery::LOSSY,
            ..text_message("left")
        };
        for _ in 0..count {
            client.network.send(Target::All, &[], &input).unwrap();
            client.network.take(16, &mut Vec::new());
            std::thread::sleep(Duration::from_micros(50));
        }
        client
    });
    let began = Instant::now();
    let mut wake_ups = 0;
    while server.texts().len() < count && began.elapsed() < PATIENCE {
        server.network.wait(PATIENCE);
        server.network.take_arrived(usize::MAX, &mut server.events);
        wake_ups += 1;
    }
    assert_eq!(server.texts().len(), count, "the pauses lose nothing");
    // A pause of a millisecond each, and the few that are read at once before it is clear that it is a stream.
    let most = began.elapsed().as_millis() + 100;
    assert!(wake_ups <= most, "{wake_ups} times in {:?}", began.elapsed());
    drop(sender.join().unwrap());
}

#[test]
fn a_game_that_takes_nothing_is_noticed() {
    let (mut server, client) = connected_pair();
    let threshold = Duration::from_millis(50);
    let watcher = server.network.clone();
    let (tell, stalls) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        while watcher.wait_stalled(threshold) {
            tell.send(Instant::now()).unwrap();
        }
    });
    // A game that takes what comes is not stalled, unless the machine is so busy that it takes too late. Between two looks
    // lies at most what lies between the beginning of one poll and the end of the next.
    let mut slowest = Duration::ZERO;
    let mut polled = Instant::now();
    for round in 0..20 {
        client.send(Target::All, &format!("round {round}"));
        std::thread::sleep(Duration::from_millis(5));
        let before = std::mem::replace(&mut polled, Instant::now());
        server.poll();
        slowest = slowest.max(before.elapsed());
    }
    server.until("every text", |server| server.texts().len() == 20);
    slowest = slowest.max(polled.elapsed());
    assert!(stalls.try_recv().is_err() || slowest >= threshold, "{slowest:?}");
    assert!(!thread.is_finished());
    // One that takes nothing is, again and again.
    let sent = Instant::now();
    client.send(Target::All, "read me");
    let told: Vec<Instant> = (0..2).map(|_| stalls.recv_timeout(PATIENCE).unwrap()).collect();
    let (first, second) = (told[0] - sent, told[1] - sent);
    assert!(
        first >= threshold && second >= 2 * threshold || slowest >= threshold,
        "{first:?}, {second:?}"
    );
    server.poll();
    server.network.close(Duration::ZERO);
    thread.join().unwrap();
}

#[test]
fn a_client_that_never_reads_is_disconnected_and_the_others_are_not() {
    let limits = Limits {
        send_queue: 256 * 1024,
        ..Limits::default()
    };
    let mut server = Side::new();
    let info = server
        .network
        .listen(
            HOME,
            ListenOptions {
                limits,
                ..listen_options()
            },
        )
        .unwrap();
    let (mut lazy, _) = Side::calling(&info.url);
    lazy.until("connected", |side| side.connected().len() == 1);
    let (mut keen, _) = Side::calling(&info.url);
    keen.until("connected", |side| side.connected().len() == 1);
    server.until("two", |server| server.connected().len() == 2);
    let block = Message {
        data: vec![b'x'; 16 * 1024].into(),
        ..text_message("")
    };
    let deadline = Instant::now() + PATIENCE;
    let mut sent = 0;
    while server.endings().is_empty() {
        assert!(
            Instant::now() < deadline,
            "{sent} messages wait for a client that reads none"
        );
        server.network.send(Target::All, &[], &block).unwrap();
        sent += 1;
        server.poll();
        keen.until("the block", |keen| keen.texts().len() == sent);
    }
    assert_eq!(server.endings().len(), 1);
    assert_eq!(server.endings()[0].0, Reason::TooSlow);
    assert_eq!(server.send(Target::All, "still here"), 1);
    keen.until("a text", |keen| {
        keen.texts().last().is_some_and(|text| text == "still here")
    });
}

#[test]
fn many_threads_may_use_one_network() {
    let (server, info) = Side::listening(HOME);
    let (client, _) = Side::calling(&info.url);
    let until = Instant::now() + Duration::from_millis(700);
    let mut threads = Vec::new();
    for network in [&server.network, &client.network] {
        for _ in 0..2 {
            let network = network.clone();
            threads.push(std::thread::spawn(move || {
                let mut events = Vec::new();
                while Instant::now() < until {
                    network.wait(Duration::from_millis(20));
                    network.take(16, &mut events);
                }
                events.len()
            }));
            let sender = threads.len();
            let network = server.network.clone();
            threads.push(std::thread::spawn(move || {
                let mut sent = 0;
                while Instant::now() < until {
                    let text = format!("{sender} {sent}");
                    sent += network.send(Target::All, &[], &text_message(&text)).unwrap();
                    if let Some(result) = network.try_send(Target::All, &[], &text_message(&text)) {
                        sent += result.unwrap();
                    }
                    std::thread::sleep(Duration::from_micros(200));
                }
                sent
            }));
        }
    }
    // The client's two takers share what the server's four senders sent.
    let counts: Vec<usize> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    let sent: usize = counts.iter().skip(1).step_by(2).sum();
    let mut client = client;
    let taken = counts[4] + counts[6];
    client.until("the rest", |client| taken + client.events.len() > sent);
    assert_eq!(taken + client.events.len(), sent + 1);
}

#[test]
fn dropping_without_closing_says_goodbye_and_blocks_nobody() {
    let (mut server, client) = connected_pair();
    let started = Instant::now();
    drop(client);
    assert!(started.elapsed() < Duration::from_secs(1));
    server.until("an ending", |server| server.endings().len() == 1);
    assert_eq!(server.endings()[0].0, Reason::Goodbye);
}

#[test]
fn a_program_that_never_closes_exits() {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_never_closes", "--ignored"])
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success());
            return;
        }
        if Instant::now() >= deadline {
            child.kill().unwrap();
            panic!("the program hangs at exit");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
#[ignore = "runs as the child of a_program_that_never_closes_exits"]
fn child_that_never_closes() {
    let (server, client) = connected_pair();
    let busy = Network::new();
    busy.connect("play://name.invalid", connect_options()).unwrap();
    std::mem::forget((server, client, busy));
}
