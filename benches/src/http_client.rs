//! A client that speaks as little HTTP as the benches need, the same to every server: a connection
//! that is kept, one request after the other.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A kept connection.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    /// What has been read of an answer.
    read: Vec<u8>,
}

impl Connection {
    /// Connects to an address.
    pub async fn open(address: &str) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, read: Vec::with_capacity(4_096) }
    }

    /// Sends a request, and reads the whole answer, which must be a 200. Returns its body.
    pub async fn request(&mut self, head: &str, body: &str) -> &[u8] {
        let length = body.len();
        let request = format!(
            "{head}host: localhost\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n\r\n{body}"
        );
        self.stream.write_all(request.as_bytes()).await.unwrap();
        self.read.clear();
        loop {
            assert_ne!(self.stream.read_buf(&mut self.read).await.unwrap(), 0, "cut off");
            if let Some((start, end)) = body_of(&self.read)
                && self.read.len() >= end
            {
                assert_eq!(self.read.len(), end, "one answer to one request");
                return &self.read[start..end];
            }
        }
    }
}

/// From where to where the body goes, once the head is there.
fn body_of(answer: &[u8]) -> Option<(usize, usize)> {
    let start = answer.windows(4).position(|part| part == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&answer[..start]);
    assert!(head.starts_with("HTTP/1.1 200"), "{}", String::from_utf8_lossy(answer));
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    Some((start, start + length.unwrap()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_ends_where_the_head_says() {
        assert_eq!(body_of(b"HTTP/1.1 200 OK\r\ncontent-le"), None);
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\netag: x\r\n\r\npo";
        assert_eq!(body_of(answer), Some((answer.len() - 2, answer.len() + 2)));
    }
}
