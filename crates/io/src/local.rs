//! The network inside one process: `local://name`. Datagrams go through bounded queues in memory instead of sockets.
//!
//! It knows names, numbers and datagrams. As with UDP, what is sent to nobody or to a full queue is lost, so the protocol
//! above needs no second way of working, and simulated trouble works here too.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

/// How many datagrams wait for one port; those beyond are lost, as in a socket's buffer.
const QUEUE_LEN: usize = 4096;

/// Where a port tells its owner that something has arrived. Called on the sender's thread: it must not block.
pub(crate) type Rouse = Arc<dyn Fn() + Send + Sync>;

/// An address of this process, and the queue of what has arrived there. Closes when dropped.
pub(crate) struct LocalPort {
    number: u64,
    inbox: Arc<Inbox>,
}

struct Inbox {
    queue: Mutex<VecDeque<(u64, Bytes)>>,
    rouse: Rouse,
}

/// Every port of this process.
struct Registry {
    /// The number of every name that was ever asked for, so that a client may know where to ask before there is a listener.
    names: BTreeMap<String, u64>,
    ports: BTreeMap<u64, Arc<Inbox>>,
    next: u64,
}

static REGISTRY: Mutex<Registry> = Mutex::new(Registry {
    names: BTreeMap::new(),
    ports: BTreeMap::new(),
    next: 1,
});

fn registry() -> MutexGuard<'static, Registry> {
    // Nothing below panics while it holds the lock, and every step leaves the maps whole.
    REGISTRY.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Registry {
    fn number(&mut self) -> u64 {
        let number = self.next;
        self.next += 1;
        number
    }
}

/// Returns the number of a name, whether or not anybody listens there yet.
pub(crate) fn number_of(name: &str) -> u64 {
    let mut registry = registry();
    if let Some(number) = registry.names.get(name) {
        return *number;
    }
    let number = registry.number();
    registry.names.insert(name.to_owned(), number);
    number
}

impl LocalPort {
    /// Opens the port of a name; an error of kind `AddrInUse` if it is open already.
    pub(crate) fn listen(name: &str, rouse: Rouse) -> io::Result<Self> {
        let number = number_of(name);
        let inbox = Arc::new(Inbox {
            queue: Mutex::default(),
            rouse,
        });
        let mut registry = registry();
        if registry.ports.contains_key(&number) {
            return Err(io::Error::new(
                io::ErrorKind::AddrInUse,
                format!("local name {name:?} is taken"),
            ));
        }
        registry.ports.insert(number, Arc::clone(&inbox));
        Ok(Self { number, inbox })
    }

    /// Opens a port without a name, to call from.
    pub(crate) fn open(rouse: Rouse) -> Self {
        let inbox = Arc::new(Inbox {
            queue: Mutex::default(),
            rouse,
        });
        let mut registry = registry();
        let number = registry.number();
        registry.ports.insert(number, Arc::clone(&inbox));
        Self { number, inbox }
    }

    /// Takes out the oldest datagram and the number of the port it came from.
    pub(crate) fn receive(&self) -> Option<(u64, Bytes)> {
        self.inbox
            .queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front()
    }

    /// Returns true if a datagram waits.
    pub(crate) fn has_datagram(&self) -> bool {
        !self
            .inbox
            .queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_empty()
    }

    /// Sends a datagram to a port and returns true if it arrived there.
    pub(crate) fn send(&self, to: u64, bytes: &[u8]) -> bool {
        let Some(inbox) = registry().ports.get(&to).map(Arc::clone) else {
            return false;
        };
        {
            let mut queue = inbox.queue.lock().unwrap_or_else(PoisonError::into_inner);
            if queue.len() >= QUEUE_LEN {
                return false;
            }
            queue.push_back((self.number, Bytes::copy_from_slice(bytes)));
        }
        (inbox.rouse)();
        true
    }
}

impl Drop for LocalPort {
    fn drop(&mut self) {
        registry().ports.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn quiet() -> Rouse {
        Arc::new(|| {})
    }

    #[test]
    fn a_datagram_reaches_a_name_and_its_answer_comes_back() {
        let rung = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&rung);
        let listener = LocalPort::listen(
            "test/echo",
            Arc::new(move || _ = counter.fetch_add(1, Ordering::SeqCst)),
        )
        .unwrap();
        let caller = LocalPort::open(quiet());
        assert!(caller.send(number_of("test/echo"), b"hello"));
        assert_eq!(rung.load(Ordering::SeqCst), 1);
        let (from, bytes) = listener.receive().unwrap();
        assert_eq!(&bytes[..], b"hello");
        assert!(listener.send(from, b"hello back"));
        assert!(caller.has_datagram());
        assert_eq!(&caller.receive().unwrap().1[..], b"hello back");
        assert_eq!(caller.receive(), None);
    }

    #[test]
    fn a_name_keeps_its_number_before_and_after_its_listener() {
        let number = number_of("test/late");
        let caller = LocalPort::open(quiet());
        assert!(!caller.send(number, b"nobody there"));
        let listener = LocalPort::listen("test/late", quiet()).unwrap();
        assert!(caller.send(number, b"somebody"));
        drop(listener);
        assert!(!caller.send(number, b"gone again"));
        let again = LocalPort::listen("test/late", quiet()).unwrap();
        assert_eq!(again.receive(), None);
        assert_eq!(number_of("test/late"), number);
    }

    #[test]
    fn a_name_is_taken_once() {
        let _first = LocalPort::listen("test/taken", quiet()).unwrap();
        let error = LocalPort::listen("test/taken", quiet()).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn a_full_queue_loses_the_newest() {
        let listener = LocalPort::listen("test/full", quiet()).unwrap();
        let caller = LocalPort::open(quiet());
        let number = number_of("test/full");
        let arrived = (0..QUEUE_LEN + 10)
            .filter(|index| caller.send(number, &index.to_be_bytes()))
            .count();
        assert_eq!(arrived, QUEUE_LEN);
        assert_eq!(&listener.receive().unwrap().1[..], 0usize.to_be_bytes());
    }
}
