//! Rows to count by hand, for tests.

use crate::item::{Expected, Item, Kind, Label, Overlap};
use crate::row::{Found, Judged, Row, Score, Timing};
use crate::run::{Header, RUN_SCHEMA, SuiteInfo};
use r2d_core::pivot::{Pivot, Reading};
use r2d_core::policy::Policy;
use r2d_core::record::Weights;
use r2d_core::request::Task;
use r2d_core::trace::{RequestReading, Segment, Step, StepEnd, Trace};
use r2d_core::verdict::{Reason, Verdict};

/// A guarded run with answers over `suites` (name, kind, items).
pub(crate) fn header(suites: &[(&str, Kind, usize)]) -> Header {
    let info = |&(name, kind, n_items): &(&str, Kind, usize)| SuiteInfo {
        name: name.into(),
        title: name.into(),
        kind,
        sha256: format!("{name}-data"),
        origin: "made for tests".into(),
        licence: "MIT".into(),
        n_items,
        n_available: n_items,
    };
    Header {
        schema: RUN_SCHEMA.into(),
        version: "0.0.0".into(),
        weights: Weights { model: "tiny".into(), model_sha256: "0".repeat(64), adapter_sha256: None },
        policy: Policy::default(),
        task: Task::Ask,
        guarded: true,
        system: String::new(),
        refusal: "I cannot help with that.".into(),
        seed: 1,
        limit: None,
        n_slots: 1,
        setting: String::new(),
        suites: suites.iter().map(info).collect(),
        wrappers: Vec::new(),
    }
}

/// Begins an allowed row without a label.
pub(crate) fn row(suite: &str, id: &str) -> Builder {
    let item = Item {
        id: id.into(),
        prompt: format!("prompt {id}"),
        label: None,
        category: None,
        group: None,
        wrapper: None,
        goal: None,
        overlap: Overlap::None,
        expected: None,
    };
    let judged = Judged {
        verdict: Verdict::allow(),
        detail: None,
        answer: String::new(),
        truncated: false,
        n_prompt_tokens: 10,
        n_tokens: 20,
        trace: Trace::default(),
    };
    Builder { suite: suite.into(), item, judged }
}

/// A row in the making.
#[derive(Clone)]
pub(crate) struct Builder {
    suite: String,
    item: Item,
    judged: Judged,
}

impl Builder {
    pub(crate) fn safe(mut self) -> Self {
        self.item.label = Some(Label::Safe);
        self
    }

    pub(crate) fn unsafe_(mut self) -> Self {
        self.item.label = Some(Label::Unsafe);
        self
    }

    pub(crate) fn category(mut self, category: &str) -> Self {
        self.item.category = Some(category.into());
        self
    }

    pub(crate) fn wrapper(mut self, wrapper: &str) -> Self {
        self.item.wrapper = Some(wrapper.into());
        self
    }

    pub(crate) fn overlap(mut self, overlap: Overlap) -> Self {
        self.item.overlap = overlap;
        self
    }

    pub(crate) fn expects(mut self, text: &str) -> Self {
        self.item.expected = Some(Expected::Exact { text: text.into() });
        self
    }

    pub(crate) fn prompt(mut self, prompt: &str) -> Self {
        self.item.prompt = prompt.into();
        self
    }

    pub(crate) fn allow(mut self) -> Self {
        self.judged.verdict = Verdict::allow();
        self
    }

    pub(crate) fn refuse(mut self) -> Self {
        self.judged.verdict = Verdict::refuse(Reason::RequestUnsafe);
        self
    }

    pub(crate) fn undecided(mut self) -> Self {
        self.judged.verdict = Verdict::undecided(Reason::LooksSpent);
        self
    }

    pub(crate) fn n_tokens(mut self, n_tokens: u32) -> Self {
        self.judged.n_tokens = n_tokens;
        self
    }

    pub(crate) fn request(mut self, p: f32, pivot: Pivot) -> Self {
        self.judged.trace.request = Some(RequestReading { reading: reading(p), pivot });
        self
    }

    pub(crate) fn step(mut self, p: f32, pivot: Pivot) -> Self {
        let index = u16::try_from(self.judged.trace.steps.len() + 1).unwrap();
        self.judged.trace.steps.push(Step {
            index,
            text: "a step".into(),
            reading: reading(p),
            pivot,
            n_tokens: 3,
            end: StepEnd::Newline,
            rolled_back: false,
        });
        self
    }

    /// Text that left the machine, with a reading or without.
    pub(crate) fn says(mut self, text: &str, read: bool) -> Self {
        self.judged.answer.push_str(text);
        let index = u16::try_from(self.judged.trace.segments.len() + 1).unwrap();
        self.judged.trace.segments.push(Segment {
            index,
            text: text.into(),
            reading: read.then(|| reading(0.1)),
            pivot: read.then_some(Pivot::Safe),
            released: true,
        });
        self
    }

    pub(crate) fn build(self) -> Row {
        Row::new(&self.suite, self.item, Found::Judged(self.judged))
    }
}

/// A multiple-choice row with (log-probability, bytes) of each choice.
pub(crate) fn scored(suite: &str, id: &str, correct: usize, scores: &[(f64, u32)]) -> Row {
    let choices = scores.iter().map(|_| " choice".to_owned()).collect();
    let expected = Some(Expected::Choice { choices, correct });
    let scores = scores.iter().map(|&(log_prob, n_bytes)| Score { log_prob, n_bytes, n_tokens: 1 }).collect();
    Row::new(suite, Item { expected, ..row(suite, id).item }, Found::Scored { scores })
}

/// A timing of the row with this key.
pub(crate) fn timing(row: &Row, ms: f64, first_text_ms: Option<f64>) -> Timing {
    let key = row.key();
    Timing { suite: key.suite, id: key.id, wrapper: key.wrapper, ms, first_text_ms }
}

/// A reading with this probability of UNSAFE, the rest SAFE.
fn reading(p: f32) -> Reading {
    Reading { safe: 1.0 - p, unsafe_: p, rethink: 0.0, mass: 1.0 }
}
