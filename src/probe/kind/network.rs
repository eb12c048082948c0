//! An address answers, or accepts connections.

use std::sync::Arc;

use async_trait::async_trait;

use super::http::HttpTalk;
use crate::probe::check::{Probe, ProbeError, Scene, patience};
use crate::probe::network::{Connect, Talk};
use crate::probe::{NetworkTarget, Outcome, Prober, Protocol};

keys! {
    /// An address answers: a TCP port accepts connections, a web server's status is below 400.
    pub struct NetworkCheck {
        /// The address: tcp://HOST:PORT or http(s)://HOST:PORT/PATH; localhost is the container.
        pub url: NetworkTarget,
    }
}

impl NetworkCheck {
    /// The check that an address answers.
    pub fn of(url: NetworkTarget) -> Self {
        Self {
            url,
            title: None,
            timeout: None,
            family: crate::probe::Many::default(),
            after: crate::probe::Many::default(),
        }
    }
}

#[async_trait]
impl Probe for NetworkCheck {
    fn target(&self) -> String {
        self.url.to_string()
    }

    async fn check(&self, scene: Scene<'_>) -> Result<Outcome, ProbeError> {
        let talk: Arc<dyn Talk> = match self.url.protocol() {
            Protocol::Tcp => Arc::new(Connect),
            Protocol::Http => Arc::new(HttpTalk::default()),
        };
        let patience = patience(self.timeout, scene.patience.network);
        let prober = Prober::new(scene.guest.leader(), patience);
        prober.check(&self.url, talk).await
    }
}

keys! {
    /// An address accepts connections.
    pub struct TcpCheck {
        /// The address: HOST:PORT or tcp://HOST:PORT; localhost is the container.
        pub address: String,
    }
}

impl TcpCheck {
    fn read(&self) -> Result<NetworkTarget, String> {
        let url = if self.address.contains("://") {
            self.address.clone()
        } else {
            format!("tcp://{}", self.address)
        };
        let target = NetworkTarget::parse(&url).map_err(|error| error.to_string())?;
        if target.protocol() == Protocol::Tcp {
            Ok(target)
        } else {
            Err("write HOST:PORT; there is a kind http for web servers".to_owned())
        }
    }
}

#[async_trait]
impl Probe for TcpCheck {
    fn target(&self) -> String {
        self.address.clone()
    }

    fn validate(&self) -> Result<(), String> {
        self.read().map(drop)
    }

    async fn check(&self, scene: Scene<'_>) -> Result<Outcome, ProbeError> {
        let target = self.read().map_err(std::io::Error::other)?;
        let patience = patience(self.timeout, scene.patience.network);
        let prober = Prober::new(scene.guest.leader(), patience);
        prober.check(&target, Arc::new(Connect)).await
    }
}
