fn main() { println!("cargo:rustc-env=N=7"); }
