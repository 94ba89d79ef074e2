//! What was sent, what arrived, and the promises that connect the two. It sees every send and every event of a world and fails
//! at the first event that breaks a promise:
//!
//! - the first event of a connection is `Connected`, or `Disconnected` when it could not be made; nothing follows `Disconnected`;
//! - `Lost` and `Resumed` take turns; `Connected` comes in the place of `Resumed` where the server was started anew;
//! - what arrives was sent: the same bytes on the same channel, and nothing twice;
//! - reliable and ordered: sequence ids count up without a gap; lossy and ordered: they grow.

use std::collections::BTreeMap;
use std::time::Duration;

use netplay_netsim::Node;
use netplay_proto::Payload;
use netplay_proto::{Address, Delivery, Event, Message, Origin};

use super::End;

/// Everything that was sent and arrived.
#[derive(Default)]
pub(crate) struct Ledger {
    phases: BTreeMap<End, Phase>,
    /// Calls that the called side has not yet told of: from where, by which name.
    calls: BTreeMap<(Node, String), Vec<End>>,
    /// Who was heard last under a name: who comes back to a server that was started anew is the same.
    last_callers: BTreeMap<(Node, String), End>,
    /// How often an end has begun anew, as far as known; and as far as its game has been told.
    restarts: BTreeMap<End, (u64, u64)>,
    pairs: BTreeMap<End, End>,
    /// Callers by names that nobody else has, see [`Self::allow_late_calls`], and by whom each was heard.
    unique_names: Option<BTreeMap<String, End>>,
    heard_by: BTreeMap<End, Vec<End>>,
    lines: BTreeMap<(End, u8, Delivery), Line>,
    /// Lines of ends that have begun anew. What had arrived of them may still be taken by a game that slept.
    gone: Vec<((End, u8, Delivery), Line)>,
    undelivered: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Connected,
    Lost,
    Disconnected,
}

/// One channel and delivery, from one end to the other; filed under the end that sends.
#[derive(Default)]
struct Line {
    next_to_send: u64,
    next_to_arrive: u64,
    /// Sent and not arrived.
    on_the_way: BTreeMap<u64, (Duration, Payload)>,
}

impl Ledger {
    /// Returns the same connection as the other side sees it, None as long as one of them does not know of it.
    pub(crate) fn other(&self, end: End) -> Option<End> {
        self.pairs.get(&end).copied()
    }

    /// Returns whether an end has been told that it is connected and not that it is no longer.
    pub(crate) fn is_connected(&self, end: End) -> bool {
        matches!(self.phases.get(&end), Some(Phase::Connected | Phase::Lost))
    }

    /// Returns how many reliable messages were sent and have not arrived.
    pub(crate) fn undelivered(&self) -> usize {
        self.undelivered
    }

    /// Returns how many lossy messages were sent by an end, and how many of them have not arrived.
    pub(crate) fn lossy_sent_and_missing(&self, end: End, channel: u8, delivery: Delivery) -> (u64, u64) {
        let line = self.lines.get(&(end, channel, delivery));
        line.map_or((0, 0), |line| (line.next_to_send, line.on_the_way.len() as u64))
    }

    /// Says that every call has a name of its own. Then a call may be heard of after its caller has moved or given up; and more
    /// than once, because a caller whom no answer reaches begins anew: whom it talks with shows when it hears something.
    pub(crate) fn allow_late_calls(&mut self) {
        self.unique_names = Some(BTreeMap::new());
    }

    /// Returns the connections of which both ends have been told and neither that it is over, the caller's first.
    pub(crate) fn living(&self) -> Vec<(End, End)> {
        let heard = self
            .heard_by
            .iter()
            .flat_map(|(&caller, ends)| ends.iter().map(move |&end| (caller, end)));
        heard
            .filter(|&(caller, end)| self.is_connected(caller) && self.is_connected(end))
            .collect()
    }

