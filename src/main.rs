use std::process::ExitCode;

fn main() -> ExitCode {
    limit_arenas();
    ExitCode::from(payoutlake::cli::main())
}

/// The stages run on threads of their own and hand large buffers on. glibc keeps an arena for each thread (up to eight
/// a core) and gives little of them back: with the quickstart the process stood at 430 to 600 MB, with two arenas at
/// 180 to 230 MB, in the same time.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "mallopt has no safe wrapper")]
fn limit_arenas() {
    // SAFETY: sets a number inside the allocator while no other thread exists.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, 2) };
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn limit_arenas() {}
