//! HTTP/3 clients behind the line protocol of `perf/peers/worker.py`: commands in, samples out, both JSON lines.

pub mod asynchronous;

use std::io::{BufRead, Write};

use serde_json::{json, Value};

/// `request_ns`, `headers_ns`, `first_body_ns`, `complete_ns` (CLOCK_MONOTONIC) and the bytes that came.
pub type Sample = [u64; 5];

pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What came of a workload.
pub enum Outcome {
    Samples(Vec<Sample>),
    Unsupported(String),
}

pub type Work = Result<Outcome, Failure>;

pub const NAP_NS: u64 = 1_000_000;
pub const FIRST_NAP_NS: u64 = 25_000_000;

/// A client with one warm connection to one server.
pub trait Client {
    fn connect(&mut self, url: &str, ca_file: &str) -> Result<(), Failure>;

    fn stream(&mut self, path: &str, count: u64) -> Work;

    fn many(&mut self, path: &str, count: u64, at_once: u64) -> Work;

    fn upload(&mut self, path: &str, size: u64) -> Work;

    fn handshakes(&mut self, path: &str, count: u64) -> Work;

    fn echo(&mut self, _path: &str, _count: u64, _size: u64) -> Work {
        no_tunnels()
    }

    fn close_fin(&mut self, _path: &str, _count: u64, _size: u64) -> Work {
        no_tunnels()
    }

    fn mixed(&mut self, _path: &str, _tunnel: &str, _count: u64, _size: u64, _writes: u64) -> Work {
        no_tunnels()
    }
}

pub fn no_tunnels() -> Work {
    Ok(Outcome::Unsupported("no raw tunnels (RFC 9220) in this client".into()))
}

/// CLOCK_MONOTONIC in nanoseconds, the clock of Python's `time.monotonic_ns`.
pub fn now() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn usage() -> (u64, u64) {
    let mut used: libc::rusage = unsafe { std::mem::zeroed() };
    unsafe { libc::getrusage(libc::RUSAGE_SELF, &mut used) };
    let total = |time: libc::timeval| time.tv_sec as u64 * 1_000_000_000 + time.tv_usec as u64 * 1_000;
    (total(used.ru_utime), total(used.ru_stime))
}

fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1)).and_then(|number| number.parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}

/// Answer commands until there are no more.
pub fn serve(client: &mut dyn Client) {
    say(&json!({"version": env!("CARGO_PKG_VERSION"), "profile": if cfg!(debug_assertions) { "debug" } else { "release" }}));
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { return };
        let Ok(command) = serde_json::from_str::<Value>(&line) else { return };
        let (user, system) = usage();
        match perform(client, &command) {
            Ok(Outcome::Samples(samples)) => {
                let (user_end, system_end) = usage();
                report(&samples, user_end - user, system_end - system);
            }
            Ok(Outcome::Unsupported(reason)) => say(&json!({"unsupported": reason})),
            Err(failure) => say(&json!({"error": failure.to_string()})),
        }
    }
}

fn perform(client: &mut dyn Client, command: &Value) -> Work {
    let text = |name: &str| command[name].as_str().unwrap_or_default();
    let number = |name: &str| command[name].as_u64().unwrap_or_default();
    match text("do") {
        "connect" => client.connect(text("url"), text("ca_file")).map(|()| Outcome::Samples(Vec::new())),
        "stream" => client.stream(text("path"), number("count")),
        "many" => client.many(text("path"), number("count"), number("at_once")),
        "upload" => client.upload(text("path"), number("size")),
        "handshakes" => client.handshakes(text("path"), number("count")),
        "echo" => client.echo(text("path"), number("count"), number("size")),
        "close_fin" => client.close_fin(text("path"), number("count"), number("size")),
        "mixed" => client.mixed(text("path"), text("tunnel"), number("count"), number("size"), number("writes")),
        other => Err(format!("no such work: {other}").into()),
    }
}

fn report(samples: &[Sample], user: u64, system: u64) {
    let mut text = String::with_capacity(samples.len() * 80);
    for sample in samples {
        text.push_str(&json!(sample).to_string());
        text.push('\n');
    }
    print!("{text}");
    say(&json!({"done": samples.len(), "user_ns": user, "system_ns": system, "peak_bytes": peak()}));
}

fn say(line: &Value) {
    println!("{line}");
    std::io::stdout().flush().ok();
}

/// The parts of `https://HOST:PORT`.
pub fn origin(url: &str) -> Result<(String, u16), Failure> {
    let parsed = url::Url::parse(url)?;
    let host = parsed.host_str().ok_or("no host")?.to_string();
    Ok((host, parsed.port_or_known_default().ok_or("no port")?))
}

/// Fail unless a response was what the benchmark asked for.
pub fn expect_status(status: u16) -> Result<(), Failure> {
    if (200..300).contains(&status) {
        return Ok(());
    }
    Err(format!("status {status}").into())
}
