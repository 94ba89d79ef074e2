//! The tables as text: what each scenario came to, over several seeds, in one fixed form.
//!
//! It knows what is worth showing. What must hold is said where the tables are tested.

use std::fmt::Write as _;
use std::time::Duration;

use netplay_netsim::Loss;
use netplay_proto::Limits;

use crate::scenarios::{
    Link, ONE_RELIABLE, RELIABLE, SNAPSHOTS, Talk, Talked, crowd, download, percentile, share, talk,
};

/// The paths that are lost on, by name.
pub(crate) const LOSSES: [(&str, Loss); 7] = [
    ("0 %", Loss::None),
    ("1 %", Loss::Independent(0.01)),
    ("5 %", Loss::Independent(0.05)),
    ("10 %", Loss::Independent(0.1)),
    ("30 %", Loss::Independent(0.3)),
    (
        "5 %, bursts of 3",
        Loss::Bursts {
            share: 0.05,
            mean_length: 3.0,
        },
    ),
    (
        "5 %, bursts of 10",
        Loss::Bursts {
            share: 0.05,
            mean_length: 10.0,
        },
    ),
];

/// One row: a name and its numbers.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) numbers: Vec<f64>,
}

/// Rows under one title.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    pub(crate) title: String,
    pub(crate) heads: Vec<&'static str>,
    pub(crate) rows: Vec<Row>,
}

/// How long and how often everything is played.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seeds: Vec<u64>,
    pub(crate) time: Duration,
    pub(crate) lag: Duration,
}

impl Table {
    /// Returns one number, by the names of its row and column.
    pub(crate) fn number(&self, row: &str, head: &str) -> f64 {
        let column = self
            .heads
            .iter()
            .position(|other| *other == head)
            .expect("such a column");
        let row = self.rows.iter().find(|other| other.name == row).expect("such a row");
        row.numbers[column]
    }

    /// Writes the table in Markdown.
    pub(crate) fn markdown(&self) -> String {
        let mut text = format!("## {}\n\n|  |", self.title);
        let width = self.rows.iter().map(|row| row.name.chars().count()).max().unwrap_or(0);
        text = text.replace("|  |", &format!("| {:width$} |", ""));
        for head in &self.heads {
            let _ = write!(text, " {head} |");
        }
        let _ = write!(text, "\n| {} |", "-".repeat(width));
        for head in &self.heads {
            let _ = write!(text, " {}: |", "-".repeat(head.chars().count() - 1));
        }
        text.push('\n');
        for row in &self.rows {
            let _ = write!(text, "| {:width$} |", row.name);
            for (number, head) in row.numbers.iter().zip(&self.heads) {
                let _ = write!(text, " {number:>width$.1} |", width = head.chars().count());
            }
            text.push('\n');
        }
        text
    }
}

/// Plays everything.
pub(crate) fn tables(plan: &Plan) -> Vec<Table> {
    vec![
        reliable(plan),
        one_reliable(plan),
        snapshots(plan),
        downloads(plan),
        crowds(plan),
        shares(plan),
        lengths(plan),
    ]
}

fn reliable(plan: &Plan) -> Table {
    let rows = LOSSES.map(|(name, loss)| {
        let with = play(plan, RELIABLE, loss, Limits::default().copies);
        let without = play(plan, RELIABLE, loss, 0.0);
        let per_message = median(&with, |talked| talked.wire_bytes as f64 / talked.sent as f64);
        let bare = median(&without, |talked| talked.wire_bytes as f64 / talked.sent as f64);
        Row {
            name: name.to_owned(),
            numbers: vec![
                median(&with, |talked| ms(percentile(&talked.delays, 0.5))),
                median(&with, |talked| ms(percentile(&talked.delays, 0.99))),
                most(&with, |talked| ms(percentile(&talked.delays, 0.99))),
                median(&with, |talked| ms(percentile(&talked.delays, 1.0))),
                most(&with, |talked| ms(percentile(&talked.delays, 1.0))),
                per_message,
                bare,
                median(&without, |talked| ms(percentile(&talked.delays, 0.99))),
            ],
        }
    });
    Table {
        title: "64 B, reliable and ordered, on 4 channels at 60 Hz".to_owned(),
        heads: vec![
            "p50 ms",
            "p99 ms",
            "worst p99",
            "max ms",
            "worst max",
            "B/message",
            "B without copies",
            "p99 without",
        ],
        rows: rows.into(),
    }
}

