//! A list of dicts with the same keys in the same order becomes a table, which has each key once. It must not know what the
//! values mean, and changes nothing but these lists and the lengths of the extensions around them.
//!
//! A snapshot of 200 dicts of six fields has almost half of its bytes in keys. What such a list may be, and where it is looked
//! for, is in `list_of_dicts`, which sees it while the value is measured; a value without one costs no second walk.
//! Inside a typed message nothing is looked for: its own code reads it.

use std::borrow::Cow;

use super::{Bounds, Header, Problem, Table, Walk, extension};

/// How many bytes a table may have that its list has not: the header of the extension, and a longer one of the array.
pub(super) const OVERHEAD: u64 = 10;

/// Measures one value that must fill `bytes` to the end, and returns it with tables in it if it is shorter so.
///
/// What is returned has as many elements and levels as what was given, and is never longer.
pub fn fold<'a>(bytes: &'a [u8], bounds: &Bounds) -> Result<Cow<'a, [u8]>, Problem> {
    let mut walk = Walk::new(bytes, bounds);
    walk.seeks_tables = true;
    walk.only_value(0)?;
    if walk.tables.is_empty() {
        return Ok(Cow::Borrowed(bytes));
    }
    let mut tables = walk.tables;
    tables.sort_unstable_by_key(|table| std::cmp::Reverse(table.start)); // those in a table have ended before it
    let mut fold = Fold {
        walk: Walk::new(bytes, bounds),
        tables,
        copied: 0,
        out: Vec::with_capacity(bytes.len()),
    };
    fold.value()?;
    fold.copy_to(bytes.len());
    Ok(Cow::Owned(fold.out))
}

struct Fold<'a> {
    walk: Walk<'a>,
    /// Those still to come, the next one last.
    tables: Vec<Table>,
    /// Up to here everything is in `out`.
    copied: usize,
    out: Vec<u8>,
}

