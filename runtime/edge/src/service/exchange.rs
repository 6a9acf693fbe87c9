//! The exchange of adapters while serving: a person puts another one in force, the worker goes over to it between two
//! requests, and the shop floor hears which one judges.
//!
//! Only for the adapter in force (`model.adapter = "auto"`): one that the configuration names stays. Invariant: what a
//! record says of its weights is what the worker told last before the verdict; adapters are told apart by their files'
//! SHA-256 and not by their names; one that was refused is not tried again before another choice was made, and a choice
//! that cannot be written down ends nothing.

use super::Service;
use crate::models::adapters::{AUTO, Adapter, Adapters, NONE};
use crate::mqtt::link::PublishId;
use crate::output;
use crate::service::outbox::OWN_IDS;
use crate::weights::{Loading, Opened};
use crate::worker::Swapped;
use r2d_core::record::Weights;
use std::time::{Duration, Instant};

/// Time between two looks at which adapter is in force.
pub(super) const LOOK: Duration = Duration::from_secs(1);
/// Longest time for which an exchange counts as a sign of life.
const EXCHANGE: Duration = Duration::from_secs(120);

/// The weights that judge, and where others would be announced.
#[derive(Debug)]
pub(crate) struct Watch {
    /// None when the configuration names the adapter, or a script is served.
    announced: Option<Adapters>,
    opened: Opened,
    /// What the worker was told to go over to.
    on_the_way: Option<(Opened, Instant)>,
    /// The choice that the worker refused last, by its SHA-256.
    refused: Option<Option<String>>,
    /// The last fault of looking, so that it is told once.
    fault: Option<String>,
}

impl Watch {
    /// Watches over `opened`, which was just opened.
    pub(crate) fn new(loading: &Loading<'_>, opened: Opened) -> anyhow::Result<Self> {
        let model = &loading.config.model;
        let watched = model.adapter == AUTO && !model.name.starts_with("scripted:");
        let announced = watched.then(|| Adapters::open(loading.home)).transpose()?;
        Ok(Self { announced, opened, on_the_way: None, refused: None, fault: None })
    }

    /// The weights that judge.
    pub(crate) fn weights(&self) -> Weights {
        self.opened.named()
    }

    /// Whether the worker is busy going over, within bounds.
    pub(super) fn is_exchanging(&self) -> bool {
        self.on_the_way.as_ref().is_some_and(|(_, since)| since.elapsed() < EXCHANGE)
    }

    /// The adapter in force, if it is another one than judges.
    fn other(&mut self) -> anyhow::Result<Option<Option<Adapter>>> {
        let Some(adapters) = &self.announced else { return Ok(None) };
        let name = adapters.in_force(&self.opened.sha256)?;
        // What is on record says at once whether it is another file, whatever its name.
        let recorded = name.as_deref().map(|name| adapters.recorded(name)).transpose()?;
        let recorded = recorded.map(|sha256| sha256.to_string());
        if self.refused.as_ref() == Some(&recorded) {
            return Ok(None);
        }
        self.refused = None;
        if recorded == self.opened.adapter_sha256 {
            return Ok(None);
        }
        let Some(name) = name else { return Ok(Some(None)) };
        let adapter = adapters.verify(&name)?;
        adapter.info.check_base(&self.opened.sha256)?;
        Ok(Some(Some(adapter)))
    }
}

