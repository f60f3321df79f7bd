//! quiche without a runtime: one thread, one socket, its own loop.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use quiche::h3::{self, Header, NameValue};
use specter_peers::asynchronous::PIECE;
use specter_peers::{expect_status, now, origin, serve, Client, Failure, Outcome, Sample, Work, FIRST_NAP_NS, NAP_NS};

const DATAGRAM: usize = 1350;

/// What is known of a response.
#[derive(Default)]
struct Response {
    begin: u64,
    headers: u64,
    first: u64,
    end: u64,
    size: u64,
    failed: Option<String>,
    /// Somebody else reads the body.
    slow: bool,
}

impl Response {
    fn sample(&self) -> Result<Sample, Failure> {
        match &self.failed {
            Some(reason) => Err(reason.clone().into()),
            None => Ok([self.begin, self.headers, if self.first == 0 { self.end } else { self.first }, self.end, self.size]),
        }
    }
}

struct Connection {
    socket: UdpSocket,
    peer: SocketAddr,
    local: SocketAddr,
    authority: String,
    quic: quiche::Connection,
    h3: Option<h3::Connection>,
    responses: HashMap<u64, Response>,
    buffer: Vec<u8>,
}

fn configuration(ca_file: &str) -> Result<quiche::Config, Failure> {
    let mut config = quiche::Config::new(quiche::PROTOCOL_VERSION)?;
    config.verify_peer(true);
    config.load_verify_locations_from_file(ca_file)?;
    config.set_application_protos(h3::APPLICATION_PROTOCOL)?;
    config.set_max_idle_timeout(60_000);
    config.set_max_recv_udp_payload_size(65_527);
    config.set_max_send_udp_payload_size(DATAGRAM);
    config.set_initial_max_data(24 << 20);
    config.set_initial_max_stream_data_bidi_local(16 << 20);
    config.set_initial_max_stream_data_uni(1 << 20);
    config.set_initial_max_streams_uni(100);
    config.set_disable_active_migration(true);
    Ok(config)
}