fn one_reliable(plan: &Plan) -> Table {
    let rows = LOSSES[..4].iter().map(|(name, loss)| {
        let played = play(plan, ONE_RELIABLE, *loss, Limits::default().copies);
        Row {
            name: (*name).to_owned(),
            numbers: vec![
                median(&played, |talked| ms(percentile(&talked.delays, 0.99))),
                median(&played, |talked| talked.wire_bytes as f64 / talked.sent as f64),
            ],
        }
    });
    Table {
        title: "64 B, reliable and ordered, once a frame at 60 Hz".to_owned(),
        heads: vec!["p99 ms", "B/message"],
        rows: rows.collect(),
    }
}

fn snapshots(plan: &Plan) -> Table {
    let rows = LOSSES.map(|(name, loss)| {
        let played = play(plan, SNAPSHOTS, loss, Limits::default().copies);
        Row {
            name: name.to_owned(),
            numbers: vec![
                median(&played, |talked| ms(percentile(&talked.delays, 0.5))),
                median(&played, |talked| ms(percentile(&talked.delays, 0.99))),
                most(&played, |talked| ms(percentile(&talked.delays, 1.0))),
                median(&played, |talked| {
                    100.0 * talked.delays.len() as f64 / talked.sent as f64
                }),
                median(&played, |talked| 100.0 * (1.0 - talked.path_loss)),
            ],
        }
    });
    Table {
        title: "1 KiB snapshots, lossy, at 60 Hz".to_owned(),
        heads: vec!["p50 ms", "p99 ms", "worst max", "% delivered", "% the path delivers"],
        rows: rows.into(),
    }
}

fn downloads(plan: &Plan) -> Table {
    let link = |loss| Link {
        rate: 10_000_000,
        queue_bytes: 64 << 10,
        lag: plan.lag,
        loss,
    };
    let losses = [
        ("0 %", Loss::None),
        ("2 %", Loss::Independent(0.02)),
        ("5 %, bursts of 3", LOSSES[5].1),
    ];
    let rows = losses.map(|(name, loss)| {
        let full = each(plan, |seed| download(seed, 5 << 20, link(loss)));
        let empty = each(plan, |seed| download(seed, 0, link(loss)));
        Row {
            name: name.to_owned(),
            numbers: vec![
                median(&full, |down| down.took.as_secs_f64()),
                median(&full, |down| 100.0 * down.share),
                least(&full, |down| 100.0 * down.share),
                median(&full, |down| down.cost),
                median(&full, |down| ms(percentile(&down.positions, 0.5))),
                median(&full, |down| ms(percentile(&down.positions, 0.99))),
                median(&empty, |down| ms(percentile(&down.positions, 0.99))),
                median(&full, |down| ms(percentile(&down.words, 0.99))),
                median(&full, |down| {
                    100.0 * down.positions.len() as f64 / (down.took.as_secs_f64() * 20.0)
                }),
            ],
        }
    });
    Table {
        title: "5 MiB, reliable, through 10 Mbit/s with a queue of 64 KiB; beside it 32 B positions and 32 B words at 20 Hz".to_owned(),
        heads: vec![
            "seconds",
            "% of the link",
            "least %",
            "B on the wire/B",
            "positions p50 ms",
            "positions p99 ms",
            "p99 on the empty path",
            "words p99 ms",
            "% of positions",
        ],
        rows: rows.into(),
    }
}

fn crowds(plan: &Plan) -> Table {
    let rows = [
        ("384 kbit/s, 64 KiB queue", 384_000, 64 << 10, Loss::None),
        ("256 kbit/s, 64 KiB queue", 256_000, 64 << 10, Loss::None),
        ("256 kbit/s, 8 KiB queue", 256_000, 8 << 10, Loss::None),
        (
            "256 kbit/s, 64 KiB queue, 5 %",
            256_000,
            64 << 10,
            Loss::Independent(0.05),
        ),
        ("128 kbit/s, 64 KiB queue", 128_000, 64 << 10, Loss::None),
    ]
    .map(|(name, rate, queue_bytes, loss)| {
        let link = Link {
            rate,
            queue_bytes,
            lag: plan.lag,
            loss,
        };
        let played = each(plan, |seed| crowd(seed, link, plan.time));
        Row {
            name: name.to_owned(),
            numbers: vec![
                median(&played, |crowd| ms(percentile(&crowd.snapshots, 0.5))),
                median(&played, |crowd| ms(percentile(&crowd.snapshots, 0.99))),
                median(&played, |crowd| 100.0 * crowd.share),
                median(&played, |crowd| ms(percentile(&crowd.words, 0.5))),
                median(&played, |crowd| ms(percentile(&crowd.words, 0.99))),
                median(&played, |crowd| 100.0 * crowd.overflowed),
            ],
        }
    });
    Table {
        title: "More than the link carries: 1 KiB snapshots, lossy, and 16 B words, reliable, at 60 Hz".to_owned(),
        heads: vec![
            "snapshots p50 ms",
            "snapshots p99 ms",
            "% of the link",
            "words p50 ms",
            "words p99 ms",
            "% overflowed",
        ],
        rows: rows.into(),
    }
}

