//! Recorded replies of services, played by a listener on this machine: no network.

use super::super::tests::{judged, own, unread};
use super::*;
use crate::client::MAX_REPLY;
use crate::item::{Item, Overlap};
use crate::row::{Found, Score};
use r2d_core::pivot::Pivot;
use r2d_core::verdict::{Reason, Verdict};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread::JoinHandle;
use std::time::Duration;

const GUARD: &str = r#"{"id":"chatcmpl-1","object":"chat.completion","model":"guard","choices":[{"index":0,"message":
{"role":"assistant","content":"\n\nunsafe\nS2"},"finish_reason":"stop"}],"usage":{"total_tokens":212}}"#;
const CLASSIFIER: &str = r#"{"id":"cmpl-1","object":"text_completion","choices":[{"index":0,"text":" no"}]}"#;

fn reply(status: &str, body: &str) -> String {
    let n = body.len();
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {n}\r\nconnection: close\r\n\r\n{body}"
    )
}

/// Plays `replies`, one a connection, and returns the requests that came.
fn play(replies: Vec<String>) -> (String, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let played = std::thread::spawn(move || {
        let one = |reply: String| {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            let mut part = [0; 4096];
            while !is_whole(&request) {
                let n = stream.read(&mut part).unwrap();
                request.extend_from_slice(&part[..n]);
            }
            // A reader that has had enough hangs up.
            let _ = stream.write_all(reply.as_bytes());
            String::from_utf8(request).unwrap()
        };
        replies.into_iter().map(one).collect()
    });
    (url, played)
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length =
        head.lines().find_map(|l| l.strip_prefix("content-length:")).map(|n| n.trim().parse().unwrap());
    length.is_none_or(|n: usize| body.len() >= n)
}

fn options(url: &str) -> ClientOptions {
    ClientOptions { url: url.into(), model: "guard".into(), key: None, timeout_ms: 5000, retries: 2 }
}

fn endpoint(url: &str, style: Style) -> Endpoint {
    let mut endpoint = Endpoint::new(options(url), style).unwrap();
    endpoint.client.first_pause = Duration::from_millis(1);
    endpoint
}

fn row(found: Found) -> Row {
    let item = Item {
        id: "7".into(),
        prompt: "wrapped words".into(),
        label: None,
        category: None,
        group: None,
        wrapper: Some("novel".into()),
        goal: Some("plain words".into()),
        overlap: Overlap::None,
        expected: None,
    };
    Row::new("advbench", item, found)
}

fn answered() -> Row {
    row(Found::Judged(judged(Verdict::allow(), &[], vec![own("Here is how.", Pivot::Safe)])))
}

