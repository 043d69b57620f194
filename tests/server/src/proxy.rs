//! A network that fails at a chosen byte.

use std::collections::{HashMap, HashSet};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

/// Which way a byte goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server.
    ToServer,
    /// From the server to the client.
    ToClient,
}

impl Direction {
    /// Both.
    pub const ALL: [Self; 2] = [Self::ToServer, Self::ToClient];
}

/// What happens in place of a byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The connection is cut. Others go on, and new ones come through.
    Cut,
    /// Every connection is cut, and new ones are too, until the network is
    /// [repaired](Proxy::repair).
    Outage,
    /// Nothing comes through any more, either way, and nobody is told, until the network is
    /// [repaired](Proxy::repair). What was sent meanwhile is lost.
    Stall,
}

/// A TCP proxy in front of a [`Cluster`](crate::Cluster) that fails when it is told to. It has been
/// used up when it is dropped: connections through it are cut.
///
/// ```
/// use tokenkeep_test_server::{
///     Cluster, ClusterOptions, Direction, Failure, Proxy, cluster_available,
/// };
///
/// if !cluster_available("meets_a_failing_network") {
///     return Ok(());
/// }
/// let cluster = Cluster::start(&ClusterOptions::new())?;
/// let database = cluster.database()?;
/// let proxy = Proxy::start(cluster.address())?;
/// let url = database.url_at(proxy.address());
/// proxy.arm(Direction::ToServer, 0, Failure::Outage);
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
/// let connect = || runtime.block_on(tokio_postgres::connect(&url, tokio_postgres::NoTls));
/// assert!(connect().is_err());
/// assert_eq!(proxy.failed().len(), 1);
/// proxy.repair();
/// assert!(connect().is_ok());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    network: Arc<Mutex<Network>>,
}

#[derive(Debug, Default)]
struct Network {
    armed: Option<Armed>,
    outage: bool,
    stalled: bool,
    /// The connections on which nothing passes, by the port that the server sees.
    swallowed: HashSet<u16>,
    is_over: bool,
    /// How many bytes have passed each way since it was armed.
    passed: [usize; 2],
    /// The ends of every connection, the client's and the server's, by the port that the server sees.
    connections: HashMap<u16, [TcpStream; 2]>,
    failed: Vec<u16>,
}

#[derive(Debug, Clone, Copy)]
struct Armed {
    direction: Direction,
    after: usize,
    failure: Failure,
}

impl Proxy {
    /// Listens on a port of its own for connections to `server`.
    ///
    /// # Errors
    ///
    /// Those of the socket.
    pub fn start(server: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let network = Arc::new(Mutex::new(Network::default()));
        let shared = network.clone();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if locked(&shared).is_over {
                    return;
                }
                // A server that is not there is as if it cut the connection.
                let _ = connect(client, server, &shared);
            }
        });
        Ok(Self { address, network })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on counts the bytes of all connections together, and fails in place of the byte that
    /// follows `after` of them in that direction. Once: then what the failure leaves goes on.
    pub fn arm(&self, direction: Direction, after: usize, failure: Failure) {
        let mut network = locked(&self.network);
        network.armed = Some(Armed { direction, after, failure });
        network.passed = [0; 2];
        network.failed.clear();
    }

    /// From now on nothing passes on the connections that there are, either way, and neither side gets
    /// an error. New connections come through. [`repair`](Self::repair) cuts the silent ones, and
    /// [`failed`](Self::failed) lists those on which the client sent something.
    pub fn swallow(&self) {
        let mut network = locked(&self.network);
        network.swallowed = network.connections.keys().copied().collect();
        network.failed.clear();
    }

    /// How many bytes have passed in that direction since it was armed last.
    #[must_use]
    pub fn passed(&self, direction: Direction) -> usize {
        locked(&self.network).passed[direction as usize]
    }

    /// The connections on which it has failed since it was armed, each by the port that the server
    /// sees (`pg_stat_activity.client_port`). Empty when it has not come to that.
    #[must_use]
    pub fn failed(&self) -> Vec<u16> {
        locked(&self.network).failed.clone()
    }

    /// How many connections there are through it.
    #[must_use]
    pub fn connections(&self) -> usize {
        locked(&self.network).connections.len()
    }

    /// Ends outages and stalls, and disarms it. Connections that have met one are cut.
    pub fn repair(&self) {
        let mut network = locked(&self.network);
        network.armed = None;
        if network.stalled || network.outage {
            network.cut_all();
        }
        network.outage = false;
        network.stalled = false;
        for port in std::mem::take(&mut network.swallowed) {
            if let Some(ends) = network.connections.remove(&port) {
                cut(&ends);
            }
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let mut network = locked(&self.network);
        network.is_over = true;
        network.cut_all();
        drop(network);
        // The listener waits for one more.
        let _ = TcpStream::connect(self.address);
    }
}

fn locked(network: &Mutex<Network>) -> MutexGuard<'_, Network> {
    network.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Connects a client through, unless there is an outage.
fn connect(client: TcpStream, server: SocketAddr, shared: &Arc<Mutex<Network>>) -> io::Result<()> {
    let server = TcpStream::connect(server)?;
    for end in [&client, &server] {
        end.set_nodelay(true)?;
    }
    let mut network = locked(shared);
    if network.outage {
        return Ok(());
    }
    let port = server.local_addr()?.port();
    network.connections.insert(port, [client.try_clone()?, server.try_clone()?]);
    drop(network);
    let back = (server.try_clone()?, client.try_clone()?);
    for (direction, (from, to)) in Direction::ALL.into_iter().zip([(client, server), back]) {
        let shared = shared.clone();
        thread::spawn(move || {
            let _ = carry(direction, &from, &to, port, &shared);
            let mut network = locked(&shared);
            network.connections.remove(&port);
            network.swallowed.remove(&port);
            cut(&[from, to]);
        });
    }
    Ok(())
}

