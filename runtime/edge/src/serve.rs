//! `serve`: brings the parts of the service up in order, and down in order.
//!
//! Up: weights verified, audit log recovered, model loaded, broker, connection begun, outbox caught up; only then is the
//! supervisor told "ready", and only then is anything heard or published. Down: no new requests, running ones get a
//! moment, what the disk did not take is tried once more, `offline` is published, the model's thread ends. Not here: what happens to a request (see [`crate::service`]).

use crate::audit::{AuditLimits, AuditLog, Recovery};
use crate::config::{Config, Secret};
use crate::exit::{Exit, UsageError};
use crate::models::Silent;
use crate::mqtt::ReplyAllowList;
use crate::mqtt::broker::{Broker, BrokerOptions};
use crate::mqtt::link::{ClientCertificate, Link, LinkEvents, LinkOptions, Login, Password, Will};
use crate::mqtt::topic::{Base, OutTopic};
use crate::mqtt::url::BrokerUrl;
use crate::output;
use crate::serial::Panels;
use crate::service::{self, Identity, Progress, Service, Watch, publication};
use crate::store::{Store, StoreLimits};
use crate::weights::{self, Loading};
use crate::wire::{State, Status};
use crate::worker::Worker;
use anyhow::Context;
use r2d_core::id::Id;
use r2d_core::policy::Review;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// How long running requests may go on after a stop was asked for; with the farewell it stays under three seconds.
const GRACE: Duration = Duration::from_millis(1000);
const FAREWELL: Duration = Duration::from_millis(800);
const BROKER_STOP: Duration = Duration::from_millis(500);
/// Events between the model's thread and the service.
const EVENTS: usize = 256;

/// Serves until SIGTERM or SIGINT.
pub(crate) fn run(loading: &Loading<'_>) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let served = runtime.block_on(serve(loading));
    runtime.shutdown_timeout(Duration::from_millis(200));
    served.map(|()| Exit::Done)
}

async fn serve(loading: &Loading<'_>) -> anyhow::Result<()> {
    let config = loading.config;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let stop = async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
    };
    tokio::pin!(stop);
    let who = identity(config)?;
    if let Err(error) = crate::bundle::catch_up(loading.home, &mut Silent) {
        // The adapter before it is still one that passed.
        output::warn(format!("the release's adapter was not put in force: {error}"));
    }
    let weights = weights::open(loading)?;

    let folder = loading.home.join("audit");
    let limits = AuditLimits { segment_bytes: u64::from(config.service.audit_segment_mb) << 20 };
    let (audit, recovery) = AuditLog::open(&folder, limits)?;
    tell_recovery(&recovery);
    let store = Store::open_with(&loading.home.join("store.redb"), store_limits(config))?;

    output::note(format!("loading {}", weights.title()));
    weights.tell_if_untaught(config);
    let (tell, told) = tokio::sync::mpsc::channel(EVENTS);
    let options = weights.options(config, true);
    // The worker waits for its model: that must not hold up the runtime's own thread.
    let starting = tokio::task::spawn_blocking(move || {
        Worker::start(options, move |event| {
            // A closed channel means that the service is over.
            let _sent = tell.blocking_send(event);
        })
    });
    let started = tokio::select! {
        started = starting => started,
        () = &mut stop => return Ok(()),
    };
    let (worker, ready) = started.context("the model's start was interrupted")??;
    output::note(format!("ready after {:.1} s", ready.load.as_secs_f64()));

    let broker = embedded_broker(config, loading.home).await?;
    let url = match &broker {
        Some(broker) => format!("mqtt://{}", broker.address()).parse::<BrokerUrl>(),
        None => config.mqtt.url.parse::<BrokerUrl>(),
    };
    let url = url.map_err(|e| UsageError(e.to_string()))?;
    output::note(format!("broker {url}, topics under {}", who.base.as_str()));
    let port = if url.port() == 1883 { String::new() } else { format!(" -p {}", url.port()) };
    let host = if broker.is_some() { String::new() } else { format!(" -h {}", url.host()) };
    output::note(format!(
        "ask with: mosquitto_pub{host}{port} -t {}/req/ask -q 1 -m '{{\"id\":\"ask-1\",\"prompt\":\"…\"}}'",
        who.base.as_str()
    ));
    let pool = pool(config)?;
    let (link, events) = connect(config, &who, url, pool.as_ref())?;
    let mut service = Service {
        config,
        replies: ReplyAllowList::new(&who.base, config.mqtt.response_topics.clone())
            .map_err(|e| UsageError(e.to_string()))?,
        who,
        pool,
        panels: Panels::start(config)?,
        adapters: Watch::new(loading, weights)?,
        audit,
        store,
        link,
        worker,
        state: Progress::new(),
    };
    let caught_up = service.catch_up(&folder)?;
    if caught_up > 0 {
        output::note(format!("{caught_up} records of an earlier run were put into the outbox"));
    }
    service::notify(&[sd_notify::NotifyState::Ready]);

    let served = service.serve(events, told, stop, GRACE).await;
    service::notify(&[sd_notify::NotifyState::Stopping]);
    service.record_at_last();
    let farewell = service.farewell();
    service.link.close(Some(farewell), FAREWELL).await;
    service.store.flush()?;
    if let Some(broker) = broker
        && let Err(error) = broker.stop(BROKER_STOP).await
    {
        output::warn(error.to_string());
    }
    served
}

