//! Four protocols, each written with the public interface alone, as yours would be, and a client
//! without a socket to test them with.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "a library of one's own would export them; every test uses its own part"
)]

pub mod chargen;
pub mod daytime;
pub mod echo;
pub mod finger;
pub mod talk;
