//! Bans and bounds over real sockets.

#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{Side, both_until, listen_options};
use netplay_io::{Ban, IncomingRate, Limits, ListenOptions, Reason};

const HOME: &str = "play://127.0.0.1:0";

#[test]
fn a_banned_peer_is_closed_and_does_not_get_in_again_until_the_ban_is_lifted() {
    let (mut server, info) = Side::listening(HOME);
    let (mut client, _) = Side::calling(&info.url);
    both_until(&mut server, &mut client, "connected", |server, client| {
        server.connected().len() == 1 && client.connected().len() == 1
    });
    let here: Ban = "127.0.0.0/8".parse().unwrap();
    server.network.ban(here, None).unwrap();
    both_until(&mut server, &mut client, "closed", |server, client| {
        server.endings().len() == 1 && client.endings().len() == 1
    });
    assert_eq!(
        (server.endings()[0].0, client.endings()[0].0),
        (Reason::Banned, Reason::Banned)
    );
    let (mut again, _) = Side::calling(&info.url);
    again.until("refused", |again| again.endings().len() == 1);
    assert_eq!(again.endings()[0].0, Reason::Banned);
    server.poll();
    assert_eq!(server.connected().len(), 1);
    assert_eq!(server.network.listener_stats(info.id).unwrap().endpoint.banned, 2);
    assert_eq!(server.network.bans(), [(here, None)]);
    assert!(server.network.unban(here) && !server.network.unban(here));
    let (mut again, _) = Side::calling(&info.url);
    both_until(&mut server, &mut again, "in again", |_, again| {
        again.connected().len() == 1
    });
}

#[test]
fn a_ban_holds_for_listeners_opened_later_and_ends_by_itself() {
    let mut server = Side::new();
    let here: Ban = "127.0.0.1".parse().unwrap();
    server.network.ban(here, Some(Duration::from_millis(300))).unwrap();
    let info = server.network.listen(HOME, listen_options()).unwrap();
    let (mut client, _) = Side::calling(&info.url);
    client.until("refused", |client| client.endings().len() == 1);
    assert_eq!(client.endings()[0].0, Reason::Banned);
    std::thread::sleep(Duration::from_millis(350));
    assert_eq!(server.network.bans(), []);
    let (mut again, _) = Side::calling(&info.url);
    both_until(&mut server, &mut again, "in", |_, again| again.connected().len() == 1);
}

#[test]
fn a_peer_that_sends_too_fast_has_its_lossy_messages_dropped() {
    let mut server = Side::new();
    let limits = Limits {
        incoming: IncomingRate {
            messages: Some(10),
            bytes: None,
        },
        ..Limits::default()
    };
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
    let (mut client, _) = Side::calling(&info.url);
    both_until(&mut server, &mut client, "connected", |server, client| {
        server.connected().len() == 1 && client.connected().len() == 1
    });
    for _ in 0..100 {
        let mut message = common::text_message("again");
        message.delivery = netplay_io::Delivery::LOSSY_UNORDERED;
        client.network.send(netplay_io::Target::All, &[], &message).unwrap();
    }
    let peer = server.connected()[0];
    both_until(&mut server, &mut client, "counted", |server, _| {
        server.network.peer_stats(peer).unwrap().connection.over_rate >= 70
    });
    assert!(server.texts().len() <= 30, "{}", server.texts().len());
}
