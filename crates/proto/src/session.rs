//! The keys of a connection: seals and opens packets by their numbers, and renews the keys before they are old.
//!
//! A renewal makes each key from the one before, as Noise's Rekey does (revision 34, section 4.2), so that whoever steals the
//! keys of today cannot read what was recorded under those of yesterday. Who renews is told by a bit in the packet, the
//! *phase*; the other side renews when it opens the first packet of the next phase. After RFC 9001 §6, with these rules:
//!
//! - The next phase begins only after a packet of this one was acknowledged, so the two sides are never two phases apart.
//! - Both keys change together. Sealing uses the newest; the receiving key before it is kept for packets that are late.
//! - Which of the two an odd bit means follows from the number: below the first of this phase is the last phase, above is the
//!   next. A forged bit costs one failed try and changes nothing.
//!
//! It must not know what a packet holds.

use std::time::Duration;

use snow::params::CipherChoice;
use snow::resolvers::{CryptoResolver, RingResolver};
use snow::types::Cipher;

use crate::config::Key;
use crate::noise::NotAuthentic;
use crate::time::Timestamp;
use crate::wire::TAG_LEN;

/// How long the last phase's key is kept once this phase is heard.
const KEEP: Duration = Duration::from_secs(3);

/// The number that no packet has; what it would seal makes the next key.
const REKEY_NUMBER: u64 = u64::MAX;

/// When the keys of a connection are renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renewal {
    /// After so many packets sealed with one key.
    pub packets: u64,
    /// After so long with one key, when the next packet goes.
    pub interval: Duration,
    /// After so many packets under one key that were not authentic.
    pub forgeries: u64,
    /// After so many of these in all, the connection ends (RFC 9001 §6.6).
    pub max_forgeries: u64,
}

impl Default for Renewal {
    fn default() -> Self {
        Self {
            packets: 1 << 22,
            interval: Duration::from_secs(120),
            forgeries: 1 << 20,
            max_forgeries: 1 << 36,
        }
    }
}

/// The keys of a connection.
pub(crate) struct Session {
    renewal: Renewal,
    sending: Box<dyn Cipher>,
    receiving: Box<dyn Cipher>,
    /// The receiving key of the last phase, and until when it is kept, once that is known.
    previous: Option<(Box<dyn Cipher>, Option<Timestamp>)>,
    /// How often the keys were renewed; its lowest bit goes with every packet.
    phase: u64,
    /// The first packet sealed in this phase, and when.
    first_sent: Option<(u64, Timestamp)>,
    sealed: u64,
    /// The first packet opened in this phase.
    first_received: Option<u64>,
    /// A packet of this phase was acknowledged: the other side has its keys.
    is_confirmed: bool,
    forgeries: u64,
    all_forgeries: u64,
}

impl Session {
    /// Makes the session that begins with these keys.
    pub(crate) fn new(sending: &Key, receiving: &Key) -> Self {
        Self {
            renewal: Renewal::default(),
            sending: cipher(sending),
            receiving: cipher(receiving),
            previous: None,
            phase: 0,
            first_sent: None,
            sealed: 0,
            first_received: None,
            is_confirmed: false,
            forgeries: 0,
            all_forgeries: 0,
        }
    }

    /// Changes when the keys are renewed.
    pub(crate) fn set_renewal(&mut self, renewal: Renewal) {
        self.renewal = renewal;
    }

    /// Returns how often the keys were renewed.
    pub(crate) fn renewals(&self) -> u64 {
        self.phase
    }

    /// Returns true if so much was forged that the cipher's promise of authenticity wears thin.
    pub(crate) fn is_worn_out(&self) -> bool {
        self.all_forgeries >= self.renewal.max_forgeries
    }

