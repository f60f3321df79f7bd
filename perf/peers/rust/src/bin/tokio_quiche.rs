//! tokio-quiche: quiche behind tasks and channels.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::collections::HashMap;
use std::time::Duration;

use boring::ssl::{SslContextBuilder, SslMethod};
use bytes::Bytes;
use futures_util::SinkExt;
use specter_peers::asynchronous::{zeros, Asynchronous, Session, Tunnel};
use specter_peers::{expect_status, now, origin, serve, Failure, Sample};
use tokio::sync::oneshot;
use tokio_quiche::http3::driver::{
    ClientH3Event, ClientRequestSender, H3Event, InboundFrame, InboundFrameStream, IncomingH3Headers, NewClientRequest,
    OutboundFrame, OutboundFrameSender,
};
use tokio_quiche::http3::settings::Http3Settings;
use tokio_quiche::quic::{connect_with_config, ConnectionHook, ConnectionShutdownBehaviour, QuicCommand};
use tokio_quiche::quiche::h3::{Header, NameValue};
use tokio_quiche::settings::{CertificateKind, ConnectionParams, Hooks, QuicSettings, TlsCertificatePaths};
use tokio_quiche::socket::Socket;
use tokio_quiche::{ClientH3Controller, ClientH3Driver};

/// Trusts the authorities of a file.
struct Trust(String);

impl ConnectionHook for Trust {
    fn create_custom_ssl_context_builder(&self, _settings: TlsCertificatePaths<'_>) -> Option<SslContextBuilder> {
        let mut builder = SslContextBuilder::new(SslMethod::tls()).ok()?;
        builder.set_ca_file(&self.0).ok()?;
        Some(builder)
    }
}

type Waiting = Arc<Mutex<Table>>;

/// Who waits for which response: first by our number, then by the stream that it got.
#[derive(Default)]
struct Table {
    numbered: HashMap<u64, oneshot::Sender<IncomingH3Headers>>,
    streams: HashMap<u64, oneshot::Sender<IncomingH3Headers>>,
}

#[derive(Clone)]
struct Quiche {
    authority: String,
    requests: ClientRequestSender,
    commands: Arc<dyn Fn() + Send + Sync>,
    waiting: Waiting,
    next: Arc<AtomicU64>,
}

async fn route(mut controller: ClientH3Controller, waiting: Waiting) {
    while let Some(event) = controller.event_receiver_mut().recv().await {
        let mut table = waiting.lock().unwrap();
        match event {
            ClientH3Event::NewOutboundRequest { stream_id, request_id } => {
                if let Some(sender) = table.numbered.remove(&request_id) {
                    table.streams.insert(stream_id, sender);
                }
            }
            ClientH3Event::Core(H3Event::IncomingHeaders(headers)) => {
                if let Some(sender) = table.streams.remove(&headers.stream_id) {
                    sender.send(headers).ok();
                }
            }
            ClientH3Event::Core(H3Event::ResetStream { stream_id }) => {
                table.streams.remove(&stream_id);
            }
            ClientH3Event::Core(H3Event::ConnectionError(_) | H3Event::ConnectionShutdown(_)) => {
                *table = Table::default();
            }
            ClientH3Event::Core(_) => {}
        }
    }
    *waiting.lock().unwrap() = Table::default();
}

impl Quiche {
    fn send(
        &self,
        headers: Vec<Header>,
        body_writer: Option<oneshot::Sender<OutboundFrameSender>>,
    ) -> Result<oneshot::Receiver<IncomingH3Headers>, Failure> {
        let (sender, receiver) = oneshot::channel();
        let request_id = self.next.fetch_add(1, Ordering::Relaxed);
        self.waiting.lock().unwrap().numbered.insert(request_id, sender);
        let request = NewClientRequest { request_id, headers, body_writer };
        self.requests.send(request).map_err(|_| "the connection is gone")?;
        Ok(receiver)
    }

    fn head(&self, method: &str, path: &str) -> Vec<Header> {
        vec![
            Header::new(b":method", method.as_bytes()),
            Header::new(b":scheme", b"https"),
            Header::new(b":authority", self.authority.as_bytes()),
            Header::new(b":path", path.as_bytes()),
        ]
    }
}

fn status(headers: &[Header]) -> Result<(), Failure> {
    let field = headers.iter().find(|field| field.name() == b":status").ok_or("no status")?;
    expect_status(std::str::from_utf8(field.value())?.parse()?)
}

/// Return body bytes and whether they are the last.
async fn piece(stream: &mut InboundFrameStream) -> Result<(Bytes, bool), Failure> {
    match stream.recv().await {
        Some(InboundFrame::Body(data, fin)) => Ok((data.freeze(), fin)),
        Some(InboundFrame::Datagram(_)) => Err("a datagram".into()),
        None => Ok((Bytes::new(), true)),
    }
}

