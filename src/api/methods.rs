//! The methods of the API's port: path, kind and roles of each, in this one table.

use crate::edge::{
    methods::{Method, MethodKind, Methods},
    tenants::Role,
};

/// The path of StreamIngestEvents.
pub(crate) const STREAM_INGEST: &str = "/recsys.v1.RecommenderService/StreamIngestEvents";

pub(crate) const METHODS: Methods = Methods(&[
    unary("/recsys.v1.RecommenderService/IngestEvent", &[Role::Ingest]),
    unary(
        "/recsys.v1.RecommenderService/BatchIngestEvents",
        &[Role::Ingest],
    ),
    Method {
        path: STREAM_INGEST,
        kind: MethodKind::Stream(&[Role::Ingest]),
    },
    unary(
        "/recsys.v1.RecommenderService/GetUserSignals",
        &[Role::ReadProfile],
    ),
    unary("/recsys.v1.RecommenderService/Recommend", &[Role::Serve]),
    unary("/recsys.v1.RecommenderService/DeleteUser", &[Role::Erase]),
    unary(
        "/recsys.v1.RecommenderService/ExportUser",
        &[Role::ReadProfile],
    ),
    unary("/recsys.v1.CatalogService/UpsertItems", &[Role::Catalog]),
    unary(
        "/recsys.v1.CatalogService/GetItems",
        &[Role::Serve, Role::Catalog],
    ),
    unary("/recsys.v1.CatalogService/DeleteItems", &[Role::Catalog]),
    free("/grpc.health.v1.Health/Check"),
    free("/grpc.health.v1.Health/Watch"),
    free("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"),
    free("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"),
]);

const fn unary(path: &'static str, roles: &'static [Role]) -> Method {
    Method {
        path,
        kind: MethodKind::Unary(roles),
    }
}

const fn free(path: &'static str) -> Method {
    Method {
        path,
        kind: MethodKind::Free,
    }
}

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
    /// the client streams.
    fn described(descriptors: &[&[u8]]) -> BTreeMap<String, bool> {
        let sets = descriptors
            .iter()
            .map(|encoded| FileDescriptorSet::decode(*encoded).unwrap());
        let mut methods = BTreeMap::new();
        for file in sets.flat_map(|set| set.file) {
            for service in &file.service {
                for method in &service.method {
                    let (package, service) = (file.package(), service.name());
                    let path = format!("/{package}.{service}/{}", method.name());
                    methods.insert(path, method.client_streaming());
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
        for (path, is_stream) in ours {
            match listed[path.as_str()] {
                MethodKind::Unary(_) => assert!(!is_stream, "{path}"),
                MethodKind::Stream(_) => assert!(is_stream, "{path}"),
                MethodKind::Free => panic!("{path} needs no key"),
            }
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
        assert_eq!(kind, MethodKind::Free);
    }
}
