//! The proxies of `docs/proxies`, with the very configuration that is shipped: HTTP/2 and TLS in front, three nodes behind.
//!
//! [`substitute`] changes addresses, ports and paths in it, and how many connections it prepares for; a test may change
//! more, such as waits.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;
use tokio::net::{TcpSocket, TcpStream};

use crate::{
    PATIENCE, Request, Response, eventually,
    http2::Connection,
    port,
    process::Process,
    repository,
    substitution::{pair, substitute},
    tls,
    tools::tool,
    wire::HUB_PATH,
};

/// Which of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Software {
    /// Debian's.
    Nginx,
    /// Debian's.
    Haproxy,
    /// Of `tests/tools`.
    Envoy,
    /// Of `tests/tools`.
    Traefik,
    /// Of `tests/tools`.
    Caddy,
}

impl Software {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Nginx, Self::Haproxy, Self::Envoy, Self::Traefik, Self::Caddy];

    /// Its files in `docs/proxies`; the first one is what it is started with.
    pub fn files(self) -> &'static [&'static str] {
        match self {
            Self::Nginx => &["nginx.conf"],
            Self::Haproxy => &["haproxy.cfg"],
            Self::Envoy => &["envoy.yaml"],
            Self::Traefik => &["traefik.yaml", "traefik-routes.yaml"],
            Self::Caddy => &["Caddyfile"],
        }
    }

    fn command(self, dir: &Path) -> Command {
        let file = dir.join(self.files()[0]);
        let mut command = match self {
            Self::Nginx => Command::new("nginx"),
            Self::Haproxy => Command::new("haproxy"),
            Self::Envoy => Command::new(tool("envoy")),
            Self::Traefik => Command::new(tool("traefik")),
            Self::Caddy => Command::new(tool("caddy")),
        };
        match self {
            Self::Nginx => command.args(["-g", "daemon off;", "-p"]).arg(dir).arg("-c"),
            Self::Haproxy => command.args(["-db", "-f"]),
            Self::Envoy => {
                command.args(["--disable-hot-restart", "--concurrency", "1", "--log-level", "warning", "-c"])
            }
            Self::Traefik => command.arg("--configFile"),
            Self::Caddy => command.args(["run", "--adapter", "caddyfile", "--config"]),
        };
        command.arg(file).current_dir(dir);
        command.envs(["HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"].map(|name| (name, dir)));
        command
    }

    /// What is served as soon as it is there: 404 means that it does not know its routes yet.
    fn health(self) -> &'static str {
        if self == Self::Traefik { HUB_PATH } else { "/healthz" }
    }
}

impl fmt::Display for Software {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// Where the nodes are: all have the same two ports, each an address of its own.
#[derive(Clone, Copy, Debug)]
pub struct Upstreams {
    /// Of `rivulet-1`, `rivulet-2` and `rivulet-3`.
    pub ips: [IpAddr; 3],
    /// Instead of 3000.
    pub port: u16,
    /// Instead of 9180.
    pub admin_port: u16,
}

impl Upstreams {
    /// Three loopback addresses that no other test has, and ports that are free on them.
    pub fn free() -> Self {
        let network: [u8; 2] = [rand::random_range(1..=250), rand::random_range(1..=250)];
        let ips = [1, 2, 3].map(|node| IpAddr::from(Ipv4Addr::new(127, network[0], network[1], node)));
        let port = port::free_on_all(&ips);
        let mut admin_port = port;
        while admin_port == port {
            admin_port = port::free_on_all(&ips);
        }
        Self { ips, port, admin_port }
    }

    /// The same node in all three places.
    pub fn of_one(address: SocketAddr, admin: SocketAddr) -> Self {
        Self { ips: [address.ip(); 3], port: address.port(), admin_port: admin.port() }
    }
}

/// What is changed in the shipped configuration, beside addresses: a text, and what stands in its place.
pub type Change<'a> = (&'a str, &'a str);

/// A running proxy.
#[derive(Debug)]
pub struct Proxy {
    software: Software,
    address: SocketAddr,
    process: Process,
    dir: TempDir,
}

impl Proxy {
    /// Starts one in front of these nodes.
    ///
    /// # Panics
    /// If it does not come up, or one of the changes fits nothing.
    pub async fn start(software: Software, upstreams: &Upstreams, changes: &[Change<'_>]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        // Workers may run under a user of their own.
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(dir.path(), open).expect("a directory of ours");
        make_certificate(&dir.path().join("certificates"));
        let address = port::free();
        configure(software, dir.path(), address, upstreams, changes);
        let process = Process::start(&mut software.command(dir.path()), &dir.path().join("log"));
        let mut proxy = Self { software, address, process, dir };
        proxy.come_up().await;
        proxy
    }

    async fn come_up(&mut self) {
        eventually(format!("{} is there", self.software), PATIENCE, || {
            let (status, log) = (self.process.status(), self.log());
            assert!(status.is_none(), "it ended: {status:?}\n{log}");
            let (address, authority, path) = (self.address, self.authority(), self.software.health());
            async move {
                match health(address, &authority, path).await {
                    Ok(status) if status != 404 => Ok(()),
                    other => Err(format!("{other:?}\n{log}")),
                }
            }
        })
        .await;
    }

    /// Where it listens, with TLS.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The file of the authority that has signed its certificate.
    pub fn authority(&self) -> PathBuf {
        self.dir.path().join("certificates/ca.crt")
    }

    /// What it has written so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// A connection over HTTP/2.
    ///
    /// # Panics
    /// If it speaks something else.
    pub async fn http2(&self) -> Connection {
        self.http2_from(Ipv4Addr::LOCALHOST).await
    }

    /// The same from an address of this machine.
    pub async fn http2_from(&self, ip: Ipv4Addr) -> Connection {
        match self.try_http2_from(ip).await {
            Ok(connection) => connection,
            Err(error) => panic!("{}: {error}\n{}", self.software, self.log()),
        }
    }

    /// The same where it may fail.
    ///
    /// # Errors
    /// What the handshake says, or that it speaks something else.
    pub async fn try_http2_from(&self, ip: Ipv4Addr) -> Result<Connection, String> {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::from((ip, 0))).expect("an address of this machine");
        let socket = socket.connect(self.address).await.map_err(|error| error.to_string())?;
        Connection::open(socket, &self.authority()).await
    }

