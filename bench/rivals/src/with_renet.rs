//! renet over its own transport protocol, netcode (encrypted): the state machines of `renet` and `renetcode`, joined here.
//!
//! renet is made to be driven once a frame: it sends, acknowledges and resends at the frames of its side. What arrives is
//! taken in at once.

use std::time::Duration;

use netplay_netsim::Node;
use renet::{ChannelConfig, ConnectionConfig, RenetClient, RenetServer, SendType};
use renetcode::{
    ClientAuthentication, ConnectToken, NetcodeClient, NetcodeServer, ServerAuthentication, ServerConfig, ServerResult,
};

use crate::rival::{
    BULK_CHANNEL, CHANNELS, Delivery, LOSSY_CHANNEL, Outcome, RELIABLE_CHANNELS, Rival, SERVER, Side, address, node,
};

/// renet with the resend time of its default channels.
pub(crate) const RENET: Rival = Rival {
    name: "renet (netcode)",
    server: |now, _, slots| Box::new(Server::new(now, slots, config(RESEND_TIME))),
    client: |now, _, node| Box::new(Client::new(now, node, config(RESEND_TIME))),
};

/// renet with a resend time that fits the round trip of the scenarios and a frame of each side.
pub(crate) const RENET_SOONER: Rival = Rival {
    name: "renet, resends after 140 ms",
    server: |now, _, slots| Box::new(Server::new(now, slots, config(SOONER))),
    client: |now, _, node| Box::new(Client::new(now, node, config(SOONER))),
};

/// How long renet's default channels wait before they resend.
const RESEND_TIME: Duration = Duration::from_millis(300);
const SOONER: Duration = Duration::from_millis(140);

const PROTOCOL: u64 = 7;
const PRIVATE_KEY: [u8; 32] = [7; 32];

struct Client {
    renet: RenetClient,
    netcode: NetcodeClient,
    updated: Duration,
    outgoing: Vec<(Node, Vec<u8>)>,
}

impl Client {
    fn new(now: Duration, node: Node, config: ConnectionConfig) -> Self {
        let addresses = vec![address(SERVER)];
        let connect_token = ConnectToken::generate(now, PROTOCOL, 300, node, 15, addresses, None, &PRIVATE_KEY)
            .expect("one address is within netcode's bounds");
        let authentication = ClientAuthentication::Secure { connect_token };
        Self {
            renet: RenetClient::new(config),
            netcode: NetcodeClient::new(now, authentication).expect("the token is our own"),
            updated: now,
            outgoing: Vec::new(),
        }
    }
}

impl Side for Client {
    fn send(&mut self, _now: Duration, channel: u8, _delivery: Delivery, data: &[u8]) {
        self.renet.send_message(channel, data.to_vec());
    }

    fn handle_datagram(&mut self, _now: Duration, _from: Node, bytes: &[u8]) {
        if let Some(payload) = self.netcode.process_packet(&mut bytes.to_vec()) {
            self.renet.process_packet(payload);
        }
    }

    fn handle_frame(&mut self, now: Duration) {
        let passed = now - self.updated;
        self.updated = now;
        self.renet.update(passed);
        if let Some((bytes, to)) = self.netcode.update(passed) {
            self.outgoing.push((node(to), bytes.to_vec()));
        }
        if self.netcode.is_connected() {
            self.renet.set_connected();
            for payload in self.renet.get_packets_to_send() {
                if let Ok((to, bytes)) = self.netcode.generate_payload_packet(&payload) {
                    self.outgoing.push((node(to), bytes.to_vec()));
                }
            }
        }
    }

    fn poll(&mut self, _now: Duration, outcome: &mut Outcome) {
        outcome.datagrams.append(&mut self.outgoing);
        for channel in 0..CHANNELS {
            while let Some(message) = self.renet.receive_message(channel) {
                outcome.messages.push(message.to_vec());
            }
        }
    }

