//! Clients that vanish without a word: they stand in a network namespace whose link goes down.
//!
//! The namespace belongs to a thread and to the sockets that it has opened there. It goes, with the link, when both
//! have gone, however this process ends: nothing is left on the machine. Needs root and `ip` (iproute2).

use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    process::Command,
    sync::{Arc, OnceLock, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow, bail};
use nix::{
    sched::{CloneFlags, unshare},
    unistd::gettid,
};
use socket2::SockRef;

use crate::{approach::Approach, kernel};

/// The networks of RFC 2544 are for benchmarks: nobody has them at home. Each process takes another part.
const NETWORK: [u8; 2] = [198, 18];
/// Longest wait for a step of a client.
const STEP_MAX: Duration = Duration::from_secs(10);
/// Longest wait until the link carries packets.
const LINK_MAX: Duration = Duration::from_secs(5);
/// How long is watched when the hub notices.
const WATCH_MAX: Duration = Duration::from_secs(150);
/// Pause between two looks: `/proc/net/tcp` is long while thousands of old connections linger.
const LOOK: Duration = Duration::from_millis(500);

/// A link to a namespace with clients. Dropping it takes both away.
pub(crate) struct Vanishing {
    /// This machine's end, at which a hub can listen.
    pub(crate) hub_side: Ipv4Addr,
    client_side: Ipv4Addr,
    orders: Option<mpsc::Sender<Order>>,
    thread: Option<JoinHandle<()>>,
    noticed: Arc<OnceLock<Duration>>,
}

type Answer = mpsc::Sender<anyhow::Result<()>>;

enum Order {
    /// To open a stream with each of these requests.
    Open { hub: SocketAddr, approach: Box<Approach>, requests: Vec<Vec<u8>>, answer: Answer },
    /// To take the link down.
    Cut { answer: Answer },
}

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

impl Vanishing {
    /// Lays the link. Fails where namespaces are not permitted, and says so.
    pub(crate) fn lay() -> anyhow::Result<Self> {
        let part = u8::try_from(std::process::id() % 256).expect("a remainder of 256 is below 256");
        let [hub_side, client_side] = [1, 2].map(|last| Ipv4Addr::new(NETWORK[0], NETWORK[1], part, last));
        let name = format!("rvb{}", std::process::id() % 1_000_000);
        let (orders, inbox) = mpsc::channel();
        let (ready, inside) = mpsc::channel();
        let peer = format!("{name}c");
        let thread = thread::spawn({
            let peer = peer.clone();
            move || live_in_namespace(&ready, &inbox, &peer)
        });
        let link = Self {
            hub_side,
            client_side,
            orders: Some(orders),
            thread: Some(thread),
            noticed: Arc::new(OnceLock::new()),
        };
        let id = inside.recv().context("the thread of the namespace has ended")??;
        ip(&["link", "add", &name, "type", "veth", "peer", "name", &peer, "netns", &id.to_string()])?;
        ip(&["addr", "add", &format!("{hub_side}/30"), "dev", &name])?;
        ip(&["link", "set", &name, "up"])?;
        link.order(|answer| Order::Open {
            hub: SocketAddr::from((hub_side, 0)),
            approach: Box::default(),
            requests: Vec::new(),
            answer,
        })?;
        Ok(link)
    }

    fn order(&self, make: impl FnOnce(Answer) -> Order) -> anyhow::Result<()> {
        let gone = || anyhow!("the thread of the namespace has ended");
        let (answer, done) = mpsc::channel();
        self.orders.as_ref().ok_or_else(gone)?.send(make(answer)).map_err(|_| gone())?;
        done.recv().map_err(|_| gone())?
    }

    /// Opens a stream with each of these requests, and waits for the heads of all answers.
    pub(crate) fn open(
        &self,
        hub: SocketAddr,
        approach: &Approach,
        requests: Vec<Vec<u8>>,
    ) -> anyhow::Result<()> {
        let approach = Box::new(approach.clone());
        self.order(|answer| Order::Open { hub, approach, requests, answer })
    }

