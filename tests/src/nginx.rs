//! Debian's nginx as a reverse proxy, with nothing configured but where the hubs are.

use std::{net::SocketAddr, process::Command};

use tempfile::TempDir;

use crate::{PATIENCE, eventually, metrics, port, process::Process};

/// A running nginx in front of some hubs.
#[derive(Debug)]
pub struct Nginx {
    address: SocketAddr,
    process: Process,
    _dir: TempDir,
}

impl Nginx {
    /// Starts one that spreads connections over these hubs; `settings` stand beside its `proxy_pass`.
    pub async fn start(hubs: &[SocketAddr], settings: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let address = port::free();
        let upstreams: String = hubs.iter().map(|hub| format!("server {hub};")).collect();
        let base = dir.path().display();
        let config = format!(
            "daemon off; pid {base}/pid; worker_processes 1; error_log {base}/error.log; user root;
             events {{ worker_connections 256; }}
             http {{
                 access_log off;
                 client_body_temp_path {base}/body; proxy_temp_path {base}/proxy;
                 fastcgi_temp_path {base}/fastcgi; uwsgi_temp_path {base}/uwsgi; scgi_temp_path {base}/scgi;
                 upstream hubs {{ {upstreams} }}
                 server {{
                     listen {address};
                     location / {{ proxy_pass http://hubs; {settings} }}
                     location = /nginx {{ return 204; }}
                 }}
             }}"
        );
        let file = dir.path().join("nginx.conf");
        std::fs::write(&file, config).expect("a file in a temporary directory");
        let mut command = Command::new("nginx");
        command.arg("-c").arg(&file).arg("-p").arg(dir.path());
        let process = Process::start(&mut command, &dir.path().join("nginx.log"));
        eventually("nginx answers", PATIENCE, || async {
            let log = || std::fs::read_to_string(dir.path().join("nginx.log")).unwrap_or_default();
            metrics::get(address, "/nginx").map_err(|error| format!("{error}; it wrote {:?}", log()))
        })
        .await;
        Self { address, process, _dir: dir }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // A killed master would leave its workers behind.
        self.process.signal("TERM");
        let ended = self.process.wait(PATIENCE);
        assert!(ended.is_ok() || std::thread::panicking(), "{ended:?}");
    }
}
