//! The program `hello-load`.

fn main() -> std::process::ExitCode {
    hello_echo::load::program::main()
}
