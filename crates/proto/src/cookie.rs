//! The proof of a return path: a server's first answer, made without remembering anything.
//!
//! After the cookie of DTLS (RFC 9147 §5.1): a keyed code over the time, the client's token and its address. Only one who receives at that
//! address can send it back; a flood of forged first packets costs one hash each and gets back less than it sent.

use std::time::Duration;

use blake2::Blake2sMac;
use blake2::digest::Mac;
use blake2::digest::consts::U16;

use crate::address::Path;
use crate::config::Key;
use crate::time::Timestamp;
use crate::wire::COOKIE_LEN;

/// How long a cookie is good for: several retries of a slow path.
const LIFETIME: Duration = Duration::from_secs(10);

/// Makes and checks cookies under one secret.
pub(crate) struct CookieJar {
    secret: Key,
}

impl CookieJar {
    pub(crate) fn new(secret: Key) -> Self {
        Self { secret }
    }

    /// Makes the cookie for this client.
    pub(crate) fn make(&self, now: Timestamp, path: Path, token: u64) -> [u8; COOKIE_LEN] {
        let mut cookie = [0; COOKIE_LEN];
        let (time, code) = cookie.split_at_mut(8);
        time.copy_from_slice(&now.as_micros().to_le_bytes());
        code.copy_from_slice(&self.mac(now, path, token).finalize().into_bytes());
        cookie
    }

    /// Checks a cookie that came back from this client.
    pub(crate) fn check(&self, now: Timestamp, path: Path, token: u64, cookie: &[u8; COOKIE_LEN]) -> bool {
        let (time, code) = cookie.split_at(8);
        let made = Timestamp::from_micros(u64::from_le_bytes(time.try_into().expect("split at 8")));
        made <= now && now.since(made) < LIFETIME && self.mac(made, path, token).verify_slice(code).is_ok()
    }

    fn mac(&self, made: Timestamp, path: Path, token: u64) -> Blake2sMac<U16> {
        let mut mac = <Blake2sMac<U16> as Mac>::new_from_slice(&self.secret).expect("BLAKE2s takes keys of 32 bytes");
        mac.update(&made.as_micros().to_le_bytes());
        mac.update(&token.to_le_bytes());
        mac.update(&path.remote.to_cookie_bytes());
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Address;

    #[test]
    fn a_cookie_is_good_for_its_address_token_and_time_only() {
        let jar = CookieJar::new([1; 32]);
        let path = |number| Path {
            socket: 0,
            remote: Address::Virtual(number),
        };
        let now = Timestamp::from_millis(5000);
        let cookie = jar.make(now, path(1), 7);
        assert!(jar.check(now, path(1), 7, &cookie));
        assert!(jar.check(now + Duration::from_secs(9), path(1), 7, &cookie));
        assert!(!jar.check(now, path(2), 7, &cookie), "another address");
        assert!(!jar.check(now, path(1), 8, &cookie), "another token");
        assert!(
            !jar.check(now + Duration::from_secs(10), path(1), 7, &cookie),
            "too old"
        );
        assert!(!jar.check(Timestamp::ZERO, path(1), 7, &cookie), "from the future");
        assert!(
            !CookieJar::new([2; 32]).check(now, path(1), 7, &cookie),
            "another secret"
        );
        for bit in 0..COOKIE_LEN * 8 {
            let mut forged = cookie;
            forged[bit / 8] ^= 1 << (bit % 8);
            assert!(!jar.check(now, path(1), 7, &forged));
        }
    }
}
