//! Reading a key set from where it is published: a file or a URL.

use std::{
    fmt,
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
    time::Duration,
};

use url::{Host, Url};

use super::{
    config::shown,
    jwks::{KEY_SET_LEN_MAX, KeySet, Secrets},
};

/// How long a read may take, connecting included.
pub(super) const READ_DEADLINE: Duration = Duration::from_secs(5);

/// Where a key set is.
#[derive(Clone, Debug)]
pub(super) enum KeySetSource {
    File(PathBuf),
    Url(Url),
}

impl fmt::Display for KeySetSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Url(url) => f.write_str(&shown(url)),
        }
    }
}

impl KeySetSource {
    /// How long a set may be used before it is read again even if nobody asks: a key that its issuer withdrew stops
    /// working within this time.
    pub(super) fn period(&self) -> Duration {
        match self {
            Self::File(_) => Duration::from_secs(60),
            Self::Url(_) => Duration::from_secs(300),
        }
    }

    /// Reads the set; `Err` says why that failed. Takes at most [`READ_DEADLINE`].
    pub(super) async fn read(&self) -> Result<KeySet, String> {
        let reading = async {
            match self {
                Self::File(path) => {
                    let path = path.clone();
                    // A file may be on a network, and this is a thread that many tasks share.
                    tokio::task::spawn_blocking(move || read_file(&path))
                        .await
                        .unwrap_or_else(|_| Err("reading was cancelled".to_owned()))
                }
                Self::Url(url) => read_url(url).await,
            }
        };
        tokio::time::timeout(READ_DEADLINE, reading)
            .await
            .unwrap_or_else(|_| Err(format!("no answer within {} s", READ_DEADLINE.as_secs())))
    }
}

/// Reads a set from a file of ours, which may hold shared secrets.
pub(super) fn read_file(path: &Path) -> Result<KeySet, String> {
    let file = File::open(path).map_err(|error| format!("cannot be opened: {error}"))?;
    let mut json = Vec::new();
    let limit = KEY_SET_LEN_MAX as u64 + 1;
    file.take(limit).read_to_end(&mut json).map_err(|error| format!("cannot be read: {error}"))?;
    KeySet::parse(&json, Secrets::Allowed)
}

/// Whether a URL may be read: what comes without TLS can be replaced on the way, keys included.
pub(super) fn is_protected(url: &Url) -> bool {
    url.scheme() == "https" || (url.scheme() == "http" && is_loopback(url))
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

async fn read_url(url: &Url) -> Result<KeySet, String> {
    // A client per read: reads are minutes apart, and a new one sees renewed CA files and holds no idle connection.
    // Redirects are not followed, since they could lead to an unprotected or an internal place.
    let mut client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("rivulet/", env!("CARGO_PKG_VERSION")));
    if is_loopback(url) {
        client = client.no_proxy();
    }
    let client = client.build().map_err(|error| format!("no HTTP client: {}", chain(&error)))?;
    let request = client.get(url.clone()).header("accept", "application/jwk-set+json, application/json");
    let mut answer = request.send().await.map_err(|error| chain(&error.without_url()))?;
    if answer.status() != reqwest::StatusCode::OK {
        return Err(format!("the answer's status is {}, not 200", answer.status().as_u16()));
    }
    let mut json = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| chain(&error.without_url()))? {
        if json.len() + chunk.len() > KEY_SET_LEN_MAX {
            return Err(format!("the answer is longer than {KEY_SET_LEN_MAX} bytes"));
        }
        json.extend_from_slice(&chunk);
    }
    KeySet::parse(&json, Secrets::Ignored)
}

/// An error with its causes: the client's own message says only that sending failed.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
