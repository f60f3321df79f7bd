//! The workloads of a client that runs on tokio, from a few calls. One thread: every client has one core.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{stream, StreamExt, TryStreamExt};
use tokio::runtime::{Builder, Runtime};

use crate::{now, Client, Failure, Outcome, Sample, Work, FIRST_NAP_NS, NAP_NS};

pub const PIECE: u64 = 1 << 16;

/// A connection and requests on it.
pub trait Session: Clone {
    type Tunnel: Tunnel;

    /// Why there are no tunnels, where there are none.
    const LACKS: Option<&'static str>;

    fn connect(url: &str, ca_file: &str) -> impl Future<Output = Result<Self, Failure>>;

    fn get(&self, path: &str) -> impl Future<Output = Result<Sample, Failure>>;

    /// POST zeros; return when the response was read.
    fn upload(&self, path: &str, size: u64) -> impl Future<Output = Result<(), Failure>>;

    /// Open a tunnel; return when the server has agreed to it.
    fn tunnel(&self, path: &str) -> impl Future<Output = Result<Self::Tunnel, Failure>>;

    /// Say goodbye.
    fn close(self) -> impl Future<Output = ()>;
}

pub trait Tunnel {
    fn send(&mut self, data: Bytes, fin: bool) -> impl Future<Output = Result<(), Failure>>;

    /// Return bytes, none at the end.
    fn receive(&mut self) -> impl Future<Output = Result<Bytes, Failure>>;
}

/// The tunnel of clients that have none.
pub enum NoTunnel {}

impl Tunnel for NoTunnel {
    async fn send(&mut self, _data: Bytes, _fin: bool) -> Result<(), Failure> {
        match *self {}
    }

    async fn receive(&mut self) -> Result<Bytes, Failure> {
        match *self {}
    }
}

/// Pieces of zeros, `size` bytes together.
pub fn zeros(size: u64) -> impl Iterator<Item = Bytes> {
    let piece = Bytes::from(vec![0; PIECE as usize]);
    (0..size.div_ceil(PIECE)).map(move |index| piece.slice(..PIECE.min(size - index * PIECE) as usize))
}

pub struct Asynchronous<S: Session> {
    runtime: Runtime,
    origin: (String, String),
    session: Option<S>,
}

impl<S: Session> Asynchronous<S> {
    pub fn new() -> Result<Self, Failure> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        Ok(Self { runtime, origin: Default::default(), session: None })
    }

    fn session(&self) -> Result<S, Failure> {
        Ok(self.session.clone().ok_or("not connected")?)
    }

    fn run(&self, work: impl Future<Output = Result<Vec<Sample>, Failure>>) -> Work {
        self.runtime.block_on(work).map(Outcome::Samples)
    }
}

impl<S: Session> Client for Asynchronous<S> {
    fn connect(&mut self, url: &str, ca_file: &str) -> Result<(), Failure> {
        let session = self.runtime.block_on(async {
            let session = S::connect(url, ca_file).await?;
            session.get("/health").await?;
            Ok::<S, Failure>(session)
        })?;
        self.session = Some(session);
        self.origin = (url.into(), ca_file.into());
        Ok(())
    }

    fn stream(&mut self, path: &str, count: u64) -> Work {
        self.many(path, count, 1)
    }

    fn many(&mut self, path: &str, count: u64, at_once: u64) -> Work {
        let session = self.session()?;
        self.run(async {
            if at_once > 1 {
                let requests = stream::iter(0..count).map(|_| session.get(path));
                return requests.buffer_unordered(at_once as usize).try_collect().await;
            }
            let mut samples = Vec::with_capacity(count as usize);
            for _ in 0..count {
                samples.push(session.get(path).await?);
            }
            Ok(samples)
        })
    }

    fn upload(&mut self, path: &str, size: u64) -> Work {
        let session = self.session()?;
        self.run(async {
            let begin = now();
            session.upload(path, size).await?;
            let end = now();
            Ok(vec![[begin, end, end, end, size]])
        })
    }

