//! The keys: name, type, default, values allowed, unit and description, each said once.
//!
//! Not a place for logic: the macro at the top turns the list below it into the structs, their defaults and
//! [`KEYS`]. Invariant: every field of [`Config`] is a key and every key a field.

use super::choice::{Combine, Depth, KvType, Mode, OnRethink, RefusalKind, Review, names_of};
use super::key::Allowed::{Choice, Integer, Languages, List, Real, Text};
use super::key::{Form, Key};
use super::refusal;
use super::secret::Secret;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

macro_rules! keys {
    ($(
        $(#[doc = $section_doc:literal])+
        $section:ident: $Section:ident {
            $(
                $(#[doc = $doc:literal])+
                $leaf:ident: $ty:ty = $default:expr, $allowed:expr $(, $unit:literal)?;
            )+
        }
    )+) => {
        /// The whole configuration.
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct Config {
            $( $(#[doc = $section_doc])+ pub $section: $Section, )+
        }

        $(
            $(#[doc = $section_doc])+
            #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
            #[serde(deny_unknown_fields)]
            pub struct $Section {
                $( $(#[doc = $doc])+ pub $leaf: $ty, )+
            }

            impl Default for $Section {
                fn default() -> Self {
                    Self { $( $leaf: $default, )+ }
                }
            }
        )+

        /// The sections in their order, each with its description.
        pub(super) static SECTIONS: &[(&str, &str)] =
            &[ $( (stringify!($section), concat!($($section_doc),+).trim_ascii()), )+ ];

        /// Every key, in the order of the sections.
        pub(super) static KEYS: &[Key] = &[ $( $( Key {
            path: concat!(stringify!($section), ".", stringify!($leaf)),
            description: concat!($($doc),+).trim_ascii(),
            unit: concat!($($unit)?),
            allowed: $allowed,
            secret: matches!($allowed, Text(Form::Secret)),
        }, )+ )+ ];
    };
}

keys! {
    /// Where the device stands: the levels of its MQTT topics, and the language of its texts.
    device: Device {
        /// Site, the third level of every topic.
        site: String = "site".into(), Text(Form::Id);
        /// Area of the site.
        area: String = "area".into(), Text(Form::Id);
        /// Production line in the area.
        line: String = "line".into(), Text(Form::Id);
        /// This device; the host name when it is not set.
        device: String = "device".into(), Text(Form::Id);
        /// Language of texts for people.
        lang: String = "en".into(), Text(Form::Language);
    }

    /// The model and what it may use of the machine.
    model: Model {
        /// Name of a known model, path of a .gguf file, or scripted:FILE for a scripted model.
        name: String = "smollm2-135m-instruct".into(), Text(Form::Filled);
        /// What the model is told before each request; empty for nothing.
        system: String = "You are a careful assistant.".into(), Text(Form::Plain);
        /// LoRA adapter: auto for the one in force (see `adapters`), none, a name, or the path of a .gguf file.
        adapter: String = "auto".into(), Text(Form::Filled);
        /// Context of one request: prompt, reasoning and answer.
        n_ctx: u32 = 2048, Integer(128, 1_048_576), "tokens";
        /// Most tokens of one decode; fewer let a cancellation act sooner.
        n_batch: u32 = 64, Integer(1, 4096), "tokens";
        /// Threads that decode; 0 takes one for each physical core.
        threads: u16 = 0, Integer(0, 1024), "threads";
        /// Cores that the model may run on, such as 4-7 for the big ones; empty for all.
        cores: String = String::new(), Text(Form::Cores);
        /// Requests generated side by side.
        parallel: u8 = 1, Integer(1, 8), "requests";
        /// Element type of the key-value cache.
        kv_type: KvType = KvType::F16, Choice(names_of::<KvType>);
        /// Layers that a GPU computes; 0 for none.
        gpu_layers: u16 = 0, Integer(0, 1000), "layers";
        /// Memory left free beside model and cache.
        headroom_mb: u32 = 256, Integer(0, 1_048_576), "MiB";
    }

    /// How readings of the pivots become verdicts, and the budgets of a request.
    policy: Policy {
        /// How much the model reasons: all steps, one, or only the pivot on the bare request.
        depth: Depth = Depth::Full, Choice(names_of::<Depth>);
        /// Whether verdicts bind; shadow judges and records but withholds nothing.
        mode: Mode = Mode::Enforce, Choice(names_of::<Mode>);
        /// Which function of all readings decides.
        combine: Combine = Combine::Maximum, Choice(names_of::<Combine>);
        /// Weight of the bare request's log-odds when combine is weighted.
        request_weight: f32 = 1.0, Real(0.0, 100.0);
        /// Weight of the worst step's log-odds when combine is weighted.
        step_weight: f32 = 1.0, Real(0.0, 100.0);
        /// Added to the log-odds when combine is weighted.
        bias: f32 = 0.0, Real(-100.0, 100.0);
        /// UNSAFE at or above this; the default is chosen for the adapter that ships, see its model card.
        unsafe_at: f32 = 0.15, Real(0.001, 1.0), "probability";
        /// RETHINK at or above this.
        rethink_at: f32 = 0.5, Real(0.0, 1.0), "probability";
        /// SAFE only at or above this; below a third SAFE need not be the likeliest.
        safe_at: f32 = 0.5, Real(0.334, 1.0), "probability";
        /// A reading whose three pivots hold less of the distribution is unreadable.
        min_mass: f32 = 0.5, Real(0.0, 1.0), "probability";
        /// How often a request may rethink.
        second_looks: u8 = 2, Integer(0, 16), "times";
        /// What a RETHINK does with its step: keep it, or take it back and write anew.
        on_rethink: OnRethink = OnRethink::Continue, Choice(names_of::<OnRethink>);
        /// Most reasoning steps.
        max_steps: u16 = 6, Integer(1, 64), "steps";
        /// Most tokens of a step.
        max_step_tokens: u16 = 64, Integer(1, 1024), "tokens";
        /// Most tokens of an answer.
        max_answer_tokens: u16 = 256, Integer(1, 8192), "tokens";
        /// A sentence's end is not probed before the segment has this many.
        segment_min_tokens: u16 = 24, Integer(1, 1024), "tokens";
        /// A segment of the answer is probed at the latest after this many.
        segment_max_tokens: u16 = 64, Integer(1, 1024), "tokens";
        /// Most time for a request from its start.
        deadline_ms: u32 = 60_000, Integer(100, 3_600_000), "ms";
        /// Whose words a refusal uses: the fixed sentence or the model's own, checked.
        refusal: RefusalKind = RefusalKind::Fixed, Choice(names_of::<RefusalKind>);
        /// Which requests a person is asked to decide: none, or those that the model left undecided.
        review: Review = Review::None, Choice(names_of::<Review>);
    }

    /// What a refusal says.
    refusal: Refusal {
        /// The fixed sentence of each language; one that is missing falls back to English.
        text: BTreeMap<String, String> = refusal::fixed_sentences(), Languages;
    }

    /// The connection to the shop floor.
    mqtt: Mqtt {
        /// Broker; empty for the embedded one.
        url: String = String::new(), Text(Form::Broker);
        /// Address of the embedded broker, on this machine only.
        listen: String = "127.0.0.1:1883".into(), Text(Form::Loopback);
        /// User at the broker; empty for none.
        username: String = String::new(), Text(Form::Plain);
        /// Password at the broker; better in a file, see password_file.
        password: Secret = Secret::default(), Text(Form::Secret);
        /// Path of a file that holds the password; empty for none.
        password_file: String = String::new(), Text(Form::Plain);
        /// Path of the certificates that may sign the broker's, when they are not the public ones.
        ca_file: String = String::new(), Text(Form::Plain);
        /// Path of this device's certificate; empty for none.
        client_cert: String = String::new(), Text(Form::Plain);
        /// Path of the key to client_cert.
        client_key: String = String::new(), Text(Form::Plain);
        /// Client id at the broker; empty derives it from the device's ids.
        client_id: String = String::new(), Text(Form::Plain);
        /// Longest silence before a ping.
        keep_alive_s: u16 = 15, Integer(5, 65_535), "s";
        /// How long the broker keeps the session of an absent device.
        session_expiry_s: u32 = 86_400, Integer(0, 4_294_967_295), "s";
        /// Messages the broker may send before one is acknowledged.
        receive_maximum: u16 = 32, Integer(1, 65_535), "messages";
        /// Topic filters that a requester's response topic must match; empty allows none.
        response_topics: Vec<String> = Vec::new(), List(Form::TopicFilter);
        /// Pool of devices to share requests with; empty for none.
        pool: String = String::new(), Text(Form::IdOrEmpty);
        /// Longest MQTT packet.
        max_packet: u32 = 262_144, Integer(1024, 67_108_864), "bytes";
    }

    /// Panels with stack light, relay and buttons on serial lines.
    panel: Panel {
        /// Lines, each as DEVICE=STATION, such as /dev/ttyACM0=press-4; empty for none.
        lines: Vec<String> = Vec::new(), List(Form::Line);
        /// Speed of all lines; 8 data bits, no parity, 1 stop bit.
        baud: u32 = 115_200, Integer(300, 4_000_000), "baud";
        /// What the buttons ask, the first one first.
        prompts: Vec<String> = Vec::new(), List(Form::Sentence);
    }

    /// Bounds of the service.
    service: Service {
        /// Requests that may wait; one more is answered busy.
        queue: u16 = 16, Integer(1, 1024), "requests";
        /// Longest prompt.
        max_prompt_bytes: u32 = 16_384, Integer(1, 1_048_576), "bytes";
        /// How long a verdict holds.
        verdict_valid_s: u32 = 30, Integer(1, 86_400), "s";
        /// How long a person may take to decide what was left undecided; see policy.review.
        review_s: u32 = 600, Integer(1, 600), "s";
        /// Time from one heartbeat to the next.
        heartbeat_s: u32 = 5, Integer(1, 3600), "s";
        /// Messages kept on disk until the broker has them.
        outbox_max: u32 = 10_000, Integer(1, 10_000_000), "messages";
        /// Results kept to answer a request that comes twice.
        done_max: u32 = 10_000, Integer(1, 10_000_000), "results";
        /// Size at which the audit log begins a new file.
        audit_segment_mb: u32 = 64, Integer(1, 4096), "MiB";
    }

    /// Measuring safety and usefulness.
    eval: Eval {
        /// Folder of the suites' data, laid out as `eval suites` says; empty for none.
        data: String = String::new(), Text(Form::Plain);
    }

    /// The board's own defaults.
    board: Board {
        /// Profile of the board; auto finds it by the board's name.
        profile: String = "auto".into(), Text(Form::Id);
    }
}

impl Policy {
    /// The policy as the core judges by it.
    #[must_use]
    pub fn rules(&self) -> r2d_core::policy::Policy {
        r2d_core::policy::Policy {
            depth: self.depth,
            mode: self.mode,
            combine: self.combine,
            request_weight: self.request_weight,
            step_weight: self.step_weight,
            bias: self.bias,
            unsafe_at: self.unsafe_at,
            rethink_at: self.rethink_at,
            safe_at: self.safe_at,
            min_mass: self.min_mass,
            second_looks: self.second_looks,
            on_rethink: self.on_rethink,
            max_steps: self.max_steps,
            max_step_tokens: self.max_step_tokens,
            max_answer_tokens: self.max_answer_tokens,
            segment_min_tokens: self.segment_min_tokens,
            segment_max_tokens: self.segment_max_tokens,
            deadline_ms: self.deadline_ms,
            refusal: self.refusal,
            review: self.review,
        }
    }
}
