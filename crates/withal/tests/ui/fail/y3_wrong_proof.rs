//! Must not compile: the proof is that of the own generator.
#![allow(unused)]
use withal::*;

fn bad<'a, 'b>(a: Given<'a>, b: &AsyncYielder<'b, u32>) -> Given<'b> { a }
fn main() {}
