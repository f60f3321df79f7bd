//! h3 with h3-quinn on quinn (rustls, aws-lc).

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use h3::client::SendRequest;
use h3_quinn::OpenStreams;
use http::Request;
use quinn::crypto::rustls::QuicClientConfig;
use rustls_pki_types::{pem::PemObject, CertificateDer};
use specter_peers::asynchronous::{zeros, Asynchronous, NoTunnel, Session};
use specter_peers::{expect_status, now, origin, serve, Failure, Sample};

#[derive(Clone)]
struct Quinn {
    base: String,
    endpoint: quinn::Endpoint,
    connection: quinn::Connection,
    requests: SendRequest<OpenStreams, Bytes>,
}

fn configuration(ca_file: &str) -> Result<quinn::ClientConfig, Failure> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca_file)? {
        roots.add(certificate?)?;
    }
    let mut tls = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    tls.alpn_protocols = vec![b"h3".to_vec()];
    let mut transport = quinn::TransportConfig::default();
    transport.stream_receive_window(quinn::VarInt::from_u32(16 << 20));
    transport.receive_window(quinn::VarInt::from_u32(24 << 20));
    transport.max_idle_timeout(Some(Duration::from_secs(60).try_into()?));
    let mut config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
    config.transport_config(Arc::new(transport));
    Ok(config)
}

impl Session for Quinn {
    type Tunnel = NoTunnel;
    const LACKS: Option<&'static str> = Some("h3 0.0.8 cannot express :protocol websocket (RFC 9220)");

    async fn connect(url: &str, ca_file: &str) -> Result<Self, Failure> {
        let (host, port) = origin(url)?;
        let mut endpoint = quinn::Endpoint::client(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)))?;
        endpoint.set_default_client_config(configuration(ca_file)?);
        let connection = endpoint.connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), &host)?.await?;
        let (mut driver, requests) = h3::client::new(h3_quinn::Connection::new(connection.clone())).await?;
        tokio::spawn(async move { driver.wait_idle().await });
        Ok(Self { base: url.into(), endpoint, connection, requests })
    }

    async fn get(&self, path: &str) -> Result<Sample, Failure> {
        let begin = now();
        let request = Request::get(format!("{}{path}", self.base)).body(())?;
        let mut stream = self.requests.clone().send_request(request).await?;
        stream.finish().await?;
        let response = stream.recv_response().await?;
        let headers = now();
        let (mut first, mut size) = (0, 0);
        while let Some(piece) = stream.recv_data().await? {
            if first == 0 {
                first = now();
            }
            size += piece.remaining() as u64;
        }
        let end = now();
        expect_status(response.status().as_u16())?;
        Ok([begin, headers, if first == 0 { end } else { first }, end, size])
    }

    async fn upload(&self, path: &str, size: u64) -> Result<(), Failure> {
        let request = Request::post(format!("{}{path}", self.base)).header("content-length", size).body(())?;
        let mut stream = self.requests.clone().send_request(request).await?;
        for piece in zeros(size) {
            stream.send_data(piece).await?;
        }
        stream.finish().await?;
        expect_status(stream.recv_response().await?.status().as_u16())?;
        while stream.recv_data().await?.is_some() {}
        Ok(())
    }

    async fn tunnel(&self, _path: &str) -> Result<NoTunnel, Failure> {
        Err("no tunnels".into())
    }

    async fn close(self) {
        self.connection.close(quinn::VarInt::from_u32(0x100), b"");
        self.endpoint.wait_idle().await;
    }
}

fn main() -> Result<(), Failure> {
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    serve(&mut Asynchronous::<Quinn>::new()?);
    Ok(())
}
