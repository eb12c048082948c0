//! A web server on loopback with the faults that a mirror can have.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

/// How one path is answered.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    status: u16,
    body: Arc<Vec<u8>>,
    /// How much of the body is sent before the connection is closed, the length being told in full.
    cut_at: Option<usize>,
    /// How much of the body is sent before nothing more is, the connection staying open.
    stall_at: Option<usize>,
    ranges: bool,
    headers: Vec<(&'static str, String)>,
}

impl Answer {
    pub(crate) fn body(body: impl Into<Vec<u8>>) -> Self {
        Self {
            status: 200,
            body: Arc::new(body.into()),
            cut_at: None,
            stall_at: None,
            ranges: true,
            headers: Vec::new(),
        }
    }

    pub(crate) fn status(status: u16) -> Self {
        Self {
            status,
            ..Self::body("")
        }
    }

    pub(crate) fn cut_at(self, length: usize) -> Self {
        Self {
            cut_at: Some(length),
            ..self
        }
    }

    pub(crate) fn stall_at(self, length: usize) -> Self {
        Self {
            stall_at: Some(length),
            ..self
        }
    }

    /// One more header.
    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn without_ranges(self) -> Self {
        Self {
            ranges: false,
            ..self
        }
    }
}

/// Serves until dropped, which ends the accepting thread too.
pub(crate) struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    asked: Condvar,
}

#[derive(Default)]
struct State {
    answers: HashMap<String, Answer>,
    requests: Vec<Request>,
    over: bool,
}

/// What a client wanted.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) path: String,
    /// The first byte of a `Range:` that is asked for.
    pub(crate) from: Option<usize>,
}

impl Server {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen on loopback");
        let server = Self {
            address: listener.local_addr().expect("an address"),
            shared: Arc::default(),
        };
        let shared = Arc::clone(&server.shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if shared.state.lock().expect("the lock").over {
                    break;
                }
                let shared = Arc::clone(&shared);
                thread::spawn(move || serve(&stream, &shared));
            }
        });
        server
    }

    /// Has `path` answered so from now on, and returns its URL.
    pub(crate) fn put(&self, path: &str, answer: Answer) -> String {
        self.shared
            .state
            .lock()
            .expect("the lock")
            .answers
            .insert(path.to_owned(), answer);
        self.url(path)
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.shared.state.lock().expect("the lock").requests.clone()
    }

    /// Waits until somebody has asked for `path`.
    pub(crate) fn wait_for(&self, path: &str) {
        let state = self.shared.state.lock().expect("the lock");
        let (_state, timeout) = self
            .shared
            .asked
            .wait_timeout_while(state, Duration::from_secs(60), |state| {
                state.requests.iter().all(|request| request.path != path)
            })
            .expect("the lock");
        assert!(!timeout.timed_out(), "nobody asked for {path}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.state.lock().expect("the lock").over = true;
        // Wakes the accepting thread.
        TcpStream::connect(self.address).ok();
    }
}

fn serve(stream: &TcpStream, shared: &Shared) {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let Some(line) = lines.next() else {
        return;
    };
    let Some((method, path)) = line
        .split_once(' ')
        .and_then(|(method, rest)| Some((method, rest.split(' ').next()?.to_owned())))
    else {
        return;
    };
    let mut from = None;
    for line in lines.by_ref().take_while(|line| !line.is_empty()) {
        if let Some(range) = line.to_ascii_lowercase().strip_prefix("range: bytes=") {
            from = range.split('-').next().and_then(|from| from.parse().ok());
        }
    }
    let answer = {
        let mut state = shared.state.lock().expect("the lock");
        state.requests.push(Request {
            path: path.clone(),
            from,
        });
        state
            .answers
            .get(&path)
            .cloned()
            .unwrap_or_else(|| Answer::status(404))
    };
    shared.asked.notify_all();
    reply(stream, &answer, from, method == "HEAD").ok();
}

fn reply(
    mut stream: &TcpStream,
    answer: &Answer,
    from: Option<usize>,
    head: bool,
) -> std::io::Result<()> {
    let total = answer.body.len();
    let start = from.filter(|from| answer.ranges && *from < total && answer.status == 200);
    let (status, body) = match start {
        Some(start) => (206, &answer.body[start..]),
        None => (answer.status, &answer.body[..]),
    };
    write!(
        stream,
        "HTTP/1.1 {status} Whatever\r\nContent-Length: {}\r\nConnection: close\r\n",
        body.len()
    )?;
    if let Some(start) = start {
        write!(
            stream,
            "Content-Range: bytes {start}-{}/{total}\r\n",
            total - 1
        )?;
    }
    if answer.ranges {
        // Without a validator no client can tell that the rest is of the same file.
        write!(stream, "Accept-Ranges: bytes\r\nETag: \"{total}\"\r\n")?;
    }
    for (name, value) in &answer.headers {
        write!(stream, "{name}: {value}\r\n")?;
    }
    write!(stream, "\r\n")?;
    if head {
        return Ok(());
    }
    // A client that asks for what comes after the cut gets it.
    let limit = answer.cut_at.or(answer.stall_at);
    let length = limit.and_then(|limit| limit.checked_sub(start.unwrap_or(0)));
    let length = length
        .filter(|length| *length > 0)
        .unwrap_or(body.len())
        .min(body.len());
    stream.write_all(&body[..length])?;
    if answer.stall_at.is_some() {
        // Until the client hangs up.
        std::io::copy(&mut stream, &mut std::io::sink())?;
    }
    Ok(())
}
