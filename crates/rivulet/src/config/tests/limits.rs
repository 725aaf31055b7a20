//! What the settings of limits, proxies and stopping mean when they are right. What is refused is listed in the black-box
//! tests.

use std::net::IpAddr;

use rivulet_http::ProxyProtocol;
use rivulet_node::Limit;

use super::*;

#[test]
fn nothing_is_limited_by_default_and_a_node_drains() {
    let config = read(&[SECRET], &[]).unwrap();
    assert_eq!(config.limits.hub, rivulet_node::LimitsConfig::default());
    assert_eq!((config.limits.replays_max, config.limits.bodies_in_flight), (10_000, 64 << 20));
    let Stopping { delay, period, shed } = config.stopping;
    assert_eq!((delay, period, shed), (Duration::from_secs(5), Duration::from_secs(20), None));
    assert_eq!(config.stopping.time_max(), Duration::from_secs(55));
    assert_eq!(config.listener.proxy_protocol, ProxyProtocol::Off);
    assert!(config.listener.tls.is_none() && config.listener.trusted_proxies.is_empty());
    let stopping = read(&["--dev"], &[]).unwrap().stopping;
    assert_eq!((stopping.delay, stopping.period), (Duration::ZERO, Duration::ZERO));
    let stopping = read(&["--dev", "--drain-period=2s"], &[]).unwrap().stopping;
    assert_eq!((stopping.delay, stopping.period), (Duration::ZERO, Duration::from_secs(2)));
}

#[test]
fn limits_are_read_from_flags_variables_and_the_file() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(
        file,
        "limit-connections-per-ip = 7\nlimit-closed = ['connections-per-ip', 'publishes-per-topic']"
    )
    .unwrap();
    let path = format!("--config={}", file.path().display());
    let arguments =
        [SECRET, &path, "--limit-connections-total=100", "--limit-publishes-per-topic=6000/m,burst=5"];
    let environment = [("RIVULET_LIMIT_SUBSCRIBES_PER_SUBJECT", "10/1m30s"), ("RIVULET_SHED", "2.5")];
    let config = read(&arguments, &environment).unwrap();
    let hub = config.limits.hub;
    assert_eq!((hub.connections_total, hub.connections_per_ip), (Some(100), Some(7)));
    let pace = |count, secs, burst| rivulet_node::Pace { count, period: Duration::from_secs(secs), burst };
    assert_eq!(hub.publishes_per_topic, Some(pace(6000, 60, 5)));
    assert_eq!(hub.subscribes_per_subject, Some(pace(10, 90, 10)));
    assert_eq!(hub.closed_when_away, [Limit::ConnectionsPerIp, Limit::PublishesPerTopic]);
    assert_eq!(config.stopping.shed, Some(0.025));
}

#[test]
fn trusted_proxies_are_networks_or_addresses() {
    let environment = [("RIVULET_TRUSTED_PROXY", "10.0.0.0/8 192.0.2.7 fd00::/8")];
    let config = read(&[SECRET, "--proxy-protocol"], &environment).unwrap();
    assert_eq!(config.listener.proxy_protocol, ProxyProtocol::Required);
    let is_trusted = |ip: &str| {
        let ip: IpAddr = ip.parse().unwrap();
        config.listener.trusted_proxies.iter().any(|network| network.contains(&ip))
    };
    for (ip, expected) in [
        ("10.255.0.1", true),
        ("192.0.2.7", true),
        ("fd12::1", true),
        ("11.0.0.1", false),
        ("192.0.2.8", false),
        ("fe80::1", false),
    ] {
        assert_eq!(is_trusted(ip), expected, "{ip}");
    }
}
