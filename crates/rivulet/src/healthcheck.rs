//! `rivulet healthcheck`: asks the admin listener of this machine how the hub is. For health checks of containers and
//! probes that run a command: an image without a shell has nothing else that could ask.

use std::{
    io::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{ArgMatches, Args, FromArgMatches as _};
use reqwest::{Client, Identity, Response, redirect::Policy};

use crate::{
    client, config,
    exit::{Code, Failure},
    layers::{Environment, Layers},
    quantity,
};

/// What it has to know of the hub's settings. It reads them where the hub does.
pub(crate) const SETTINGS: [&str; 5] =
    ["config", "admin-listen", "admin-tls-cert-file", "admin-tls-key-file", "admin-tls-client-ca-file"];

/// Of the answer's body. Docker keeps 4 KiB of what a health check says; the reason stands at the beginning.
const BODY_LEN_MAX: usize = 1024;
/// A probe that waits longer is none.
const TIMEOUT_MAX: Duration = Duration::from_secs(60);

/// Asks the hub on this machine whether it is ready.
#[derive(Args, Debug)]
#[command(
    about = "Asks the hub on this machine whether it is ready; exits with 0 or 1",
    after_help = "It asks the admin listener where the hub's own settings say that it is (flags, RIVULET_* variables, \
                  configuration file); 0.0.0.0 and [::] stand for loopback. A configuration file that cannot be read \
                  counts as empty: the hub goes on with what it has read. Over TLS the certificate is not checked, \
                  since it is this machine that answers, and not for secrets."
)]
pub(crate) struct HealthcheckArgs {
    /// Ask /live instead of /ready: whether the process answers, whatever Redis does
    #[arg(long)]
    live: bool,
    /// How long the answer may take, up to 1m
    #[arg(long, value_name = "DURATION", default_value = "3s")]
    timeout: String,
    /// PEM file of the certificate to show where the admin listener asks for one; without it, the listener's own
    #[arg(long, value_name = "FILE", env = "RIVULET_HEALTHCHECK_CERT_FILE", requires = "key_file")]
    cert_file: Option<PathBuf>,
    /// PEM file of its key
    #[arg(long, value_name = "FILE", env = "RIVULET_HEALTHCHECK_KEY_FILE", requires = "cert_file")]
    key_file: Option<PathBuf>,
}

/// A question, ready to be asked.
struct Probe {
    url: String,
    identity: Option<Identity>,
}

/// Runs the command.
pub(crate) async fn run(matches: &ArgMatches, environment: &Environment) -> Result<(), Failure> {
    let args =
        HealthcheckArgs::from_arg_matches(matches).map_err(|error| Failure::usage(error.to_string()))?;
    let timeout = timeout(&args.timeout)
        .map_err(|rule| Failure::usage(format!("--timeout {:?} {rule}", args.timeout)))?;
    let (layers, mistake) = layers(matches, environment);
    let answer = match Probe::new(&args, &layers) {
        Ok(probe) => probe.ask(timeout).await,
        Err(reason) => Err(reason),
    };
    match answer {
        Ok(line) => writeln!(std::io::stdout(), "{line}")
            .map_err(|error| Failure::new(Code::Io, format!("standard output: {error}"))),
        Err(line) => {
            // It may have asked at the wrong place then.
            let mistake = mistake.map(|mistake| format!("; {mistake}")).unwrap_or_default();
            Err(Failure::new(Code::Unhealthy, line + &mistake))
        }
    }
}

/// The settings, and what is wrong with their file. A hub that runs has refused that file and is not worse for it.
fn layers(matches: &ArgMatches, environment: &Environment) -> (Layers, Option<String>) {
    let (file, unreadable) = match config::file_text(matches, environment) {
        Ok(file) => (file, Vec::new()),
        Err(mistakes) => (None, mistakes),
    };
    let layers = Layers::resolve(matches, environment, file.as_deref());
    let mut mistakes = unreadable.iter().chain(&layers.mistakes);
    let mistake = mistakes.find(|mistake| mistake.starts_with("--config")).cloned();
    (layers, mistake)
}

fn timeout(text: &str) -> Result<Duration, String> {
    let timeout = quantity::duration(text)?;
    let fits = !timeout.is_zero() && timeout <= TIMEOUT_MAX;
    if fits { Ok(timeout) } else { Err("must be above 0 and at most 1m".to_owned()) }
}

/// Where a listener on this machine is reached.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