impl Fold<'_> {
    #[inline]
    fn value(&mut self) -> Result<(), Problem> {
        if self.walk.skip_plain() {
            return Ok(());
        }
        self.any_value()
    }

    #[inline(never)]
    fn any_value(&mut self) -> Result<(), Problem> {
        let start = self.walk.at;
        if let Some(table) = self.tables.pop_if(|table| table.start == start) {
            return self.table(&table.keys);
        }
        match self.walk.header()? {
            Header::Plain | Header::Extension | Header::Rows(_) => {}
            Header::Array(count) => {
                for _ in 0..count {
                    self.value()?;
                }
            }
            Header::Map(count) => {
                for _ in 0..count {
                    self.walk.key()?;
                    self.value()?;
                }
            }
            Header::Value(number, end) if self.tables.last().is_some_and(|table| table.start < end) => {
                self.copy_to(start);
                let payload = self.out.len();
                self.copied = self.walk.at;
                self.value()?;
                self.copy_to(end);
                self.put_extension_header(payload, number);
            }
            Header::Value(_, end) | Header::Table(end) => self.walk.at = end,
        }
        Ok(())
    }

    fn table(&mut self, keys: &[std::ops::Range<usize>]) -> Result<(), Problem> {
        self.copy_to(self.walk.at);
        let payload = self.out.len();
        let Header::Array(count) = self.walk.header()? else {
            return Err(Problem::Malformed);
        };
        let columns = keys.len() as u64;
        self.put_array_header(1 + count * columns);
        self.put_array_header(columns);
        for key in keys {
            self.out.extend_from_slice(&self.walk.bytes[key.clone()]);
        }
        for _ in 0..count {
            self.walk.header()?;
            for key in keys {
                self.walk.at += key.len();
                self.copied = self.walk.at;
                self.value()?;
                self.copy_to(self.walk.at);
            }
        }
        self.put_extension_header(payload, extension::TABLE);
        Ok(())
    }

    fn copy_to(&mut self, end: usize) {
        self.out.extend_from_slice(&self.walk.bytes[self.copied..end]);
        self.copied = end;
    }

    fn put_array_header(&mut self, count: u64) {
        // A count is never above that of the bytes of a value, which are in memory; so 32 bits hold it or `measure` failed.
        match count {
            0..=15 => self.out.push(0x90 | count as u8),
            16..=0xffff => {
                self.out.push(0xdc);
                self.out.extend_from_slice(&(count as u16).to_be_bytes());
            }
            _ => {
                self.out.push(0xdd);
                self.out.extend_from_slice(&(count as u32).to_be_bytes());
            }
        }
    }

    /// Puts the header of an extension before its payload, which goes from there to the end of what is made.
    fn put_extension_header(&mut self, payload: usize, number: u8) {
        let size = self.out.len() - payload;
        let mut header = match size {
            1 | 2 | 4 | 8 | 16 => vec![0xd4 + size.trailing_zeros() as u8],
            0..=0xff => vec![0xc7, size as u8],
            0x100..=0xffff => [&[0xc8][..], &(size as u16).to_be_bytes()].concat(),
            _ => [&[0xc9][..], &(size as u32).to_be_bytes()].concat(),
        };
        header.push(number);
        self.out.splice(payload..payload, header);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::measure;
    use super::*;

    fn folded(bytes: &[u8]) -> Vec<u8> {
        let bounds = Bounds::default();
        let folded = fold(bytes, &bounds).unwrap().into_owned();
        assert_eq!(measure(&folded, &bounds), measure(bytes, &bounds));
        folded
    }

    #[test]
    fn each_key_is_written_once_and_what_is_around_keeps_its_order() {
        let dicts = |count: u8| {
            [
                &[0x90 | count][..],
                &b"\x82\xa4long\x01\xa4name\x02".repeat(count.into()),
            ]
            .concat()
        };
        let list = [b"\x93\x07", &dicts(2)[..], b"\x08"].concat();
        assert_eq!(
            folded(&list),
            b"\x93\x07\xd8\x0e\x95\x92\xa4long\xa4name\x01\x02\x01\x02\x08"
        );
    }

    #[test]
    fn the_lengths_of_extensions_around_a_table_are_those_of_what_is_in_them() {
        let dicts = [&b"\xdc\x00\x20"[..], &b"\x81\xa9long name\xc0".repeat(32)].concat();
        let mut tuples = dicts;
        for _ in 0..3 {
            let size = u16::try_from(tuples.len()).unwrap().to_be_bytes();
            tuples = [&[0xc8][..], &size, &[1], &tuples].concat();
        }
        let table = [&b"\xdc\x00\x21\x91\xa9long name"[..], &[0xc0; 32]].concat();
        let size = u8::try_from(table.len()).unwrap();
        let want = [
            &[0xc7, size + 9, 1, 0xc7, size + 6, 1, 0xc7, size + 3, 1, 0xc7, size, 14],
            &table[..],
        ]
        .concat();
        assert_eq!(folded(&tuples), want);
    }

    #[test]
    fn a_typed_message_is_left_alone() {
        let dicts = [&[0x94][..], &b"\x81\xa9long name\xc0".repeat(4)].concat();
        let size = u8::try_from(dicts.len()).unwrap();
        let message = [&[0xc7, size, 11], &dicts[..]].concat();
        assert_eq!(folded(&message), message);
        assert_ne!(folded(&dicts), dicts);
    }

    #[test]
    fn lists_of_dicts_inside_one_another_are_all_found() {
        let inner = [&[0x92][..], &b"\x82\xa9long name\xc0\xa5other\x01".repeat(2)].concat();
        let outer = [&[0x93][..], &[&b"\x81\xa5units"[..], &inner].concat().repeat(3)].concat();
        let text = folded(&outer);
        let times = |word: &[u8]| text.windows(word.len()).filter(|window| *window == word).count();
        assert_eq!((times(b"units"), times(b"long name"), times(b"other")), (1, 3, 3));
    }
}