impl Service<'_> {
    /// Looks whether another adapter was put in force, and tells the worker.
    pub(super) fn look_for_adapter(&mut self) {
        if self.adapters.on_the_way.is_some() {
            return;
        }
        // The file is read and hashed; an adapter has a few megabytes.
        self.panels.beat();
        match tokio::task::block_in_place(|| self.adapters.other()) {
            Ok(None) => self.adapters.fault = None,
            Ok(Some(adapter)) => {
                let next = self.adapters.opened.with_adapter(adapter.as_ref());
                if self.worker.swap(next.candidate()) {
                    self.adapters.on_the_way = Some((next, Instant::now()));
                }
            }
            Err(error) => {
                let fault = format!("{error:#}");
                if self.adapters.fault.as_ref() != Some(&fault) {
                    output::warn(format!("the adapter in force cannot be used: {fault}; the last one stays"));
                    self.adapters.fault = Some(fault);
                }
            }
        }
    }

    /// The worker has gone over, or back.
    pub(super) fn on_swapped(&mut self, swapped: Swapped) {
        let Some((next, _)) = self.adapters.on_the_way.take() else { return };
        match swapped.refused {
            None => {
                output::note(format!("{} judges from here on", next.title()));
                self.adapters.opened = next;
            }
            Some(reason) => {
                let name = next.adapter.as_deref().unwrap_or(NONE);
                output::warn(format!("{name} was refused, the last adapter stays: {reason}"));
                let noted = self.adapters.announced.as_ref().map(|a| a.refuse(name, &next.sha256, &reason));
                if let Some(Err(error)) = noted {
                    output::warn(format!("that {name} was refused cannot be written down: {error}"));
                }
                self.adapters.refused = Some(next.adapter_sha256);
            }
        }
        if self.state.up {
            // Without a connection the next one tells it.
            let _lost = self.link.publish(PublishId(OWN_IDS + 1), self.info());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::Silent;
    use crate::models::adapters::tests::file;
    use crate::source::Source;

    const BASE: &str = "aa";

    /// A service without an adapter that watches over those below `folder`.
    fn watch(folder: &std::path::Path) -> (Watch, Adapters) {
        let adapters = Adapters::open(&folder.join("home")).unwrap();
        let opened = Opened {
            name: "m".into(),
            sha256: BASE.into(),
            adapter: None,
            adapter_sha256: None,
            source: Source::Scripted { script: String::new(), n_slots: 1 },
        };
        let announced = Some(adapters.clone());
        (Watch { announced, opened, on_the_way: None, refused: None, fault: None }, adapters)
    }

    /// Takes in a file that differs by `value`, and puts it in force.
    fn put(folder: &std::path::Path, adapters: &Adapters, value: f32) -> String {
        let taken = adapters.import(&file(folder, "one", BASE, value), "one", None, &mut Silent).unwrap();
        adapters.activate("one", BASE).unwrap();
        taken.sha256.to_string()
    }

    #[test]
    fn another_file_of_the_same_name_is_another_adapter() {
        let folder = tempfile::tempdir().unwrap();
        let (mut watch, adapters) = watch(folder.path());
        assert!(watch.other().unwrap().is_none());
        let first = put(folder.path(), &adapters, 1.0);
        let told = watch.other().unwrap().unwrap().unwrap();
        assert_eq!(told.sha256.to_string(), first);
        watch.opened.adapter = Some("one".into());
        watch.opened.adapter_sha256 = Some(first.clone());
        assert!(watch.other().unwrap().is_none());
        // Between two looks the name came to stand for another file.
        adapters.activate(NONE, BASE).unwrap();
        adapters.remove("one").unwrap();
        let second = put(folder.path(), &adapters, 2.0);
        assert_ne!(first, second);
        assert_eq!(watch.other().unwrap().unwrap().unwrap().sha256.to_string(), second);
        // What was refused is not tried again, but what comes under its name is.
        watch.refused = Some(Some(second));
        assert!(watch.other().unwrap().is_none());
        watch.refused = Some(Some("another".into()));
        assert!(watch.other().unwrap().is_some());
        adapters.activate(NONE, BASE).unwrap();
        assert!(matches!(watch.other(), Ok(Some(None))));
    }

    #[test]
    fn an_adapter_of_another_base_is_refused_whoever_chose_it() {
        let folder = tempfile::tempdir().unwrap();
        let (mut watch, adapters) = watch(folder.path());
        adapters.import(&file(folder.path(), "one", "bb", 1.0), "one", None, &mut Silent).unwrap();
        let choice = format!("[[base]]\nsha256 = \"{BASE}\"\nactive = \"one\"\n");
        std::fs::write(folder.path().join("home/adapters/active.toml"), choice).unwrap();
        let said = watch.other().unwrap_err().to_string();
        assert!(said.contains("SHA-256 bb, not on aa"), "{said}");
    }
}
