//! Recordings: what went through the tee comes out of the replay, whole, cut, packed or hostile.

mod damage;
mod fake;
mod lookup;
mod memory;
mod real;
mod round_trip;
mod script;
mod tshark;
