//! Asks one node `GET /health` over plain HTTP, as a load balancer would.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// A node that does not answer within this is not healthy.
const PATIENCE: Duration = Duration::from_secs(2);
/// More than any health answer has.
const ANSWER_MAX: u64 = 64 * 1024;

/// Ok when the node on this port says that it is healthy; otherwise the reason in words.
pub(crate) fn ask(port: u16) -> Result<(), String> {
    let answer = get(port, "/health").map_err(|error| error.to_string())?;
    let first = answer.lines().next().unwrap_or("").to_string();
    if first.split_whitespace().nth(1) == Some("200") {
        return Ok(());
    }
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body).trim();
    Err(format!("{first} {body}").trim().to_string())
}

fn get(port: u16, path: &str) -> std::io::Result<String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(ANSWER_MAX).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::net::TcpListener;

    fn server(answer: &'static str) -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(&stream).lines();
            assert_eq!(lines.next().unwrap().unwrap(), "GET /health HTTP/1.1");
            while !lines.next().unwrap().unwrap().is_empty() {}
            (&stream).write_all(answer.as_bytes()).unwrap();
        });
        port
    }

    #[test]
    fn healthy_is_status_200() {
        assert_eq!(
            ask(server("HTTP/1.1 200 OK\r\n\r\n{\"health\":\"true\"}")),
            Ok(())
        );
    }

    #[test]
    fn anything_else_is_given_in_words() {
        let reason = ask(server("HTTP/1.1 503 Service Unavailable\r\n\r\nno leader")).unwrap_err();
        assert!(reason.contains("503") && reason.contains("no leader"), "{reason}");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        assert!(ask(port).is_err());
    }
}
