//! `bundle`: makes, verifies and installs offline bundles, and goes back.
//!
//! Words only; the work is in [`crate::bundle`]. Nothing is restarted: whoever installs says when the service goes over.

use crate::bundle::{
    self, BundleError, Contents, Install, Manifest, Payload, PublicKey, SecretKey, Site, Slot, Version,
};
use crate::config::Config;
use crate::exit::{Exit, UsageError};
use crate::models::Bar;
use crate::models::adapters::AUTO;
use crate::output;
use crate::weights::Loading;
use clap::Subcommand;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where a board keeps the key of those whom it trusts.
const PUBLIC_KEY: &str = "/etc/r2d-edge/bundle.pub";
/// How long the new release may test itself: hashing, loading and six short prompts, on a slow board.
const SELF_TEST_LIMIT: Duration = Duration::from_secs(15 * 60);

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a pair of keys: the secret one signs bundles, the public one goes onto the boards
    Keygen {
        /// The secret key's file, which must not be there
        #[arg(long, value_name = "FILE")]
        secret_key: PathBuf,
        /// The public key's file, which must not be there
        #[arg(long, value_name = "FILE")]
        public_key: PathBuf,
        /// Variable with a password for the secret key
        #[arg(long, value_name = "NAME")]
        password_env: Option<String>,
    },
    /// Make a bundle of packages, and of a model and an adapter that are here
    Create {
        /// The bundle
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// Number of the release, above all before it
        #[arg(long, value_name = "N")]
        version: Version,
        /// Packages, one for each architecture, each named NAME_VERSION_ARCH.deb
        #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
        deb: Vec<PathBuf>,
        /// Model, as `models list` shows it
        #[arg(long, value_name = "NAME")]
        model: Option<String>,
        /// Adapter, as `adapters list` shows it
        #[arg(long, value_name = "NAME")]
        adapter: Option<String>,
        /// The key to sign with
        #[arg(long, value_name = "FILE")]
        secret_key: PathBuf,
        /// Variable with the password of the secret key
        #[arg(long, value_name = "NAME")]
        password_env: Option<String>,
    },
    /// Check a bundle's signature and every byte of it
    Verify {
        /// The bundle
        file: PathBuf,
        /// Public key, or the file that holds it
        #[arg(long, value_name = "KEY", default_value = PUBLIC_KEY)]
        public_key: String,
    },
    /// Verify a bundle, have its program test itself, and put it in force
    Install {
        /// The bundle
        file: PathBuf,
        /// Public key, or the file that holds it
        #[arg(long, value_name = "KEY", default_value = PUBLIC_KEY)]
        public_key: String,
    },
    /// Say which release is in force, and what the other slot holds
    Status {
        /// Print it as JSON
        #[arg(long)]
        json: bool,
    },
    /// Put that release in force which was before
    Rollback,
    /// Put no release in force: the service runs the installed package's program again
    Leave,
}

/// Does what was asked.
pub(crate) fn run(
    command: &Command,
    home: &Path,
    config_file: Option<&Path>,
    config: &dyn Fn() -> anyhow::Result<Config>,
) -> anyhow::Result<Exit> {
    match command {
        Command::Keygen { secret_key, public_key, password_env } => {
            let password = password(password_env.as_deref())?;
            if password.is_none() {
                output::note(
                    "the secret key has no password: whoever reads its file can sign (--password-env)",
                );
            }
            output::line(bundle::keygen(secret_key, public_key, password)?);
        }
        Command::Create { out, version, deb, model, adapter, secret_key, password_env } => {
            if out.exists() {
                let hint = "hint: give another --out; a release is never replaced";
                return Err(UsageError(format!("{} is there already; {hint}", out.display())).into());
            }
            deb.iter().try_for_each(|deb| bundle::look_into(deb))?;
            let key = SecretKey::read(secret_key, password(password_env.as_deref())?)?;
            let (model, adapter) = (model.as_deref(), adapter.as_deref());
            let contents = Contents { home, version: *version, packages: deb, model, adapter };
            tell(&bundle::create(&contents, out, &key, &mut Bar::default())?);
        }
        Command::Verify { file, public_key } => {
            tell(&bundle::verify(file, &PublicKey::read(public_key)?, &mut Bar::default())?);
        }
        Command::Install { file, public_key } => {
            let (key, config) = (PublicKey::read(public_key)?, config()?);
            let loading = &Loading { config: &config, home };
            let arch = bundle::arch();
            let order = Install { loading, file, key: &key, config_file, arch, limit: SELF_TEST_LIMIT };
            let before = versions(home)?;
            let release =
                bundle::install(&order, &mut Bar::default()).inspect_err(|_| note_emptied(home, before))?;
            hint_at_configuration(&release, &config);
            in_force(home, &release)?;
        }
        Command::Status { json } => status(home, *json)?,
        Command::Leave => {
            bundle::leave(home)?;
            output::note("no release is in force; restart the service, it runs the old release until then");
            output::note("the adapter in force stays; `bundle rollback` puts the release in force again");
        }
        Command::Rollback => in_force(home, &bundle::rollback(home, &mut Bar::default())?)?,
    }
    Ok(Exit::Done)
}

