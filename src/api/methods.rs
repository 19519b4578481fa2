//! The methods of the API's port: path, kind and roles of each, in this one table.

use crate::edge::{
    methods::{Method, Methods},
    tenants::Role,
};

/// The path of StreamIngestEvents.
pub(crate) const STREAM_INGEST: &str = "/recsys.v1.RecommenderService/StreamIngestEvents";

/// The path of ExportUserPages.
pub(crate) const EXPORT_PAGES: &str = "/recsys.v1.RecommenderService/ExportUserPages";

/// What an open call of health occupies.
const HEALTH_BYTES: usize = 8 << 10;
/// What an open call of reflection occupies: three replies, one of which is in HTTP's
/// buffer, and no more than the descriptors of all services each.
const REFLECTION_BYTES: usize = 3 * (64 << 10);

pub(crate) const METHODS: Methods = Methods(&[
    Method::unary("/recsys.v1.RecommenderService/IngestEvent", &[Role::Ingest]),
    Method::unary(
        "/recsys.v1.RecommenderService/BatchIngestEvents",
        &[Role::Ingest],
    ),
    Method::stream(STREAM_INGEST, &[Role::Ingest]),
    Method::unary(
        "/recsys.v1.RecommenderService/GetUserSignals",
        &[Role::ReadProfile],
    ),
    Method::unary("/recsys.v1.RecommenderService/Recommend", &[Role::Serve]),
    Method::unary("/recsys.v1.RecommenderService/SimilarItems", &[Role::Serve]),
    Method::unary("/recsys.v1.RecommenderService/PopularItems", &[Role::Serve]),
    Method::unary(
        "/recsys.v1.RecommenderService/GetItemSignals",
        &[Role::Serve, Role::Catalog],
    ),
    Method::unary("/recsys.v1.RecommenderService/DeleteUser", &[Role::Erase]),
    Method::unary("/recsys.v1.RecommenderService/MergeUsers", &[Role::Merge]),
    Method::unary(
        "/recsys.v1.RecommenderService/ExportUser",
        &[Role::ReadProfile],
    ),
    Method::replies(EXPORT_PAGES, &[Role::ReadProfile]),
    Method::unary("/recsys.v1.CatalogService/UpsertItems", &[Role::Catalog]),
    Method::unary(
        "/recsys.v1.CatalogService/GetItems",
        &[Role::Serve, Role::Catalog],
    ),
    Method::unary("/recsys.v1.CatalogService/UpdateItems", &[Role::Catalog]),
    Method::unary(
        "/recsys.v1.CatalogService/ListItems",
        &[Role::Serve, Role::Catalog],
    ),
    Method::unary("/recsys.v1.CatalogService/DeleteItems", &[Role::Catalog]),
    Method::free("/grpc.health.v1.Health/Check", HEALTH_BYTES),
    Method::free("/grpc.health.v1.Health/Watch", HEALTH_BYTES),
    Method::free(
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        REFLECTION_BYTES,
    ),
    Method::free(
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        REFLECTION_BYTES,
    ),
]);

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use prost::Message as _;
    use prost_types::FileDescriptorSet;

    use super::METHODS;
    use crate::{
        edge::{methods::MethodKind, tenants::Role},
        proto::FILE_DESCRIPTOR_SET,
    };

    /// The methods of the services in encoded descriptor sets, by path, and whether
    /// the client and the server stream.
    fn described(descriptors: &[&[u8]]) -> BTreeMap<String, (bool, bool)> {
        let sets = descriptors
            .iter()
            .map(|encoded| FileDescriptorSet::decode(*encoded).unwrap());
        let mut methods = BTreeMap::new();
        for file in sets.flat_map(|set| set.file) {
            for service in &file.service {
                for method in &service.method {
                    let (package, service) = (file.package(), service.name());
                    let path = format!("/{package}.{service}/{}", method.name());
                    let streams = (method.client_streaming(), method.server_streaming());
                    methods.insert(path, streams);
                }
            }
        }
        methods
    }

    #[test]
    fn the_table_has_every_method_that_is_served() {
        let ours = described(&[FILE_DESCRIPTOR_SET]);
        let all = described(&[
            FILE_DESCRIPTOR_SET,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
        ]);
        let listed: BTreeMap<&str, MethodKind> = METHODS
            .0
            .iter()
            .map(|method| (method.path, method.kind))
            .collect();
        assert_eq!(listed.len(), METHODS.0.len());
        assert!(listed.keys().copied().eq(all.keys()), "{listed:?}\n{all:?}");
        for (path, streams) in ours {
            let expected = match listed[path.as_str()] {
                MethodKind::Unary(_) => (false, false),
                MethodKind::Replies(_) => (false, true),
                MethodKind::Stream(_) => (true, true),
                MethodKind::Free { .. } => panic!("{path} needs no key"),
            };
            assert_eq!(streams, expected, "{path}");
        }
    }

    #[test]
    fn a_method_that_is_not_listed_is_for_admins_unless_its_service_is_free() {
        for path in [
            "",
            "/",
            "/recsys.v1.RecommenderService/Other",
            "/recsys.v1.RecommenderService/IngestEvent/",
            "/grpc.health.v1.Health/Check/x",
            "/grpc.health.v1/Check",
        ] {
            let kind = METHODS.kind(path);
            assert_eq!(kind, MethodKind::Unary(&[Role::Admin]), "{path}");
        }
        let kind = METHODS.kind("/grpc.health.v1.Health/Other");
        assert_eq!(kind.roles(), None);
    }
}
