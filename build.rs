//! Has the linker keep one of several functions with the same code, of which generic Rust makes many.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let set = |name: &str| std::env::var(name).unwrap_or_default();
    // There rustc links with its own lld since 1.90, unless somebody says otherwise; the linker of GNU does not know the word.
    let is_lld = set("TARGET") == "x86_64-unknown-linux-gnu"
        && set("RUSTC_LINKER").is_empty()
        && !set("CARGO_ENCODED_RUSTFLAGS").contains("link");
    if is_lld && set("PROFILE") == "release" {
        println!("cargo:rustc-link-arg-bins=-Wl,--icf=all");
    }
}
