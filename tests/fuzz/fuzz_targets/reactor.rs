//! The whole reactor over an invented kernel, whose adversary makes the choices that the input says. It
//! is the crate's own simulation, with all that this checks after every step.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|choices: &[u8]| hello_echo::choices::play(choices));
