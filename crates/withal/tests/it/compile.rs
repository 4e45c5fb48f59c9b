//! Programs that must compile, and programs that must not, with what the compiler says.

#[test]
#[cfg_attr(
    feature = "sql",
    ignore = "builds all dependencies again, which are not what it is about: run without `sql`"
)]
fn the_compiler_decides_as_it_should() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/ui/pass/*.rs");
    cases.compile_fail("tests/ui/fail/*.rs");
    // Some messages list the managers there are.
    if cfg!(feature = "os") {
        cases.compile_fail("tests/ui/macros/*.rs");
    }
}