struct QuicheTunnel {
    output: OutboundFrameSender,
    input: InboundFrameStream,
    ended: bool,
}

impl Tunnel for QuicheTunnel {
    async fn send(&mut self, data: Bytes, fin: bool) -> Result<(), Failure> {
        self.output.send(OutboundFrame::Body(data, fin)).await.map_err(|_| "the stream is gone".into())
    }

    async fn receive(&mut self) -> Result<Bytes, Failure> {
        while !self.ended {
            let (data, fin) = piece(&mut self.input).await?;
            self.ended = fin;
            if !data.is_empty() {
                return Ok(data);
            }
        }
        Ok(Bytes::new())
    }
}

impl Session for Quiche {
    type Tunnel = QuicheTunnel;
    const LACKS: Option<&'static str> = None;

    async fn connect(url: &str, ca_file: &str) -> Result<Self, Failure> {
        let (host, port) = origin(url)?;
        let socket = tokio::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        socket.connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?;
        let mut socket: Socket<_, _> = socket.try_into()?;
        socket.apply_max_capabilities();
        let mut settings = QuicSettings::default();
        settings.verify_peer = true;
        settings.max_idle_timeout = Some(Duration::from_secs(60));
        settings.initial_max_data = 24 << 20;
        settings.initial_max_stream_data_bidi_local = 16 << 20;
        let unused = TlsCertificatePaths { cert: "", private_key: "", kind: CertificateKind::X509 };
        let hooks = Hooks { connection_hook: Some(Arc::new(Trust(ca_file.into()))) };
        let parameters = ConnectionParams::new_client(settings, Some(unused), hooks);
        let (driver, controller) = ClientH3Driver::new(Http3Settings::default());
        let connection = connect_with_config(socket, Some(&host), &parameters, driver).await.map_err(|e| e.to_string())?;
        let requests = controller.request_sender();
        let commands = controller.cmd_sender();
        let waiting = Waiting::default();
        tokio::spawn(route(controller, waiting.clone()));
        drop(connection);
        let close = move || {
            let error = ConnectionShutdownBehaviour { send_application_close: true, error_code: 0x100, reason: Vec::new() };
            commands.send(QuicCommand::ConnectionClose(error)).ok();
        };
        let authority = format!("{host}:{port}");
        Ok(Self { authority, requests, commands: Arc::new(close), waiting, next: Arc::default() })
    }

    async fn get(&self, path: &str) -> Result<Sample, Failure> {
        let begin = now();
        let mut response = self.send(self.head("GET", path), None)?.await?;
        let headers = now();
        let (mut first, mut size, mut fin) = (0, 0, response.read_fin);
        while !fin {
            let (data, last) = piece(&mut response.recv).await?;
            if first == 0 && !data.is_empty() {
                first = now();
            }
            size += data.len() as u64;
            fin = last;
        }
        let end = now();
        status(&response.headers)?;
        Ok([begin, headers, if first == 0 { end } else { first }, end, size])
    }

    async fn upload(&self, path: &str, size: u64) -> Result<(), Failure> {
        let (sender, receiver) = oneshot::channel();
        let mut head = self.head("POST", path);
        head.push(Header::new(b"content-length", size.to_string().as_bytes()));
        let response = self.send(head, Some(sender))?;
        let mut output = receiver.await?;
        for data in zeros(size) {
            output.send(OutboundFrame::Body(data, false)).await.map_err(|_| "the stream is gone")?;
        }
        output.send(OutboundFrame::Body(Bytes::new(), true)).await.map_err(|_| "the stream is gone")?;
        let mut response = response.await?;
        status(&response.headers)?;
        let mut fin = response.read_fin;
        while !fin {
            fin = piece(&mut response.recv).await?.1;
        }
        Ok(())
    }

    async fn tunnel(&self, path: &str) -> Result<QuicheTunnel, Failure> {
        let (sender, receiver) = oneshot::channel();
        let mut head = self.head("CONNECT", path);
        head.push(Header::new(b":protocol", b"websocket"));
        let response = self.send(head, Some(sender))?;
        let output = receiver.await?;
        let response = response.await?;
        status(&response.headers)?;
        Ok(QuicheTunnel { output, input: response.recv, ended: response.read_fin })
    }

    async fn close(self) {
        (self.commands)();
        tokio::task::yield_now().await;
    }
}

fn main() -> Result<(), Failure> {
    serve(&mut Asynchronous::<Quiche>::new()?);
    Ok(())
}