/// Carries bytes one way until the connection ends.
fn carry(
    direction: Direction,
    mut from: &TcpStream,
    mut to: &TcpStream,
    port: u16,
    shared: &Mutex<Network>,
) -> io::Result<()> {
    let mut buffer = [0; 16 * 1024];
    loop {
        let read = from.read(&mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        // Under the lock, so that no other byte passes between the last one and the failure.
        let mut network = locked(shared);
        if network.swallowed.contains(&port) {
            if direction == Direction::ToServer && !network.failed.contains(&port) {
                network.failed.push(port);
            }
            continue;
        }
        if network.stalled {
            continue;
        }
        let allowed = network.allowed(direction, read);
        to.write_all(&buffer[..allowed])?;
        network.passed[direction as usize] += allowed;
        if allowed < read && network.fail(port) == Failure::Cut {
            // In the lock: a client that has seen it finds it told.
            cut(&[from.try_clone()?, to.try_clone()?]);
            return Ok(());
        }
    }
}

impl Network {
    /// How many of `read` bytes may pass.
    fn allowed(&self, direction: Direction, read: usize) -> usize {
        match self.armed {
            Some(armed) if armed.direction == direction => {
                read.min(armed.after - self.passed[direction as usize])
            }
            _ => read,
        }
    }

    fn fail(&mut self, port: u16) -> Failure {
        let failure = self.armed.take().map_or(Failure::Cut, |armed| armed.failure);
        self.failed.push(port);
        match failure {
            Failure::Cut => {}
            Failure::Outage => {
                self.outage = true;
                self.cut_all();
            }
            Failure::Stall => self.stalled = true,
        }
        failure
    }

    fn cut_all(&mut self) {
        for (_, ends) in self.connections.drain() {
            cut(&ends);
        }
    }
}

fn cut(ends: &[TcpStream; 2]) {
    for end in ends {
        // The other side may have done so already.
        let _ = end.shutdown(Shutdown::Both);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that sends back what it gets, through a proxy.
    fn echo() -> Proxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let proxy = Proxy::start(listener.local_addr().unwrap()).unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                thread::spawn(move || io::copy(&mut &stream, &mut &stream));
            }
        });
        proxy
    }

    /// Sends ten bytes and returns those that come back before the end.
    fn send_ten(proxy: &Proxy) -> usize {
        let mut stream = TcpStream::connect(proxy.address()).unwrap();
        let Ok(()) = stream.write_all(&[7; 10]) else {
            return 0;
        };
        let mut returned = [0; 10];
        (0..10)
            .take_while(|place| stream.read_exact(&mut returned[*place..=*place]).is_ok())
            .count()
    }

    #[test]
    fn a_cut_lets_as_many_bytes_pass_as_it_was_told() {
        let proxy = echo();
        assert_eq!(send_ten(&proxy), 10);
        for direction in Direction::ALL {
            for after in 0..10 {
                proxy.arm(direction, after, Failure::Cut);
                let returned = send_ten(&proxy);
                assert_eq!(proxy.passed(direction), after);
                assert!(returned <= after, "{returned} bytes came back");
                assert!(direction == Direction::ToServer || returned == after, "{returned}");
                assert_eq!(proxy.failed().len(), 1);
                assert_eq!(send_ten(&proxy), 10, "the next connection");
            }
            proxy.arm(direction, 10, Failure::Cut);
            assert_eq!(send_ten(&proxy), 10);
            assert!(proxy.failed().is_empty());
        }
    }

    #[test]
    fn an_outage_lasts_until_it_is_mended() {
        let proxy = echo();
        let mut other = TcpStream::connect(proxy.address()).unwrap();
        other.write_all(&[1]).unwrap();
        other.read_exact(&mut [0]).unwrap();
        proxy.arm(Direction::ToClient, 3, Failure::Outage);
        assert_eq!((send_ten(&proxy), send_ten(&proxy)), (3, 0));
        assert_eq!(other.read(&mut [0]).unwrap(), 0, "it is cut, too");
        proxy.repair();
        assert_eq!(send_ten(&proxy), 10);
    }

    #[test]
    fn swallow_silences_old_connections_only() {
        let proxy = echo();
        let mut old = TcpStream::connect(proxy.address()).unwrap();
        old.write_all(&[1]).unwrap();
        old.read_exact(&mut [0]).unwrap();
        proxy.swallow();
        old.write_all(&[1]).unwrap();
        old.set_read_timeout(Some(std::time::Duration::from_millis(100))).unwrap();
        assert_eq!(old.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert_eq!(send_ten(&proxy), 10);
        assert_eq!(proxy.failed().len(), 1);
        proxy.repair();
        assert_eq!(old.read(&mut [0]).unwrap(), 0);
    }

    #[test]
    fn a_stall_tells_nobody() {
        let proxy = echo();
        proxy.arm(Direction::ToServer, 4, Failure::Stall);
        let mut stream = TcpStream::connect(proxy.address()).unwrap();
        stream.write_all(&[7; 10]).unwrap();
        stream.set_read_timeout(Some(std::time::Duration::from_millis(100))).unwrap();
        let error = stream.read_exact(&mut [0; 10]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        proxy.repair();
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
        assert_eq!(send_ten(&proxy), 10);
    }
}