    fn handshakes(&mut self, path: &str, count: u64) -> Work {
        let (url, ca_file) = &self.origin;
        self.run(async {
            let mut samples = Vec::with_capacity(count as usize);
            for _ in 0..count {
                let begin = now();
                let session = S::connect(url, ca_file).await?;
                let [_, headers, first, _, size] = session.get(path).await?;
                session.close().await;
                samples.push([begin, headers, first, now(), size]);
            }
            Ok(samples)
        })
    }

    fn echo(&mut self, path: &str, count: u64, size: u64) -> Work {
        if let Some(reason) = S::LACKS {
            return Ok(Outcome::Unsupported(reason.into()));
        }
        let session = self.session()?;
        let data = Bytes::from(vec![0; size as usize]);
        self.run(async {
            let mut tunnel = session.tunnel(path).await?;
            let mut samples = Vec::with_capacity(count as usize);
            for _ in 0..count {
                samples.push(echo(&mut tunnel, data.clone()).await?);
            }
            tunnel.send(Bytes::new(), true).await?;
            Ok(samples)
        })
    }

    fn close_fin(&mut self, path: &str, count: u64, size: u64) -> Work {
        if let Some(reason) = S::LACKS {
            return Ok(Outcome::Unsupported(reason.into()));
        }
        let session = self.session()?;
        let data = Bytes::from(vec![0; size as usize]);
        self.run(async {
            let mut samples = Vec::with_capacity(count as usize);
            for _ in 0..count {
                samples.push(close_fin(&session, path, data.clone()).await?);
            }
            Ok(samples)
        })
    }

    fn mixed(&mut self, path: &str, tunnel: &str, count: u64, size: u64, writes: u64) -> Work {
        if let Some(reason) = S::LACKS {
            return Ok(Outcome::Unsupported(reason.into()));
        }
        let session = self.session()?;
        let data = Bytes::from(vec![0; size as usize]);
        self.run(async {
            let mut samples = Vec::with_capacity(count as usize);
            for _ in 0..count {
                let begin = now();
                let (got, slow) = tokio::try_join!(session.get(path), slow(&session, tunnel, &data, writes))?;
                let [_, headers, first, end, bytes] = got;
                samples.push([begin, headers, first, end.max(slow.0), bytes + slow.1]);
            }
            Ok(samples)
        })
    }
}

async fn echo<T: Tunnel>(tunnel: &mut T, data: Bytes) -> Result<Sample, Failure> {
    let (begin, size) = (now(), data.len() as u64);
    tunnel.send(data, false).await?;
    let mut got = tunnel.receive().await?.len() as u64;
    let first = now();
    while got < size {
        let piece = tunnel.receive().await?;
        if piece.is_empty() {
            return Err("the tunnel ended".into());
        }
        got += piece.len() as u64;
    }
    Ok([begin, first, first, now(), got])
}

async fn close_fin<S: Session>(session: &S, path: &str, data: Bytes) -> Result<Sample, Failure> {
    let begin = now();
    let mut tunnel = session.tunnel(path).await?;
    let opened = now();
    tunnel.send(data, true).await?;
    let (mut first, mut got) = (0, 0);
    loop {
        let piece = tunnel.receive().await?;
        if piece.is_empty() {
            break;
        }
        if first == 0 {
            first = now();
        }
        got += piece.len() as u64;
    }
    let end = now();
    Ok([begin, opened, if first == 0 { end } else { first }, end, got])
}

/// Write at once, read with pauses; return when the end came, and the bytes.
async fn slow<S: Session>(session: &S, path: &str, data: &Bytes, writes: u64) -> Result<(u64, u64), Failure> {
    let mut tunnel = session.tunnel(path).await?;
    for index in 0..writes {
        tunnel.send(data.clone(), index == writes - 1).await?;
    }
    tokio::time::sleep(Duration::from_nanos(FIRST_NAP_NS)).await;
    let mut got = 0;
    loop {
        tokio::time::sleep(Duration::from_nanos(NAP_NS)).await;
        let piece = tunnel.receive().await?;
        if piece.is_empty() {
            return Ok((now(), got));
        }
        got += piece.len() as u64;
    }
}
