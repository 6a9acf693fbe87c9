//! A model that says what a script tells it to: for tests of everything around a model, and for rehearsals on a
//! shop floor without one.
//!
//! Not a language model and loudly not one: its name is in every record. A script is TOML: cases, each with what
//! the model would say and what it would read at the pivots. Sequences 2k and 2k+1 are taken for a main sequence
//! and its probe, as the scheduler numbers them.

use crate::model::{BatchToken, DecodeError, Model, Seq, Seqs, Token, Trust};
use serde::Deserialize;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;
use thiserror::Error;

/// A script: the first case whose `when` stands in the prompt is played.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// How long a decode takes, in milliseconds.
    #[serde(default)]
    pub decode_ms: u64,
    /// The cases.
    #[serde(rename = "case")]
    pub cases: Vec<Case>,
}

/// One conversation.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// Played when this stands in the prompt; empty matches all.
    #[serde(default)]
    pub when: String,
    /// What the model says, all steps and the answer in one string. `{open}` opens a pivot, `{bracket}` is the same
    /// token meant as text, `{close}` begins the end of reasoning (the runtime writes the rest of that mark), `{end}`
    /// ends the turn. When it is used up the turn ends.
    pub says: String,
    /// Probabilities of SAFE, UNSAFE and RETHINK at each reading in order, the bare request's first. When they are
    /// used up, or one is not a number, a reading is unreadable.
    pub reads: Vec<[f32; 3]>,
    /// Decoding fails after this many batches.
    #[serde(default)]
    pub fails_after: Option<u32>,
}

