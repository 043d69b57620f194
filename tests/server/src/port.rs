//! A port for a server.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;

/// Below the ports that systems give to clients: a server that starts again on its port would meet
/// one of them there.
const PORTS: Range<u16> = 20_000..32_000;

/// A port of this machine on which nobody listens now. It may be taken before it is used.
pub(crate) fn free() -> u16 {
    loop {
        // What a hash map is seeded with is random enough.
        let random = RandomState::new().build_hasher().finish();
        let place = random % u64::from(PORTS.end - PORTS.start);
        let port = PORTS.start + u16::try_from(place).unwrap_or_default();
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}
