use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(payoutlake::cli::main())
}
