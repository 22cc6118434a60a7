//! The server's program.

fn main() -> std::process::ExitCode {
    hello_echo::program::main()
}