impl Probe {
    fn new(args: &HealthcheckArgs, layers: &Layers) -> Result<Self, String> {
        let listen = layers.one("admin-listen").expect("it has a default");
        let listen = config::address(listen).map_err(|rule| format!("--admin-listen {listen:?} {rule}"))?;
        let certificate = layers.one("admin-tls-cert-file").map(Path::new);
        let scheme = if certificate.is_some() { "https" } else { "http" };
        let path = if args.live { "/live" } else { "/ready" };
        let url = format!("{scheme}://{}{path}", reachable(listen));
        let own = certificate.zip(layers.one("admin-tls-key-file").map(Path::new));
        let shown = args.cert_file.as_deref().zip(args.key_file.as_deref()).or(own);
        let is_asked_for_one = layers.one("admin-tls-client-ca-file").is_some();
        let identity = match shown.filter(|_| is_asked_for_one) {
            Some((certificate, key)) => Some(identity(certificate, key)?),
            None => None,
        };
        Ok(Self { url, identity })
    }

    /// What it saw, on one line: `Ok` if all is well.
    async fn ask(self, timeout: Duration) -> Result<String, String> {
        let url = &self.url;
        let client = Client::builder()
            .timeout(timeout)
            // Whatever proxy the environment names is for the world outside.
            .no_proxy()
            .redirect(Policy::none())
            // An expired certificate is for whoever connects from outside to complain about: a restart, which is what
            // follows a failed probe, would not mend it.
            .tls_danger_accept_invalid_certs(true);
        let client = match self.identity {
            None => client,
            Some(identity) => client.identity(identity),
        };
        let client = client.build().map_err(|error| format!("{url}: {}", client::innermost(&error)))?;
        let response = client.get(url).send().await.map_err(|error| {
            if error.is_timeout() {
                return format!("{url} does not answer within {timeout:?}");
            }
            format!("{url} does not answer: {}", client::innermost(&error))
        })?;
        let status = response.status();
        let line = format!("{url} answers {status}: {}", body(response).await);
        if status.is_success() { Ok(line) } else { Err(line) }
    }
}

/// The beginning of a body, on one line.
async fn body(mut response: Response) -> String {
    let mut body = Vec::new();
    // One that breaks off tells less, and that is all: the status has been seen.
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk[..chunk.len().min(BODY_LEN_MAX - body.len())]);
        if body.len() == BODY_LEN_MAX {
            break;
        }
    }
    String::from_utf8_lossy(&body).split_whitespace().collect::<Vec<_>>().join(" ")
}

fn identity(certificate: &Path, key: &Path) -> Result<Identity, String> {
    let read = |path: &Path| {
        std::fs::read(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))
    };
    let pem = [read(key)?, read(certificate)?].join(&b'\n');
    Identity::from_pem(&pem).map_err(|error| {
        format!("{} and {}: {}", certificate.display(), key.display(), client::innermost(&error))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli;

    /// The URL that is asked with these arguments and this environment.
    fn url(arguments: &[&str], environment: &[(&str, &str)]) -> Result<String, String> {
        let matches =
            cli::command().try_get_matches_from([&["rivulet", "healthcheck"], arguments].concat()).unwrap();
        let matches = matches.subcommand_matches("healthcheck").unwrap();
        let args = HealthcheckArgs::from_arg_matches(matches).unwrap();
        let environment =
            environment.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        Probe::new(&args, &layers(matches, &environment).0).map(|probe| probe.url)
    }

    #[test]
    fn it_asks_where_the_hub_listens() {
        let check = |arguments: &[&str], environment: &[(&str, &str)], expected: &str| {
            assert_eq!(url(arguments, environment).as_deref(), Ok(expected), "{arguments:?} {environment:?}");
        };
        check(&[], &[], "http://127.0.0.1:9180/ready");
        check(&["--live"], &[], "http://127.0.0.1:9180/live");
        check(&[], &[("RIVULET_ADMIN_LISTEN", "0.0.0.0:81")], "http://127.0.0.1:81/ready");
        check(&[], &[("RIVULET_ADMIN_LISTEN", "[::]:81")], "http://[::1]:81/ready");
        check(&["--admin-listen", "10.0.0.7:1"], &[("RIVULET_ADMIN_LISTEN", "x")], "http://10.0.0.7:1/ready");
        check(&[], &[("RIVULET_ADMIN_TLS_CERT_FILE", "a.crt")], "https://127.0.0.1:9180/ready");
        check(&["--config", "/nowhere/rivulet.toml"], &[], "http://127.0.0.1:9180/ready");
        let mistake = url(&[], &[("RIVULET_ADMIN_LISTEN", "somewhere")]).unwrap_err();
        assert!(mistake.starts_with("--admin-listen \"somewhere\" must be"), "{mistake}");
    }

    #[test]
    fn an_answer_is_not_awaited_for_ever() {
        assert_eq!(timeout("3s"), Ok(Duration::from_secs(3)));
        for text in ["0", "61s", "soon"] {
            assert!(timeout(text).is_err(), "{text}");
        }
    }
}
