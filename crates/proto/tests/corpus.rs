//! Replays the fuzz corpora as ordinary tests: what a fuzzer once found must go on being handled, on any toolchain.
//!
//! The seeds in `crates/proto/fuzz/corpus` are made by `make corpus`; the rest is what `make fuzz` found and somebody kept.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::PathBuf;

#[path = "../fuzz/src/bodies.rs"]
mod bodies;

#[test]
fn the_datagram_corpus_breaks_no_promise() {
    replay("datagram", &seeds::datagrams(), bodies::datagram);
}

#[test]
fn the_packet_corpus_breaks_no_promise() {
    replay("packet", &seeds::chunks(), bodies::packet);
}

#[test]
fn the_value_corpus_breaks_no_promise() {
    replay("value", &seeds::values(), bodies::value);
}

#[test]
fn the_rows_corpus_breaks_no_promise() {
    replay("rows", &seeds::rows(), bodies::rows);
}

#[test]
fn the_room_corpus_breaks_no_promise() {
    replay("room", &seeds::rooms(), bodies::room);
}

#[test]
fn the_conversation_corpus_breaks_no_promise() {
    replay("conversation", &seeds::conversations(), bodies::conversation);
}

/// Writes the seeds that the fuzzers start from: real datagrams, one chunk of each kind, and conversations of several moods.
#[test]
#[ignore = "writes files; run it by `make corpus`"]
fn write_the_seeds() {
    for (name, seed) in seeds::datagrams() {
        write("datagram", name, &seed);
        write("packet", name, seed.get(3..).unwrap_or_default());
    }
    for (name, seed) in seeds::chunks() {
        write("packet", name, &seed);
    }
    for (name, seed) in seeds::values() {
        write("value", name, &seed);
    }
    for (name, seed) in seeds::rows() {
        write("rows", name, &seed);
    }
    for (name, seed) in seeds::rooms() {
        write("room", name, &seed);
    }
    for (name, seed) in seeds::conversations() {
        write("conversation", name, &seed);
    }
}

fn write(target: &str, name: &str, seed: &[u8]) {
    fs::create_dir_all(corpus(target)).unwrap();
    fs::write(corpus(target).join(name), seed).unwrap();
}

fn corpus(target: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "fuzz", "corpus", target].iter().collect()
}

/// Replays the seeds as they would be written today, and then what lies in the corpus.
fn replay(target: &str, seeds: &[(&str, Vec<u8>)], body: fn(&[u8])) {
    for (name, seed) in seeds {
        println!("the seed {name}");
        body(seed);
    }
    let mut inputs: Vec<_> = fs::read_dir(corpus(target))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    inputs.sort();
    assert!(!inputs.is_empty(), "the corpus of {target} is empty");
    for input in inputs {
        println!("{}", input.display()); // shown when it fails
        body(&fs::read(input).unwrap());
    }
}

mod seeds {
    use std::time::Duration;

    use netplay_proto::room::Control;
    use netplay_proto::wire::{Chunk, Introduction, MessageChunk, Part, SeatClaim};
    use netplay_proto::{Delivery, Kind, Reason, Timestamp};

    use super::bodies::{CLIENT, SERVER, connect, endpoint, outputs, room_roster};

