//! Tunnels through iroh, on loopback only: no relay, no lookup, nothing that leaves this machine.
#![cfg(feature = "p2p")]
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{Side, both_until, connect_options, listen_options, text_message};
use netplay_io::{ConnectOptions, Delivery, Error, Event, Limits, ListenOptions, Message, Reason, Target, endpoint_id};

const LISTEN: &str = "play+p2p://?relay=none&addr=127.0.0.1:0";

fn connected() -> (Side, Side, String) {
    let (mut server, info) = Side::listening(LISTEN);
    let (mut client, _) = Side::calling(&info.url);
    both_until(&mut server, &mut client, "connected", |server, client| {
        !server.connected().is_empty() && !client.connected().is_empty()
    });
    (server, client, info.url)
}

#[test]
fn messages_of_every_size_pass_both_ways() {
    let (mut server, mut client, url) = connected();
    assert!(
        url.starts_with("play+p2p://") && url.contains("?relay=none&addr=127.0.0.1:"),
        "{url}"
    );
    let sizes = [1, 1_000, 1_099, 1_100, 1_101, 1_200, 50_000, 300_000];
    for size in sizes {
        client.send(Target::All, &"c".repeat(size));
        server.send(Target::All, &"s".repeat(size));
    }
    both_until(&mut server, &mut client, "every text", |server, client| {
        server.texts().len() == sizes.len() && client.texts().len() == sizes.len()
    });
    let lens = |side: &Side| side.texts().iter().map(String::len).collect::<Vec<_>>();
    assert_eq!((lens(&server), lens(&client)), (sizes.to_vec(), sizes.to_vec()));
    let stats = client.network.peer_stats(client.connected()[0]).unwrap();
    assert_eq!((stats.transport, stats.route), ("p2p", Some("direct")));
    assert!(stats.address.starts_with("127.0.0.1:"), "{}", stats.address);
    assert!(
        server
            .network
            .peer_url(server.connected()[0])
            .unwrap()
            .starts_with("play+p2p://")
    );
}

#[test]
fn lossy_messages_pass_too() {
    let (mut server, mut client, _) = connected();
    let message = Message {
        delivery: Delivery::LOSSY,
        ..text_message("now")
    };
    for _ in 0..20 {
        client.network.send(Target::All, &[], &message).unwrap();
        std::thread::sleep(Duration::from_millis(5));
    }
    both_until(&mut server, &mut client, "some of them", |server, _| {
        server.texts().len() >= 10
    });
}

#[test]
fn a_goodbye_is_heard_at_once() {
    let (mut server, client, _) = connected();
    client.network.close(Duration::from_secs(2));
    server.until("the end", |server| !server.endings().is_empty());
    assert_eq!(server.endings()[0].0, Reason::Goodbye);
}

#[test]
fn who_loses_its_tunnel_comes_back_by_another() {
    let limits = Limits {
        lost_after: Duration::from_secs(1),
        ..Limits::default()
    };
    let secret = [7; 32];
    let mut server = Side::new();
    let options = || ListenOptions {
        limits: limits.clone(),
        p2p_secret: Some(secret),
        ..listen_options()
    };
    let info = server.network.listen(LISTEN, options()).unwrap();
    assert!(info.url.contains(&endpoint_id(&secret)));
    let mut client = Side::new();
    let calling = ConnectOptions {
        limits: limits.clone(),
        ..connect_options()
    };
    client.network.connect(&info.url, calling).unwrap();
    both_until(&mut server, &mut client, "connected", |server, client| {
        !server.connected().is_empty() && !client.connected().is_empty()
    });
    for number in 0..100 {
        client.send(Target::All, &number.to_string());
        if number == 30 {
            client.network.cut_tunnels();
        }
        if number == 60 {
            server.network.cut_tunnels();
        }
        server.poll();
        client.poll();
        std::thread::sleep(Duration::from_millis(20));
    }
    both_until(&mut server, &mut client, "every number", |server, _| {
        server.texts().len() >= 100
    });
    let expected: Vec<String> = (0..100).map(|number| number.to_string()).collect();
    assert_eq!(server.texts(), expected);
    let is_new = |side: &Side| {
        side.events
            .iter()
            .filter(|event| matches!(event.event, Event::Connected { .. }))
            .count()
    };
    assert_eq!((is_new(&server), is_new(&client)), (1, 1));
}

#[test]
fn a_wrong_id_is_no_answer_and_what_makes_no_sense_is_said() {
    let (_server, info) = Side::listening(LISTEN);
    let query = info.url.split_once('?').unwrap().1;
    let mut client = Side::new();
    let options = ConnectOptions {
        timeout: Duration::from_secs(2),
        ..connect_options()
    };
    let wrong = format!("play+p2p://{}?{query}", endpoint_id(&[9; 32]));
    client.network.connect(&wrong, options.clone()).unwrap();
    client.until("the end", |client| !client.endings().is_empty());
    assert_eq!(client.endings()[0].0, Reason::NoAnswer, "{:?}", client.endings());

    let fails =
        |url: &str, options: &ConnectOptions| client.network.connect(url, options.clone()).unwrap_err().to_string();
    let id = endpoint_id(&[9; 32]);
    assert!(fails("play+p2p://nobody", &options).contains("endpoint id"));
    assert!(fails("play+p2p://", &options).contains("endpoint id"));
    assert!(fails(&format!("play+p2p://{id}?relay=none"), &options).contains("addr="));
    assert!(fails(&format!("play+p2p://{id}?addr=somewhere"), &options).contains("somewhere"));
    let with_relay = ConnectOptions {
        relay: Some("none".into()),
        ..options.clone()
    };
    assert!(fails("play://127.0.0.1:1", &with_relay).contains("relay"));
    let error = client
        .network
        .listen(&format!("play+p2p://{id}"), listen_options())
        .unwrap_err();
    assert!(matches!(error, Error::Url(_)), "{error}");
}