/// Why a script cannot be played.
#[derive(Debug, Error)]
#[error("the script is not one: {0}")]
pub struct ScriptError(#[from] toml::de::Error);

const OPENING: Token = Token(256);
const END: Token = Token(257);
const MARKER: Token = Token(258);
const SAFE: Token = Token(259);
const UNSAFE: Token = Token(260);
const RETHINK: Token = Token(261);
const CLOSE: Token = Token(262);
const N_VOCAB: usize = 263;
const WORDS: [(&str, Token); 3] = [("SA", SAFE), ("UN", UNSAFE), ("RE", RETHINK)];

#[derive(Debug)]
struct Play {
    prompt: Vec<u8>,
    says: Option<VecDeque<Said>>,
    reads: VecDeque<[f32; 3]>,
    fails_after: Option<u32>,
    n_batches: u32,
    /// The bracket just said is text.
    literal: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Byte(u8),
    Open,
    Bracket,
    Close,
    End,
}

/// The model.
#[derive(Debug)]
pub struct Scripted {
    script: Script,
    n_seq: u32,
    plays: HashMap<u32, Play>,
    rows: Vec<Vec<f32>>,
}

impl Scripted {
    /// A model for `n_slots` generations side by side.
    ///
    /// # Errors
    /// [`ScriptError`] names the line.
    pub fn parse(script: &str, n_slots: u32) -> Result<Self, ScriptError> {
        Ok(Self {
            script: toml::from_str(script)?,
            n_seq: n_slots * 2,
            plays: HashMap::new(),
            rows: Vec::new(),
        })
    }

    fn play(&mut self, main: u32) -> &mut Play {
        self.plays.entry(main).or_insert_with(|| Play {
            prompt: Vec::new(),
            says: None,
            reads: VecDeque::new(),
            fails_after: None,
            n_batches: 0,
            literal: false,
        })
    }

    fn row(&mut self, entry: &BatchToken) -> Vec<f32> {
        let (main, on_probe) = match entry.seqs {
            Seqs::One(Seq(s)) => (s & !1, s & 1 == 1),
            Seqs::Two(Seq(a), _) => (a & !1, false),
        };
        let cases = std::mem::take(&mut self.script.cases);
        let play = self.play(main);
        if play.says.is_none() {
            let prompt = String::from_utf8_lossy(&play.prompt);
            let case = cases.iter().find(|c| prompt.contains(&c.when));
            play.says = Some(case.map(|c| cut(&c.says)).unwrap_or_default());
            play.reads = case.map(|c| c.reads.iter().copied().collect()).unwrap_or_default();
            play.fails_after = case.and_then(|c| c.fails_after);
        }
        let mut logits = vec![-30.0; N_VOCAB];
        let mut set = |token: Token, logit: f32| {
            if let Some(l) = usize::try_from(token.0).ok().and_then(|i| logits.get_mut(i)) {
                *l = logit;
            }
        };
        if entry.token == OPENING && (on_probe || !play.literal) {
            let read = play.reads.pop_front().unwrap_or([f32::NAN; 3]);
            for ((_, token), p) in WORDS.iter().zip(read) {
                set(*token, if p == 0.0 { -20.0 } else { p.ln() });
            }
        } else {
            play.literal = false;
            match play.says.as_mut().and_then(VecDeque::pop_front).unwrap_or(Said::End) {
                Said::Byte(b) => set(Token(i32::from(b)), 0.0),
                Said::Open => set(OPENING, 0.0),
                Said::Bracket => {
                    play.literal = true;
                    set(OPENING, 0.0);
                }
                Said::Close => set(CLOSE, 0.0),
                Said::End => set(END, 0.0),
            }
        }
        self.script.cases = cases;
        logits
    }
}

/// Cuts what a case says into what the model would put out.
fn cut(says: &str) -> VecDeque<Said> {
    let mut out = VecDeque::new();
    let mut rest = says;
    while let Some(c) = rest.chars().next() {
        let marks = [
            ("{open}", Said::Open),
            ("{bracket}", Said::Bracket),
            ("{close}", Said::Close),
            ("{end}", Said::End),
        ];
        if let Some((mark, said)) = marks.into_iter().find(|(mark, _)| rest.starts_with(mark)) {
            out.push_back(said);
            rest = &rest[mark.len()..];
        } else {
            out.extend(rest.as_bytes()[..c.len_utf8()].iter().map(|&b| Said::Byte(b)));
            rest = &rest[c.len_utf8()..];
        }
    }
    out
}

impl Model for Scripted {
    fn tokenize(&self, text: &str, trust: Trust, out: &mut Vec<Token>) {
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            if trust == Trust::Ours
                && let Some(end) = rest.strip_prefix("<|").and_then(|r| r.find("|>"))
            {
                out.push(MARKER);
                rest = &rest[end + 4..];
            } else if let Some(behind) = rest.strip_prefix(" [") {
                out.push(OPENING);
                rest = behind;
                // As in a real vocabulary, a word is cut alike whoever wrote it.
                if let Some((word, token)) = WORDS.iter().find(|(word, _)| rest.starts_with(word)) {
                    out.push(*token);
                    rest = &rest[word.len()..];
                }
            } else {
                out.extend(rest.as_bytes()[..c.len_utf8()].iter().map(|&b| Token(i32::from(b))));
                rest = &rest[c.len_utf8()..];
            }
        }
    }

    fn piece(&self, token: Token, out: &mut Vec<u8>) {
        match token {
            OPENING => out.extend_from_slice(b" ["),
            CLOSE => out.extend_from_slice(b"</"),
            Token(b @ 0..=255) => out.extend(u8::try_from(b)),
            _ => out.extend(WORDS.iter().find(|(_, t)| *t == token).map_or(&b""[..], |(w, _)| w.as_bytes())),
        }
    }

    fn is_end(&self, token: Token) -> bool {
        token == END
    }

    fn is_control(&self, token: Token) -> bool {
        token == MARKER
    }

    fn begin(&self) -> Option<Token> {
        None
    }

    fn n_ctx(&self) -> u32 {
        self.n_seq / 2 * 16_384
    }

    fn n_batch(&self) -> usize {
        256
    }

    fn n_seq(&self) -> u32 {
        self.n_seq
    }

    fn fork(&mut self, _: Seq, _: Seq) -> Result<(), DecodeError> {
        Ok(())
    }

    fn trim(&mut self, Seq(seq): Seq, from: u32) -> Result<(), DecodeError> {
        if from == 0 && seq & 1 == 0 {
            self.plays.remove(&seq);
        }
        Ok(())
    }

    fn decode(&mut self, batch: &[BatchToken]) -> Result<(), DecodeError> {
        if self.script.decode_ms > 0 {
            std::thread::sleep(Duration::from_millis(self.script.decode_ms));
        }
        self.rows.clear();
        for entry in batch {
            if let Seqs::One(Seq(main)) | Seqs::Two(Seq(main), _) = entry.seqs
                && main & 1 == 0
                && self.play(main).says.is_none()
            {
                let mut bytes = Vec::new();
                self.piece(entry.token, &mut bytes);
                self.play(main).prompt.extend(bytes);
            }
            let row = if entry.logits { self.row(entry) } else { Vec::new() };
            self.rows.push(row);
        }
        for play in self.plays.values_mut() {
            play.n_batches += 1;
            if play.fails_after.is_some_and(|n| play.n_batches > n) {
                return Err(DecodeError::Failed("the script says so".into()));
            }
        }
        Ok(())
    }

    fn logits(&self, i: usize) -> &[f32] {
        self.rows.get(i).map_or(&[], Vec::as_slice)
    }
}