    /// Returns the phase bit of the packet with this number, which is to be sealed next. Renews the keys if it is time.
    pub(crate) fn begin_packet(&mut self, now: Timestamp, number: u64) -> bool {
        if self.is_confirmed
            && let Some((_, since)) = self.first_sent
            && (self.sealed >= self.renewal.packets
                || now - since >= self.renewal.interval
                || self.forgeries >= self.renewal.forgeries)
        {
            let next = successor(&*self.receiving);
            self.enter_next_phase(next);
        }
        if let Some((_, until)) = &mut self.previous
            && self.first_received.is_some()
            && *until.get_or_insert(now + KEEP) <= now
        {
            self.previous = None;
        }
        self.first_sent.get_or_insert((number, now));
        self.sealed += 1;
        self.is_odd()
    }

    /// Appends the sealed payload to `out`. A number must never be used twice.
    pub(crate) fn seal(&self, number: u64, payload: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        out.resize(start + payload.len() + TAG_LEN, 0);
        self.sending.encrypt(number, &[], payload, &mut out[start..]);
    }

    /// Takes note that the other side has acknowledged this packet: it has the keys of its phase.
    pub(crate) fn handle_acked(&mut self, number: u64) {
        self.is_confirmed |= self.first_sent.is_some_and(|(first, _)| number >= first);
    }

    /// Replaces `payload` by the opened packet.
    pub(crate) fn open(
        &mut self,
        number: u64,
        is_odd_phase: bool,
        sealed: &[u8],
        payload: &mut Vec<u8>,
    ) -> Result<(), NotAuthentic> {
        let result = self.try_open(number, is_odd_phase, sealed, payload);
        if result.is_err() {
            self.forgeries += 1;
            self.all_forgeries += 1;
        }
        result
    }

    fn try_open(
        &mut self,
        number: u64,
        is_odd_phase: bool,
        sealed: &[u8],
        payload: &mut Vec<u8>,
    ) -> Result<(), NotAuthentic> {
        if is_odd_phase == self.is_odd() {
            open_with(&*self.receiving, number, sealed, payload)?;
            self.first_received = Some(self.first_received.map_or(number, |first| first.min(number)));
            return Ok(());
        }
        match self.first_received {
            // One who was told nothing under the keys of this phase has no acknowledgement that allows the next.
            Some(first) if number > first && self.first_sent.is_some() => {
                let next = successor(&*self.receiving);
                open_with(&*next, number, sealed, payload)?;
                self.enter_next_phase(next);
                self.first_received = Some(number);
                Ok(())
            }
            Some(first) if number > first => Err(NotAuthentic),
            _ => {
                let (previous, _) = self.previous.as_ref().ok_or(NotAuthentic)?;
                open_with(&**previous, number, sealed, payload)
            }
        }
    }

    fn enter_next_phase(&mut self, receiving: Box<dyn Cipher>) {
        self.sending = successor(&*self.sending);
        let previous = std::mem::replace(&mut self.receiving, receiving);
        self.previous = Some((previous, None));
        self.phase += 1;
        self.first_sent = None;
        self.sealed = 0;
        self.first_received = None;
        self.is_confirmed = false;
        self.forgeries = 0;
    }

    fn is_odd(&self) -> bool {
        self.phase & 1 == 1
    }
}

fn cipher(key: &Key) -> Box<dyn Cipher> {
    // ring's cipher is measured at a fifth of the time for a small packet and a quarter for a full one.
    let mut cipher = RingResolver
        .resolve_cipher(&CipherChoice::ChaChaPoly)
        .expect("snow is built with ring, which has ChaCha20-Poly1305");
    cipher.set(key);
    cipher
}

/// Returns the cipher with the key that comes after this one's.
fn successor(current: &dyn Cipher) -> Box<dyn Cipher> {
    let mut sealed = [0; size_of::<Key>() + TAG_LEN];
    current.encrypt(REKEY_NUMBER, &[], &[0; size_of::<Key>()], &mut sealed);
    let mut key = Key::default();
    key.copy_from_slice(&sealed[..size_of::<Key>()]);
    cipher(&key)
}

