//! A web server on loopback with the faults that a mirror can have.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
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
    end: End,
}

/// What comes after the body.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    /// Nothing, as it should be.
    Well,
    /// The body again and again, its length not being told.
    Never,
    /// The rest of it byte by byte, a few in a second.
    Trickle,
    /// Not even an answer.
    HangUp,
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
            end: End::Well,
        }
    }

    /// No answer: the connection is closed.
    pub(crate) fn hang_up() -> Self {
        Self {
            end: End::HangUp,
            ..Self::body("")
        }
    }

    /// One that never ends, and has no length.
    pub(crate) fn endless(self) -> Self {
        Self {
            end: End::Never,
            ..self
        }
    }

    /// One that comes byte by byte.
    pub(crate) fn trickle(self) -> Self {
        Self {
            end: End::Trickle,
            ..self
        }
    }

    pub(crate) fn redirect(to: impl Into<String>) -> Self {
        Self::status(307).header("Location", to)
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

/// What a path is answered, which may depend on how it is asked for.
type Handler = Arc<dyn Fn(&Request) -> Answer + Send + Sync>;

#[derive(Default)]
struct State {
    answers: HashMap<String, Handler>,
    requests: Vec<Request>,
    over: bool,
}

/// What a client wanted.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
    /// The first byte of a `Range:` that is asked for.
    pub(crate) from: Option<usize>,
}

impl Request {
    /// The value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut all = self.headers.iter();
        all.find(|(known, _)| known == name)
            .map(|(_, value)| &**value)
    }
}

/// A connection, encrypted or not.
trait Stream: Read + Write {}

impl<T: Read + Write> Stream for T {}

impl Server {
    pub(crate) fn start() -> Self {
        Self::start_on("127.0.0.1:0", None)
    }

