//! reqwest with its `http3` feature.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};

use futures_util::stream;
use http::Version;
use reqwest::{Body, Certificate};
use specter_peers::asynchronous::{zeros, Asynchronous, NoTunnel, Session};
use specter_peers::{expect_status, now, origin, serve, Failure, Sample};

#[derive(Clone)]
struct Reqwest {
    base: String,
    client: reqwest::Client,
}

impl Session for Reqwest {
    type Tunnel = NoTunnel;
    const LACKS: Option<&'static str> = Some("reqwest has no extended CONNECT (RFC 9220)");

    async fn connect(url: &str, ca_file: &str) -> Result<Self, Failure> {
        let (host, port) = origin(url)?;
        let client = reqwest::Client::builder()
            .http3_prior_knowledge()
            .tls_certs_only(Certificate::from_pem_bundle(&std::fs::read(ca_file)?)?)
            .resolve(&host, SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
            .http3_stream_receive_window(16 << 20)
            .http3_conn_receive_window(24 << 20)
            .no_proxy()
            .build()?;
        Ok(Self { base: url.into(), client })
    }

    async fn get(&self, path: &str) -> Result<Sample, Failure> {
        let begin = now();
        let request = self.client.get(format!("{}{path}", self.base)).version(Version::HTTP_3);
        let mut response = request.send().await?;
        let headers = now();
        let (mut first, mut size) = (0, 0);
        while let Some(piece) = response.chunk().await? {
            if first == 0 {
                first = now();
            }
            size += piece.len() as u64;
        }
        let end = now();
        if response.version() != Version::HTTP_3 {
            return Err("not HTTP/3".into());
        }
        expect_status(response.status().as_u16())?;
        Ok([begin, headers, if first == 0 { end } else { first }, end, size])
    }

    async fn upload(&self, path: &str, size: u64) -> Result<(), Failure> {
        let body = Body::wrap_stream(stream::iter(zeros(size).map(Ok::<_, Infallible>)));
        let request = self.client.post(format!("{}{path}", self.base)).version(Version::HTTP_3);
        let response = request.header("content-length", size).body(body).send().await?;
        expect_status(response.status().as_u16())?;
        response.bytes().await?;
        Ok(())
    }

    async fn tunnel(&self, _path: &str) -> Result<NoTunnel, Failure> {
        Err("no tunnels".into())
    }

    async fn close(self) {}
}

fn main() -> Result<(), Failure> {
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    serve(&mut Asynchronous::<Reqwest>::new()?);
    Ok(())
}
