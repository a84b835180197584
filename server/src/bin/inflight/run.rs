//! Runs the service: everything from the settings to the last connection.

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::time::Duration;

use inflight::{Retention, Store};
use inflight_server::{Access, MetricsText, Options, PublicUrl, ServeOptions, Shutdown, router};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::secrets::Secrets;
use crate::settings::{Format, Settings};
use crate::{Failure, demo};

/// From a poll that is answered from memory to a request that waits for a body.
const LATENCIES: [f64; 12] =
    [0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.05, 0.25, 1.0, 10.0];

/// Serves until SIGINT or SIGTERM, and then until the last request is answered or the deadline passes.
pub(crate) fn serve(settings: Settings) -> Result<(), Failure> {
    log_as(&settings)?;
    let secrets = Secrets::load(&settings)?;
    check_listen(settings.listen, secrets.tokens().is_some())?;
    // One descriptor a connection, and some for the rest.
    let wanted = settings.connections as u64 + 64;
    match rlimit::increase_nofile_limit(wanted) {
        Ok(got) if got < wanted => {
            tracing::warn!(connections = settings.connections, descriptors = got, "too few descriptors");
        }
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "the limit of descriptors is unknown"),
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let served = runtime.block_on(run(&settings, secrets));
    // What still blocks a thread, such as a demo that reads a slow disk, is not waited for.
    runtime.shutdown_background();
    served
}

async fn run(settings: &Settings, secrets: Secrets) -> Result<(), Failure> {
    let store = Store::builder().capacity(settings.capacity).retain(retention(settings)).build()?;
    let metrics = record_metrics()?;
    let shutdown = Shutdown::default();
    let (tokens, tls) = (secrets.tokens().cloned(), secrets.tls().cloned());
    let has_tokens = tokens.is_some();
    let access = tokens.map_or_else(Access::open_on_loopback, Access::tokens);
    let options = Options { shutdown: shutdown.clone(), metrics: Some(metrics), ..settings.options() };
    let serve_options = ServeOptions { tls, ..settings.serve_options() };
    let listener = TcpListener::bind(settings.listen).await;
    let listener = listener.map_err(|error| format!("{} cannot be listened on: {error}", settings.listen))?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    secrets.follow(signal(SignalKind::hangup())?)?;
    greet(settings, has_tokens, listener.local_addr()?)?;
    if let Some(dir) = &settings.demo {
        demo::begin(store.clone(), dir.clone(), shutdown.clone())?;
    }
    let ending = shutdown.clone();
    tokio::spawn(async move {
        let signal = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        tracing::info!(signal, "shutting down");
        ending.begin();
        // Who asks twice does not want to wait.
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        std::process::exit(130);
    });
    let served =
        inflight_server::serve(listener, router(store, access, options), serve_options, shutdown).await?;
    tracing::info!(cut = served.cut, "stopped");
    Ok(())
}

/// Says where to look and what to try; on standard output, as it is what the program is for.
fn greet(settings: &Settings, has_tokens: bool, address: SocketAddr) -> Result<(), Failure> {
    let scheme = if settings.tls_cert.is_some() { "https" } else { "http" };
    let local = format!("{scheme}://{address}");
    let url = settings.public_url.as_ref().map_or(&*local, PublicUrl::as_str);
    let token = if has_tokens { " -H \"authorization: Bearer $TOKEN\"" } else { "" };
    let mut out = std::io::stdout().lock();
    writeln!(out, "dashboard  {url}/")?;
    writeln!(out, "API        {url}/docs")?;
    writeln!(
        out,
        "try        curl -i{token} {url}/v1/tasks -H 'content-type: application/json' -d '{{\"kind\":\"demo\"}}'"
    )?;
    Ok(out.flush()?)
}

fn retention(settings: &Settings) -> Retention {
    let retention = Retention::forever()
        .succeeded_for(settings.keep_succeeded.0)
        .failed_for(settings.keep_failed.0)
        .cancelled_for(settings.keep_cancelled.0);
    match settings.keep_at_most {
        Some(count) => retention.at_most_succeeded(count).at_most_failed(count).at_most_cancelled(count),
        None => retention,
    }
}

/// Without tokens everybody may do everything, and that must not go beyond this machine.
fn check_listen(listen: SocketAddr, has_tokens: bool) -> Result<(), Failure> {
    if listen.ip().is_loopback() || has_tokens {
        return Ok(());
    }
    let ip = listen.ip();
    Err(format!("other machines reach {ip}, so it needs tokens: give --tokens-file or INFLIGHT_TOKENS, or listen on 127.0.0.1").into())
}

fn record_metrics() -> Result<MetricsText, Failure> {
    let latency = Matcher::Full("inflight_http_request_duration_seconds".into());
    let recorder = PrometheusBuilder::new().set_buckets_for_metric(latency, &LATENCIES)?;
    let handle: PrometheusHandle = recorder.install_recorder()?;
    let upkeep = handle.clone();
    tokio::spawn(async move {
        let mut interval = tokio::time::interval(Duration::from_secs(5));
        loop {
            interval.tick().await;
            // Without it, what is observed would pile up until somebody asks.
            upkeep.run_upkeep();
        }
    });
    Ok(MetricsText::new(move || handle.render()))
}

fn log_as(settings: &Settings) -> Result<(), Failure> {
    // The name of a level that there is not would be taken for a target, and nothing else logged.
    let unnamed = settings.log.split(',').map(str::trim).filter(|part| !part.contains('='));
    if let Some(wrong) = unnamed.into_iter().find(|part| part.parse::<LevelFilter>().is_err()) {
        return Err(format!("log is {:?}, but there is no level {wrong:?}", settings.log).into());
    }
    let filter = settings.log.parse::<Targets>();
    let filter = filter.map_err(|error| format!("log is {:?}: {error}", settings.log))?;
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry().with(filter);
    match settings.log_format {
        Format::Text => registry.with(lines.with_ansi(std::io::stderr().is_terminal())).try_init()?,
        Format::Json => registry.with(lines.json().flatten_event(true)).try_init()?,
    }
    Ok(())
}