    type Seed = (&'static str, Vec<u8>);

    /// Returns a handshake of two real endpoints, in the records that the datagram target reads.
    pub(super) fn datagrams() -> Vec<Seed> {
        let mut now = Timestamp::from_millis(1);
        let mut server = endpoint(1, true);
        let mut client = endpoint(2, false);
        client.connect(now, connect());
        let mut seeds: Vec<Seed> = vec![("nothing", vec![]), ("empty-datagram", vec![0, 0, 0])];
        let mut all = Vec::new();
        for (ask, answer) in [
            ("hello", "cookie"),
            ("hello-with-cookie", "reply"),
            ("finish", "packet"),
        ] {
            now += Duration::from_millis(10);
            for (name, to_client) in [(ask, false), (answer, true)] {
                let sent = outputs(if to_client { &mut server } else { &mut client }, now);
                for (i, datagram) in sent.into_iter().enumerate() {
                    let mut record = vec![u8::from(to_client) | if i == 0 && !to_client { 20 } else { 0 }];
                    record.extend_from_slice(&u16::try_from(datagram.len()).unwrap().to_le_bytes());
                    record.extend_from_slice(&datagram);
                    all.extend_from_slice(&record);
                    if i == 0 {
                        seeds.push((name, record));
                    }
                    let (receiver, path) = if to_client {
                        (&mut client, SERVER)
                    } else {
                        (&mut server, CLIENT)
                    };
                    receiver.handle_datagram(now, path, &datagram);
                }
            }
        }
        seeds.push(("handshake", all));
        seeds
    }

    /// Returns what members of a room say, each by each of the links, and lies.
    pub(super) fn rooms() -> Vec<Seed> {
        let (host, next) = ((0, [1; 32]), (1, [2; 32]));
        let controls = [
            ("admit", Control::Admit),
            ("leave", Control::Leave),
            (
                "out",
                Control::Out {
                    reason: Reason::TimedOut,
                    detail: "too loud".to_owned(),
                },
            ),
            (
                "knock",
                Control::Knock {
                    contact: "sim://4".to_owned(),
                },
            ),
            (
                "roster-of-the-host",
                Control::Roster(room_roster(&[host, (2, [9; 32])])),
            ),
            ("roster-of-another", Control::Roster(room_roster(&[next, (2, [9; 32])]))),
            (
                "welcome",
                Control::Welcome {
                    order: 7,
                    roster: room_roster(&[host, next]),
                },
            ),
        ];
        let record = |link: u8, bytes: &[u8]| {
            let mut record = vec![link, 1];
            record.extend_from_slice(&u16::try_from(bytes.len()).unwrap().to_le_bytes());
            record.extend_from_slice(bytes);
            record
        };
        let mut seeds: Vec<Seed> = vec![("room-nothing", vec![])];
        for (name, control) in controls {
            let bytes = control.emit();
            let all: Vec<u8> = [1, 2, 3, 0].iter().flat_map(|link| record(*link, &bytes)).collect();
            let mut seed = vec![u8::from(name.len() % 2 == 0)];
            seed.extend_from_slice(&all);
            seeds.push((name, seed));
        }
        seeds
    }

    /// Returns plain values, and bombs that look like one.
    pub(super) fn values() -> Vec<Seed> {
        let text: &[u8] = b"\xa5hello";
        vec![
            ("value-text", text.to_vec()),
            (
                "value-map",
                [b"\x82\xa1x\xcb", &[0; 8][..], b"\xa1y\x93\x01\xc0\xc3"].concat(),
            ),
            ("value-tuple", b"\xc7\x04\x01\x93\x01\x02\x03".to_vec()),
            (
                "value-tuple-of-tuples",
                b"\xc7\x07\x01\x92\xd4\x01\x90\xd4\x01\xc0".to_vec(),
            ),
            (
                "value-large-int",
                b"\xd8\x02\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f".to_vec(),
            ),
            ("value-nested", [&[0x91; 99][..], b"\xc0"].concat()),
            ("value-nested-too-deep", [&[0x91; 200][..], b"\xc0"].concat()),
            ("value-of-four-billion", b"\xdd\xff\xff\xff\xff\xc0".to_vec()),
            ("value-set", b"\xc7\x05\x03\x93\x01\xd4\x04\x90".to_vec()),
            (
                "value-dict-of-tuples",
                b"\xc7\x07\x0d\x92\xc7\x03\x01\x92\x01\x02".to_vec(),
            ),
            ("value-tuple-as-a-key", b"\x81\x92\x01\x02\x03".to_vec()),
            (
                "value-message",
                b"\xc7\x0d\x0b\x94\xa1m\xc4\x04hash\xc4\x00\x90".to_vec(),
            ),
            ("value-rows", b"\x91\xc7\x0a\x0crowrowrow!".to_vec()),
            (
                "value-of-pygame",
                [b"\x92\xd8\x06", &[0x3f; 16][..], b"\xd6\x0a\xff\x00\x00\xff"].concat(),
            ),
            (
                "value-datetime",
                b"\xc7\x0c\x05\x00\x01\x02\x03\x04\x05\x06\x00\x10\x0e\x00\x00".to_vec(),
            ),
            (
                "value-table",
                b"\xc7\x0f\x0e\x95\x92\xa1x\xa5hello\x01\x02\x93\x01\x02".to_vec(),
            ),
            (
                "value-of-like-dicts",
                [
                    &b"\xc7\x49\x01\x94"[..],
                    &b"\x82\xa5hello\x01\xa3row\x92\x81\xa1x\x01\x90".repeat(4),
                ]
                .concat(),
            ),
            ("value-long-int", [b"\xc8\x05\x00\x02", &[7; 0x500][..]].concat()),
        ]
    }

    /// Returns rows of bits behind what they are made of.
    pub(super) fn rows() -> Vec<Seed> {
        let field = |kind: u8, max: u64| [&[kind][..], &max.to_le_bytes()].concat();
        let steps = |min: f64, max: f64, step: f64| {
            let numbers = [min, max, step].map(f64::to_le_bytes).concat();
            [&[1][..], &numbers].concat()
        };
        vec![
            ("rows-of-a-bit", [vec![1], field(0, 1), vec![1]].concat()),
            (
                "rows-of-a-position",
                [
                    vec![3],
                    steps(0.0, 800.0, 0.1),
                    steps(0.0, 800.0, 0.1),
                    field(0, 3599),
                    vec![1, 2, 3, 4, 0],
                ]
                .concat(),
            ),
            (
                "rows-of-all-bits",
                [vec![1], field(0, u64::MAX), vec![0xff; 8]].concat(),
            ),
            (
                "rows-out-of-range",
                [vec![2], field(0, 2), steps(-1.0, 1.0, 0.4), vec![0xff]].concat(),
            ),
        ]
    }

    /// Returns chunks of each kind, as they stand in a packet.
    pub(super) fn chunks() -> Vec<Seed> {
        let message = |delivery, part, data| {
            let kind = Kind::TEXT;
            emit(&Chunk::Message(MessageChunk {
                channel: 1,
                delivery,
                kind,
                sequence_id: 300,
                part,
                data,
            }))
        };
        let mut introduction = Vec::new();
        Introduction {
            connection_id: 7,
            name: "Ada".into(),
            version: "1".into(),
            message_size: 1 << 24,
            seat: SeatClaim::Kept([5; 16]),
        }
        .emit(&mut introduction);
        let mut seeds = vec![
            (
                "chunk-padding-and-ping",
                [emit(&Chunk::Padding), emit(&Chunk::Ping)].concat(),
            ),
            ("chunk-ack", vec![2, 200, 16, 3, 2, 0, 1, 4, 0]),
            ("chunk-credit", emit(&Chunk::Credit(1 << 40))),
            (
                "chunk-close",
                emit(&Chunk::Close {
                    reason: 1,
                    detail: "good night",
                }),
            ),
            (
                "chunk-message",
                message(Delivery::RELIABLE, Part::Whole, b"hello network."),
            ),
            (
                "chunk-parity",
                vec![7, 2, 0x80, 1, 5, 3, 0xa1, 2, 6, 1, b'a' ^ b'x', b'b', b'c'],
            ),
            ("chunk-lossy", message(Delivery::LOSSY_UNORDERED, Part::Whole, b"x")),
            (
                "chunk-fragment",
                message(Delivery::RELIABLE, Part::Fragment { size: 1105, index: 1 }, b"hello"),
            ),
            ("introduction", introduction),
        ];
        seeds.push((
            "chunk-all",
            seeds
                .iter()
                .skip(1)
                .take(6)
                .flat_map(|(_, seed)| seed.clone())
                .collect(),
        ));
        seeds
    }

    fn emit(chunk: &Chunk<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        chunk.emit(&mut bytes);
        bytes
    }

    /// Returns conversations, a byte a step: see `Conversation::step`.
    pub(super) fn conversations() -> Vec<Seed> {
        const SAY: u8 = 0;
        const SAY_MUCH: u8 = 2;
        const DELIVER: u8 = 4;
        const DROP: u8 = 6;
        const DUPLICATE: u8 = 8;
        const REORDER: u8 = 10;
        const CORRUPT: u8 = 12;
        const WAIT: u8 = 14;
        const CALLER: u8 = 1;
        // What happens to both sides in turn, after a handshake on a good network.
        let mood = |steps: &[u8]| {
            let handshake = [0xf0 | DELIVER, 0xf0 | DELIVER | CALLER].repeat(4);
            let talk = (0..40u8).flat_map(|i| {
                let what = [
                    SAY | i << 4,
                    SAY_MUCH | CALLER | i << 4,
                    SAY_MUCH | i << 4,
                    SAY | CALLER | i << 4,
                ];
                what.into_iter().chain(steps.iter().copied()).chain([0x30 | WAIT])
            });
            handshake.into_iter().chain(talk).collect::<Vec<u8>>()
        };
        let good = [0xf0 | DELIVER, 0xf0 | DELIVER | CALLER];
        vec![
            ("good", mood(&good)),
            (
                "lossy",
                mood(&[DROP, 0x10 | DELIVER, DROP | CALLER, 0x10 | DELIVER | CALLER]),
            ),
            (
                "doubled",
                mood(&[
                    0x30 | DUPLICATE,
                    0x40 | DELIVER,
                    0x30 | DUPLICATE | CALLER,
                    0x40 | DELIVER | CALLER,
                ]),
            ),
            (
                "reordered",
                mood(&[0x30 | REORDER, DELIVER, 0x20 | REORDER | CALLER, DELIVER | CALLER]),
            ),
            (
                "corrupted",
                mood(&[
                    0x50 | CORRUPT,
                    0xf0 | DELIVER,
                    0x90 | CORRUPT | CALLER,
                    0xf0 | DELIVER | CALLER,
                ]),
            ),
            ("one-way-dead", mood(&[0xf0 | DELIVER, 0xf0 | DROP | CALLER])),
            ("slow", mood(&[0xf0 | WAIT, DELIVER, DELIVER | CALLER])),
            ("silence", vec![0xf0 | WAIT; 100]),
        ]
    }
}