    /// Returns the ends that know of a call, or the end that made it.
    pub(crate) fn others(&self, end: End) -> Vec<End> {
        let callers = self.heard_by.get(&end).cloned();
        callers.unwrap_or_else(|| self.other(end).into_iter().collect())
    }

    /// Returns how many reliable messages an end has sent that have not arrived.
    pub(crate) fn undelivered_from(&self, end: End) -> usize {
        let lines = self.lines.iter().filter(|((sender, ..), _)| *sender == end);
        lines
            .filter(|((.., delivery), _)| !delivery.is_lossy)
            .map(|(_, line)| line.on_the_way.len())
            .sum()
    }

    pub(crate) fn handle_call(&mut self, end: End, node: Node, name: String) {
        if let Some(names) = &mut self.unique_names {
            assert!(names.insert(name, end).is_none(), "two calls under one name");
            return;
        }
        self.calls.entry((node, name)).or_default().push(end);
    }

    pub(crate) fn handle_send(&mut self, now: Duration, end: End, message: &Message, sequence_id: u64) {
        let line = self.lines.entry((end, message.channel, message.delivery)).or_default();
        assert_eq!(sequence_id, line.next_to_send, "sequence ids count up from 0");
        line.next_to_send += 1;
        line.on_the_way.insert(sequence_id, (now, message.data.clone()));
        self.undelivered += usize::from(!message.delivery.is_lossy);
    }

    /// Takes note of how often an end has begun anew, of which its game may not have been told yet.
    pub(crate) fn handle_restarts(&mut self, end: End, count: u64) {
        let (known, _) = self.restarts.entry(end).or_default();
        if count > *known {
            *known = count;
            self.forget_lines(end);
        }
    }

    /// Checks an event against the promises; returns how long a message was on the way.
    pub(crate) fn handle_event(&mut self, now: Duration, end: End, event: &Event) -> Option<Duration> {
        let phase = self.phases.get(&end).copied();
        let next = match (phase, event) {
            (None, Event::Connected { .. }) => Phase::Connected,
            (
                Some(Phase::Lost),
                Event::Connected {
                    origin: Origin::Restarted,
                    ..
                },
            ) => Phase::Connected,
            (Some(Phase::Connected), Event::Lost { .. }) => Phase::Lost,
            (Some(Phase::Lost), Event::Resumed { .. }) => Phase::Connected,
            (Some(phase @ (Phase::Connected | Phase::Lost)), Event::Message { .. }) => phase,
            (None | Some(Phase::Connected | Phase::Lost), Event::Disconnected { .. }) => Phase::Disconnected,
            _ => panic!("{end:?} in phase {phase:?} at {now:?} was told {event:?}"),
        };
        self.phases.insert(end, next);
        match event {
            Event::Connected {
                remote,
                is_incoming: true,
                ..
            } => {
                let (remote_name, path) = (&remote.name, &remote.path);
                let Address::Virtual(node) = path.remote else {
                    panic!("no such path: {path:?}")
                };
                if let Some(names) = &self.unique_names {
                    let caller = names.get(remote_name).copied();
                    let caller = caller.unwrap_or_else(|| panic!("nobody called as {remote_name:?}"));
                    self.pairs.entry(caller).or_insert(end);
                    self.pairs.insert(end, caller);
                    self.heard_by.entry(caller).or_default().push(end);
                    return None;
                }
                let calls = self.calls.get_mut(&(node, remote_name.clone()));
                let caller = calls.and_then(|calls| if calls.is_empty() { None } else { Some(calls.remove(0)) });
                // Or one who was in before, and whom a server that was started anew does not know.
                let key = (node, remote_name.clone());
                let caller = caller.or_else(|| self.last_callers.get(&key).copied());
                if let Some(caller) = caller {
                    self.last_callers.insert(key, caller);
                    if let Some(gone) = self.pairs.get(&caller).copied() {
                        self.forget_lines(gone);
                    }
                }
                let caller = caller.unwrap_or_else(|| panic!("nobody called as {remote_name:?} from {path:?}"));
                self.pairs.insert(caller, end);
                self.pairs.insert(end, caller);
                None
            }
            Event::Connected {
                origin: Origin::Restarted,
                ..
            } => {
                let (_, told) = self.restarts.entry(end).or_default();
                *told += 1;
                let told = *told;
                self.handle_restarts(end, told);
                None
            }
            Event::Disconnected { .. } => {
                // A call that failed; the next one under the same name is another.
                self.calls
                    .values_mut()
                    .for_each(|calls| calls.retain(|&call| call != end));
                None
            }
            Event::Message {
                channel,
                delivery,
                sequence_id,
                data,
                ..
            } => Some(self.handle_arrival(now, end, (*channel, *delivery), *sequence_id, data)),
            _ => None,
        }
    }

