//! Golden tables: what the protocol does on bad networks, in numbers that are read in review like code.
//!
//! The tables are played anew and compared with `golden.md` beside this file. Who changes the protocol changes them in the same
//! commit (`make golden`), and says why. Beside that, each figure that was promised is a claim of its own.

mod report;
mod scenarios;
// The stories' world is the simulation; this file only asks it for numbers.
#[allow(dead_code)]
#[path = "../stories/world/mod.rs"]
mod world;

use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use report::{Plan, Table};

/// Set to write the tables instead of comparing them.
const WRITE: &str = "NETPLAY_WRITE_GOLDEN";

const HEAD: &str = "\
# What the protocol does on bad networks

Written by `make golden`, compared by `make test`; nothing on this page was written by hand.
Simulated in virtual time: a client talks to a server for 30 seconds, 50 ms one way.
9 seeds; a number is the median over the seeds unless it says worst or least.
Bytes are UDP payload in both directions, acknowledgements included.
`make sim` plays the same with other seeds, lags and times.

";

static TABLES: LazyLock<Vec<Table>> = LazyLock::new(|| {
    report::tables(&Plan {
        seeds: (1..=9).collect(),
        time: Duration::from_secs(30),
        lag: Duration::from_millis(50),
    })
});

const RELIABLE: usize = 0;
const ONE_RELIABLE: usize = 1;
const SNAPSHOTS: usize = 2;
const DOWNLOADS: usize = 3;
const CROWDS: usize = 4;
const SHARES: usize = 5;
const LENGTHS: usize = 6;

fn number(table: usize, row: &str, head: &str) -> f64 {
    TABLES[table].number(row, head)
}

#[test]
fn the_tables_are_as_they_were_read_in_review() {
    let text: Vec<String> = TABLES.iter().map(Table::markdown).collect();
    let text = format!("{HEAD}{}", text.join("\n"));
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/tables/golden.md");
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(&path, text).expect("the tree can be written to");
        return;
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    let differing = text.lines().zip(golden.lines()).filter(|(now, before)| now != before);
    for (now, before) in differing {
        eprintln!("was: {before}\nnow: {now}\n");
    }
    assert!(
        text == golden,
        "the tables have changed: if that is meant, `make golden` writes them"
    );
}

#[test]
fn a_lost_packet_costs_a_reliable_message_a_tick() {
    assert!(number(RELIABLE, "5 %", "p99 ms") <= 70.0);
    assert!(number(RELIABLE, "5 %", "worst max") <= 150.0);
    assert!(number(RELIABLE, "10 %", "p99 ms") <= 90.0);
    assert!(number(RELIABLE, "5 %, bursts of 3", "p99 ms") <= 135.0);
}

#[test]
fn copies_cost_little_where_nothing_is_lost_and_at_most_three_times_where_much_is() {
    let ratio = |row| number(RELIABLE, row, "B/message") / number(RELIABLE, "0 %", "B without copies");
    assert!(ratio("0 %") <= 1.1);
    let clean = number(RELIABLE, "0 %", "B/message");
    assert!(number(RELIABLE, "5 %", "B/message") <= 3.0 * clean);
    assert!(number(RELIABLE, "5 %, bursts of 3", "B/message") <= 3.0 * clean);
    assert!(number(ONE_RELIABLE, "0 %", "B/message") <= 160.0);
}

#[test]
fn snapshots_are_as_late_as_the_path_and_as_many_as_it_delivers() {
    assert!(number(SNAPSHOTS, "10 %", "p99 ms") <= 55.0);
    let lost_by_us = number(SNAPSHOTS, "10 %", "% the path delivers") - number(SNAPSHOTS, "10 %", "% delivered");
    assert!(lost_by_us <= 0.1, "{lost_by_us}");
}

#[test]
fn a_download_fills_the_link_and_positions_pass_it_by() {
    assert!(number(DOWNLOADS, "0 %", "least %") >= 80.0);
    assert!(number(DOWNLOADS, "2 %", "least %") >= 60.0);
    for row in ["0 %", "2 %"] {
        let empty = number(DOWNLOADS, row, "p99 on the empty path");
        assert!(number(DOWNLOADS, row, "positions p99 ms") <= empty + 60.0);
        // What is sent in vain when the link fills for the first time.
        assert!(number(DOWNLOADS, row, "B on the wire/B") <= 1.2);
    }
}

#[test]
fn what_a_link_cannot_carry_is_dropped_before_it_is_late() {
    for row in ["384 kbit/s, 64 KiB queue", "256 kbit/s, 64 KiB queue"] {
        assert!(number(CROWDS, row, "snapshots p50 ms") <= 250.0);
        assert!(number(CROWDS, row, "words p50 ms") <= 150.0);
        assert!(number(CROWDS, row, "snapshots p99 ms") <= 450.0);
        assert!(number(CROWDS, row, "% overflowed") <= 1.0);
        assert!(number(CROWDS, row, "% of the link") >= 80.0);
    }
}

#[test]
fn two_connections_share_a_link() {
    for row in ["64 KiB queue", "256 KiB queue", "64 KiB queue, 2 % loss"] {
        assert!(number(SHARES, row, "worst") <= 2.0);
    }
}

#[test]
fn a_long_path_is_late_by_its_length_only() {
    for row in ["5 ms one way", "100 ms one way", "150 ms one way", "250 ms one way"] {
        assert!(number(LENGTHS, row, "p99 ms") <= 20.0);
        assert!(number(LENGTHS, row, "snapshots p99 ms") <= 20.0);
        assert!(number(LENGTHS, row, "% of snapshots") >= 99.0);
    }
}
