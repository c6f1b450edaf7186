fn main() { println!("built {}", env!("N")); }
