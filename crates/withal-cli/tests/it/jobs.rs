//! Job control: an interactive shell on a terminal of its own, and somebody who types.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::sync::{Arc, Mutex, PoisonError};

use nix::pty::openpty;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{Ended, Sandbox, Started, WITHAL, wait_until};

const CTRL_C: &[u8] = b"\x03";
const CTRL_Z: &[u8] = b"\x1a";

/// A command that writes down each Ctrl-C and each continuation, and exits with 7 once there is a
/// file `end`. Its process id is in `pid`. For `bash`: while `dash` has a child that has not begun its
/// program, it cannot be stopped.
const NOTES: &str = "
    trap 'echo INT >> got' INT
    trap 'echo CONT >> got' CONT
    echo $$ > pid
    while ! [ -e end ]; do sleep 0.01; echo >> turns; done
    echo finished > finished
    exit 7";

/// `bash` with job control, its keyboard and its screen.
struct Shell<'a> {
    sandbox: &'a Sandbox,
    bash: Option<Started<'a>>,
    keyboard: File,
    screen: Arc<Mutex<Vec<u8>>>,
}

impl<'a> Shell<'a> {
    fn start(sandbox: &'a Sandbox) -> Shell<'a> {
        sandbox.write("notes.sh", NOTES);
        let pty = openpty(None, None).unwrap();
        let arguments = "--ctty bash --norc --noprofile --noediting -i".split(' ');
        let mut command = sandbox.command("setsid", &arguments.collect::<Vec<_>>());
        let _ = command
            .env("W", WITHAL)
            .env("PS1", "$ ")
            .env_remove("HISTFILE")
            .stdin(pty.slave.try_clone().unwrap())
            .stdout(pty.slave.try_clone().unwrap())
            .stderr(pty.slave);
        let bash = sandbox.start(command);
        let keyboard = File::from(pty.master);
        let screen = Arc::default();
        watch(keyboard.try_clone().unwrap(), Arc::clone(&screen));
        let shell = Shell {
            sandbox,
            bash: Some(bash),
            keyboard,
            screen,
        };
        shell.wait_for("$ ");
        shell
    }

    fn press(&mut self, keys: &[u8]) {
        self.keyboard.write_all(keys).unwrap();
    }

    fn enter(&mut self, line: &str) {
        self.press(format!("{line}\n").as_bytes());
    }

    fn shows(&self, text: &str) -> bool {
        let screen = self.screen.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&screen).contains(text)
    }

    #[track_caller]
    fn wait_for(&self, text: &str) {
        wait_until(text, || self.shows(text));
    }

    /// Waits for the prompt to come back, and gives `$?`.
    #[track_caller]
    fn check_status(&mut self, expected: &str) {
        // What is typed is shown, too, so it must not look like the answer.
        self.enter("echo \"[status:$?]\"");
        self.wait_for(&format!("[status:{expected}]"));
    }

    /// The process ids of withal's two processes and of the command, which has written down its own.
    #[track_caller]
    fn processes(&self) -> [Pid; 3] {
        let mut command: i32 = 0;
        wait_until("the command's process id", || {
            let parsed = self.sandbox.read("pid").trim().parse();
            parsed.is_ok_and(|pid| {
                command = pid;
                true
            })
        });
        let command = Pid::from_raw(command);
        let keeper = stat(command).1;
        [stat(keeper).1, keeper, command]
    }

    #[track_caller]
    fn finish(mut self) -> Ended {
        self.enter("exit");
        self.bash.take().unwrap().finish()
    }
}

impl Drop for Shell<'_> {
    /// What a failed test needs to be understood.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let screen = self.screen.lock().unwrap_or_else(PoisonError::into_inner);
            eprintln!("the screen: {}", String::from_utf8_lossy(&screen));
            for process in self.sandbox.processes() {
                eprintln!("process {process}: {:?}", stat(process));
            }
        }
    }
}

/// Collects what is shown, until nobody can show anything any more.
fn watch(mut terminal: File, screen: Arc<Mutex<Vec<u8>>>) {
    let _ = std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = terminal.read(&mut buffer) {
            let mut screen = screen.lock().unwrap_or_else(PoisonError::into_inner);
            screen.extend(buffer.iter().take(length));
        }
    });
}

