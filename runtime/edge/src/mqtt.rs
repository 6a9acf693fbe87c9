//! MQTT: everything that knows a client or a broker library, and nothing about verdicts.
//!
//! - [`url`]: the address of a broker;
//! - [`topic`]: the names of our topics, and which reply topics a client may ask for;
//! - [`link`]: an MQTT 5 session that reconnects for ever;
//! - [`broker`]: an embedded broker on loopback, for a board that has none.
//!
//! Not here: JSON, outbox, what to publish when. Those belong to the service and the store.
//!
//! Invariant: no type of rumqttc or mqtt5 appears in a public signature, so either library can be
//! replaced without a change outside this folder.

pub mod broker;
pub mod link;
pub mod topic;
pub mod url;

mod connection;
mod mailbox;
mod options;
mod reply;
mod session;
mod tls;

#[cfg(test)]
mod fault_test;
#[cfg(test)]
mod link_test;
#[cfg(test)]
mod test_broker;
#[cfg(test)]
mod tls_test;

pub use reply::ReplyAllowList;
