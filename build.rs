//! Compiles `proto/recsys/v1` without a system `protoc` and keeps the encoded
//! descriptor set, comments included, for the reflection service.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message as _;

const PROTO_FILES: [&str; 3] = [
    "recsys/v1/types.proto",
    "recsys/v1/recommender.proto",
    "recsys/v1/catalog.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let out_dir = PathBuf::from(env::var("OUT_DIR")?);

    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler
        .include_source_info(true)
        .include_imports(true)
        .open_files(PROTO_FILES)?;
    fs::write(
        out_dir.join("recsys_descriptor.bin"),
        compiler.encode_file_descriptor_set(),
    )?;

    let descriptors =
        prost_types::FileDescriptorSet::decode(compiler.encode_file_descriptor_set().as_slice())?;
    // The decoder looks up the shape of a message by its name.
    let mut with_names = tonic_prost_build::Config::new();
    with_names.enable_type_names();
    tonic_prost_build::configure()
        .btree_map(".")
        .build_server(false)
        .compile_fds_with_config(descriptors.clone(), with_names)?;
    // The servers belong to the API: they use its codec.
    let server = out_dir.join("server");
    fs::create_dir_all(&server)?;
    tonic_prost_build::configure()
        .build_client(false)
        .extern_path(".recsys.v1", "crate::proto")
        .extern_path(
            ".recsys.v1.GetUserSignalsResponse",
            "crate::api::signals_reply::SignalsReply",
        )
        .codec_path("crate::api::codec::ServerCodec")
        .out_dir(server)
        .compile_fds(descriptors)?;
    Ok(())
}
