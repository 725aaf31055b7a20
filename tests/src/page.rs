//! A web page on an origin of its own.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinHandle,
};

/// A server that answers every request with one page.
#[derive(Debug)]
pub struct Page {
    address: SocketAddr,
    serving: JoinHandle<()>,
}

impl Page {
    /// Serves this HTML on a free port.
    pub async fn serve(html: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let serving = tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\n\
                     Connection: close\r\n\r\n{html}",
                    html.len()
                );
                // One read is enough for a browser's GET; a browser that hangs up asks again.
                let _ = socket.read(&mut [0; 8192]).await;
                let _ = socket.write_all(answer.as_bytes()).await;
            }
        });
        Self { address, serving }
    }

    /// The page's address.
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
