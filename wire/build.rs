//! Makes the stubs of the node service, without protoc. Who connects, and over what, is left to `node` and `control`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto/node_service.proto");
    let files = protox::compile(["proto/node_service.proto"], ["proto"])?;
    let stubs = tonic_prost_build::configure().build_transport(false);
    stubs.compile_fds(files)?;
    Ok(())
}
