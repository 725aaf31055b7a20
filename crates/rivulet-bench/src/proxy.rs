//! The network between a node and its Redis: it can be cut, and then refuses connections as a dead Redis would.

use std::{
    io,
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Instant,
};

use anyhow::Context;

use crate::port::free_address;

/// Passes bytes on between its address and its target while it is up. Dropping it cuts it.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    target: SocketAddr,
    network: Option<Network>,
}

/// A network that is up.
struct Network {
    acceptor: JoinHandle<Vec<Pair>>,
    closing: Arc<AtomicBool>,
    first: Arc<OnceLock<Instant>>,
}

/// One connection and its continuation, with the threads that copy from one to the other.
struct Pair {
    ends: [TcpStream; 2],
    threads: [JoinHandle<()>; 2],
}

impl Proxy {
    /// A proxy that is up.
    pub(crate) fn start(target: SocketAddr) -> anyhow::Result<Self> {
        let mut proxy = Self { address: free_address()?, target, network: None };
        proxy.restore()?;
        Ok(proxy)
    }

    /// Ends all connections, and refuses new ones from now on.
    pub(crate) fn cut(&mut self) {
        let Some(network) = self.network.take() else { return };
        network.closing.store(true, Ordering::SeqCst);
        // It stands in `accept`, which nothing else wakes.
        drop(TcpStream::connect(self.address));
        for pair in network.acceptor.join().unwrap_or_default() {
            for end in &pair.ends {
                // Fails only where the peer has ended it already.
                let _ = end.shutdown(Shutdown::Both);
            }
            for copying in pair.threads {
                let _ = copying.join();
            }
        }
    }

    /// Accepts connections again.
    pub(crate) fn restore(&mut self) -> anyhow::Result<()> {
        self.cut();
        let listener =
            TcpListener::bind(self.address).with_context(|| format!("listening at {}", self.address))?;
        let (closing, first) = (Arc::new(AtomicBool::new(false)), Arc::new(OnceLock::new()));
        let (target, stop, noted) = (self.target, closing.clone(), first.clone());
        let acceptor = thread::spawn(move || accept(&listener, target, &stop, &noted));
        self.network = Some(Network { acceptor, closing, first });
        Ok(())
    }

    /// When the first connection came since the network is up.
    pub(crate) fn first_connection(&self) -> Option<Instant> {
        self.network.as_ref()?.first.get().copied()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut();
    }
}

fn accept(
    listener: &TcpListener,
    target: SocketAddr,
    stop: &AtomicBool,
    first: &OnceLock<Instant>,
) -> Vec<Pair> {
    let mut pairs = Vec::new();
    while let Ok((near, _)) = listener.accept() {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        first.get_or_init(Instant::now);
        // A target that does not answer is the same to the caller as a connection that ends.
        pairs.extend(TcpStream::connect(target).and_then(|far| Pair::join(near, far)));
        pairs.retain(|pair| !pair.threads.iter().all(JoinHandle::is_finished));
    }
    pairs
}

impl Pair {
    fn join(near: TcpStream, far: TcpStream) -> io::Result<Self> {
        near.set_nodelay(true)?;
        far.set_nodelay(true)?;
        let threads = [copy(near.try_clone()?, far.try_clone()?), copy(far.try_clone()?, near.try_clone()?)];
        Ok(Self { ends: [near, far], threads })
    }
}

/// Copies until either side has ended, and then ends the other.
fn copy(mut from: TcpStream, mut to: TcpStream) -> JoinHandle<()> {
    thread::spawn(move || {
        // However it ended, the connection is over.
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
    })
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn a_cut_ends_connections_and_refuses_new_ones_until_it_is_restored() {
        let target = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut proxy = Proxy::start(target.local_addr().unwrap()).unwrap();
        let mut near = TcpStream::connect(proxy.address).unwrap();
        let (mut far, _) = target.accept().unwrap();
        near.write_all(b"ping").unwrap();
        let mut bytes = [0; 4];
        far.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"ping");
        assert!(proxy.first_connection().is_some());
        proxy.cut();
        assert_eq!(near.read(&mut bytes).unwrap_or(0), 0);
        assert!(TcpStream::connect(proxy.address).is_err());
        proxy.restore().unwrap();
        assert!(proxy.first_connection().is_none() && TcpStream::connect(proxy.address).is_ok());
    }
}
