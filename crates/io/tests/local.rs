//! What must hold inside one process, over `local://`: the same as over sockets.

#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{Side, both_until, connect_options, listen_options};
use netplay_io::{Error, ListenErrorKind, Network, Reason, Target};

#[test]
fn two_networks_of_one_process_talk() {
    let (mut server, info) = Side::listening("local://two-networks");
    assert_eq!(info.url, "local://two-networks");
    assert_eq!(info.addresses, ["local://two-networks"]);
    let (mut client, peer) = Side::calling("local://two-networks");
    client.send(Target::All, "ping");
    both_until(&mut server, &mut client, "a text", |server, _| {
        server.texts() == ["ping"]
    });
    server.send(Target::All, "pong");
    client.until("an answer", |client| client.texts() == ["pong"]);
    let stats = client.network.peer_stats(peer).unwrap();
    assert_eq!(stats.transport, "local");
    assert!(stats.address.starts_with("local:"), "{stats:?}");
}

#[test]
fn a_network_talks_to_itself() {
    let (mut side, info) = Side::listening("local://myself");
    let called = side.network.connect(&info.url, connect_options()).unwrap();
    side.until("both ends", |side| side.connected().len() == 2);
    assert_eq!(side.send(Target::One(called), "echo"), 1);
    side.until("a text", |side| side.texts() == ["echo"]);
    assert_eq!(side.send(Target::All, "to both ends"), 2);
    side.until("two more", |side| side.texts().len() == 3);
}

#[test]
fn one_that_asks_before_there_is_a_listener_gets_in_later() {
    let (mut client, _) = Side::calling("local://not-yet");
    client.network.wait(Duration::from_millis(150));
    client.poll();
    assert_eq!(client.events, []);
    let (_server, _) = Side::listening("local://not-yet");
    client.until("connected", |client| client.connected().len() == 1);
}

#[test]
fn a_waiting_side_is_woken() {
    let (mut server, _) = Side::listening("local://sleeper");
    let (mut client, _) = Side::calling("local://sleeper");
    both_until(&mut server, &mut client, "connected", |server, client| {
        !server.connected().is_empty() && !client.connected().is_empty()
    });
    let thread = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(50));
        client.send(Target::All, "wake up");
        client
    });
    server.until("a text", |server| server.texts() == ["wake up"]);
    drop(thread.join().unwrap());
    server.until("an ending", |server| server.endings().len() == 1);
    assert_eq!(server.endings()[0].0, Reason::Goodbye);
}

#[test]
fn a_simulated_network_works_here_too() {
    let (mut server, _) = Side::listening("local://bad?lag_ms=20&loss_pct=20&seed=5");
    let (mut client, _) = Side::calling("local://bad?lag_ms=20&loss_pct=20&seed=6");
    let expected: Vec<String> = (0..50).map(|number| format!("message {number}")).collect();
    for text in &expected {
        client.send(Target::All, text);
    }
    both_until(&mut server, &mut client, "every text", |server, _| {
        server.texts().len() == 50
    });
    assert_eq!(server.texts(), expected);
}

#[test]
fn a_name_is_listened_on_once_and_free_again_afterwards() {
    let (server, info) = Side::listening("local://once");
    let error = Network::new().listen("local://once", listen_options()).unwrap_err();
    assert!(
        matches!(&error, Error::Listen(error) if error.kind == ListenErrorKind::InUse),
        "{error}"
    );
    assert!(server.network.close_listener(info.id));
    server.network.listen("local://once", listen_options()).unwrap();
    server.network.close(Duration::ZERO);
    let (_again, _) = Side::listening("local://once");
}
