//! What the types forbid, and what the compiler says to somebody who tries it.

#[test]
#[cfg_attr(miri, ignore = "runs cargo")]
fn misuse_of_async_blocks_does_not_compile_and_the_message_says_what_to_do() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
