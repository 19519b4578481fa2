//! Settings of access that are checked at startup.

use recsys::proto::{self, recommender_service_client::RecommenderServiceClient};
use tonic::Code;

use crate::support::{
    program::{Served, recsys},
    server::connect,
    tenants::{Tenants, channel, with_headers},
};

#[tokio::test]
async fn without_a_tenants_file_only_loopback_is_allowed_unless_overridden() {
    let output = recsys(&["serve", "--listen-addr", "0.0.0.0:0"])
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    for text in [
        "RECSYS_TENANTS_PATH",
        "--insecure-allow-unauthenticated",
        "keys new",
    ] {
        assert!(stderr.contains(text), "{text} is not in {stderr}");
    }
    let mut served = Served::start_at(
        &mut recsys(&["serve", "--insecure-allow-unauthenticated"]),
        "0.0.0.0:0",
    );
    served.logged("no tenants file");
    // A client that names a tenant is refused.
    let address = served.address.replace("0.0.0.0", "127.0.0.1");
    let channel = connect(address.parse().unwrap()).await;
    let mut users = RecommenderServiceClient::new(channel);
    let request = || proto::ExportUserRequest {
        user_id: "u".into(),
    };
    users.export_user(request()).await.unwrap();
    let status = users
        .export_user(with_headers(&[("x-tenant-id", "shop")], request()))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    // With keys, any address is allowed.
    let mut tenants = Tenants::new(&["shop"]);
    tenants.key("shop", &["admin"]);
    tenants.write();
    let mut command = recsys(&["serve"]);
    command.env("RECSYS_TENANTS_PATH", tenants.path());
    Served::start_at(&mut command, "0.0.0.0:0");
}

#[test]
fn an_invalid_tenants_file_or_key_is_refused_at_startup() {
    let mut tenants = Tenants::new(&["shop"]);
    tenants.key("shop", &["ingest"]);
    tenants.add("roles = [\"ingest\"]");
    tenants.write();
    let mut command = recsys(&["serve", "--listen-addr", "127.0.0.1:0"]);
    let output = command
        .env("RECSYS_TENANTS_PATH", tenants.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.contains("tenants.toml") && stderr.contains("line"),
        "{stderr}"
    );
    assert!(!stderr.contains("sha256:"), "{stderr}");
    for arguments in [
        &["keys", "new", "shop"][..],
        &["keys", "new", "Shop", "--role", "admin"],
        &["keys", "new", "evt", "--role", "admin"],
        &["keys", "new", "shop", "--role", "root"],
    ] {
        let output = recsys(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty(), "a key was printed");
    }
}

#[tokio::test]
async fn reflection_can_be_disabled() {
    let served = Served::start(recsys(&["serve"]).env("RECSYS_REFLECTION", "false"));
    let mut reflection =
        tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient::new(
            channel(&served).await,
        );
    let nothing = tokio_stream::empty::<tonic_reflection::pb::v1::ServerReflectionRequest>();
    let status = reflection
        .server_reflection_info(nothing)
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
}
