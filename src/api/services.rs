//! The services of the API's port, with the sizes of their messages.

use std::sync::Arc;

use tonic::{codec::CompressionEncoding::Gzip, service::Routes};
use tonic_health::pb::health_server::{Health, HealthServer};

use crate::api::{
    bounded::Bounded,
    catalog::Catalog,
    limits::Limits,
    recommender::Recommender,
    reply_cost::MAX_REPLY_BYTES,
    service_traits::{
        catalog_service_server::CatalogServiceServer,
        recommender_service_server::RecommenderServiceServer,
    },
};

pub(crate) use crate::proto::FILE_DESCRIPTOR_SET;

/// Largest request of health and reflection, which need no key and are not counted:
/// the name of a service, a symbol or a file.
pub(crate) const MAX_FREE_REQUEST_BYTES: usize = 4 << 10;

/// All services of the API's port.
///
/// # Errors
/// If the descriptors are invalid: a build error.
pub(crate) fn services(
    limits: &Arc<Limits>,
    health: HealthServer<impl Health>,
    with_reflection: bool,
) -> Result<Bounded<Routes>, tonic_reflection::server::Error> {
    let recommender = RecommenderServiceServer::new(Recommender {
        limits: Arc::clone(limits),
    })
    .accept_compressed(Gzip)
    // Of the unpacked request.
    .max_decoding_message_size(limits.max_request_bytes)
    .max_encoding_message_size(MAX_REPLY_BYTES);
    let catalog = CatalogServiceServer::new(Catalog {
        limits: Arc::clone(limits),
    })
    .accept_compressed(Gzip)
    .max_decoding_message_size(limits.max_catalog_request_bytes)
    .max_encoding_message_size(MAX_REPLY_BYTES);
    let mut routes = Routes::new(recommender)
        .add_service(catalog)
        .add_service(health.max_decoding_message_size(MAX_FREE_REQUEST_BYTES));
    if with_reflection {
        let reflection = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
                // Lets grpcurl print the details of an error.
                .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
        };
        let v1 = reflection().build_v1()?;
        let v1alpha = reflection().build_v1alpha()?;
        routes = routes
            .add_service(v1.max_decoding_message_size(MAX_FREE_REQUEST_BYTES))
            .add_service(v1alpha.max_decoding_message_size(MAX_FREE_REQUEST_BYTES));
    }
    Ok(Bounded {
        services: routes.prepare(),
        limits: Arc::clone(limits),
    })
}
