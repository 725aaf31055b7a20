//! What the variables mean, and that every mistake is told at once.

use super::*;

fn read_all(variables: &[(&str, &str)]) -> Result<(Option<TelemetryConfig>, Vec<String>), Vec<String>> {
    let environment =
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    TelemetryConfig::read(&environment)
}

/// The same where there is nothing to say.
fn read(variables: &[(&str, &str)]) -> Result<Option<TelemetryConfig>, Vec<String>> {
    let (config, said) = read_all(variables)?;
    assert_eq!(said, Vec::<String>::new(), "{variables:?}");
    Ok(config)
}

const AN_ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");

fn with(variables: &[(&str, &str)]) -> TelemetryConfig {
    read(&[&[AN_ENDPOINT], variables].concat()).unwrap().expect("there is an endpoint")
}

#[test]
fn without_an_endpoint_or_switched_off_there_is_nothing() {
    for off in [
        &[][..],
        &[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")],
        &[("OTEL_SERVICE_NAME", "hub"), ("OTEL_TRACES_SAMPLER", "always_on")],
        &[AN_ENDPOINT, ("OTEL_SDK_DISABLED", "true")],
        &[AN_ENDPOINT, ("OTEL_TRACES_EXPORTER", "none"), ("OTEL_TRACES_SAMPLER", "mine")],
    ] {
        assert!(read(off).unwrap().is_none(), "{off:?}");
    }
    assert!(read(&[AN_ENDPOINT, ("OTEL_SDK_DISABLED", "False")]).unwrap().is_some());
}

#[test]
fn headers_are_read_as_propagators_say() {
    let headers = |list: &str| with(&[("OTEL_PROPAGATORS", list)]).trace_headers;
    assert_eq!(headers("tracecontext,baggage"), TraceHeaders { w3c: true, jaeger: false });
    assert_eq!(headers(" jaeger "), TraceHeaders { w3c: false, jaeger: true });
    assert_eq!(headers("none"), TraceHeaders { w3c: false, jaeger: false });
    for wrong in ["tracecontext,b3", "none,tracecontext", "tracecontext,none", "tracecontext,"] {
        let mistakes = read(&[AN_ENDPOINT, ("OTEL_PROPAGATORS", wrong)]).unwrap_err();
        let expected =
            format!("OTEL_PROPAGATORS {wrong:?} must be a list of tracecontext, jaeger and baggage, or none");
        assert!(mistakes.len() == 1 && mistakes[0].starts_with(&expected), "{mistakes:?}");
    }
}

#[test]
fn without_an_endpoint_what_is_meant_for_others_is_said_and_stops_nothing() {
    let foreign = [
        ("OTEL_PROPAGATORS", "b3,ottrace"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
        ("OTEL_TRACES_SAMPLER_ARG", "endpoint=http://localhost:14250"),
    ];
    let (config, said) = read_all(&foreign).unwrap();
    assert!(config.is_none());
    assert_eq!(said.len(), foreign.len(), "{said:#?}");
    for (name, value) in foreign {
        let start = format!("without an endpoint it does nothing: {name} {value:?} must be");
        assert!(said.iter().any(|line| line.starts_with(&start)), "{start} is not in {said:#?}");
    }
    let (_, said) = read_all(&[("OTEL_TRACES_EXPORTER", "zipkin")]).unwrap();
    assert_eq!(said.len(), 1, "{said:?}");
    let mistakes = read_all(&[&[AN_ENDPOINT][..], &foreign].concat()).unwrap_err();
    assert_eq!(mistakes.len(), foreign.len(), "{mistakes:?}");
    let traces = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "collector");
    let mistakes = read_all(&[&[traces][..], &foreign].concat()).unwrap_err();
    assert_eq!(mistakes.len(), foreign.len() + 1, "an endpoint that is wrong is one: {mistakes:?}");
}

#[test]
fn samplers_say_which_share_of_what_and_whether_others_are_followed() {
    let check = |sampler: &str, share: f64, follows: bool| {
        let given = [("OTEL_TRACES_SAMPLER", sampler), ("OTEL_TRACES_SAMPLER_ARG", "0.25")];
        assert_eq!(with(&given).sampling, Sampling { roots: Ratio::new(share), follows }, "{sampler}");
    };
    check("always_on", 1.0, false);
    check("always_off", 0.0, false);
    check("traceidratio", 0.25, false);
    check("parentbased_always_on", 1.0, true);
    check("parentbased_always_off", 0.0, true);
    check("parentbased_traceidratio", 0.25, true);
}

#[test]
fn the_defaults_are_those_of_the_standard() {
    let config = with(&[]);
    assert_eq!(config.collector.protocol, Protocol::HttpProtobuf);
    assert_eq!(config.collector.endpoint.as_str(), "http://collector:4318/v1/traces");
    assert_eq!(config.collector.timeout, Duration::from_secs(10));
    assert_eq!(config.collector.compression, Compression::None);
    assert_eq!((config.queue.queue_len_max, config.queue.batch_len_max), (2048, 512));
    assert_eq!(config.queue.delay, Duration::from_secs(5));
    assert_eq!(config.sampling, Sampling { roots: Ratio::ALL, follows: true });
    assert_eq!(config.trace_headers, TraceHeaders::default());
}

#[test]
fn the_endpoint_of_traces_is_taken_as_it_is() {
    let check = |variables: &[(&str, &str)], expected: &str| {
        let config = read(variables).unwrap().expect("there is an endpoint");
        assert_eq!(config.collector.endpoint.as_str(), expected, "{variables:?}");
    };
    let traces = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
    check(&[(traces, "https://c.example/mine")], "https://c.example/mine");
    check(&[AN_ENDPOINT, (traces, "http://c.example")], "http://c.example/");
    check(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c.example/otlp/")], "http://c.example/otlp/v1/traces");
    check(&[AN_ENDPOINT, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")], "http://collector:4318/");
}

#[test]
fn what_is_said_of_traces_stands_above_what_is_said_of_everything() {
    let config = with(&[
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "1000"),
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "2000"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Basic%20YTpi,x-tenant=a"),
        ("OTEL_RESOURCE_ATTRIBUTES", "k8s.pod.name=hub-0,service.name=nobody"),
        ("OTEL_SERVICE_NAME", "events"),
        ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
        ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "100"),
        ("OTEL_BSP_SCHEDULE_DELAY", "50"),
    ]);
    assert_eq!(config.collector.protocol, Protocol::Grpc);
    assert_eq!(config.collector.timeout, Duration::from_secs(2));
    assert_eq!(config.collector.compression, Compression::Gzip);
    assert_eq!(config.collector.headers["authorization"], "Basic YTpi");
    assert_eq!(config.collector.headers["x-tenant"], "a");
    assert!(!format!("{config:?}").contains("YTpi"), "headers may be secrets");
    let attributes = [("k8s.pod.name", "hub-0"), ("service.name", "events")];
    assert_eq!(config.resource, attributes.map(|(key, value)| (key.to_owned(), value.to_owned())));
    assert_eq!(config.sampling, Sampling { roots: Ratio::new(0.25), follows: true });
    assert_eq!((config.queue.queue_len_max, config.queue.batch_len_max), (100, 100));
    assert_eq!(config.queue.delay, Duration::from_millis(50));
}

#[test]
fn every_mistake_is_named_and_no_secret_is_shown() {
    let secret = "a-secret-of-the-tests";
    let endpoint = format!("http://me:{secret}@collector");
    let headers = format!("authorization {secret}");
    let mistakes = read(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
        ("OTEL_EXPORTER_OTLP_HEADERS", &headers),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere/ca.pem"),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/nowhere/key.pem"),
        ("OTEL_TRACES_SAMPLER", "sometimes"),
        ("OTEL_TRACES_SAMPLER_ARG", "1.5"),
        ("OTEL_RESOURCE_ATTRIBUTES", "k8s.pod.name"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4096"),
        ("OTEL_BSP_SCHEDULE_DELAY", "-1"),
        ("OTEL_BSP_EXPORT_TIMEOUT", "soon"),
        ("OTEL_SDK_DISABLED", "perhaps"),
        ("OTEL_TRACES_EXPORTER", "zipkin"),
    ]);
    let mistakes = mistakes.expect_err("everything is wrong");
    for name in [
        "OTEL_EXPORTER_OTLP_ENDPOINT must be an http or https URL",
        "OTEL_EXPORTER_OTLP_HEADERS must be pairs",
        "OTEL_EXPORTER_OTLP_PROTOCOL \"http/json\" must be grpc or http/protobuf",
        "OTEL_EXPORTER_OTLP_TIMEOUT \"10s\" must be a whole number of milliseconds",
        "OTEL_EXPORTER_OTLP_COMPRESSION \"zstd\" must be gzip or none",
        "OTEL_EXPORTER_OTLP_CERTIFICATE \"/nowhere/ca.pem\" cannot be read",
        "OTEL_EXPORTER_OTLP_CLIENT_KEY \"/nowhere/key.pem\" cannot be read",
        "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and OTEL_EXPORTER_OTLP_CLIENT_KEY need each other",
        "OTEL_TRACES_SAMPLER \"sometimes\" must be always_on",
        "OTEL_TRACES_SAMPLER_ARG \"1.5\" must be a number from 0 to 1",
        "OTEL_RESOURCE_ATTRIBUTES \"k8s.pod.name\" must be",
        "OTEL_BSP_MAX_QUEUE_SIZE \"0\" must be a whole number",
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE \"4096\" must be a whole number, 1 to 2048",
        "OTEL_BSP_SCHEDULE_DELAY \"-1\" must be a whole number of milliseconds",
        "OTEL_BSP_EXPORT_TIMEOUT \"soon\" must be a whole number of milliseconds",
        "OTEL_SDK_DISABLED \"perhaps\" must be true or false",
        "OTEL_TRACES_EXPORTER \"zipkin\" must be otlp or none",
    ] {
        assert!(mistakes.iter().any(|mistake| mistake.starts_with(name)), "{name} is not in {mistakes:#?}");
    }
    assert_eq!(mistakes.len(), 17, "{mistakes:#?}");
    assert!(!mistakes.concat().contains(secret), "{mistakes:#?}");
}

#[test]
fn files_must_hold_what_their_variable_says() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key.pem");
    std::fs::write(&path, "-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n").unwrap();
    let path = path.to_str().unwrap();
    let mistakes = read(&[AN_ENDPOINT, ("OTEL_EXPORTER_OTLP_CERTIFICATE", path)]).expect_err("it is a key");
    assert!(mistakes[0].contains("-----BEGIN CERTIFICATE-----"), "{mistakes:?}");
}
