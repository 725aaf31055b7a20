//! Three nodes that say that they are ready and serve nobody, and write down what reached them.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};

use rivulet_tests::{
    PATIENCE, eventually,
    proxy::{Change, Proxy, Software, Upstreams},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// What they do with a request that they have read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// As a node that drains, or is full.
    Refuse,
    /// As a node that dies: whether the update was published nobody knows.
    HangUp,
}

/// The address that was asked, and the method, or the path for a health check.
type Arrivals = Arc<Mutex<Vec<(IpAddr, String)>>>;

/// The listening nodes; they are gone when dropped.
pub(crate) struct Fakes {
    pub(crate) upstreams: Upstreams,
    arrivals: Arrivals,
    _serving: JoinSet<()>,
}

impl Fakes {
    pub(crate) async fn start(manner: Manner) -> Self {
        let (upstreams, arrivals) = (Upstreams::free(), Arrivals::default());
        let mut serving = JoinSet::new();
        for ip in upstreams.ips {
            for port in [upstreams.port, upstreams.admin_port] {
                let listener = TcpListener::bind(SocketAddr::new(ip, port)).await.expect("a free port");
                serving.spawn(serve(listener, ip, manner, Arc::clone(&arrivals)));
            }
        }
        Self { upstreams, arrivals, _serving: serving }
    }

    /// Where requests with this method arrived, in order; those for `/ready` count as such.
    pub(crate) fn arrivals(&self, method: &str) -> Vec<IpAddr> {
        let arrivals = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        arrivals.iter().filter(|(_, known)| known == method).map(|(ip, _)| *ip).collect()
    }

    /// A proxy in front of them that takes all of them for ready.
    pub(crate) async fn behind(&self, software: Software, changes: &[Change<'_>]) -> Proxy {
        let proxy = Proxy::start(software, &self.upstreams, changes).await;
        if software == Software::Envoy {
            // It takes a node for ready when it has heard so: before it asks again.
            eventually("each is found ready", PATIENCE, || async {
                let checks = self.arrivals("/ready");
                let times = self.upstreams.ips.map(|ip| checks.iter().filter(|asked| **asked == ip).count());
                if times.iter().all(|times| *times > 1) { Ok(()) } else { Err(format!("{times:?}")) }
            })
            .await;
        }
        proxy
    }
}

async fn serve(listener: TcpListener, ip: IpAddr, manner: Manner, arrivals: Arrivals) {
    let mut connections = JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        connections.spawn(answer(socket, ip, manner, Arc::clone(&arrivals)));
    }
}

async fn answer(mut socket: TcpStream, ip: IpAddr, manner: Manner, arrivals: Arrivals) {
    let Some(head) = request(&mut socket).await else { return };
    let mut words = head.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let status = if path == "/ready" { "200 OK" } else { "503 Service Unavailable" };
    let kind = if path == "/ready" { path } else { method };
    arrivals.lock().unwrap_or_else(PoisonError::into_inner).push((ip, kind.to_owned()));
    if kind == method && manner == Manner::HangUp {
        return;
    }
    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 4\r\nConnection: close\r\n\r\nfake");
    // A proxy that has hung up has all that it wanted.
    let _ = socket.write_all(answer.as_bytes()).await;
}

/// The head of a request whose body has been read.
async fn request(socket: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        if let Some((head, body)) = String::from_utf8_lossy(&bytes).split_once("\r\n\r\n") {
            let headers = head.lines().filter_map(|line| line.split_once(": "));
            let mut lengths = headers.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
            let length = lengths.next().map_or(0, |(_, length)| length.parse().expect("a number"));
            if body.len() >= length {
                return Some(head.to_owned());
            }
        }
        if !matches!(socket.read_buf(&mut bytes).await, Ok(1..)) {
            return None;
        }
    }
}
