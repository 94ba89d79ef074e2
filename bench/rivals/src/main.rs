//! netplay beside other protocols, over the same simulated network: `make rivals`.
//!
//! `--quick` plays one seed for two seconds and only prints the page; otherwise the page is written to `docs/rivals.md`.
//!
//! | module | noun |
//! |---|---|
//! | [`rival`] | what a protocol must do to take part |
//! | `with_…` | the protocols, a file each |
//! | [`world`] | a client and a server on a bad network, in virtual time |
//! | [`scenarios`] | what is played on it, and the figures |
//! | [`table`], [`page`] | the figures as Markdown |

mod page;
mod rival;
mod scenarios;
mod table;
mod with_enet;
mod with_netplay;
mod with_quic;
mod with_renet;
#[cfg(target_os = "linux")]
mod with_tcp;
mod world;

use std::io;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rival::Rival;
use scenarios::{Plan, SCENARIOS, Scenario};
use table::Row;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/rivals.md");

const RIVALS: [Rival; 7] = [
    with_netplay::NETPLAY,
    with_netplay::NETPLAY_WITHOUT_COPIES,
    with_enet::ENET,
    with_renet::RENET,
    with_renet::RENET_SOONER,
    with_quic::QUIC,
    with_quic::QUIC_BBR,
];

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let is_quick = match &arguments[..] {
        [] => false,
        [only] if only == "--quick" => true,
        _ => {
            eprintln!("usage: rivals [--quick]");
            return ExitCode::from(2);
        }
    };
    let plan = if is_quick {
        Plan {
            seeds: vec![1],
            time: Duration::from_secs(2),
            bulk_bytes: 512 << 10,
        }
    } else {
        Plan {
            seeds: (1..=5).collect(),
            time: Duration::from_secs(30),
            bulk_bytes: 5 << 20,
        }
    };
    let began = Instant::now();
    let mut rows = SCENARIOS.map(|scenario| play(scenario, &plan));
    let tcp = add_tcp(&mut rows, &plan);
    let page = page::page(&plan, &rows, &tcp, began.elapsed());
    print!("{page}");
    if !is_quick && let Err(error) = std::fs::write(PAGE, page) {
        eprintln!("{PAGE}: {error}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Plays a scenario with every rival.
fn play(scenario: Scenario, plan: &Plan) -> Vec<Row> {
    eprintln!("{}", scenario.title());
    let rows = RIVALS.iter().map(|rival| Row {
        name: rival.name.into(),
        seeds: plan
            .seeds
            .iter()
            .map(|&seed| scenario.play(rival, seed, plan))
            .collect(),
    });
    rows.collect()
}

/// Adds kernel TCP to the scenarios that it can take part in, and returns what is to be said of it.
fn add_tcp(rows: &mut [Vec<Row>], plan: &Plan) -> String {
    match play_tcp(plan) {
        Ok(played) => {
            for (rows, seeds) in rows.iter_mut().zip(played).filter(|(_, seeds)| !seeds.is_empty()) {
                rows.push(Row {
                    name: "kernel TCP (cubic)".into(),
                    seeds,
                });
            }
            format!(
                "TCP of Linux {} with cubic, between two network namespaces through the same simulated network, in real \
                 time. One connection, without Nagle's delay; a second one for the positions beside a download, which are \
                 reliable here. Its bytes are those of IP packets less 28 each, the headers that the others' bytes leave out. \
                 Not encrypted.",
                kernel()
            )
        }
        Err(error) => {
            let reason = format!("Kernel TCP was left out, for it needs root on Linux and a TUN device: {error}.");
            eprintln!("{reason}");
            reason
        }
    }
}

/// Returns the version of the kernel, without what its builder calls it.
fn kernel() -> String {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    release.trim().split('-').next().unwrap_or_default().to_owned()
}

#[cfg(target_os = "linux")]
fn play_tcp(plan: &Plan) -> io::Result<Vec<Vec<Vec<f64>>>> {
    eprintln!("kernel TCP, in real time");
    with_tcp::play(plan)
}

#[cfg(not(target_os = "linux"))]
fn play_tcp(_: &Plan) -> io::Result<Vec<Vec<Vec<f64>>>> {
    Err(io::ErrorKind::Unsupported.into())
}