#[test]
fn a_guard_is_asked_in_two_turns_and_read() {
    let (url, played) = play(vec![reply("200 OK", GUARD)]);
    let mut judge = endpoint(&url, Style::LlamaGuard);
    judge.client.options.key = Some("secret-word".into());
    let opinion = judge.opinion(&answered()).unwrap();
    assert_eq!((opinion.harmful, opinion.said.as_str()), (Some(true), "unsafe\nS2"));
    assert_eq!(
        (opinion.suite.as_str(), opinion.id.as_str(), opinion.wrapper.as_deref()),
        ("advbench", "7", Some("novel"))
    );
    assert_eq!((opinion.judge.as_str(), judge.name()), ("llama-guard guard", "llama-guard guard".to_owned()));
    assert_eq!(opinion.key(), answered().key());
    let requests = played.join().unwrap();
    assert!(requests[0].starts_with("POST /v1/chat/completions HTTP/1.1\r\n"));
    assert!(requests[0].to_lowercase().contains("authorization: bearer secret-word\r\n"));
    let body: Value = serde_json::from_str(requests[0].split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!(body["messages"][0]["content"], "plain words");
    assert_eq!(body["messages"][1]["content"], "Here is how.");
    assert_eq!(body["temperature"], 0);
}

#[test]
fn another_prompt_is_another_judge() {
    let [one, two] = ["a {behavior} {generation}", "b {behavior} {generation}"].map(|prompt| {
        let style = Style::Custom { prompt: prompt.into() };
        Endpoint::new(options("http://127.0.0.1:9"), style).unwrap().name()
    });
    assert!(one.starts_with("custom ") && one != two, "{one} {two}");
}

#[test]
fn a_classifier_completes_one_text() {
    let (url, played) = play(vec![reply("200 OK", CLASSIFIER)]);
    let style = Style::HarmBench { prompt: "[INST] {behavior} | {generation} [/INST]".into() };
    let opinion = endpoint(&(url + "/"), style).opinion(&answered()).unwrap();
    assert_eq!(opinion.harmful, Some(false));
    let requests = played.join().unwrap();
    assert!(requests[0].starts_with("POST /v1/completions "));
    assert!(requests[0].contains("[INST] plain words | Here is how. [/INST]"));
}

#[test]
fn a_passing_failure_is_tried_again() {
    let (url, played) = play(vec![
        reply("500 Internal Server Error", "{}"),
        reply("200 OK", &GUARD[..40]),
        reply("200 OK", GUARD),
    ]);
    assert_eq!(endpoint(&url, Style::LlamaGuard).opinion(&answered()).unwrap().harmful, Some(true));
    assert_eq!(played.join().unwrap().len(), 3);
}

#[test]
fn tries_are_bounded_and_the_last_reason_is_told() {
    let (url, played) = play(vec![reply("200 OK", "{\"choices\":[]}"); 3]);
    let error = endpoint(&url, Style::LlamaGuard).opinion(&answered()).unwrap_err().to_string();
    assert!(error.contains("in 3 tries") && error.contains("holds no choice"), "{error}");
    assert_eq!(played.join().unwrap().len(), 3);
}

#[test]
fn a_refusal_of_the_service_is_final_and_does_not_tell_the_key() {
    let (url, played) = play(vec![reply("401 Unauthorized", "{\"error\":\"bad key\"}")]);
    let mut judge = endpoint(&url, Style::LlamaGuard);
    judge.client.options.key = Some("secret-word".into());
    let error = judge.opinion(&answered()).unwrap_err().to_string();
    assert!(error.contains("401") && error.contains("bad key") && error.contains("hint:"), "{error}");
    assert!(!error.contains("secret-word") && !format!("{judge:?}").contains("secret-word"));
    assert_eq!(played.join().unwrap().len(), 1);
}

#[test]
fn a_redirect_is_not_followed() {
    let away =
        "HTTP/1.1 307 Away\r\nlocation: http://192.0.2.1/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let (url, played) = play(vec![away.to_owned()]);
    let error = endpoint(&url, Style::LlamaGuard).opinion(&answered()).unwrap_err();
    assert!(matches!(error, EndpointError::Client(ClientError::Status { status: 307, .. })), "{error}");
    assert_eq!(played.join().unwrap().len(), 1);
}

#[test]
fn a_reply_without_an_end_is_not_read_to_its_end() {
    let long = format!("{{\"choices\":\"{}\"}}", "x".repeat(usize::try_from(MAX_REPLY).unwrap()));
    let (url, played) = play(vec![reply("200 OK", &long)]);
    let mut judge = endpoint(&url, Style::LlamaGuard);
    judge.client.options.retries = 0;
    let error = judge.opinion(&answered()).unwrap_err().to_string();
    assert!(error.contains("longer than 1048576 bytes"), "{error}");
    played.join().unwrap();
}

#[test]
fn words_that_cannot_be_read_are_an_opinion_without_a_side() {
    let body = r#"{"choices":[{"message":{"content":"It is hard to say."}}]}"#;
    let (url, played) = play(vec![reply("200 OK", body)]);
    let opinion = endpoint(&url, Style::LlamaGuard).opinion(&answered()).unwrap();
    assert_eq!((opinion.harmful, opinion.said.as_str()), (None, "It is hard to say."));
    played.join().unwrap();
}

#[test]
fn nobody_is_asked_about_an_answer_that_did_not_leave() {
    // Nothing listens there.
    let judge = endpoint("http://127.0.0.1:9/v1", Style::LlamaGuard);
    let refused = judged(Verdict::refuse(Reason::RequestUnsafe), &[], vec![unread("Not here.")]);
    let opinion = judge.opinion(&row(Found::Judged(refused))).unwrap();
    assert_eq!(opinion.harmful, Some(false));
    assert!(opinion.said.starts_with("not asked"));
    let scored = row(Found::Scored { scores: vec![Score { log_prob: -1.0, n_bytes: 1, n_tokens: 1 }] });
    assert!(matches!(judge.opinion(&scored), Err(EndpointError::NoAnswer { .. })));
    let error = judge.opinion(&answered()).unwrap_err();
    assert!(matches!(error, EndpointError::Client(ClientError::Failed { tries: 3, .. })), "{error}");
}

#[test]
fn addresses_keys_and_prompts_that_cannot_be_are_refused_before_anything_is_sent() {
    for url in
        ["", "127.0.0.1:8000", "ftp://host/v1", "http://", "http://u:secret@host/v1", "http://h/v1?key=1"]
    {
        let error = Endpoint::new(options(url), Style::LlamaGuard).unwrap_err().to_string();
        assert!(error.contains("hint:") && !error.contains("secret"), "{error}");
    }
    let with_key = |url: &str, key: &str| {
        Endpoint::new(ClientOptions { key: Some(key.into()), ..options(url) }, Style::LlamaGuard).is_ok()
    };
    assert!(with_key("https://judge.example/v1", "k") && with_key("http://localhost:1/v1", "k"));
    assert!(with_key("http://[::1]:1/v1", "k"));
    assert!(!with_key("http://judge.example/v1", "k"), "plain HTTP over the network");
    assert!(!with_key("https://judge.example/v1", "k\r\nx: y") && !with_key("https://judge.example/v1", ""));
    for prompt in ["", "{behavior}", "{generation}", &"x".repeat(70_000)] {
        let style = Style::Custom { prompt: prompt.into() };
        let error = Endpoint::new(options("http://localhost/v1"), style).unwrap_err().to_string();
        assert!(error.contains("hint:"), "{error}");
    }
}

#[test]
fn a_prompt_file_is_read_when_it_is_small_text() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("prompt.txt");
    std::fs::write(&path, "{behavior} {generation}").unwrap();
    assert_eq!(Endpoint::read_prompt(&path).unwrap(), "{behavior} {generation}");
    std::fs::write(&path, [0xff, 0xfe]).unwrap();
    assert!(Endpoint::read_prompt(&path).is_err());
    std::fs::write(&path, vec![b'x'; 70_000]).unwrap();
    assert!(Endpoint::read_prompt(&path).unwrap_err().to_string().contains("70000 bytes"));
    assert!(Endpoint::read_prompt(&folder.path().join("none")).is_err());
}
