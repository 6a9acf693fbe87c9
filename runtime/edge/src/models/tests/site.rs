//! A tiny web server on the loopback interface: a package index, its files, and the faults a test asks for.
//!
//! Serves one request per connection. Invariant: it answers from what the test put in, in the order of requests.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use sha2::{Digest as _, Sha256};

use crate::models::digest::Digest;

/// What a client asked for; header names in lower case.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) path: String,
    pub(crate) headers: HashMap<String, String>,
}

/// How the site misbehaves, and what it holds.
#[derive(Default)]
pub(crate) struct Content {
    pub(crate) files: HashMap<String, Vec<u8>>,
    /// Statuses to answer first instead of content.
    pub(crate) refusals: Vec<u16>,
    /// After how many bytes to cut the next answers of a file.
    pub(crate) cuts: Vec<usize>,
    pub(crate) ignore_range: bool,
    pub(crate) html: bool,
    pub(crate) etag: Option<String>,
    /// Leaves out the length, so that the end of the connection is the end of the file.
    pub(crate) no_length: bool,
    pub(crate) redirect: Option<String>,
    seen: Vec<Request>,
}

/// The running server.
#[derive(Clone)]
pub(crate) struct Site {
    pub(crate) address: String,
    content: Arc<Mutex<Content>>,
}

impl Site {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("127.0.0.1:{}", listener.local_addr().unwrap().port());
        let site = Self { address, content: Arc::default() };
        let served = site.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                // A client that hangs up early is what some tests are about.
                let _ = served.answer(stream);
            }
        });
        site
    }

    /// Changes what the site holds or how it misbehaves.
    pub(crate) fn with<T>(&self, change: impl FnOnce(&mut Content) -> T) -> T {
        change(&mut self.content.lock().unwrap())
    }

    pub(crate) fn put(&self, path: &str, bytes: &[u8]) {
        self.with(|content| content.files.insert(path.to_owned(), bytes.to_vec()));
    }

    /// The requests so far whose path contains `part`; forgets none.
    pub(crate) fn seen(&self, part: &str) -> Vec<Request> {
        self.with(|content| {
            content.seen.iter().filter(|request| request.path.contains(part)).cloned().collect()
        })
    }

    /// Offers `wheel` in the index; the digest is given so that a test can lie about it.
    pub(crate) fn offer(&self, package: &str, file: &str, wheel: &[u8], sha256: Digest) {
        self.put(&format!("/files/{file}"), wheel);
        let json = format!(
            r#"{{"files":[{{"filename":"{file}","url":"../../files/{file}","hashes":{{"sha256":"{sha256}"}},"size":{}}}]}}"#,
            wheel.len()
        );
        self.put(&format!("/simple/{package}/json"), json.as_bytes());
        let html = format!("<html><a href=\"/files/{file}#sha256={sha256}\">{file}</a></html>");
        self.put(&format!("/simple/{package}/html"), html.as_bytes());
    }

    fn answer(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut lines = BufReader::new(stream.try_clone()?).lines();
        let first = lines.next().transpose()?.unwrap_or_default();
        let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
        let mut headers = HashMap::new();
        for line in lines {
            let line = line?;
            let Some((name, value)) = line.split_once(':') else { break };
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        let request = Request { path, headers };
        let reply = self.with(|content| content.reply(request));
        let mut stream = stream;
        stream.write_all(&reply)
    }
}

impl Content {
    fn reply(&mut self, request: Request) -> Vec<u8> {
        self.seen.push(request.clone());
        if !self.refusals.is_empty() {
            return head(&format!("{} Refused", self.refusals.remove(0)), "content-length: 0\r\n");
        }
        if let Some(location) = &self.redirect {
            return head("302 Found", &format!("location: {location}\r\ncontent-length: 0\r\n"));
        }
        let page = request.path.starts_with("/simple/");
        let (path, kind) = match (page, self.html) {
            (true, false) => (format!("{}json", request.path), "application/vnd.pypi.simple.v1+json"),
            (true, true) => (format!("{}html", request.path), "text/html"),
            (false, _) => (request.path.clone(), "application/octet-stream"),
        };
        let Some(bytes) = self.files.get(&path) else {
            return head("404 Not Found", "content-length: 0\r\n");
        };
        let same = request.headers.get("if-range").is_none_or(|etag| Some(etag) == self.etag.as_ref());
        let start = request.headers.get("range").filter(|_| !self.ignore_range && same);
        let start =
            start.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
        let mut extra = format!("content-type: {kind}\r\n");
        if let Some(etag) = &self.etag {
            extra += &format!("etag: {etag}\r\n");
        }
        let body = &bytes[start.unwrap_or(0).min(bytes.len())..];
        if !self.no_length {
            extra += &format!("content-length: {}\r\n", body.len());
        }
        let mut reply = match start {
            Some(start) if start >= bytes.len() => return head("416 Range", "content-length: 0\r\n"),
            Some(start) => {
                let range = format!("content-range: bytes {start}-{}/{}\r\n", bytes.len() - 1, bytes.len());
                head("206 Partial Content", &(extra + &range))
            }
            None => head("200 OK", &extra),
        };
        let cut = if page || self.cuts.is_empty() { body.len() } else { self.cuts.remove(0) };
        reply.extend(&body[..cut.min(body.len())]);
        reply
    }
}

fn head(status: &str, headers: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\nconnection: close\r\n{headers}\r\n").into_bytes()
}

pub(crate) fn sha256(bytes: &[u8]) -> Digest {
    Digest::of(Sha256::new_with_prefix(bytes))
}

/// A wheel with these members.
pub(crate) fn wheel(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in members {
        archive.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap().into_inner()
}
