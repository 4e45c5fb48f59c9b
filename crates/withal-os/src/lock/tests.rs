//! The two texts that name a holder.

use rustix::fs::makedev;

use super::{holder, record};

#[test]
fn the_kernels_list_names_the_holder_and_not_the_waiters() {
    let locks = "\
1: POSIX  ADVISORY  WRITE 7 fe:00:131 0 EOF
2: FLOCK  ADVISORY  WRITE 8 fe:00:132 0 EOF
3: FLOCK  ADVISORY  WRITE 4711 fe:00:131 0 EOF
3: -> FLOCK  ADVISORY  WRITE 9 fe:00:131 0 EOF
4: FLOCK  ADVISORY  WRITE 0 fe:01:131 0 EOF
";
    let check = |major, minor, inode, want| {
        assert_eq!(holder::parse(locks, makedev(major, minor), inode), want);
    };
    check(0xfe, 0, 131, Some(4711));
    check(0xfe, 0, 132, Some(8));
    check(0xfe, 1, 131, None); // outside this pid namespace
    check(0xfe, 0, 133, None);
    assert_eq!(holder::parse("garbage\n\n1:", makedev(0, 0), 1), None);
}

#[test]
fn only_digits_and_a_newline_are_a_record() {
    let check = |content: &[u8], want| assert_eq!(record::parse(content), want, "{content:?}");
    check(b"4711\n", Some(4711));
    check(b"4711", None);
    check(b"\n", None);
    check(b"+7\n", None);
    check(b"12 34\n", None);
    check(b"4294967296\n", None);
    check(b"", None);
}
