//! An exit that borrows must not outlive what it borrows.

use withal_core::ExitStack;

fn main() {
    let mut stack = ExitStack::new();
    {
        let name = String::from("short-lived");
        stack.callback(|| println!("{name}"));
    }
    let _ = stack.close();
}
