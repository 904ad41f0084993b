//! One HTTP/1.1 request as it came: nothing is decoded but the framing of its body.

use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use percent_encoding::percent_decode_str;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};

use crate::server::stream::Stream;

/// The head and the body of a request are cut here; the rig never meets more.
const LONGEST_LINE: usize = 64 * 1024;
const LONGEST_BODY: usize = 64 * 1024 * 1024;

#[derive(Clone, Debug)]
pub struct Request {
    pub peer: SocketAddr,
    pub method: String,
    /// Without the query, as it came.
    pub path: String,
    /// Without the `?`, as it came.
    pub query: String,
    /// In order, names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
}

impl Request {
    /// The first value of a header, by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(n, _)| n == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The decoded values of a query or form parameter.
    pub fn params(&self, name: &str) -> Vec<String> {
        params(&self.query, name)
    }

    /// The same of a form in the body.
    pub fn form(&self, name: &str) -> Vec<String> {
        params(&String::from_utf8_lossy(&self.body), name)
    }

    pub fn asks_to_close(&self) -> bool {
        self.header("connection")
            .is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

fn params(text: &str, name: &str) -> Vec<String> {
    let decode = |text: &str| {
        let text = text.replace('+', " ");
        percent_decode_str(&text).decode_utf8_lossy().into_owned()
    };
    text.split('&')
        .filter_map(|pair| pair.split_once('='))
        .filter(|(key, _)| decode(key) == name)
        .map(|(_, value)| decode(value))
        .collect()
}

/// The next request, or `None` when the client closed between two.
pub(super) async fn read(
    stream: &mut BufReader<Stream>,
    peer: SocketAddr,
) -> io::Result<Option<Request>> {
    let first = line(stream).await?;
    if first.is_empty() {
        return Ok(None);
    }
    let mut words = first.split_ascii_whitespace();
    let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut request = Request {
        peer,
        method: method.to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        headers: Vec::new(),
        body: Bytes::new(),
    };
    loop {
        let header = line(stream).await?;
        let Some((name, value)) = header.split_once(':') else {
            break;
        };
        request
            .headers
            .push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    request.body = body(stream, &request).await?;
    Ok(Some(request))
}

async fn body(stream: &mut BufReader<Stream>, request: &Request) -> io::Result<Bytes> {
    let mut body = Vec::new();
    if request.header("transfer-encoding").is_some() {
        loop {
            let size = line(stream).await?;
            let size = usize::from_str_radix(size.trim(), 16).map_err(io::Error::other)?;
            append(stream, &mut body, size).await?;
            line(stream).await?;
            if size == 0 {
                return Ok(Bytes::from(body));
            }
        }
    }
    let length = request.header("content-length").unwrap_or("0");
    let length = length.parse().map_err(io::Error::other)?;
    append(stream, &mut body, length).await?;
    Ok(Bytes::from(body))
}

async fn append(stream: &mut BufReader<Stream>, body: &mut Vec<u8>, size: usize) -> io::Result<()> {
    if size > LONGEST_BODY - body.len() {
        return Err(io::Error::other("a body larger than the rig takes"));
    }
    let start = body.len();
    body.resize(start + size, 0);
    stream.read_exact(&mut body[start..]).await.map(|_| ())
}

/// A line without its end; empty at the end of the stream too.
async fn line(stream: &mut BufReader<Stream>) -> io::Result<String> {
    let mut line = Vec::new();
    let mut limited = stream.take(LONGEST_LINE as u64);
    limited.read_until(b'\n', &mut line).await?;
    let text = String::from_utf8_lossy(&line);
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}