fn open_with(cipher: &dyn Cipher, number: u64, sealed: &[u8], payload: &mut Vec<u8>) -> Result<(), NotAuthentic> {
    if sealed.len() < TAG_LEN || number == REKEY_NUMBER {
        return Err(NotAuthentic);
    }
    payload.resize(sealed.len(), 0);
    let len = cipher.decrypt(number, &[], sealed, payload).map_err(|_| NotAuthentic)?;
    payload.truncate(len);
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// One side, with the numbers of its packets and those of the other side that it has.
    struct Side {
        session: Session,
        next: u64,
        largest: Option<u64>,
    }

    fn sides(renewal: Renewal) -> [Side; 2] {
        let side = |sending, receiving| {
            let mut session = Session::new(sending, receiving);
            session.set_renewal(renewal);
            Side {
                session,
                next: 0,
                largest: None,
            }
        };
        [side(&[1; 32], &[2; 32]), side(&[2; 32], &[1; 32])]
    }

    fn every(packets: u64) -> Renewal {
        Renewal {
            packets,
            ..Renewal::default()
        }
    }

    /// A packet on its way: its number, its phase bit, the largest it acknowledges, sealed.
    type Packet = (u64, bool, Vec<u8>);

    impl Side {
        fn seal(&mut self, now: Timestamp) -> Packet {
            let (number, mut sealed) = (self.next, Vec::new());
            self.next += 1;
            let is_odd = self.session.begin_packet(now, number);
            let ack = self.largest.map_or(0, |largest| largest + 1);
            self.session.seal(number, &ack.to_le_bytes(), &mut sealed);
            (number, is_odd, sealed)
        }

        fn open(&mut self, (number, is_odd, sealed): &Packet) -> bool {
            let mut payload = Vec::new();
            if self.session.open(*number, *is_odd, sealed, &mut payload).is_err() {
                return false;
            }
            self.largest = self.largest.max(Some(*number));
            let ack = u64::from_le_bytes(payload.try_into().unwrap());
            if ack > 0 {
                self.session.handle_acked(ack - 1);
            }
            true
        }
    }

    #[test]
    fn keys_are_renewed_by_either_side_and_every_packet_opens() {
        let mut sides = sides(every(3));
        for round in 0..1000 {
            let now = Timestamp::from_millis(round);
            for from in [0, 1] {
                for _ in 0..=round % 3 {
                    let packet = sides[from].seal(now);
                    assert!(sides[1 - from].open(&packet), "round {round}");
                }
            }
        }
        let phases = sides.map(|side| side.session.renewals());
        assert!(phases[0] > 300 && phases[0].abs_diff(phases[1]) <= 1, "{phases:?}");
    }

    #[test]
    fn nothing_is_renewed_while_nothing_is_acknowledged() {
        let mut sides = sides(every(3));
        for number in 0..1000 {
            sides[0].seal(Timestamp::from_millis(number));
        }
        assert_eq!(sides[0].session.renewals(), 0);
    }

    #[test]
    fn a_key_is_renewed_in_time_even_if_it_is_hardly_used() {
        let mut sides = sides(Renewal::default());
        let minutes = (0..60).map(|minute| 60_000 * minute);
        for moment in minutes.chain([3_545_000, 3_550_000]) {
            for from in [0, 1] {
                let packet = sides[from].seal(Timestamp::from_millis(moment));
                assert!(sides[1 - from].open(&packet));
            }
        }
        assert!(sides[0].session.renewals() >= 20, "{}", sides[0].session.renewals());
        assert!(sides[0].session.previous.is_none(), "old keys are not kept");
    }

    #[test]
    fn late_packets_of_the_last_phase_open_and_older_ones_do_not_matter() {
        let mut sides = sides(every(4));
        let now = Timestamp::ZERO;
        let mut late = Vec::new();
        while sides[0].session.renewals() == 0 {
            late.push(sides[0].seal(now));
            let packet = sides[0].seal(now);
            assert!(sides[1].open(&packet));
            let packet = sides[1].seal(now);
            assert!(sides[0].open(&packet));
        }
        let packet = sides[0].seal(now);
        assert!(packet.1, "the next phase has begun");
        assert!(sides[1].open(&packet));
        assert!(!late.is_empty());
        for packet in &late {
            assert!(sides[1].open(packet));
        }
        // Three seconds after the first of the new phase, the old key is gone.
        sides[1].seal(now);
        sides[1].seal(now + KEEP);
        assert!(!sides[1].open(&late[0]));
    }

    #[test]
    fn a_forged_phase_changes_nothing() {
        let mut sides = sides(every(5));
        for round in 0..500 {
            let now = Timestamp::from_millis(round);
            for from in [0, 1] {
                let packet = sides[from].seal(now);
                let (number, is_odd, sealed) = packet.clone();
                let before = sides[1 - from].session.renewals();
                for jump in [0, 1, 1000] {
                    assert!(!sides[1 - from].open(&(number + jump, !is_odd, sealed.clone())));
                }
                assert_eq!(sides[1 - from].session.renewals(), before);
                assert!(sides[1 - from].open(&packet));
            }
        }
    }

    #[test]
    fn many_forgeries_renew_the_keys_and_very_many_end_the_connection() {
        let mut sides = sides(Renewal {
            forgeries: 10,
            max_forgeries: 25,
            ..Renewal::default()
        });
        let now = Timestamp::ZERO;
        let mut forged = 0;
        while !sides[0].session.is_worn_out() {
            for from in [0, 1] {
                let packet = sides[from].seal(now);
                assert!(sides[1 - from].open(&packet));
            }
            let next = sides[1].next;
            assert!(!sides[0].open(&(next, false, vec![7; 40])));
            forged += 1;
        }
        assert_eq!(forged, 25);
        assert_eq!(sides[0].session.renewals(), 2);
    }

    #[test]
    fn the_next_key_is_the_one_of_noise() {
        let mut theirs = cipher(&[5; 32]);
        let ours = successor(&*theirs);
        theirs.rekey();
        let (mut one, mut other) = ([0; 21], [0; 21]);
        ours.encrypt(7, &[], b"hello", &mut one);
        theirs.encrypt(7, &[], b"hello", &mut other);
        assert_eq!(one, other);
    }

    proptest! {
        /// Whatever a network loses, doubles and reorders within a window of packets, what opens was sealed, and what is not
        /// late by more than a phase opens.
        #[test]
        fn packets_open_on_any_network(
            packets in 2u64..6,
            steps in prop::collection::vec((any::<bool>(), 0usize..6, 0u8..10), 1..400),
        ) {
            let mut sides = sides(every(packets));
            let mut ways: [Vec<(u64, Packet)>; 2] = [Vec::new(), Vec::new()];
            let mut now = Timestamp::ZERO;
            for (from, at, fate) in steps {
                let from = usize::from(from);
                now += Duration::from_millis(1);
                let phase = sides[from].session.renewals();
                let packet = sides[from].seal(now);
                let phase = phase.max(sides[from].session.renewals());
                ways[from].push((phase, packet));
                if fate == 0 {
                    ways[from].pop();
                    continue;
                }
                let way = &mut ways[1 - from];
                if way.is_empty() {
                    continue;
                }
                let at = at % way.len();
                let (sent_in, packet) = if fate == 1 { way[at].clone() } else { way.remove(at) };
                let here = sides[from].session.renewals();
                let is_opened = sides[from].open(&packet);
                if sent_in + 1 >= here {
                    prop_assert!(is_opened, "a packet of phase {} in phase {}", sent_in, here);
                }
                prop_assert!(sides[0].session.renewals().abs_diff(sides[1].session.renewals()) <= 1);
            }
        }
    }
}
