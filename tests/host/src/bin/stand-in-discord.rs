//! A web server that plays Discord for the demo: it accepts every message and prints its text. Listens on a free port of this
//! machine only, and prints `listening on PORT` first. Single thread; ends with the demo.
#![allow(clippy::print_stdout)] // its purpose

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

/// Largest message that is read, in bytes; Discord's own limit is lower.
const MESSAGE_BYTES_MAX: usize = 1024 * 1024;

fn main() -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    println!("listening on {}", listener.local_addr()?.port());
    for stream in listener.incoming() {
        // A client that breaks off is no fault of this program.
        if let Ok(Some(text)) = stream.and_then(|stream| message(&stream)) {
            text.lines().for_each(|line| println!("Discord            {line}"));
        }
    }
    Ok(())
}

/// Reads one request, answers it as Discord answers an accepted message, and returns the message's text.
fn message(mut stream: &TcpStream) -> io::Result<Option<String>> {
    let mut reader = BufReader::new(stream);
    let (mut line, mut bytes) = (String::new(), 0);
    while reader.read_line(&mut line)? > 2 {
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            bytes = value.trim().parse().unwrap_or(0);
        }
        line.clear();
    }
    let mut body = vec![0; bytes.min(MESSAGE_BYTES_MAX)];
    reader.read_exact(&mut body)?;
    stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")?;
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    Ok(body["content"].as_str().map(str::to_owned))
}
