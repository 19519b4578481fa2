//! The Qdrant under load: a real one, or the stand-in of the tests, which gives the same
//! replies at other costs.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use qdrant_client::qdrant::{
    CollectionStatus, DeleteCollection, GetCollectionInfoRequest,
    collections_client::CollectionsClient,
};
use tonic::transport::{Channel, Endpoint};

use super::{
    fill::{COLLECTION, LARGE_COLLECTION},
    processes::Helper,
    support::program::recsys,
};

/// A search index is built in the background.
const INDEX_TIMEOUT: Duration = Duration::from_secs(3_600);
const INDEX_POLL: Duration = Duration::from_secs(1);
/// For so long a collection must stay green.
const INDEX_QUIET: Duration = Duration::from_secs(5);

pub enum BenchQdrant {
    StandIn(Helper),
    Real(String),
}

impl BenchQdrant {
    /// The Qdrant at a URL, without the collections of an earlier run, or the stand-in.
    pub async fn start(url: Option<&str>) -> Self {
        let Some(url) = url else {
            return Self::StandIn(Helper::start(&["qdrant"]));
        };
        let qdrant = Self::Real(url.to_owned());
        qdrant.delete_collections().await;
        qdrant
    }

    /// The Qdrant at a URL, with the collection of an earlier run, once it is indexed.
    pub async fn reuse(url: &str) -> Self {
        let qdrant = Self::Real(url.to_owned());
        qdrant.wait_until_indexed(COLLECTION).await;
        qdrant
    }

    pub fn url(&self) -> &str {
        match self {
            Self::StandIn(helper) => &helper.address,
            Self::Real(url) => url,
        }
    }

    async fn client(&self) -> CollectionsClient<Channel> {
        let endpoint = Endpoint::from_shared(self.url().to_owned()).expect("a URL of Qdrant");
        let channel = endpoint.connect().await;
        CollectionsClient::new(channel.expect("Qdrant's gRPC port"))
    }

    pub async fn delete_collections(&self) {
        for name in [COLLECTION, LARGE_COLLECTION] {
            let request = DeleteCollection {
                collection_name: name.to_owned(),
                ..DeleteCollection::default()
            };
            self.client().await.delete(request).await.expect("Qdrant");
        }
    }

    /// Imports a catalogue with the program, and waits until its index is built. Returns
    /// the seconds of both.
    pub async fn import(&self, collection: &str, file: &Path) -> (f64, f64) {
        let started = Instant::now();
        let file = file.to_str().expect("a path in UTF-8");
        let mut command = recsys(&["catalog", "import", file]);
        command
            .env("QDRANT_API_URL", self.url())
            .env("COLLECTION_NAME", collection)
            .env("QDRANT_TIMEOUT", "60s");
        let output = command.output().expect("the program");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{text}");
        let imported = started.elapsed();
        if let Self::Real(_) = self {
            self.wait_until_indexed(collection).await;
        }
        (imported.as_secs_f64(), started.elapsed().as_secs_f64())
    }

    async fn wait_until_indexed(&self, collection: &str) {
        let mut client = self.client().await;
        let started = Instant::now();
        let mut green_since: Option<Instant> = None;
        while green_since.is_none_or(|since| since.elapsed() < INDEX_QUIET) {
            assert!(started.elapsed() < INDEX_TIMEOUT, "never indexed");
            let request = GetCollectionInfoRequest {
                collection_name: collection.to_owned(),
            };
            let info = client.get(request).await.expect("Qdrant").into_inner();
            let is_green = info.result.expect("a collection").status() == CollectionStatus::Green;
            green_since = is_green.then(|| green_since.unwrap_or_else(Instant::now));
            tokio::time::sleep(INDEX_POLL).await;
        }
    }
}