fn shares(plan: &Plan) -> Table {
    let link = |queue_bytes, loss| Link {
        rate: 10_000_000,
        queue_bytes,
        lag: plan.lag,
        loss,
    };
    let links = [
        ("64 KiB queue", link(64 << 10, Loss::None)),
        ("256 KiB queue", link(256 << 10, Loss::None)),
        ("64 KiB queue, 2 % loss", link(64 << 10, Loss::Independent(0.02))),
    ];
    let rows = links.map(|(name, link)| {
        let shares = each(plan, |seed| share(seed, link, Duration::from_secs(20)));
        let ratio = |&[one, two]: &[usize; 2]| one.max(two) as f64 / one.min(two).max(1) as f64;
        let used = |&[one, two]: &[usize; 2]| 100.0 * (one + two) as f64 * 8.0 / (10.0 * link.rate as f64);
        Row {
            name: name.to_owned(),
            numbers: vec![median(&shares, ratio), most(&shares, ratio), median(&shares, used)],
        }
    });
    Table {
        title: "Two connections on one link of 10 Mbit/s, the second two seconds later".to_owned(),
        heads: vec!["larger : smaller", "worst", "% of the link"],
        rows: rows.into(),
    }
}

/// What the length of a path changes, beside the lag itself: 5 % are lost, and of snapshots none.
fn lengths(plan: &Plan) -> Table {
    let rows = [5, 25, 100, 150, 250].map(|lag| {
        let plan = Plan {
            lag: Duration::from_millis(lag),
            ..plan.clone()
        };
        let reliable = play(&plan, RELIABLE, Loss::Independent(0.05), Limits::default().copies);
        let snapshots = play(&plan, SNAPSHOTS, Loss::None, Limits::default().copies);
        let of_path = |delay: Duration| ms(delay) - lag as f64;
        Row {
            name: format!("{lag} ms one way"),
            numbers: vec![
                median(&reliable, |talked| of_path(percentile(&talked.delays, 0.5))),
                median(&reliable, |talked| of_path(percentile(&talked.delays, 0.99))),
                most(&reliable, |talked| of_path(percentile(&talked.delays, 1.0))),
                median(&snapshots, |talked| of_path(percentile(&talked.delays, 0.99))),
                median(&snapshots, |talked| {
                    100.0 * talked.delays.len() as f64 / talked.sent as f64
                }),
            ],
        }
    });
    Table {
        title:
            "Paths of other lengths, and how much later than the lag: 64 B, reliable, at 5 %; 1 KiB snapshots at 0 %"
                .to_owned(),
        heads: vec!["p50 ms", "p99 ms", "worst max", "snapshots p99 ms", "% of snapshots"],
        rows: rows.into(),
    }
}

fn play(plan: &Plan, what: Talk, loss: Loss, copies: f64) -> Vec<Talked> {
    each(plan, |seed| talk(seed, what, plan.time, plan.lag, loss, copies))
}

fn each<T>(plan: &Plan, play: impl Fn(u64) -> T) -> Vec<T> {
    plan.seeds.iter().map(|&seed| play(seed)).collect()
}

fn median<T>(played: &[T], number: impl Fn(&T) -> f64) -> f64 {
    let mut numbers: Vec<f64> = played.iter().map(number).collect();
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

fn most<T>(played: &[T], number: impl Fn(&T) -> f64) -> f64 {
    played.iter().map(number).fold(f64::MIN, f64::max)
}

fn least<T>(played: &[T], number: impl Fn(&T) -> f64) -> f64 {
    played.iter().map(number).fold(f64::MAX, f64::min)
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