/// The state and the parent of a process.
fn stat(process: Pid) -> (String, Pid) {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let (_, fields) = text.rsplit_once(") ").unwrap();
    let mut fields = fields.split(' ');
    let state = fields.next().unwrap().to_owned();
    (
        state,
        Pid::from_raw(fields.next().unwrap().parse().unwrap()),
    )
}

fn is_stopped(process: Pid) -> bool {
    stat(process).0 == "T"
}

#[track_caller]
fn wait_stopped(processes: [Pid; 3]) {
    for process in processes {
        wait_until("the stop", || is_stopped(process));
    }
}

#[track_caller]
fn wait_continued(processes: [Pid; 3]) {
    for process in processes {
        wait_until("the continuation", || !is_stopped(process));
    }
}

#[test]
fn ctrl_z_gives_the_shell_back_and_fg_goes_on() {
    let sandbox = Sandbox::new();
    let mut shell = Shell::start(&sandbox);
    shell.enter("$W run -t -l lock -- bash notes.sh");
    let processes = shell.processes();
    for times in 1..=3 {
        shell.press(CTRL_Z);
        wait_stopped(processes);
        shell.enter(&format!("echo \"[{times}:$(jobs -s | wc -l)]\""));
        shell.wait_for(&format!("[{times}:1]"));
        // It still holds what it has acquired.
        let lock = File::open(sandbox.path("lock")).unwrap();
        assert!(lock.try_lock().is_err());
        shell.enter("fg");
        wait_continued(processes);
        let continued = || sandbox.read("got").matches("CONT").count() >= times;
        wait_until("the command to hear of it", continued);
        // bash forgets a signal that comes before it has left the trap of the last one.
        let turns = sandbox.read("turns").len();
        let has_gone_on = || sandbox.read("turns").len() > turns + 1;
        wait_until("the command to go on", has_gone_on);
    }
    sandbox.write("end", "");
    shell.check_status("7");
    let _ = shell.finish();
}

#[test]
fn bg_goes_on_too_and_the_shell_hears_of_the_end() {
    let sandbox = Sandbox::new();
    let mut shell = Shell::start(&sandbox);
    shell.enter("$W run -t -- bash notes.sh");
    let processes = shell.processes();
    shell.press(CTRL_Z);
    wait_stopped(processes);
    shell.enter("bg");
    wait_continued(processes);
    sandbox.write("end", "");
    shell.enter("wait %1; echo \"[waited:$?]\"");
    shell.wait_for("[waited:7]");
    let _ = shell.finish();
}

#[test]
fn a_stopped_job_that_is_killed_is_torn_down() {
    let sandbox = Sandbox::new();
    let mut shell = Shell::start(&sandbox);
    shell.enter("$W run -t -o out -- bash notes.sh");
    let processes = shell.processes();
    shell.press(CTRL_Z);
    wait_stopped(processes);
    shell.enter("kill %1");
    wait_until("the end of the job", || sandbox.processes().len() == 1);
    assert!(!sandbox.has("out"));
    let _ = shell.finish();
}

#[test]
fn a_command_that_stops_itself_gives_the_shell_back() {
    let sandbox = Sandbox::new();
    let mut shell = Shell::start(&sandbox);
    sandbox.write("stop.sh", "echo $$ > pid; kill -STOP $$; . ./notes.sh");
    shell.enter("$W run -t -- bash stop.sh");
    let processes = shell.processes();
    wait_stopped(processes);
    shell.enter("fg");
    wait_continued(processes);
    sandbox.write("end", "");
    shell.check_status("7");
    let _ = shell.finish();
}

#[test]
fn a_command_that_is_stopped_where_nobody_could_continue_withal_stops_alone() {
    let sandbox = Sandbox::new();
    sandbox.write("notes.sh", NOTES);
    let started = sandbox.start_run(&["-t", "--", "bash", "notes.sh"]);
    wait_until("the command", || sandbox.read("pid").ends_with('\n'));
    let command = Pid::from_raw(sandbox.read("pid").trim().parse().unwrap());
    kill(command, Signal::SIGSTOP).unwrap();
    wait_until("the stop", || is_stopped(command));
    started.send(Signal::SIGCONT);
    wait_until("the continuation", || !is_stopped(command));
    sandbox.write("end", "");
    started.finish().check_code(7);
}