impl Connection {
    fn connect(url: &str, ca_file: &str) -> Result<Self, Failure> {
        let (host, port) = origin(url)?;
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.connect(peer)?;
        socket.set_nonblocking(true)?;
        let local = socket.local_addr()?;
        let mut id = [0; quiche::MAX_CONN_ID_LEN];
        std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut id)?;
        let id = quiche::ConnectionId::from_ref(&id);
        let quic = quiche::connect(Some(&host), &id, local, peer, &mut configuration(ca_file)?)?;
        let authority = format!("{host}:{port}");
        let (responses, buffer) = (HashMap::new(), vec![0; 65_536]);
        let mut new = Self { socket, peer, local, authority, quic, h3: None, responses, buffer };
        while !new.quic.is_established() {
            new.turn(None)?;
        }
        new.h3 = Some(h3::Connection::with_transport(&mut new.quic, &h3::Config::new()?)?);
        new.flush()?;
        Ok(new)
    }

    fn flush(&mut self) -> Result<(), Failure> {
        let mut out = [0; DATAGRAM];
        loop {
            let size = match self.quic.send(&mut out) {
                Ok((size, _)) => size,
                Err(quiche::Error::Done) => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            while let Err(error) = self.socket.send(&out[..size]) {
                if error.kind() != std::io::ErrorKind::WouldBlock {
                    return Err(error.into());
                }
                self.wait(libc::POLLOUT, None);
            }
        }
    }

    fn wait(&self, events: i16, limit: Option<Duration>) {
        let mut descriptor = libc::pollfd { fd: self.socket.as_raw_fd(), events, revents: 0 };
        let time = limit.map(|limit| libc::timespec {
            tv_sec: limit.as_secs() as libc::time_t,
            tv_nsec: limit.subsec_nanos() as libc::c_long,
        });
        let pointer = time.as_ref().map_or(std::ptr::null(), |time| time as *const libc::timespec);
        unsafe { libc::ppoll(&mut descriptor, 1, pointer, std::ptr::null()) };
    }

    /// Read what is there; return whether there was anything.
    fn drain(&mut self) -> Result<bool, Failure> {
        let mut any = false;
        loop {
            let size = match self.socket.recv(&mut self.buffer) {
                Ok(size) => size,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(any),
                Err(error) => return Err(error.into()),
            };
            any = true;
            let info = quiche::RecvInfo { from: self.peer, to: self.local };
            self.quic.recv(&mut self.buffer[..size], info)?;
        }
    }

    /// Send, sleep until something comes or is due (`until` at the latest), and take it in.
    fn turn(&mut self, until: Option<Instant>) -> Result<(), Failure> {
        self.flush()?;
        if !self.drain()? {
            let left = until.map(|moment| moment.saturating_duration_since(Instant::now()));
            let limit = match (self.quic.timeout(), left) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            };
            self.wait(libc::POLLIN, limit);
            if !self.drain()? {
                self.quic.on_timeout();
            }
        }
        if self.quic.is_closed() {
            return Err(format!("the connection ended: {:?}", self.quic.peer_error()).into());
        }
        self.events()
    }

    fn events(&mut self) -> Result<(), Failure> {
        let Some(h3) = self.h3.as_mut() else { return Ok(()) };
        loop {
            let (stream, event) = match h3.poll(&mut self.quic) {
                Ok(found) => found,
                Err(h3::Error::Done) => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            let Some(response) = self.responses.get_mut(&stream) else { continue };
            match event {
                h3::Event::Headers { list, .. } => {
                    response.headers = now();
                    response.failed = status(&list).err().map(|error| error.to_string());
                }
                h3::Event::Data if response.slow => {}
                h3::Event::Data => {
                    while let Ok(size) = h3.recv_body(&mut self.quic, stream, &mut self.buffer) {
                        if response.first == 0 {
                            response.first = now();
                        }
                        response.size += size as u64;
                    }
                }
                h3::Event::Finished => response.end = now(),
                h3::Event::Reset(code) => {
                    response.end = now();
                    response.failed = Some(format!("reset with {code:#x}"));
                }
                _ => {}
            }
        }
    }

    /// Send a header section; return the stream.
    fn open(&mut self, begin: u64, method: &str, path: &str, more: &[Header], fin: bool) -> Result<u64, Failure> {
        let mut head = vec![
            Header::new(b":method", method.as_bytes()),
            Header::new(b":scheme", b"https"),
            Header::new(b":authority", self.authority.as_bytes()),
            Header::new(b":path", path.as_bytes()),
        ];
        head.extend_from_slice(more);
        loop {
            let h3 = self.h3.as_mut().ok_or("not connected")?;
            match h3.send_request(&mut self.quic, &head, fin) {
                Ok(stream) => {
                    self.responses.insert(stream, Response { begin, ..Response::default() });
                    return Ok(stream);
                }
                Err(h3::Error::StreamBlocked | h3::Error::TransportError(quiche::Error::StreamLimit)) => self.turn(None)?,
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn ended(&self, stream: u64) -> bool {
        self.responses.get(&stream).is_none_or(|response| response.end > 0)
    }

    fn finish(&mut self, stream: u64) -> Result<Sample, Failure> {
        while !self.ended(stream) {
            self.turn(None)?;
        }
        self.responses.remove(&stream).ok_or("no such response")?.sample()
    }

    fn get(&mut self, path: &str) -> Result<Sample, Failure> {
        let stream = self.open(now(), "GET", path, &[], true)?;
        self.finish(stream)
    }

    fn send(&mut self, stream: u64, mut data: &[u8], fin: bool) -> Result<(), Failure> {
        loop {
            let h3 = self.h3.as_mut().ok_or("not connected")?;
            match h3.send_body(&mut self.quic, stream, data, fin) {
                Ok(size) if size == data.len() => return Ok(()),
                Ok(size) => data = &data[size..],
                Err(h3::Error::Done | h3::Error::StreamBlocked) => self.turn(None)?,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Open a tunnel; return its stream when the server has agreed.
    fn tunnel(&mut self, path: &str) -> Result<u64, Failure> {
        let stream = self.open(now(), "CONNECT", path, &[Header::new(b":protocol", b"websocket")], false)?;
        while self.responses[&stream].headers == 0 && !self.ended(stream) {
            self.turn(None)?;
        }
        self.responses[&stream].sample()?;
        Ok(stream)
    }

    /// Read one piece of a slowly read body; none when nothing is there.
    fn piece(&mut self, stream: u64) -> usize {
        let Some(h3) = self.h3.as_mut() else { return 0 };
        h3.recv_body(&mut self.quic, stream, &mut self.buffer).unwrap_or(0)
    }

    fn close(mut self) {
        self.quic.close(true, 0x100, b"").ok();
        self.flush().ok();
    }
}

fn status(headers: &[Header]) -> Result<(), Failure> {
    let field = headers.iter().find(|field| field.name() == b":status").ok_or("no status")?;
    expect_status(std::str::from_utf8(field.value())?.parse()?)
}

#[derive(Default)]
struct Direct {
    origin: (String, String),
    connection: Option<Connection>,
}

impl Direct {
    fn connection(&mut self) -> Result<&mut Connection, Failure> {
        self.connection.as_mut().ok_or_else(|| "not connected".into())
    }
}

fn repeat(count: u64, mut once: impl FnMut() -> Result<Sample, Failure>) -> Work {
    (0..count).map(|_| once()).collect::<Result<Vec<_>, _>>().map(Outcome::Samples)
}

impl Client for Direct {
    fn connect(&mut self, url: &str, ca_file: &str) -> Result<(), Failure> {
        self.origin = (url.into(), ca_file.into());
        let mut connection = Connection::connect(url, ca_file)?;
        connection.get("/health")?;
        self.connection = Some(connection);
        Ok(())
    }

    fn stream(&mut self, path: &str, count: u64) -> Work {
        let connection = self.connection()?;
        repeat(count, || connection.get(path))
    }

    fn many(&mut self, path: &str, count: u64, at_once: u64) -> Work {
        let connection = self.connection()?;
        let mut open: Vec<u64> = Vec::new();
        let mut samples = Vec::with_capacity(count as usize);
        let mut started = 0;
        while samples.len() < count as usize {
            while started < count && open.len() < at_once as usize {
                open.push(connection.open(now(), "GET", path, &[], true)?);
                started += 1;
            }
            connection.turn(None)?;
            for stream in std::mem::take(&mut open) {
                if connection.ended(stream) {
                    samples.push(connection.finish(stream)?);
                } else {
                    open.push(stream);
                }
            }
        }
        Ok(Outcome::Samples(samples))
    }

    fn upload(&mut self, path: &str, size: u64) -> Work {
        let connection = self.connection()?;
        let begin = now();
        let length = Header::new(b"content-length", size.to_string().as_bytes());
        let stream = connection.open(begin, "POST", path, &[length], false)?;
        let data = vec![0; PIECE as usize];
        for index in 0..size.div_ceil(PIECE) {
            let piece = &data[..PIECE.min(size - index * PIECE) as usize];
            connection.send(stream, piece, (index + 1) * PIECE >= size)?;
        }
        let [_, _, _, end, _] = connection.finish(stream)?;
        Ok(Outcome::Samples(vec![[begin, end, end, end, size]]))
    }

    fn handshakes(&mut self, path: &str, count: u64) -> Work {
        let (url, ca_file) = self.origin.clone();
        repeat(count, || {
            let begin = now();
            let mut connection = Connection::connect(&url, &ca_file)?;
            let [_, headers, first, _, size] = connection.get(path)?;
            connection.close();
            Ok([begin, headers, first, now(), size])
        })
    }

    fn echo(&mut self, path: &str, count: u64, size: u64) -> Work {
        let connection = self.connection()?;
        let stream = connection.tunnel(path)?;
        let data = vec![0; size as usize];
        let samples = repeat(count, || {
            let begin = now();
            let target = connection.responses[&stream].size + size;
            connection.responses.get_mut(&stream).ok_or("gone")?.first = 0;
            connection.send(stream, &data, false)?;
            while connection.responses[&stream].size < target && !connection.ended(stream) {
                connection.turn(None)?;
            }
            let first = connection.responses[&stream].first;
            Ok([begin, first, first, now(), size])
        })?;
        connection.send(stream, &[], true)?;
        connection.finish(stream)?;
        Ok(samples)
    }

    fn close_fin(&mut self, path: &str, count: u64, size: u64) -> Work {
        let connection = self.connection()?;
        let data = vec![0; size as usize];
        repeat(count, || {
            let stream = connection.tunnel(path)?;
            connection.send(stream, &data, true)?;
            connection.finish(stream)
        })
    }

    fn mixed(&mut self, path: &str, tunnel: &str, count: u64, size: u64, writes: u64) -> Work {
        let connection = self.connection()?;
        let data = vec![0; size as usize];
        repeat(count, || mixed(connection, path, tunnel, &data, writes))
    }
}

/// A GET and a tunnel from one start; the tunnel's reader naps.
fn mixed(connection: &mut Connection, path: &str, target: &str, data: &[u8], writes: u64) -> Result<Sample, Failure> {
    let begin = now();
    let get = connection.open(begin, "GET", path, &[], true)?;
    let tunnel = connection.tunnel(target)?;
    connection.responses.get_mut(&tunnel).ok_or("gone")?.slow = true;
    for index in 0..writes {
        connection.send(tunnel, data, index == writes - 1)?;
    }
    let mut next = Instant::now() + Duration::from_nanos(FIRST_NAP_NS + NAP_NS);
    let mut got = 0;
    while !connection.ended(get) || !connection.ended(tunnel) {
        if Instant::now() >= next {
            let size = connection.piece(tunnel);
            got += size as u64;
            next = Instant::now() + Duration::from_nanos(NAP_NS);
            connection.events()?;
        } else {
            connection.turn(Some(next))?;
        }
    }
    let [_, headers, first, end, size] = connection.finish(get)?;
    let last = connection.finish(tunnel)?[3];
    Ok([begin, headers, first, end.max(last), size + got])
}

fn main() -> Result<(), Failure> {
    serve(&mut Direct::default());
    Ok(())
}
