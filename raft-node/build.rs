//! Compiles the message and service definitions of the client APIs. The compiler is pure Rust: nobody needs protoc.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let definitions = protox::compile(["rpc.proto", "kv.proto", "raftnode.proto"], ["proto"])?;
    tonic_prost_build::configure()
        // Keys and values stay slices of the buffer that they arrived in.
        .bytes(".")
        // Clients are generated; the server has a table of its own, which names every method that it serves.
        .build_server(false)
        .compile_fds(definitions)?;
    Ok(())
}
