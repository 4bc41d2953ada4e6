//! Links the program so that it starts at once; query has this script as well.

fn main() {
    println!("cargo::rerun-if-changed=../store/build.rs");
    // A program that can lie anywhere has its addresses written into it before it begins: 600,000
    // of the database's, for 7 of the 8 ms that `--version` took. This one lies where it was linked.
    let target = |part: &str| std::env::var(format!("CARGO_CFG_TARGET_{part}"));
    if target("OS").as_deref() == Ok("linux") && target("ENV").as_deref() == Ok("gnu") {
        println!("cargo::rustc-link-arg-bins=-no-pie");
    }
}
