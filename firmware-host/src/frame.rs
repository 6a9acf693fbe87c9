//! What stands between two zero bytes on the line.
//!
//! Types only; `codec` gives them their bytes. Invariant: every frame says which end sent it, so that a line that
//! is shorted to itself is not taken for the other end, and every frame but a hello names its session.

use crate::message::Message;
use crate::session::{Nonce, Session};
use crate::tick::Tick;
use r2d_core::id::Id;
use serde::{Deserialize, Serialize};

/// The protocol's version: the first byte of every frame. Any change of what follows it takes a new one.
pub const VERSION: u8 = 1;

/// The two ends of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The runtime.
    Host,
    /// The microcontroller.
    Panel,
}

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame {
    /// Which end sent it.
    pub from: Role,
    /// What it is.
    pub kind: Kind,
}

/// A frame outside or inside a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An end without a session introduces itself.
    Hello(Hello),
    /// Everything else.
    Flow(Flow),
}

/// An introduction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Who speaks.
    pub device: Id,
    /// The speaker's part of the session.
    pub nonce: Nonce,
    /// The nonce that this answers: a panel answers a host.
    pub answer: Option<Nonce>,
    /// The speaker's tick.
    pub at: Tick,
}

/// A frame of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// Which session.
    pub session: Session,
    /// The sequence number that the sender expects next: all before it have arrived.
    pub ack: Seq,
    /// What it carries.
    pub packet: Packet,
}

/// What a frame of a session carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Packet {
    /// A heartbeat.
    Beat(Beat),
    /// Nothing but the acknowledgement.
    Ack,
    /// Something was damaged or is missing: send again from `ack` on.
    Nak,
    /// A message.
    Data(Data),
}

/// A heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    /// The sender's tick.
    pub at: Tick,
    /// The newest tick of the receiver that the sender has heard. A beat that waited somewhere shows it.
    pub echo: Tick,
}

/// A message with its number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Data {
    /// Its number.
    pub seq: Seq,
    /// The message.
    pub message: Message,
}

/// A message's number within its session and direction. It never wraps: a session ends before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seq(pub u32);