/// What the audit log's start put right, and what of that no crash leaves.
fn tell_recovery(recovery: &Recovery) {
    if let Some(torn) = &recovery.torn {
        output::warn(format!("the audit log ended in a torn line, which was moved to {}", torn.display()));
    }
    // A crash comes between the two writes of one append.
    if recovery.head_behind > 1 {
        output::warn(format!(
            "the audit log has {} records that its head did not know of: one of the two was put there from elsewhere; \
             hint: r2d-edge audit verify, and compare with the hashes that verdicts carried",
            recovery.head_behind
        ));
    }
}

fn identity(config: &Config) -> anyhow::Result<Identity> {
    let d = &config.device;
    let id = |text: &str| Id::parse(text).map_err(|e| UsageError(format!("{text:?}: {e}")));
    let base = Base::new(id(&d.site)?, &id(&d.area)?, &id(&d.line)?, &id(&d.device)?);
    Ok(Identity {
        base,
        device: format!("{}/{}/{}/{}", d.site, d.area, d.line, d.device),
        boot: boot_id()?,
        valid: Duration::from_secs(u64::from(config.service.verdict_valid_s)),
        review: Duration::from_secs(u64::from(config.service.review_s)),
    })
}

/// A new id for this run, from the standard library's own random seeds.
fn boot_id() -> anyhow::Result<Id> {
    use std::hash::{BuildHasher, Hasher};
    let number = std::collections::hash_map::RandomState::new().build_hasher().finish();
    Ok(Id::parse(&format!("{number:016x}"))?)
}

fn pool(config: &Config) -> anyhow::Result<Option<Id>> {
    let name = config.mqtt.pool.as_str();
    let pool = (!name.is_empty()).then(|| Id::parse(name));
    Ok(pool.transpose().map_err(|e| UsageError(format!("mqtt.pool: {e}")))?)
}

fn store_limits(config: &Config) -> StoreLimits {
    StoreLimits {
        outbox_max: u64::from(config.service.outbox_max),
        done_max: u64::from(config.service.done_max),
        ..StoreLimits::default()
    }
}

async fn embedded_broker(config: &Config, home: &Path) -> anyhow::Result<Option<Broker>> {
    if !config.mqtt.url.is_empty() {
        return Ok(None);
    }
    let bind = config.mqtt.listen.parse().context("mqtt.listen is not an address and port")?;
    let options = BrokerOptions {
        folder: Some(home.join("broker")),
        max_packet: config.mqtt.max_packet as usize,
        bind,
        ..BrokerOptions::default()
    };
    let broker = Broker::start(options).await?;
    output::note(format!("embedded broker on {} (this machine only, no passwords)", broker.address()));
    Ok(Some(broker))
}

fn connect(
    config: &Config,
    who: &Identity,
    url: BrokerUrl,
    pool: Option<&Id>,
) -> anyhow::Result<(Link, LinkEvents)> {
    let mqtt = &config.mqtt;
    let client_id = match mqtt.client_id.as_str() {
        "" => format!("r2d-{}", who.device.replace('/', "-")),
        given => given.to_owned(),
    };
    let path = |text: &str| (!text.is_empty()).then(|| PathBuf::from(text));
    let password = match path(&mqtt.password_file) {
        Some(file) => Secret::read(&file).with_context(|| format!("cannot read {}", file.display()))?,
        None => mqtt.password.clone(),
    };
    let login = (!mqtt.username.is_empty()).then(|| Login {
        username: mqtt.username.clone(),
        password: Password::new(password.reveal().to_owned()),
    });
    let certificate = path(&mqtt.client_cert)
        .zip(path(&mqtt.client_key))
        .map(|(chain_file, key_file)| ClientCertificate { chain_file, key_file });
    let offline =
        Status { head: service::head(who, "r2d.status/1", &config.device.device, 0), state: State::Offline };
    let options = LinkOptions {
        login,
        ca_file: path(&mqtt.ca_file),
        certificate,
        keep_alive: Duration::from_secs(u64::from(mqtt.keep_alive_s)),
        session_expiry_s: mqtt.session_expiry_s,
        receive_maximum: mqtt.receive_maximum,
        max_packet: mqtt.max_packet,
        will: Some(Will {
            topic: who.base.topic(OutTopic::Status),
            payload: publication::json(&offline),
            retain: true,
        }),
        subscriptions: who.base.subscriptions(pool, config.policy.review != Review::None),
        ..LinkOptions::new(url, client_id)
    };
    Ok(Link::start(options)?)
}
