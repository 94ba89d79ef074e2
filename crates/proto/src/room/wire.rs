//! What members of a room say to each other beside the game: parse beside emit. Knows bytes, not who may say what when.
//!
//! | first byte | control message | fields |
//! |---|---|---|
//! | 1 | knock: may I come in | contact |
//! | 2 | welcome: dial these | the newcomer's order (varint), roster |
//! | 3 | roster | below |
//! | 4 | admit: you may talk to me | none |
//! | 5 | leave: I go | none |
//! | 6 | out: you are no member any more | reason (1), words (length (1), UTF-8) |
//!
//! A roster: the host's order (varint), version (varint), topology (0 mesh, 1 star), the most members (1), count (1) and
//! members; count (1) and those who have gone since the last version: order (varint), reason (1). A member: order (varint), key
//! (32), name (length (1), UTF-8), contact (length (1), UTF-8). Orders go upwards.
//!
//! What is passed on for a member: order (varint; to whom, or from whom), sequence id (varint), kind (1, below 8), the data.

use crate::config::{Key, MAX_DETAIL_LEN, MAX_NAME_LEN};
use crate::message::Kind;
use crate::reason::Reason;
use crate::text::printable;
use crate::wire::ParseError;
use crate::wire::reader::{Reader, put_short_text, put_varint};

/// The most members that a room can have.
pub const MAX_MEMBERS: usize = 64;

/// The longest contact, in bytes of UTF-8.
pub const MAX_CONTACT_LEN: usize = 255;

/// Whether members talk to each other directly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Topology {
    /// Each with each.
    #[default]
    Mesh,
    /// All through the host.
    Star,
}

/// One control message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// Asks at the door to be let in.
    Knock {
        /// Where the newcomer can be dialled.
        contact: String,
    },
    /// Lets a newcomer in: the host waits to be dialled by it.
    Welcome {
        /// The newcomer's place in the join order.
        order: u32,
        /// Who is there.
        roster: Roster,
    },
    /// Says who is in; only the host's word counts.
    Roster(Roster),
    /// Says to the one who dialled that it is known as a member.
    Admit,
    /// Says that the sender goes of its own will.
    Leave,
    /// Says to somebody that it is no member any more.
    Out {
        /// Why.
        reason: Reason,
        /// More, for a person; as it came, so it may hold control characters.
        detail: String,
    },
}

/// Who is in a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roster {
    /// The host's order; the host is one of the members.
    pub host: u32,
    /// Counts up with every change.
    pub version: u64,
    /// Who talks to whom directly.
    pub topology: Topology,
    /// How many there may be, 1 to [`MAX_MEMBERS`].
    pub max_members: u8,
    /// The members, by order upwards.
    pub members: Vec<Entry>,
    /// Who has gone since the last version, and why.
    pub gone: Vec<(u32, Reason)>,
}

/// One member of a roster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place in the join order; never given twice in a room.
    pub order: u32,
    /// The key that it proves.
    pub key: Key,
    /// The name it gave itself.
    pub name: String,
    /// Where it can be dialled.
    pub contact: String,
}

impl Control {
    /// Takes a control message apart.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        let mut reader = Reader::new(bytes);
        let control = match reader.u8()? {
            1 => Self::Knock {
                contact: contact(&mut reader)?,
            },
            2 => Self::Welcome {
                order: order(&mut reader)?,
                roster: Roster::parse(&mut reader)?,
            },
            3 => Self::Roster(Roster::parse(&mut reader)?),
            4 => Self::Admit,
            5 => Self::Leave,
            6 => Self::Out {
                reason: reason(&mut reader)?,
                detail: reader.short_text(MAX_DETAIL_LEN)?.to_owned(),
            },
            _ => return Err(ParseError::Invalid),
        };
        if reader.is_empty() {
            Ok(control)
        } else {
            Err(ParseError::Invalid)
        }
    }

    /// Writes it.
    pub fn emit(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Knock { contact } => {
                out.push(1);
                put_short_text(&mut out, contact, MAX_CONTACT_LEN);
            }
            Self::Welcome { order, roster } => {
                out.push(2);
                put_varint(&mut out, u64::from(*order));
                roster.emit(&mut out);
            }
            Self::Roster(roster) => {
                out.push(3);
                roster.emit(&mut out);
            }
            Self::Admit => out.push(4),
            Self::Leave => out.push(5),
            Self::Out { reason, detail } => {
                out.extend([6, reason.number()]);
                put_short_text(&mut out, detail, MAX_DETAIL_LEN);
            }
        }
        out
    }
}

impl Roster {
    fn parse(reader: &mut Reader<'_>) -> Result<Self, ParseError> {
        let host = order(reader)?;
        let version = reader.varint()?;
        let topology = match reader.u8()? {
            0 => Topology::Mesh,
            1 => Topology::Star,
            _ => return Err(ParseError::Invalid),
        };
        let max_members = reader.u8()?;
        let count = usize::from(reader.u8()?);
        if max_members == 0 || usize::from(max_members) > MAX_MEMBERS || count > MAX_MEMBERS {
            return Err(ParseError::Invalid);
        }
        let mut members: Vec<Entry> = Vec::with_capacity(count);
        for _ in 0..count {
            let entry = Entry {
                order: order(reader)?,
                key: reader.array()?,
                name: printable(reader.short_text(MAX_NAME_LEN)?),
                contact: contact(reader)?,
            };
            if members.last().is_some_and(|last| last.order >= entry.order)
                || members.iter().any(|other| other.key == entry.key)
                || entry.name.len() > MAX_NAME_LEN
            {
                return Err(ParseError::Invalid);
            }
            members.push(entry);
        }
        if !members.iter().any(|entry| entry.order == host) {
            return Err(ParseError::Invalid);
        }
        let count = usize::from(reader.u8()?);
        if count > MAX_MEMBERS {
            return Err(ParseError::Invalid);
        }
        let mut gone = Vec::with_capacity(count);
        for _ in 0..count {
            gone.push((order(reader)?, reason(reader)?));
        }
        Ok(Self {
            host,
            version,
            topology,
            max_members,
            members,
            gone,
        })
    }