    /// Takes the link down, and begins to watch when the hub has ended all of these connections.
    pub(crate) fn cut(&self, hub: SocketAddr) -> anyhow::Result<()> {
        self.order(|answer| Order::Cut { answer })?;
        let (noticed, client, began) = (self.noticed.clone(), self.client_side, Instant::now());
        thread::spawn(move || {
            while began.elapsed() < WATCH_MAX {
                let left = kernel::connections_of(hub)
                    .map(|all| all.iter().filter(|connection| *connection.client.ip() == client).count());
                if left.is_ok_and(|left| left == 0) {
                    let _ = noticed.set(began.elapsed());
                    return;
                }
                thread::sleep(LOOK);
            }
        });
        Ok(())
    }

    /// How long after the cut the hub had ended the last of them, as far as that has been seen.
    pub(crate) fn noticed(&self) -> Option<Duration> {
        self.noticed.get().copied()
    }
}

impl Drop for Vanishing {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            // It does not panic, and there would be nothing to do about it.
            let _ = thread.join();
        }
    }
}

/// The thread's life: its sockets are those of the namespace, and end with it.
fn live_in_namespace(ready: &mpsc::Sender<anyhow::Result<i32>>, orders: &mpsc::Receiver<Order>, peer: &str) {
    let entered = unshare(CloneFlags::CLONE_NEWNET).context("entering a network namespace of its own");
    let is_inside = entered.is_ok();
    let _ = ready.send(entered.map(|()| gettid().as_raw()));
    let (mut streams, mut is_up) = (Vec::new(), false);
    while is_inside && let Ok(order) = orders.recv() {
        match order {
            Order::Open { hub, approach, requests, answer } => {
                let up = if is_up { Ok(()) } else { come_up(hub.ip(), peer) };
                is_up |= up.is_ok();
                let opened = up.and_then(|()| {
                    let open = |request: &Vec<u8>| open_stream(hub, &approach, request);
                    streams.extend(requests.iter().map(open).collect::<anyhow::Result<Vec<_>>>()?);
                    Ok(())
                });
                let _ = answer.send(opened);
            }
            Order::Cut { answer } => {
                let _ = answer.send(ip(&["link", "set", peer, "down"]));
            }
        }
    }
}

/// Gives the namespace's end its address.
fn come_up(hub_side: IpAddr, peer: &str) -> anyhow::Result<()> {
    let IpAddr::V4(hub_side) = hub_side else { bail!("{hub_side} is not of the link's network") };
    let [a, b, c, _] = hub_side.octets();
    ip(&["addr", "add", &format!("{a}.{b}.{c}.2/30"), "dev", peer])?;
    ip(&["link", "set", peer, "up"])?;
    let deadline = Instant::now() + LINK_MAX;
    // Nobody listens there: a refusal has come through the link.
    while let Err(error) = TcpStream::connect_timeout(&SocketAddr::from((hub_side, 1)), STEP_MAX)
        && error.kind() != std::io::ErrorKind::ConnectionRefused
    {
        if Instant::now() > deadline {
            return Err(error).context("the link to the namespace does not come up");
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn open_stream(hub: SocketAddr, approach: &Approach, request: &[u8]) -> anyhow::Result<Box<dyn Stream>> {
    let mut tcp = TcpStream::connect_timeout(&hub, STEP_MAX).context("connecting from the namespace")?;
    tcp.set_read_timeout(Some(STEP_MAX))?;
    tcp.set_write_timeout(Some(STEP_MAX))?;
    // Without it the kernel would keep the namespace for minutes, to say good-bye over a link that is down.
    SockRef::from(&tcp).set_linger(Some(Duration::ZERO))?;
    tcp.write_all(&approach.ahead())?;
    let mut stream: Box<dyn Stream> = match approach.tls_connection()? {
        Some(tls) => Box::new(rustls::StreamOwned::new(*tls, tcp)),
        None => Box::new(tcp),
    };
    stream.write_all(request).context("asking from the namespace")?;
    let mut status = [0; b"HTTP/1.1 200".len()];
    stream.read_exact(&mut status).context("waiting for an answer in the namespace")?;
    if &status != b"HTTP/1.1 200" {
        bail!("a client in the namespace was refused with {}", String::from_utf8_lossy(&status));
    }
    Ok(stream)
}

/// Runs `ip`, in the namespace of the calling thread.
fn ip(arguments: &[&str]) -> anyhow::Result<()> {
    let output = Command::new("ip").args(arguments).output().context("starting ip (iproute2)")?;
    if !output.status.success() {
        bail!("ip {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
