//! HTTP/1.1 by hand: exactly these bytes, on one connection after the other request.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use crate::vectors::{Answer, Case};

/// A connection that is kept alive.
#[derive(Debug)]
pub struct Connection(BufReader<TcpStream>);

impl Connection {
    /// Connects to `http://ADDRESS`.
    pub fn open(url: &str) -> Self {
        let stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(BufReader::new(stream))
    }

    /// Sends a case, and reads its answer.
    pub fn send(&mut self, case: &Case) -> Answer {
        let mut headers = String::new();
        if let Some(value) = &case.authorization {
            headers.push_str(&format!("Authorization: {value}\r\n"));
        }
        if let Some(value) = &case.content_type {
            headers.push_str(&format!("Content-Type: {value}\r\n"));
        }
        self.request(&case.method, &case.path, &headers, case.body.as_deref())
    }

    /// Sends a request with these headers, each with its line end.
    pub fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &str,
        body: Option<&str>,
    ) -> Answer {
        let length = body.map(|body| format!("Content-Length: {}\r\n", body.len()));
        let length = length.unwrap_or_default();
        let head = format!("{method} {path} HTTP/1.1\r\nHost: tokenkeep\r\n{headers}{length}\r\n");
        let stream = self.0.get_mut();
        stream.write_all((head + body.unwrap_or_default()).as_bytes()).unwrap();
        self.answer()
    }

    fn answer(&mut self) -> Answer {
        let status = self.line();
        let status = status.split(' ').nth(1).unwrap_or_else(|| panic!("{status:?}"));
        let (status, mut length) = (status.parse().unwrap(), 0);
        loop {
            let line = self.line();
            match line.split_once(':') {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.trim().parse().unwrap();
                }
                Some(_) => {}
                None => break,
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).unwrap();
        let empty = body.is_empty();
        let body = if empty { Value::Null } else { serde_json::from_slice(&body).unwrap() };
        Answer { status, body }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}
