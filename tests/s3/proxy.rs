//! Stands between a client and the server, and does what networks do: loses answers, loses connections, says nothing.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use thalweg_engine::s3::S3Options;
use thalweg_engine::thread::spawn;

/// What happens to requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Nothing.
    Pass,
    /// Connections break.
    Down,
    /// No answer comes, however long one waits.
    Silent,
    /// The server does what is asked, and of so many requests whose first line holds all these words the answer is lost.
    Lose(&'static [&'static str], u32),
    /// Objects are created whether they are there or not: the server is not even asked.
    Overwrite,
}

/// See the module.
#[derive(Clone)]
pub struct Proxy {
    address: SocketAddr,
    mode: Arc<Mutex<Mode>>,
}

impl Proxy {
    /// In front of the server of these options.
    pub fn start(options: &S3Options) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = options.endpoint.as_ref().unwrap().strip_prefix("http://").unwrap().to_owned();
        let proxy = Proxy { address: listener.local_addr().unwrap(), mode: Arc::new(Mutex::new(Mode::Pass)) };
        let mode = proxy.mode.clone();
        let accept = move || {
            for client in listener.incoming().map_while(Result::ok) {
                let (server, mode) = (server.clone(), mode.clone());
                let serve = move || {
                    // Whoever hangs up ends it.
                    let _ = serve(&client, &server, &mode);
                    let _ = client.shutdown(Shutdown::Both);
                    Ok(())
                };
                spawn("proxied", serve, drop)?;
            }
            Ok(())
        };
        spawn("proxy", accept, drop).unwrap();
        proxy
    }

    pub fn set(&self, mode: Mode) {
        *self.mode.lock().unwrap() = mode;
    }

    pub fn mode(&self) -> Mode {
        self.mode.lock().unwrap().clone()
    }

    /// The server's options, by way of the proxy. The signature covers the host as the client names it, which the server sees too.
    pub fn options(&self, server: &S3Options) -> S3Options {
        S3Options { endpoint: Some(format!("http://{}", self.address)), ..server.clone() }
    }
}

/// One request and its answer; then the connection is closed.
fn serve(client: &TcpStream, server: &str, mode: &Mutex<Mode>) -> std::io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let (mut head, mut length, mut conditional) = (Vec::new(), 0, false);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        conditional |= lower.starts_with("if-none-match:");
        if line == "\r\n" {
            head.extend_from_slice(b"connection: close\r\n\r\n");
            break;
        }
        head.extend_from_slice(line.as_bytes());
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let first = String::from_utf8_lossy(&head).lines().next().unwrap_or_default().to_owned();
    while *mode.lock().unwrap() == Mode::Silent {
        crate::crash::wait(20);
    }
    let now = mode.lock().unwrap().clone();
    match now {
        Mode::Down => return Ok(()),
        Mode::Overwrite if conditional => {
            return (&*client)
                .write_all(b"HTTP/1.1 200 OK\r\nETag: \"1\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
        _ => {}
    }
    let mut upstream = TcpStream::connect(server)?;
    upstream.write_all(&head)?;
    upstream.write_all(&body)?;
    let mut answer = Vec::new();
    upstream.read_to_end(&mut answer)?;
    if let Mode::Lose(words, left) = &mut *mode.lock().unwrap()
        && *left > 0
        && words.iter().all(|w| first.contains(w))
    {
        *left -= 1;
        return Ok(());
    }
    (&*client).write_all(&answer)
}
