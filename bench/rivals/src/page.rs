//! The page that the figures are written on.

use std::fmt::Write;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::scenarios::{LAG, PATIENCE, Plan, SCENARIOS};
use crate::table::{Row, table};

/// Writes the page: for each scenario its rows, and what is to be said of TCP.
pub(crate) fn page(plan: &Plan, rows: &[Vec<Row>], tcp: &str, took: Duration) -> String {
    let seeds: Vec<_> = plan.seeds.iter().map(u64::to_string).collect();
    let mut text = format!(
        "# netplay and its rivals\n\n\
         Made by `make rivals` on {today}, in {took} s; nothing on this page was written by hand.\n\n\
         Every protocol plays the same traffic over the same simulated network, `crates/netsim`, in virtual time: \
         {lag} ms one way, seeds {seeds}.\n\
         A figure is the median over the seeds; max is the greatest over the seeds.\n\
         A message that has not come after {patience} s, or whose connection was given up, has come \"never\".\n\
         The connection is made while the network is still good; then loss begins, in both directions.\n\
         Delays are one way, from `send` to the message being delivered in order.\n\
         Bytes are UDP payload in both directions, acknowledgements included, divided by what was sent.\n\n\
         - netplay {netplay}, with default limits, and with `copies` at 0.0. Encrypted.\n\
         - ENet by rusty_enet {enet}, with its defaults, served every millisecond and whenever something arrives. Not \
         encrypted.\n\
         - renet {renet} over renetcode {renetcode}, driven by frames of 1/60 s, with its default 60,000 bytes a frame; with \
         its default 300 ms until it resends, and with 140 ms, which fits this round trip. Encrypted.\n\
         - QUIC by quinn-proto {quinn} and rustls {rustls}, with its defaults, the congestion controller (cubic) included, \
         and with its experimental BBR: a stream for each reliable channel, datagrams for lossy messages, no retry. \
         Encrypted.\n\
         - {tcp}\n\n\
         The code is in `bench/rivals`.\n",
        today = today(),
        took = took.as_secs(),
        lag = LAG.as_millis(),
        patience = PATIENCE.as_secs(),
        seeds = seeds.join(", "),
        netplay = netplay_version(),
        enet = version("rusty_enet"),
        renet = version("renet"),
        renetcode = version("renetcode"),
        quinn = version("quinn-proto"),
        rustls = version("rustls"),
    );
    for (scenario, rows) in SCENARIOS.iter().zip(rows) {
        let (title, description) = (scenario.title(), scenario.description(plan));
        let _ = write!(
            text,
            "\n## {title}\n\n{description}\n\n{}",
            table(scenario.columns(), rows)
        );
    }
    text
}

/// Returns the version of a package that this binary was built from.
fn version(package: &str) -> &'static str {
    let mut lines = include_str!("../Cargo.lock").lines();
    let name = format!("name = \"{package}\"");
    lines.find(|&line| line == name);
    lines
        .next()
        .and_then(|line| line.strip_prefix("version = \"")?.strip_suffix('"'))
        .unwrap_or("of an unknown version")
}

/// Returns the version of netplay's core, with the last change of it where the history is there to ask.
fn netplay_version() -> String {
    let version = version("netplay-proto");
    let core = concat!(env!("CARGO_MANIFEST_DIR"), "/../../crates/proto");
    let asked = Command::new("git")
        .args(["-C", core, "log", "-1", "--format=%h", "--abbrev=10", "--", "."])
        .output();
    let change = asked.ok().and_then(|output| String::from_utf8(output.stdout).ok());
    match change.as_deref().map(str::trim) {
        None | Some("") => version.to_owned(),
        Some(change) => format!("{version} at {change}"),
    }
}

/// Returns the date as year, month, day: the civil calendar from days since 1970 (Howard Hinnant, `civil_from_days`).
fn today() -> String {
    let seconds = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let days = seconds / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}