    /// On another address of loopback, or with TLS.
    pub(crate) fn start_on(address: &str, tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let listener = TcpListener::bind(address).expect("listen on loopback");
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
                let (shared, tls) = (Arc::clone(&shared), tls.clone());
                thread::spawn(move || {
                    let stream: Box<dyn Stream> = match tls {
                        None => Box::new(stream),
                        Some(tls) => {
                            let connection = rustls::ServerConnection::new(tls).expect("TLS");
                            Box::new(rustls::StreamOwned::new(connection, stream))
                        }
                    };
                    serve(stream, &shared);
                });
            }
        });
        server
    }

    /// Has `path` answered so from now on, and returns its URL.
    pub(crate) fn put(&self, path: &str, answer: Answer) -> String {
        self.on(path, move |_| answer.clone())
    }

    /// Has `path`, with any query, answered by how it is asked for; returns its URL.
    pub(crate) fn on(
        &self,
        path: &str,
        answer: impl Fn(&Request) -> Answer + Send + Sync + 'static,
    ) -> String {
        let mut state = self.shared.state.lock().expect("the lock");
        state.answers.insert(path.to_owned(), Arc::new(answer));
        self.url(path)
    }

    /// Has `path` answered by each of these once, and by the last of them from then on.
    pub(crate) fn put_in_turn(&self, path: &str, answers: Vec<Answer>) -> String {
        let left = Mutex::new(answers);
        self.on(path, move |_| {
            let mut left = left.lock().expect("the lock");
            if left.len() > 1 {
                left.remove(0)
            } else {
                left[0].clone()
            }
        })
    }

    /// Has everything that is answered so far wait for this header, and answers what `denied` says
    /// without it.
    pub(crate) fn guard(&self, name: &'static str, value: &str, denied: &Answer) {
        let value = value.to_owned();
        self.guard_if(move |request| request.header(name) == Some(&value), denied);
    }

    /// The same, where it is told of each request whether it may pass.
    pub(crate) fn guard_if(
        &self,
        passes: impl Fn(&Request) -> bool + Send + Sync + 'static,
        denied: &Answer,
    ) {
        let passes = Arc::new(passes);
        let mut state = self.shared.state.lock().expect("the lock");
        for handler in state.answers.values_mut() {
            let (inner, denied, passes) =
                (Arc::clone(handler), denied.clone(), Arc::clone(&passes));
            *handler = Arc::new(move |request| {
                if passes(request) {
                    inner(request)
                } else {
                    denied.clone()
                }
            });
        }
    }

    /// What is served for `path`.
    pub(crate) fn body(&self, path: &str) -> Vec<u8> {
        let handler = {
            let state = self.shared.state.lock().expect("the lock");
            Arc::clone(state.answers.get(path).expect("an answer"))
        };
        let request = Request {
            method: "GET".to_owned(),
            path: path.to_owned(),
            headers: Vec::new(),
            body: String::new(),
            from: None,
        };
        handler(&request).body.to_vec()
    }

    /// How often `path` was asked for.
    pub(crate) fn asked(&self, path: &str) -> usize {
        let requests = self.requests();
        requests
            .iter()
            .filter(|request| request.path == path)
            .count()
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

fn serve(stream: Box<dyn Stream>, shared: &Shared) {
    let mut stream = BufReader::new(stream);
    let mut lines = stream.by_ref().lines().map_while(Result::ok);
    let Some(line) = lines.next() else {
        // Most likely TLS, where none is spoken; real servers say so in this way too.
        write!(stream.get_mut(), "HTTP/1.1 400 Bad Request\r\n\r\n").ok();
        return;
    };
    let Some((method, path)) = line
        .split_once(' ')
        .and_then(|(method, rest)| Some((method.to_owned(), rest.split(' ').next()?.to_owned())))
    else {
        return;
    };
    // As a proxy is asked: the header has the host too.
    let path = match path.strip_prefix("http://") {
        Some(rest) => rest
            .find('/')
            .map_or("/", |slash| &rest[slash..])
            .to_owned(),
        None => path,
    };
    let headers: Vec<(String, String)> = lines
        .take_while(|line| !line.is_empty())
        .filter_map(|line| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_ascii_lowercase(), value.trim().to_owned()))
        })
        .collect();
    let mut request = Request {
        method,
        path,
        headers,
        body: String::new(),
        from: None,
    };
    request.from = request.header("range").and_then(|range| {
        let from = range.strip_prefix("bytes=")?.split('-').next()?;
        from.parse().ok()
    });
    let length = request.header("content-length");
    if let Some(length) = length.and_then(|length| length.parse().ok()) {
        let mut body = stream.by_ref().take(length);
        body.read_to_string(&mut request.body).ok();
    }
    let handler = {
        let mut state = shared.state.lock().expect("the lock");
        state.requests.push(request.clone());
        let bare = request.path.split('?').next().unwrap_or_default();
        let found = state.answers.get(&request.path);
        found.or_else(|| state.answers.get(bare)).cloned()
    };
    let answer = handler.map_or_else(|| Answer::status(404), |handler| handler(&request));
    shared.asked.notify_all();
    reply(
        stream.get_mut(),
        &answer,
        request.from,
        request.method == "HEAD",
    )
    .ok();
}

fn reply(
    stream: &mut Box<dyn Stream>,
    answer: &Answer,
    from: Option<usize>,
    head: bool,
) -> std::io::Result<()> {
    if answer.end == End::HangUp {
        return Ok(());
    }
    let total = answer.body.len();
    let start = from.filter(|from| answer.ranges && *from < total && answer.status == 200);
    let (status, body) = match start {
        Some(start) => (206, &answer.body[start..]),
        None => (answer.status, &answer.body[..]),
    };
    write!(
        stream,
        "HTTP/1.1 {status} Whatever\r\nConnection: close\r\n"
    )?;
    if answer.end != End::Never {
        write!(stream, "Content-Length: {}\r\n", body.len())?;
    }
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
    match answer.end {
        End::Never => loop {
            stream.write_all(body)?;
        },
        End::Trickle => {
            for byte in body {
                stream.write_all(&[*byte])?;
                stream.flush()?;
                thread::sleep(Duration::from_millis(100));
            }
            return Ok(());
        }
        End::Well | End::HangUp => {}
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
        stream.flush()?;
        std::io::copy(stream, &mut std::io::sink())?;
    }
    stream.flush()
}
