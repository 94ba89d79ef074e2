//! Whether the remote side has moved to another path. RFC 9000 §8.2 and §9, with another limit on amplification: a path that
//! is not proven gets the answer to each check, which is as long, and one check of ours in a round trip.

use std::time::Duration;

use crate::address::Path;
use crate::rtt::RttEstimator;
use crate::time::Timestamp;
use crate::wire::Chunk;

/// Nobody is asked more often than this, however short the round trip is.
const BETWEEN_CHECKS: Duration = Duration::from_millis(20);

/// The checks of one connection, ours and the remote side's.
#[derive(Debug, Default)]
pub(crate) struct Roaming {
    candidate: Option<Candidate>,
    answer: Option<(Path, u64)>,
}

/// A path the remote side may have moved to, as long as it has not answered there.
#[derive(Debug)]
struct Candidate {
    path: Path,
    token: u64,
    asked_at: Timestamp,
    is_check_due: bool,
}

impl Roaming {
    /// Takes note that the newest packet came by another path. Somebody who only copies packets cannot answer there.
    /// `token` must be random.
    pub(crate) fn consider(&mut self, now: Timestamp, path: Path, token: u64, rtt: &RttEstimator) {
        let has_just_asked = |candidate: &Candidate| now - candidate.asked_at < rtt.smoothed().max(BETWEEN_CHECKS);
        match &mut self.candidate {
            // By whatever path: who names others' addresses makes us send them no more than it sends itself.
            Some(candidate) if has_just_asked(candidate) => (),
            // Asked again with the same token: the new path may be slower than what we know of the old one, and the answer to
            // the first check is as good as the answer to the last.
            Some(candidate) if candidate.path == path => {
                candidate.asked_at = now;
                candidate.is_check_due = true;
            }
            _ => {
                self.candidate = Some(Candidate {
                    path,
                    token,
                    asked_at: now,
                    is_check_due: true,
                });
            }
        }
    }

    /// Takes in a check that came by this path, to be answered there.
    pub(crate) fn handle_check(&mut self, path: Path, token: u64) {
        self.answer = Some((path, token));
    }

    /// Takes in an answer and returns the path that it proves.
    pub(crate) fn handle_answer(&mut self, token: u64) -> Option<Path> {
        let proven = self.candidate.take_if(|candidate| candidate.token == token);
        proven.map(|candidate| candidate.path)
    }

    /// Returns true if nothing is to be written.
    pub(crate) fn is_settled(&self) -> bool {
        self.answer.is_none() && !self.candidate.as_ref().is_some_and(|candidate| candidate.is_check_due)
    }

    /// Writes what goes alone in a packet, and returns the path it goes by.
    pub(crate) fn pack(&mut self, payload: &mut Vec<u8>) -> Option<Path> {
        if let Some((path, token)) = self.answer.take() {
            Chunk::PathAnswer(token).emit(payload);
            return Some(path);
        }
        let candidate = self.candidate.as_mut().filter(|candidate| candidate.is_check_due)?;
        candidate.is_check_due = false;
        Chunk::PathCheck(candidate.token).emit(payload);
        Some(candidate.path)
    }
}
