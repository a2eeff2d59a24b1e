//! Compiles the message and service definitions of the client API. The compiler is pure Rust: nobody needs protoc.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let definitions = protox::compile(["rpc.proto", "kv.proto"], ["proto"])?;
    tonic_prost_build::configure()
        // Keys and values stay slices of the buffer that they arrived in.
        .bytes(".")
        // A method that has no body answers UNIMPLEMENTED.
        .generate_default_stubs(true)
        .compile_fds(definitions)?;
    Ok(())
}
