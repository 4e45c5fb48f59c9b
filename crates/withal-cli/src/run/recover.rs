//! Undoing what killed runs have left: `withal recover`, `withal ls`, and the beginning of a run.
//!
//! A run is dead if, and only if, the lock of its journal is free; whoever recovers it holds the
//! lock meanwhile, so that two never do. Processes come first, then the gates, newest first.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::time::{sleep, timeout};

use super::gates::Recovery;
use super::identity::{Distance, Host};
use super::journal::{
    Directory, Found, Gate, Journal, Reading, Record, Refused, State, Story, look, now, remove,
};
use super::leftovers;
use super::{Exit, RunId, runtime};
use crate::cli::duration;
use crate::message::{Level, Messages, say, shown};
use crate::output::Output;

pub(crate) const RECOVER_HELP: &str = "\
A run that was killed with `kill -9`, both of its processes at once, leaves its journal, and what
the journal names: processes, directories, files. This ends and undoes that, in reverse order. The
next run of the same job does so, too.

Nothing is touched that is not known to belong to the run: process ids, inodes and owners are
compared. A journal of another machine, or a damaged one, is listed and left alone; one that has
failed five times is tried again only with its ID or --all.

Exit status:
  0    nothing is left to be undone
  1    something is; it was told
  125  withal failed: wrong usage, or the journals cannot be read";

/// After so many failures nobody tries again unasked.
const MAX_ATTEMPTS: usize = 5;

/// How long a run may be held up by what earlier ones have left.
const BUDGET: Duration = Duration::from_secs(2);

/// How often `--watch` looks.
const PAUSE: Duration = Duration::from_secs(2);

/// How long `--watch` leaves a run alone that it could not recover: longer each time, for a server
/// may be away for minutes, and what has failed [`MAX_ATTEMPTS`] times is tried no more.
const REST: [Duration; 4] = [
    Duration::from_secs(10),
    Duration::from_secs(60),
    Duration::from_secs(5 * 60),
    Duration::from_secs(15 * 60),
];

/// How many digits of an id are enough.
const MIN_DIGITS: usize = 4;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Ids of runs, or their beginnings, as `withal ls` shows them [default: all dead ones]
    #[arg(value_name = "ID")]
    ids: Vec<String>,

    /// Also those that have failed five times
    #[arg(long)]
    all: bool,

    /// Say what would be done
    #[arg(short = 'n', long)]
    dry_run: bool,

    /// Only runs that were started longer ago
    #[arg(long, value_name = "DUR", value_parser = duration)]
    older_than: Option<Duration>,

    /// Go on looking for runs that have been killed
    #[arg(long, conflicts_with_all = ["ids", "dry_run"])]
    watch: bool,

    /// Say each step
    #[arg(short, long, conflicts_with = "quiet")]
    verbose: bool,

    /// Say only what is left to be undone
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ListArguments {
    /// One JSON object for each run
    #[arg(long)]
    json: bool,
}

/// What is said of a run.
#[derive(Debug, Serialize)]
struct Listed {
    id: Option<RunId>,
    state: Condition,
    job: Option<String>,
    argv: Vec<String>,
    cwd: Option<String>,
    host: Option<String>,
    /// When it was started, in seconds since 1970.
    at: Option<u64>,
    front: Option<i32>,
    command: Option<i32>,
    gates: Vec<ListedGate>,
    attempts: usize,
    /// What is wrong.
    why: Vec<String>,
    journal: PathBuf,
}