    /// What an end has said so far is gone, if it has said anything: it begins anew.
    fn forget_lines(&mut self, end: End) {
        let lines = self.lines.keys().filter(|(sender, ..)| *sender == end);
        let gone: Vec<_> = lines.copied().collect();
        for key in gone {
            let Some(line) = self.lines.remove(&key) else { continue };
            if !key.2.is_lossy {
                self.undelivered -= line.on_the_way.len();
            }
            self.gone.push((key, line));
        }
    }

    fn handle_arrival(
        &mut self,
        now: Duration,
        end: End,
        (channel, delivery): (u8, Delivery),
        sequence_id: u64,
        data: &Payload,
    ) -> Duration {
        let sender = self
            .pairs
            .get(&end)
            .copied()
            .expect("a message comes after `Connected`");
        let sender = self.find_sender(end, sender, (channel, delivery), sequence_id, data);
        let what = || format!("{end:?} at {now:?}, channel {channel}, {delivery:?}, message {sequence_id}");
        let key = (sender, channel, delivery);
        let is_in = |line: &Line| line.on_the_way.get(&sequence_id).is_some_and(|(_, sent)| sent == data);
        let is_current = self.lines.get(&key).is_some_and(is_in);
        let gone = self
            .gone
            .iter_mut()
            .find(|(other, line)| !is_current && *other == key && is_in(line));
        let is_gone = gone.is_some();
        let line = gone.map(|(_, line)| line).or_else(|| self.lines.get_mut(&key));
        let line = line.unwrap_or_else(|| panic!("{}: nothing was sent there", what()));
        let (sent_at, sent) = line.on_the_way.remove(&sequence_id).unwrap_or_else(|| {
            panic!("{}: not sent, or arrived before", what());
        });
        assert!(
            sent == data,
            "{}: {} bytes were sent, {} other ones arrived",
            what(),
            sent.len(),
            data.len()
        );
        match (delivery.is_lossy, delivery.is_ordered) {
            (false, true) => assert_eq!(sequence_id, line.next_to_arrive, "{}: out of order", what()),
            (true, true) => assert!(
                sequence_id >= line.next_to_arrive,
                "{}: older than the last one",
                what()
            ),
            (_, false) => {}
        }
        line.next_to_arrive = sequence_id + 1;
        self.undelivered -= usize::from(!delivery.is_lossy && !is_gone);
        now - sent_at
    }

    /// Returns which of those who heard a caller has said this; the caller stays with it from then on.
    fn find_sender(
        &mut self,
        end: End,
        paired: End,
        (channel, delivery): (u8, Delivery),
        sequence_id: u64,
        data: &Payload,
    ) -> End {
        let Some(heard_by) = self.heard_by.get(&end).filter(|heard_by| heard_by.len() > 1) else {
            return paired;
        };
        let has_said = |sender: &End| {
            let line = self.lines.get(&(*sender, channel, delivery));
            line.and_then(|line| line.on_the_way.get(&sequence_id))
                .is_some_and(|(_, sent)| sent == data)
        };
        let sender = heard_by.iter().copied().find(has_said).unwrap_or(paired);
        self.pairs.insert(end, sender);
        sender
    }
}
