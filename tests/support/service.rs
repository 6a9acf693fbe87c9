//! An OpenAI-compatible service of the test's own: it answers what it is told to, and keeps what it was asked.

use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What came in.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The request's head, in lower case.
    pub head: String,
    /// Its body.
    pub body: Value,
}

impl Asked {
    /// The user's last turn.
    pub fn user(&self) -> &str {
        self.body["messages"].as_array().and_then(|m| m.last()).map_or("", |m| m["content"].as_str().unwrap())
    }
}

/// The service; it ends with the test.
pub struct Service {
    pub url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Service {
    /// Serves `answer`, which turns what came into a status and the words of a chat's reply.
    pub fn start(answer: impl Fn(&Asked) -> (u16, String) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&asked);
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let Some(request) = read(&mut stream) else { continue };
                kept.lock().unwrap().push(request.clone());
                let (status, said) = answer(&request);
                let body =
                    json!({"choices": [{"message": {"role": "assistant", "content": said}}]}).to_string();
                let head =
                    format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close", body.len());
                // A client that was killed is gone.
                let _gone = stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes());
            }
        });
        Self { url, asked }
    }

    /// All that came so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

fn read(stream: &mut TcpStream) -> Option<Asked> {
    let mut bytes = Vec::new();
    let mut part = [0; 4096];
    loop {
        if let Some(at) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..at]).to_lowercase();
            let n: usize =
                head.lines().find_map(|l| l.strip_prefix("content-length:"))?.trim().parse().ok()?;
            if bytes.len() >= at + 4 + n {
                let body = serde_json::from_slice(&bytes[at + 4..at + 4 + n]).ok()?;
                return Some(Asked { head, body });
            }
        }
        match stream.read(&mut part) {
            Ok(n) if n > 0 => bytes.extend_from_slice(&part[..n]),
            _ => return None,
        }
    }
}