#[derive(Debug, Serialize)]
struct ListedGate {
    name: String,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Condition {
    /// Its processes hold its lock.
    Live,
    /// It can be recovered.
    Dead,
    /// It has failed too often.
    Parked,
    /// It was on another machine.
    Elsewhere,
    Damaged,
    /// Not a journal of ours.
    Foreign,
}

/// What came of trying to recover a run.
enum Outcome {
    /// There is nothing to do.
    Fine,
    Recovered,
    /// Why something is left.
    Pending(Vec<String>),
}

/// Recovers what there is to recover.
pub(crate) fn recover(arguments: &Arguments) -> Exit {
    let messages = Messages::new(match (arguments.verbose, arguments.quiet) {
        (true, _) => Level::Verbose,
        (_, true) => Level::Quiet,
        _ => Level::Normal,
    });
    let recovered = runtime(messages).and_then(|runtime| {
        runtime.block_on(async {
            match arguments.watch {
                true => watch(arguments, messages).await,
                false => pass(arguments, messages).await,
            }
        })
    });
    match recovered {
        Ok(true) => Exit::SUCCESS,
        Ok(false) => Exit::Code(1),
        Err(error) => {
            say(format_args!("{error:#}"));
            Exit::FAILED
        }
    }
}

/// Tries each run once; whether nothing is left.
async fn pass(arguments: &Arguments, messages: Messages) -> anyhow::Result<bool> {
    let directory = Directory::here()?;
    let mut journals = directory.journals(None)?;
    if !arguments.ids.is_empty() {
        journals = named(&journals, &arguments.ids)?;
    }
    let options = Options::of(arguments);
    let mut is_clean = true;
    for path in journals {
        match try_one(&path, &options, messages).await {
            Outcome::Fine | Outcome::Recovered => {}
            Outcome::Pending(errors) => {
                is_clean = false;
                for error in errors {
                    say(format_args!("{}: {error}", name_of(&path)));
                }
            }
        }
    }
    Ok(is_clean)
}

/// A run that could not be recovered, as `--watch` knows it.
#[derive(Default)]
struct Failing {
    told: String,
    times: usize,
    next: Option<Instant>,
}

/// Recovers what is killed, for ever. What it cannot recover it tells when that is new, and goes on.
async fn watch(arguments: &Arguments, messages: Messages) -> ! {
    let options = Options::of(arguments);
    let mut failing: HashMap<PathBuf, Failing> = HashMap::new();
    let mut unlisted = String::new();
    loop {
        let listed = Directory::here().and_then(|directory| directory.journals(None));
        let error = listed.as_ref().err().map(|error| format!("{error:#}"));
        let error = error.unwrap_or_default();
        if error != unlisted && !error.is_empty() {
            say(format_args!("{error}"));
        }
        unlisted = error;
        let journals = listed.unwrap_or_default();
        failing.retain(|path, _| journals.contains(path));
        for path in journals {
            let now = Instant::now();
            let rests = |known: &Failing| known.next.is_some_and(|next| next > now);
            if failing.get(&path).is_some_and(rests) {
                continue;
            }
            let Outcome::Pending(errors) = try_one(&path, &options, messages).await else {
                let _recovered = failing.remove(&path);
                continue;
            };
            let name = name_of(&path);
            let known = failing.entry(path).or_default();
            let error = errors.join("; ");
            if known.told != error {
                say(format_args!("{name}: {error}"));
                known.told = error;
            }
            let [.., longest] = REST;
            let rest = REST.get(known.times).copied().unwrap_or(longest);
            known.next = Some(now + rest);
            known.times += 1;
        }
        sleep(PAUSE).await;
    }
}

/// The journals that `ids` mean; each must mean one.
fn named(journals: &[PathBuf], ids: &[String]) -> anyhow::Result<Vec<PathBuf>> {
    let mut chosen = Vec::new();
    for id in ids {
        anyhow::ensure!(
            id.len() >= MIN_DIGITS,
            "`{id}`: write at least {MIN_DIGITS} digits of the id; `withal ls` shows them"
        );
        let matching =
            |path: &&PathBuf| id_of(path).is_some_and(|known| known.starts_with(id.as_str()));
        let mut found = journals.iter().filter(matching);
        let (first, second) = (found.next(), found.next());
        match (first, second) {
            (Some(path), None) => chosen.push(path.clone()),
            (None, _) => anyhow::bail!("`{id}`: no run has such an id; `withal ls` shows them"),
            _ => anyhow::bail!("`{id}`: more than one run has such an id; write more digits"),
        }
    }
    Ok(chosen)
}

/// The id in a journal's name.
fn id_of(path: &Path) -> Option<&str> {
    path.file_stem()?
        .to_str()?
        .rsplit_once('-')
        .map(|(_, id)| id)
}

/// What messages call a run.
fn name_of(path: &Path) -> String {
    match id_of(path).and_then(|id| id.parse::<RunId>().ok()) {
        Some(id) => format!("run {}", id.short()),
        None => shown(path),
    }
}

struct Options {
    /// Whether what has failed too often is tried all the same.
    insists: bool,
    /// Whether the runs are asked for by their ids.
    is_named: bool,
    is_rehearsal: bool,
    older_than: Option<Duration>,
}

impl Options {
    fn of(arguments: &Arguments) -> Options {
        Options {
            insists: arguments.all || !arguments.ids.is_empty(),
            is_named: !arguments.ids.is_empty(),
            is_rehearsal: arguments.dry_run,
            older_than: arguments.older_than,
        }
    }
}

/// Undoes what earlier runs of a job have left, as far as there is time.
pub(super) async fn before(job: &str, messages: Messages) {
    let listed = Directory::here().and_then(|directory| directory.journals(Some(job)));
    let journals = match listed {
        Ok(journals) => journals,
        Err(error) => return messages.warn(format_args!("{error:#}")),
    };
    let options = Options {
        insists: false,
        is_named: false,
        is_rehearsal: false,
        older_than: None,
    };
    let all = async {
        for path in journals {
            if let Outcome::Pending(errors) = try_one(&path, &options, messages).await {
                let name = name_of(&path);
                let errors = errors.join("; ");
                messages.warn(format_args!(
                    "an earlier run is not undone: {name}: {errors}"
                ));
            }
        }
    };
    if timeout(BUDGET, all).await.is_err() {
        messages.warn("undoing an earlier run takes too long: finish it by `withal recover`");
    }
}

async fn try_one(path: &Path, options: &Options, messages: Messages) -> Outcome {
    let found = match Found::lock(path) {
        Ok(found) => found,
        Err(Refused::Alive) if options.is_named => {
            return Outcome::Pending(vec!["is alive; it undoes its gates itself".to_owned()]);
        }
        Err(Refused::Alive | Refused::Gone) => return Outcome::Fine,
        Err(Refused::Foreign(why)) => return left_alone(&why, path),
    };
    let story = match found.read() {
        Ok(Reading::Whole(story)) => *story,
        // Its run was killed before it had begun.
        Ok(Reading::Empty) => {
            return match options.is_rehearsal {
                true => {
                    say(format_args!("{}: {REMOVES}", name_of(path)));
                    Outcome::Fine
                }
                false => removed(path),
            };
        }
        Ok(Reading::Damaged(why)) => return left_alone(&format!("damaged: {why}"), path),
        Err(error) => return Outcome::Pending(vec![format!("{error:#}")]),
    };
    let opened = &story.opened;
    let age = Duration::from_secs(now().saturating_sub(opened.at));
    if options.older_than.is_some_and(|least| age < least) {
        return Outcome::Fine;
    }
    let distance = Host::this().distance(&opened.host);
    if distance == Distance::OtherHost {
        let host = &opened.host.name;
        return Outcome::Pending(vec![format!("on `{host}`: recover it there")]);
    }
    if story.attempts.len() >= MAX_ATTEMPTS && !options.insists {
        let times = story.attempts.len();
        let last = story.attempts.last().map(|errors| errors.join("; "));
        return Outcome::Pending(vec![format!(
            "has failed {times} times, so it is tried by its id only: {}",
            last.unwrap_or_default()
        )]);
    }
    if options.is_rehearsal {
        rehearse(&story, distance);
        return Outcome::Fine;
    }
    finish(&found, story, distance, messages).await
}

fn left_alone(why: &str, path: &Path) -> Outcome {
    let path = shown(path);
    Outcome::Pending(vec![format!(
        "left alone: {why}; look at `{path}`, undo by hand what is left, and remove it"
    )])
}

fn removed(path: &Path) -> Outcome {
    match remove(path) {
        Ok(()) => Outcome::Fine,
        Err(error) => Outcome::Pending(vec![format!("{error:#}")]),
    }
}

/// Says that a run has left something, and who can undo it.
pub(super) fn say_pending(journal: &Journal, id: RunId) {
    // Without a journal that others can read, nobody can.
    if journal.is_kept() {
        let id = id.short();
        say(format_args!(
            "not all is undone: `withal recover {id}` tries again"
        ));
    }
}

/// What is done of a run that has left nothing else.
const REMOVES: &str = "would remove the journal";

/// Says what would be done.
fn rehearse(story: &Story, distance: Distance) {
    let name = format!("run {}", story.opened.id.short());
    let mut is_over = story.pending().next().is_none();
    match leftovers::look(story, distance) {
        Ok(pids) => {
            is_over &= pids.is_empty();
            for pid in pids {
                let process = super::tree::describe(nix::unistd::Pid::from_raw(pid));
                say(format_args!("{name}: would end {process}"));
            }
        }
        Err(error) => {
            is_over = false;
            say(format_args!("{name}: {error}"));
        }
    }
    for gate in story.pending() {
        say(format_args!("{name}: would undo {}", gate.name));
    }
    if is_over {
        say(format_args!("{name}: {REMOVES}"));
    }
}

/// Ends and undoes all that is left of a run.
async fn finish(found: &Found, story: Story, distance: Distance, messages: Messages) -> Outcome {
    let (id, job) = (story.opened.id, story.opened.job.clone());
    let how = how_it_ended(&story, distance);
    let journal = match Journal::resume(found, &story) {
        Ok(journal) => journal,
        Err(error) => return Outcome::Pending(vec![format!("{error:#}")]),
    };
    let recovery = Recovery::new(&story, distance, &journal, messages);
    // What they use is not taken away from processes that live.
    let errors = match leftovers::end(&story, distance, messages).await {
        Ok(()) => undo_gates(&journal, story.gates, &recovery).await,
        Err(error) => vec![error],
    };
    let written = match errors.is_empty() {
        true => journal.close(&Record::Closed { exit: None }),
        false => journal.write(&Record::Attempt {
            at: now(),
            errors: errors.clone(),
        }),
    };
    match written {
        Err(error) => {
            let errors = errors.into_iter().chain([format!("{error:#}")]);
            Outcome::Pending(errors.collect())
        }
        Ok(()) if errors.is_empty() => {
            let id = id.short();
            messages.warn(format_args!("recovered run {id} of {job}{how}"));
            Outcome::Recovered
        }
        Ok(()) => Outcome::Pending(errors),
    }
}

/// What kept a run from telling how it went; nothing is known of one whose command has ended.
fn how_it_ended(story: &Story, distance: Distance) -> String {
    let by = match distance {
        Distance::OtherBoot => "the machine stopped",
        _ => "it was killed",
    };
    match (story.commanded, story.exited) {
        (_, Some(_)) => String::new(),
        (Some(_), None) => format!(": {by} while its command ran, so there is no report"),
        (None, None) => format!(": {by} before its command was started, so there is no report"),
    }
}

/// Undoes what is left, newest first; one that fails does not stop the others, and is tried again
/// after them: a server that has died goes, and with it what was on it.
pub(super) async fn undo_gates(
    journal: &Journal,
    gates: Vec<Gate>,
    recovery: &Recovery,
) -> Vec<String> {
    let is_left = |gate: &&Gate| gate.undo.is_some() && gate.state != State::Released;
    let left = gates.iter().filter(is_left).count();
    let errors = undo_once(journal, gates, recovery).await;
    if errors.is_empty() || errors.len() == left {
        return errors;
    }
    match journal.read() {
        Ok(Reading::Whole(story)) => undo_once(journal, story.gates, recovery).await,
        _ => errors,
    }
}

async fn undo_once(journal: &Journal, gates: Vec<Gate>, recovery: &Recovery) -> Vec<String> {
    let mut errors = Vec::new();
    for gate in gates.into_iter().rev() {
        let Some(undo) = gate.undo.filter(|_| gate.state != State::Released) else {
            continue;
        };
        let name = &gate.name;
        recovery.messages.step(format_args!("undoing {name}"));
        let undone = undo.undo(recovery).await;
        let noted = undone.and_then(|()| journal.released(gate.number));
        if let Err(error) = noted {
            errors.push(format!("{name}: {error:#}"));
        }
    }
    errors
}

/// Lists runs that live, and those that are not undone.
pub(crate) fn ls(arguments: &ListArguments) -> Exit {
    match list(arguments) {
        Ok(()) => Exit::SUCCESS,
        Err(error) => {
            say(format_args!("{error:#}"));
            Exit::FAILED
        }
    }
}

fn list(arguments: &ListArguments) -> anyhow::Result<()> {
    let this = Host::this();
    let journals = Directory::here()?.journals(None)?;
    let listed = journals.iter().filter_map(|path| describe(path, &this));
    let mut output = Output::new()?;
    for run in listed {
        match arguments.json {
            true => output.line(serde_json::to_string(&run)?)?,
            false => tell(&run, &mut output)?,
        }
    }
    output.flush()
}

/// What the journal at `path` tells; nothing if it has just gone.
fn describe(path: &Path, this: &Host) -> Option<Listed> {
    let mut listed = Listed {
        id: id_of(path).and_then(|id| id.parse().ok()),
        state: Condition::Foreign,
        job: None,
        argv: Vec::new(),
        cwd: None,
        host: None,
        at: None,
        front: None,
        command: None,
        gates: Vec::new(),
        attempts: 0,
        why: Vec::new(),
        journal: path.to_owned(),
    };
    let lives = match Found::lock(path) {
        Ok(_lock) => false,
        Err(Refused::Alive) => true,
        Err(Refused::Gone) => return None,
        Err(Refused::Foreign(why)) => {
            listed.why.push(why);
            return Some(listed);
        }
    };
    let story = match look(path) {
        Ok(Reading::Whole(story)) => *story,
        Ok(Reading::Empty) | Err(Refused::Gone | Refused::Alive) => return None,
        Ok(Reading::Damaged(why)) => {
            listed.state = Condition::Damaged;
            listed.why.push(why);
            return Some(listed);
        }
        Err(Refused::Foreign(why)) => {
            listed.why.push(why);
            return Some(listed);
        }
    };
    listed.state = match this.distance(&story.opened.host) {
        _ if lives => Condition::Live,
        Distance::OtherHost => Condition::Elsewhere,
        _ if story.attempts.len() >= MAX_ATTEMPTS => Condition::Parked,
        _ => Condition::Dead,
    };
    let opened = story.opened;
    listed.id = Some(opened.id);
    listed.job = Some(opened.job);
    listed.argv = opened.argv;
    listed.cwd = Some(opened.cwd);
    listed.host = Some(opened.host.name);
    listed.at = Some(opened.at);
    listed.front = opened.front.map(|front| front.pid);
    listed.command = story.command.map(|command| command.pid);
    listed.attempts = story.attempts.len();
    listed.why = story.attempts.into_iter().next_back().unwrap_or_default();
    let gates = story.gates.into_iter().map(|gate| ListedGate {
        name: gate.name,
        state: gate.state,
    });
    listed.gates = gates.collect();
    Some(listed)
}

/// A run in some lines.
fn tell(run: &Listed, output: &mut Output) -> anyhow::Result<()> {
    let id = run.id.map_or_else(|| shown(&run.journal), |id| id.short());
    let state = match run.state {
        Condition::Live => "live",
        Condition::Dead => "dead",
        Condition::Parked => "parked",
        Condition::Elsewhere => "elsewhere",
        Condition::Damaged => "damaged",
        Condition::Foreign => "foreign",
    };
    let age = run.at.map(|at| {
        let age = Duration::from_secs(now().saturating_sub(at));
        format!("  {}", humantime::format_duration(age))
    });
    let argv: Vec<String> = run.argv.iter().map(shown).collect();
    let (age, argv) = (age.unwrap_or_default(), argv.join(" "));
    output.line(format_args!("{id}  {state}{age}  {argv}"))?;
    for gate in run.gates.iter().rev() {
        let state = match gate.state {
            State::Intended => "being acquired",
            State::Acquired => "held",
            State::Releasing => "being undone",
            State::Released => continue,
        };
        output.line(format_args!("  {} ({state})", shown(&gate.name)))?;
    }
    for why in &run.why {
        output.line(format_args!("  {}", shown(why)))?;
    }
    if let (Condition::Elsewhere, Some(host)) = (run.state, &run.host) {
        output.line(format_args!("  on `{}`", shown(host)))?;
    }
    Ok(())
}