    fn emit(&self, out: &mut Vec<u8>) {
        put_varint(out, u64::from(self.host));
        put_varint(out, self.version);
        out.push(match self.topology {
            Topology::Mesh => 0,
            Topology::Star => 1,
        });
        out.push(self.max_members);
        // Both counts are bounded by MAX_MEMBERS where they are made.
        out.push(self.members.len() as u8);
        for entry in &self.members {
            put_varint(out, u64::from(entry.order));
            out.extend_from_slice(&entry.key);
            put_short_text(out, &entry.name, MAX_NAME_LEN);
            put_short_text(out, &entry.contact, MAX_CONTACT_LEN);
        }
        out.push(self.gone.len() as u8);
        for (order, reason) in &self.gone {
            put_varint(out, u64::from(*order));
            out.push(reason.number());
        }
    }
}

/// What the host passes on from one member to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PassedOn<'a> {
    /// On the way to the host: for whom. From the host on: from whom.
    pub order: u32,
    /// The sender's own count for this receiver, channel and delivery.
    pub sequence_id: u64,
    /// What the data means to the game.
    pub kind: Kind,
    /// The game's bytes.
    pub data: &'a [u8],
}

impl<'a> PassedOn<'a> {
    /// Takes it apart.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ParseError> {
        let mut reader = Reader::new(bytes);
        let (order, sequence_id) = (order(&mut reader)?, reader.varint()?);
        let kind = Kind::from_number(reader.u8()?).filter(|kind| kind.number() < Kind::ROOM.number());
        Ok(Self {
            order,
            sequence_id,
            kind: kind.ok_or(ParseError::Invalid)?,
            data: reader.rest(),
        })
    }

    /// Writes it.
    pub fn emit(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.data.len() + 16);
        put_varint(&mut out, u64::from(self.order));
        put_varint(&mut out, self.sequence_id);
        out.push(self.kind.number());
        out.extend_from_slice(self.data);
        out
    }
}

fn order(reader: &mut Reader<'_>) -> Result<u32, ParseError> {
    u32::try_from(reader.varint()?).map_err(|_| ParseError::Invalid)
}

fn reason(reader: &mut Reader<'_>) -> Result<Reason, ParseError> {
    Reason::from_number(reader.u8()?).ok_or(ParseError::Invalid)
}

fn contact(reader: &mut Reader<'_>) -> Result<String, ParseError> {
    let text = reader.short_text(MAX_CONTACT_LEN)?;
    // A URL is printable ASCII.
    if text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(text.to_owned())
    } else {
        Err(ParseError::Invalid)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn roster() -> impl Strategy<Value = Roster> {
        let entry = (any::<[u8; 31]>(), "[a-zé]{0,10}", "play\\+udp://[0-9.:]{0,30}");
        let members = proptest::collection::btree_map(any::<u32>(), entry, 1..9);
        let gone = proptest::collection::vec((any::<u32>(), 0..Reason::ALL.len()), 0..4);
        (members, any::<u64>(), any::<bool>(), 1..=64u8, gone, any::<usize>()).prop_map(
            |(members, version, is_star, max_members, gone, host)| {
                let members: Vec<Entry> = members
                    .into_iter()
                    .enumerate()
                    .map(|(index, (order, (key, name, contact)))| Entry {
                        order,
                        key: std::array::from_fn(|at| if at == 0 { index as u8 } else { key[at - 1] }),
                        name,
                        contact,
                    })
                    .collect();
                Roster {
                    host: members[host % members.len()].order,
                    version,
                    topology: if is_star { Topology::Star } else { Topology::Mesh },
                    max_members,
                    members,
                    gone: gone
                        .into_iter()
                        .map(|(order, reason)| (order, Reason::ALL[reason]))
                        .collect(),
                }
            },
        )
    }

    fn control() -> impl Strategy<Value = Control> {
        prop_oneof![
            "local://[a-z]{0,20}".prop_map(|contact| Control::Knock { contact }),
            (any::<u32>(), roster()).prop_map(|(order, roster)| Control::Welcome { order, roster }),
            roster().prop_map(Control::Roster),
            Just(Control::Admit),
            Just(Control::Leave),
            (0..Reason::ALL.len(), "[a-zé ]{0,60}").prop_map(|(number, detail)| Control::Out {
                reason: Reason::ALL[number],
                detail,
            }),
        ]
    }

    proptest! {
        #[test]
        fn parse_of_emit_is_identity_and_every_truncation_is_refused(control in control()) {
            let bytes = control.emit();
            prop_assert_eq!(Control::parse(&bytes), Ok(control));
            for len in 0..bytes.len() {
                prop_assert!(Control::parse(&bytes[..len]).is_err());
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic_and_have_one_encoding(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(control) = Control::parse(&bytes) {
                // A name may hold control characters that were made visible: then it is not the same again.
                let again = control.emit();
                prop_assert_eq!(Control::parse(&again), Ok(control));
            }
            if let Ok(passed) = PassedOn::parse(&bytes) {
                prop_assert_eq!(passed.emit(), bytes);
            }
        }
    }
}
