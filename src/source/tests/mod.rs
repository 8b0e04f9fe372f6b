//! The room against small servers in the same process.

mod api;
mod blob;
mod server;
mod sign_in;
mod sign_in_device;
mod sign_in_kinds;
mod sign_in_store;
