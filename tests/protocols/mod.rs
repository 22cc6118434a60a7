//! Three protocols, each written with the public interface alone, as yours would be.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "a library of one's own would export them; every test uses its own part"
)]

pub mod chargen;
pub mod daytime;
pub mod echo;