    fn next_at(&self) -> Option<Duration> {
        None
    }

    fn is_connected(&self) -> bool {
        self.netcode.is_connected()
    }
}

struct Server {
    renet: RenetServer,
    netcode: NetcodeServer,
    updated: Duration,
    outgoing: Vec<(Node, Vec<u8>)>,
}

impl Server {
    fn new(now: Duration, slots: usize, config: ConnectionConfig) -> Self {
        let netcode = NetcodeServer::new(ServerConfig {
            current_time: now,
            max_clients: slots,
            protocol_id: PROTOCOL,
            public_addresses: vec![address(SERVER)],
            authentication: ServerAuthentication::Secure {
                private_key: PRIVATE_KEY,
            },
        });
        Self {
            renet: RenetServer::new(config),
            netcode,
            updated: now,
            outgoing: Vec::new(),
        }
    }
}

impl Side for Server {
    fn send(&mut self, _now: Duration, channel: u8, _delivery: Delivery, data: &[u8]) {
        self.renet.broadcast_message(channel, data.to_vec());
    }

    fn handle_datagram(&mut self, _now: Duration, from: Node, bytes: &[u8]) {
        match self.netcode.process_packet(address(from), &mut bytes.to_vec()) {
            ServerResult::PacketToSend { addr, payload } => self.outgoing.push((node(addr), payload.to_vec())),
            ServerResult::Payload { client_id, payload } => {
                // A client that renet has dropped meanwhile is not heard.
                let _ = self.renet.process_packet_from(payload, client_id);
            }
            ServerResult::ClientConnected {
                client_id,
                addr,
                payload,
                ..
            } => {
                self.outgoing.push((node(addr), payload.to_vec()));
                self.renet.add_connection(client_id);
            }
            ServerResult::ClientDisconnected { client_id, .. } => self.renet.remove_connection(client_id),
            ServerResult::None => {}
        }
    }

    fn handle_frame(&mut self, now: Duration) {
        let passed = now - self.updated;
        self.updated = now;
        self.renet.update(passed);
        self.netcode.update(passed);
        for client_id in self.netcode.clients_id() {
            if let ServerResult::PacketToSend { addr, payload } = self.netcode.update_client(client_id) {
                self.outgoing.push((node(addr), payload.to_vec()));
            }
            for payload in self.renet.get_packets_to_send(client_id).unwrap_or_default() {
                if let Ok((to, bytes)) = self.netcode.generate_payload_packet(client_id, &payload) {
                    self.outgoing.push((node(to), bytes.to_vec()));
                }
            }
        }
    }

    fn poll(&mut self, _now: Duration, outcome: &mut Outcome) {
        outcome.datagrams.append(&mut self.outgoing);
        for client_id in self.renet.clients_id() {
            for channel in 0..CHANNELS {
                while let Some(message) = self.renet.receive_message(client_id, channel) {
                    outcome.messages.push(message.to_vec());
                }
            }
        }
    }

    fn next_at(&self) -> Option<Duration> {
        None
    }

    fn is_connected(&self) -> bool {
        self.netcode.connected_clients() > 0
    }
}

/// Channels in the order in which renet sends them: the download last.
fn config(resend_time: Duration) -> ConnectionConfig {
    let reliable = SendType::ReliableOrdered { resend_time };
    let channel = |channel_id, send_type: &SendType, megabytes: usize| ChannelConfig {
        channel_id,
        max_memory_usage_bytes: megabytes << 20,
        send_type: send_type.clone(),
    };
    let mut channels = vec![channel(LOSSY_CHANNEL, &SendType::Unreliable, 5)];
    channels.extend(RELIABLE_CHANNELS.map(|number| channel(number, &reliable, 5)));
    channels.push(channel(BULK_CHANNEL, &reliable, 16));
    ConnectionConfig {
        server_channels_config: channels.clone(),
        client_channels_config: channels,
        ..ConnectionConfig::default()
    }
}