fn password(variable: Option<&str>) -> Result<Option<String>, UsageError> {
    let read = |name| match std::env::var(name) {
        Ok(empty) if empty.is_empty() => Err(UsageError(format!(
            "{name} is empty; hint: leave --password-env out for a key without a password"
        ))),
        Ok(password) => Ok(password),
        Err(error) => Err(UsageError(format!("{name}: {error}; hint: export it first"))),
    };
    variable.map(read).transpose()
}

/// Says what a bundle is.
fn tell(release: &Manifest) {
    output::line(format!("version {} of {}", release.version, release.created));
    for file in &release.files {
        let what = match file {
            Payload::Package(package) => format!("program for {}", package.arch),
            Payload::Model(model) => format!("model {}", model.model),
            Payload::Adapter(adapter) => format!("adapter {}", adapter.adapter),
        };
        output::line(format!("  {what:32} {:>10.1} MB  {}", file.size() as f64 / 1e6, file.sha256()));
    }
}

/// What the slots hold.
fn versions(home: &Path) -> Result<[Option<Version>; 2], BundleError> {
    let site = Site::of(home)?;
    Ok([Slot::A, Slot::B].map(|slot| site.release(slot).map(|release| release.version)))
}

/// Says what an installation that failed took away: a release is unpacked where the one before the last was.
fn note_emptied(home: &Path, before: [Option<Version>; 2]) {
    for (before, now) in before.into_iter().zip(versions(home).unwrap_or(before)) {
        if let (Some(version), None) = (before, now) {
            output::note(format!(
                "the slot that held version {version} is empty now: there is nothing to roll back to until a release passes"
            ));
        }
    }
}

/// Says what is in force now, and what is still to be done.
fn in_force(home: &Path, release: &Manifest) -> Result<(), BundleError> {
    tell(release);
    output::line(format!("in force at {}", Site::of(home)?.link().display()));
    output::note("restart the service: it runs the old release until then");
    Ok(())
}

/// Says where the configuration goes past what the bundle brought.
fn hint_at_configuration(release: &Manifest, config: &Config) {
    if let Some(model) = release.model().filter(|model| model.model != config.model.name) {
        output::warn(format!("model.name is {:?}, so `{}` is not used", config.model.name, model.model));
    }
    if let Some(adapter) = release.adapter().filter(|_| config.model.adapter != AUTO) {
        output::warn(format!(
            "model.adapter is {:?}, so `{}` is not used",
            config.model.adapter, adapter.adapter
        ));
    }
}

#[derive(Serialize)]
struct Status {
    in_force: Option<Held>,
    other: Option<Held>,
    highest: Option<Version>,
}

#[derive(Serialize)]
struct Held {
    slot: Slot,
    version: Version,
    created: String,
    model: Option<String>,
    adapter: Option<String>,
    folder: PathBuf,
}

fn status(home: &Path, json: bool) -> anyhow::Result<()> {
    let site = Site::of(home)?;
    let held = |slot: Slot| {
        let release = site.release(slot)?;
        Some(Held {
            slot,
            version: release.version,
            model: release.model().map(|m| m.model.clone()),
            adapter: release.adapter().map(|a| a.adapter.clone()),
            created: release.created,
            folder: site.folder(slot),
        })
    };
    let now = site.current()?;
    // With no release in force the one that was left stands first to go back to.
    let other = now.map(Slot::other).or(site.last()?).unwrap_or(Slot::A);
    let status = Status { in_force: now.and_then(held), other: held(other), highest: site.state()?.highest };
    if json {
        output::json(&status);
        return Ok(());
    }
    for (what, held) in [("in force", &status.in_force), ("other slot", &status.other)] {
        let text = held.as_ref().map_or_else(
            || "no release".to_owned(),
            |h| {
                let part = |what: &str, name: &Option<String>| {
                    name.as_ref().map_or_else(String::new, |name| format!(", {what} {name}"))
                };
                let parts = part("model", &h.model) + &part("adapter", &h.adapter);
                format!("version {} of {}{parts} in {}", h.version, h.created, h.folder.display())
            },
        );
        output::line(format!("{what:<11} {text}"));
    }
    let highest = status.highest.map_or_else(|| "none".to_owned(), |version| version.to_string());
    output::line(format!("{:<11} {highest}", "highest"));
    Ok(())
}
