//! What happens in a room when nothing happens: everything that waits for a moment.
//!
//! A part of [`Room`]. Each wait is in both methods: what is due, and when the next is.

use std::time::Duration;

use super::door::SEEKING_TIME;
use super::{Link, LinkId, Output, Room, Stage};
use crate::reason::Reason;
use crate::time::Timestamp;

/// How often it looks again, while nobody comes.
const SEEK_AGAIN: Duration = Duration::from_secs(60);

impl Room {
    pub(super) fn handle_timers(&mut self, now: Timestamp) {
        let is_due = |at: Option<Timestamp>| at.is_some_and(|at| at <= now);
        match self.stage {
            Stage::Knocking { until, is_host, .. } if until <= now => {
                if is_host {
                    self.go_on_alone();
                    self.seek_at = Some(now + SEEK_AGAIN);
                } else {
                    self.end(Reason::NoRoom, "nobody has a room open under this code");
                }
            }
            Stage::Knocking {
                link: None, retry_at, ..
            } if is_due(retry_at) => {
                let knock = self.new_link();
                self.links.insert(knock, Link::Knock);
                if let Stage::Knocking { link, retry_at, .. } = &mut self.stage {
                    (*link, *retry_at) = (Some(knock), None);
                }
                self.outputs.push_back(Output::Knock { link: knock });
            }
            Stage::Entering { until, .. } if until <= now => {
                self.handle_host_gone(now, None, Reason::NoAnswer, "");
            }
            _ => {}
        }
        let overdue = |link: &Link| match link {
            Link::Visitor { until, .. } | Link::Stranger { until, .. } | Link::Dialing { until, .. } => *until <= now,
            Link::Knock | Link::Member { .. } => false,
        };
        let links: Vec<LinkId> = self
            .links
            .iter()
            .filter(|(_, link)| overdue(link))
            .map(|(id, _)| *id)
            .collect();
        for link in links {
            self.send_close(link, Reason::Goodbye);
            self.handle_gone(now, link, Reason::NoAnswer, "it did not answer");
        }
        self.expected.retain(|_, (_, until)| *until > now);
        if is_due(self.seek_at) {
            self.seek_at = None;
            if self.is_host() && self.stage == Stage::Open && self.members.is_empty() && self.expected.is_empty() {
                self.seek(now, SEEKING_TIME);
            }
        }
        if is_due(self.host_until) {
            let link = self.host_link();
            if let Some(link) = link {
                self.links.remove(&link);
                self.send_close(link, Reason::Goodbye);
            }
            self.handle_host_gone(now, link, Reason::TimedOut, "it did not take over");
        }
        if self.is_host() {
            let late: Vec<u32> = self
                .members
                .iter()
                .filter(|(_, member)| is_due(member.dial_until))
                .map(|(order, _)| *order)
                .collect();
            for order in late {
                self.remove(now, order, Reason::TimedOut, "it did not find the new host");
            }
        }
        self.announce_due(now);
    }

    pub(super) fn next_time(&self) -> Option<Timestamp> {
        let stage = match self.stage {
            Stage::Knocking { retry_at, until, .. } => Some(retry_at.map_or(until, |at| at.min(until))),
            Stage::Entering { until, .. } => Some(until),
            Stage::Open | Stage::Closed => None,
        };
        let links = self.links.values().filter_map(|link| match link {
            Link::Visitor { until, .. } | Link::Stranger { until, .. } | Link::Dialing { until, .. } => Some(*until),
            Link::Knock | Link::Member { .. } => None,
        });
        let expected = self.expected.values().map(|(_, until)| *until);
        let is_host = self.is_host();
        let can_announce = self.stage == Stage::Open && self.host_link().is_some();
        let members = self.members.values().flat_map(|member| {
            let join_at = member.join_at.filter(|_| can_announce && member.link.is_none());
            [join_at, member.dial_until.filter(|_| is_host)]
        });
        let all = links.chain(expected).chain(members.flatten());
        all.chain(stage).chain(self.host_until).chain(self.seek_at).min()
    }
}