    /// A connection over HTTP/1.1, which is what somebody gets who offers nothing.
    pub async fn http1(&self) -> tokio_rustls::client::TlsStream<TcpStream> {
        tls::connect(self.address, &self.authority()).await.expect("a handshake")
    }

    /// Sends one request on an HTTP/2 connection of its own.
    pub async fn send(&self, request: &Request) -> Response {
        self.http2().await.send(request).await
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // The others are killed: they would wait for streams to end.
        if self.software == Software::Nginx {
            // A killed master would leave its workers behind.
            self.process.signal("TERM");
            let ended = self.process.wait(PATIENCE);
            assert!(ended.is_ok() || std::thread::panicking(), "{ended:?}\n{}", self.log());
        }
    }
}

/// The status of an answer over TLS.
async fn health(address: SocketAddr, authority: &Path, path: &str) -> std::io::Result<u16> {
    let socket = TcpStream::connect(address).await?;
    let stream = tls::connect_over(socket, authority, &[]).await?;
    Ok(Request::new("OPTIONS", path).send_over(stream).await.status)
}

/// The file in the repository.
pub fn shipped(name: &str) -> PathBuf {
    repository::root().join("docs/proxies").join(name)
}

/// Makes the development certificate in a directory, as the composition does.
///
/// # Panics
/// If that fails.
pub fn make_certificate(directory: &Path) {
    std::fs::create_dir_all(directory).expect("a temporary directory");
    let output = Command::new("sh").arg(shipped("certificate.sh")).arg(directory).output();
    let output = output.expect("there is a shell");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Writes the shipped files with the test's addresses into its directory.
fn configure(
    software: Software,
    dir: &Path,
    address: SocketAddr,
    upstreams: &Upstreams,
    changes: &[Change<'_>],
) {
    let mut fitted = vec![false; changes.len()];
    for name in software.files() {
        let path = shipped(name);
        let mut text =
            std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        for ((from, to), fits) in changes.iter().zip(&mut fitted) {
            *fits |= text.contains(from);
            text = text.replace(from, to);
        }
        let pairs = pairs(name, dir, address, upstreams);
        let text = substitute(&text, &pairs).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        std::fs::write(dir.join(name), text).expect("a file in a temporary directory");
    }
    let strange: Vec<_> = changes.iter().zip(fitted).filter(|(_, fits)| !fits).collect();
    assert!(strange.is_empty(), "{strange:?} fit nothing in {:?}", software.files());
}

/// What has other names in a test than in a file as it is shipped.
fn pairs(name: &str, dir: &Path, address: SocketAddr, upstreams: &Upstreams) -> Vec<(String, String)> {
    let (dir, listening) = (dir.display(), address.port());
    let Upstreams { ips, port, admin_port } = upstreams;
    let certificates = pair("/etc/certificates", format!("{dir}/certificates"));
    let admin = pair("9180", admin_port.to_string());
    let nodes =
        (1..=3).zip(ips).map(|(node, ip)| pair(format!("rivulet-{node}:3000"), format!("{ip}:{port}")));
    let mut pairs: Vec<_> = if name == "envoy.yaml" {
        let address = |node: &str, port: u16| format!("address: {node}, port_value: {port}");
        let nodes = (1..=3).zip(ips);
        nodes
            .map(|(node, ip)| {
                pair(address(&format!("rivulet-{node}"), 3000), address(&ip.to_string(), *port))
            })
            .collect()
    } else if name == "traefik.yaml" {
        Vec::new()
    } else {
        nodes.collect()
    };
    pairs.extend(match name {
        "nginx.conf" => vec![
            pair("listen 8443", format!("listen {address}")),
            // A test may not be allowed more files.
            pair("worker_rlimit_nofile 65536;", ""),
            pair("worker_connections 32768", "worker_connections 512"),
            pair(" /tmp/", format!(" {dir}/")),
            certificates,
        ],
        "haproxy.cfg" => vec![
            pair("bind :8443", format!("bind {address}")),
            pair("maxconn 30000", "maxconn 500"),
            certificates,
            admin,
        ],
        "envoy.yaml" => vec![
            pair(
                "address: 0.0.0.0, port_value: 8443",
                format!("address: 127.0.0.1, port_value: {listening}"),
            ),
            certificates,
            admin,
        ],
        "traefik.yaml" => {
            vec![pair("\":8443\"", format!("\"{address}\"")), pair("/etc/traefik", dir.to_string())]
        }
        "traefik-routes.yaml" => vec![certificates, admin],
        "Caddyfile" => vec![
            pair("https://:8443", format!("https://:{listening}")),
            pair("admin off", "admin off\n\tdefault_bind 127.0.0.1"),
            certificates,
            admin,
        ],
        other => panic!("{other} is not shipped"),
    });
    pairs
}