#[test]
fn ctrl_c_reaches_the_command_once_and_then_comes_the_teardown() {
    let sandbox = Sandbox::new();
    let mut shell = Shell::start(&sandbox);
    // The directory must outlive whatever the command does in answer to the Ctrl-C.
    sandbox.write(
        "answer.sh",
        "trap 'echo INT >> got' INT; echo $$ > pid
         while ! [ -e end ]; do sleep 0.01; done
         [ -d \"$TMPDIR\" ] && echo there >> got; exit 3",
    );
    shell.enter("$W run -t -k 10ms -- bash answer.sh");
    let _ = shell.processes();
    shell.press(CTRL_C);
    wait_until("the Ctrl-C", || sandbox.has("got"));
    sandbox.write("end", "");
    shell.check_status("3");
    assert_eq!(sandbox.read("got"), "INT\nthere\n");
    let _ = shell.finish();
}

#[test]
fn ctrl_c_ends_a_loop_around_withal() {
    let sandbox = Sandbox::new();
    let mut shell = Shell::start(&sandbox);
    let script = "echo $$ > pid; exec sleep 60";
    shell.enter(&format!(
        "for i in 1 2 3; do echo $i >> rounds; $W run -t -- sh -c '{script}'; done"
    ));
    let _ = shell.processes();
    shell.press(CTRL_C);
    shell.check_status("130");
    assert_eq!(sandbox.read("rounds"), "1\n");
    let _ = shell.finish();
}

#[test]
fn a_terminal_that_goes_away_ends_the_command_and_all_is_undone() {
    let sandbox = Sandbox::new();
    let mut shell = Shell::start(&sandbox);
    shell.enter("$W run -t -o out -- bash notes.sh");
    let _ = shell.processes();
    hang_up(&shell);
    let _ = shell.bash.take().unwrap().finish_unchecked();
    wait_until("the end", || sandbox.processes().is_empty());
    sandbox.check_nothing_is_left();
    assert!(!sandbox.has("finished") && !sandbox.has("out"));
}

#[test]
fn under_nohup_it_outlives_its_terminal() {
    let sandbox = Sandbox::new();
    let mut shell = Shell::start(&sandbox);
    shell.enter("nohup $W run -t -- bash notes.sh &");
    let _ = shell.processes();
    hang_up(&shell);
    let _ = shell.bash.take().unwrap().finish_unchecked();
    sandbox.write("end", "");
    wait_until("the end", || sandbox.processes().is_empty());
    sandbox.check_nothing_is_left();
    assert_eq!(sandbox.read("finished"), "finished\n");
}

/// What the kernel does to the shell of a terminal whose window is closed.
fn hang_up(shell: &Shell<'_>) {
    shell.bash.as_ref().unwrap().send(Signal::SIGHUP);
}

#[test]
fn a_reader_that_closes_early_ends_a_pipeline_on_a_terminal() {
    let sandbox = Sandbox::new();
    let mut shell = Shell::start(&sandbox);
    shell.enter("yes | $W run -t -- cat | head -n 1; echo \"[${PIPESTATUS[*]}]\"");
    shell.wait_for("[141 141 0]");
    let _ = shell.finish();
}

#[test]
fn a_background_job_that_reads_the_terminal_is_stopped_and_fg_lets_it() {
    let sandbox = Sandbox::new();
    let mut shell = Shell::start(&sandbox);
    sandbox.write("read.sh", "echo $$ > pid; read line; echo \"$line\" > line");
    shell.enter("$W run -t -- sh read.sh &");
    let processes = shell.processes();
    wait_stopped(processes);
    shell.enter("fg");
    wait_continued(processes);
    shell.enter("for the command");
    shell.check_status("0");
    assert_eq!(sandbox.read("line"), "for the command\n");
    let _ = shell.finish();
}
