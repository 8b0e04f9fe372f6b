//! The room against small servers in the same process.

mod api;
mod blob;
mod server;
mod sign_in;
