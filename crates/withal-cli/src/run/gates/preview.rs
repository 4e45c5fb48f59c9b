//! What gates would acquire, found out without acquiring anything.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use super::described::{Origin, When};
use super::directory::{self, Missing, Why};
use super::template::{is_known, placeholder};
use super::{Attributes, Planned, SearchPath, Setting, Taken, Template, Ties, Unresolved, taken};
use crate::message::{nearby, shown};
use crate::run::command::check_executable;
use crate::suggest;

/// What one gate would be.
#[derive(Debug)]
pub(crate) struct Preview {
    pub(crate) id: Option<String>,
    pub(crate) what: String,
    /// What it says of its limits, and of when it is acquired.
    pub(crate) notes: Vec<String>,
}

/// What is wrong with a gate, by its position.
#[derive(Debug)]
pub(crate) struct Wrong {
    pub(crate) gate: usize,
    pub(crate) error: anyhow::Error,
}

/// What is taken, and by whom.
struct TakenBy {
    gate: usize,
    /// What messages call the gate.
    name: String,
    taken: Taken,
}

/// Gates, and what can be known of them beforehand.
pub(crate) struct Previews<'a> {
    gates: &'a [Planned],
    attributes: Attributes,
    ties: Ties,
    /// What the gates so far take.
    taken: Vec<TakenBy>,
    /// Whether one of them may make what later gates need.
    runs_programs: bool,
    pub(crate) previews: Vec<Preview>,
    pub(crate) wrong: Vec<Wrong>,
    /// What will be wrong when they are undone.
    pub(crate) doubts: Vec<Wrong>,
    /// Where they have the command looked for.
    search_path: SearchPath,
}

impl<'a> Previews<'a> {
    pub(crate) fn of(gates: &'a [Planned]) -> anyhow::Result<Previews<'a>> {
        let mut previews = Previews {
            gates,
            attributes: Attributes::new(),
            ties: Ties::of_plan()?,
            taken: Vec::new(),
            runs_programs: false,
            previews: Vec::new(),
            wrong: Vec::new(),
            doubts: Vec::new(),
            search_path: SearchPath::Kept,
        };
        for (position, gate) in gates.iter().enumerate() {
            previews.look_at(position, gate);
        }
        Ok(previews)
    }

    fn look_at(&mut self, position: usize, gate: &Planned) {
        let is_acquired = gate.when.holds();
        let setting = Setting {
            id: gate.id.as_deref(),
            is_stdout_taken: self.gates.iter().any(Planned::takes_stdout),
            directory: &gate.directory,
            attributes: &self.attributes,
            ties: &self.ties,
        };
        // A placeholder that begins a path may stand for an absolute one.
        let base = gate.directory.join("‹");
        match gate.gate.outlook(&setting) {
            Ok(outlook) => {
                let what = outlook.what.replace(&shown(&base), "‹");
                if is_acquired {
                    let name = gate.id.clone().unwrap_or_else(|| nearby(&what));
                    let name = format!("`{name}`");
                    self.follow(outlook.search_path, &outlook.takes);
                    self.take(position, &name, outlook.takes);
                    if let Some(wrong) = outlook.wrong.filter(|wrong| !self.may_mend(wrong)) {
                        self.wrong(position, wrong);
                    }
                    if let Some(error) = outlook.doubt.filter(|_| !self.runs_programs) {
                        let gate = position;
                        self.doubts.push(Wrong { gate, error });
                    }
                    self.runs_programs |= outlook.runs_programs;
                }
                self.previews.push(Preview {
                    id: gate.id.clone(),
                    what,
                    notes: gate.notes(),
                });
            }
            // What is left out need not be right: what it lacks may be why it is left out.
            Err(_) if !is_acquired => self.previews.push(Preview {
                id: gate.id.clone(),
                what: gate.label.clone(),
                notes: gate.notes(),
            }),
            Err(error) => {
                let error = self.explain(position, error);
                self.wrong(position, error);
            }
        }
        let Some(id) = &gate.id else {
            return;
        };
        if self
            .gates
            .iter()
            .take(position)
            .any(|other| other.id.as_ref() == Some(id))
        {
            let error = anyhow::anyhow!("another gate has the id `{id}`, too; give one another");
            self.wrong(position, error);
        }
        if is_acquired {
            let names = gate.gate.attributes().iter();
            let values = names.map(|name| (*name, OsString::from(placeholder(id, name))));
            let _ = self.attributes.insert(id.clone(), values.collect());
        }
    }

    /// Takes note of where a gate has the command looked for.
    fn follow(&mut self, search_path: SearchPath, takes: &[Taken]) {
        let is_set = |taken: &Taken| matches!(taken, Taken::Variable(name) if name.as_ref() == super::SEARCH_PATH);
        match search_path {
            // A directory, say, that is not there yet.
            SearchPath::Kept if takes.iter().any(is_set) => self.search_path = SearchPath::Unknown,
            SearchPath::Kept => {}
            other => self.search_path = other,
        }
    }

    /// Whether what is wrong with a gate may be put right by those before it.
    fn may_mend(&self, wrong: &anyhow::Error) -> bool {
        let missing = wrong.downcast_ref::<Missing>();
        self.runs_programs || missing.is_some_and(|missing| self.make(&missing.directory))
    }

    /// Whether the gates make this directory: a log does.
    fn make(&self, directory: &Path) -> bool {
        let log = Taken::Log(taken::place(directory));
        self.taken.iter().any(|taken| taken.taken == log)
    }

    /// Looks for the directory of the command, and for its program there.
    ///
    /// # Errors
    ///
    /// The directory is not there, though nobody can make it any more.
    pub(crate) fn check_directory(&self, directory: &Path, program: &OsStr) -> anyhow::Result<()> {
        let checked = directory::check(directory, |why| {
            let (program, directory) = (shown(program), shown(directory));
            let Why { error, remedy } = why;
            format!("cannot start {program} in `{directory}`; {remedy}: {error}")
        });
        match checked {
            Err(error) if !self.may_mend(&error) => Err(error),
            _ => Ok(()),
        }
    }

    /// Looks for the command, in `directory` if that is known.
    ///
    /// # Errors
    ///
    /// It is not there, or cannot be executed, and no gate can change that.
    pub(crate) fn check_program(
        &self,
        program: &OsStr,
        directory: Option<&Path>,
        has_own_environment: bool,
    ) -> anyhow::Result<()> {
        let path = match &self.search_path {
            SearchPath::Unknown => return Ok(()),
            SearchPath::Set(path) => Some(path.clone()),
            SearchPath::Kept if has_own_environment => None,
            SearchPath::Kept => std::env::var_os(super::SEARCH_PATH),
        };
        if self.runs_programs {
            return Ok(());
        }
        check_executable(program, path.as_deref(), directory)
    }

    fn wrong(&mut self, gate: usize, error: anyhow::Error) {
        self.wrong.push(Wrong { gate, error });
    }

    /// Looks for who has taken what the gate `later` takes.
    fn take(&mut self, later: usize, name: &str, takes: Vec<Taken>) {
        let conflict = takes.iter().find_map(|taken| {
            let mut before = self.taken.iter();
            let first = before.find(|first| {
                taken.excludes(&first.taken) && !self.may_replace(later, first.gate, taken)
            })?;
            Some(taken.conflict(&first.name))
        });
        if let Some(error) = conflict {
            self.wrong(later, error);
        }
        self.taken.extend(takes.into_iter().map(|taken| TakenBy {
            gate: later,
            name: name.to_owned(),
            taken,
        }));
    }

    /// Looks for a gate, or for another option, that writes the file that `option` writes.
    pub(crate) fn take_file(&mut self, option: &str, path: &Path) -> anyhow::Result<()> {
        let taken = Taken::File(taken::place(path));
        let mut before = self.taken.iter();
        let first = before.find(|first| taken.excludes(&first.taken));
        let conflict = first.map(|first| taken.conflict(&first.name));
        self.taken.push(TakenBy {
            gate: self.gates.len(),
            name: format!("`{option}`"),
            taken,
        });
        conflict.map_or(Ok(()), Err)
    }

    /// Whether the gate `later` is meant to take what `first` has: a variable whose value is made of
    /// the first one's, or that the command line sets, which wins over the job file.
    fn may_replace(&self, later: usize, first: usize, taken: &Taken) -> bool {
        let (Some(later), Some(first)) = (self.gates.get(later), self.gates.get(first)) else {
            return false;
        };
        if !matches!(taken, Taken::Variable(_)) {
            return false;
        }
        let refers = match (&later.origin, &first.id) {
            (Some(origin), Some(id)) => origin.refers_to(id),
            _ => false,
        };
        refers || (first.origin().is_some() && later.origin().is_none())
    }

    /// What the command leaves running must be able to do without the gates.
    pub(crate) fn check_outlived(&mut self) {
        for (position, gate) in self.gates.iter().enumerate() {
            if !gate.gate.can_be_outlived() {
                let error = anyhow::anyhow!(
                    "is undone under what the command leaves running; write `--orphans wait`, \
                     not `detach`"
                );
                self.wrong(position, error);
            }
        }
    }

    /// A text that is used once all gates are acquired; nothing if it is not known before.
    ///
    /// # Errors
    ///
    /// It refers to what there will not be.
    pub(crate) fn text(&self, template: &Template) -> anyhow::Result<Option<OsString>> {
        let resolved = template.resolve(&self.attributes);
        let text = resolved.map_err(|error| self.explain(self.gates.len(), error))?;
        Ok(Some(text).filter(|text| is_known(text)))
    }

    /// Why a reference of the gate at `position` leads nowhere, as far as the other gates say.
    fn explain(&self, position: usize, error: anyhow::Error) -> anyhow::Error {
        let mut unresolved = match error.downcast::<Unresolved>() {
            Ok(unresolved) => unresolved,
            Err(error) => return error,
        };
        if !unresolved.is_gate_unknown {
            return unresolved.into();
        }
        let id = &unresolved.reference.id;
        let found = self
            .gates
            .iter()
            .position(|gate| gate.id.as_ref() == Some(id));
        unresolved.why = match found {
            None => {
                let earlier = self.gates.iter().take(position);
                let ids: Vec<&str> = earlier.filter_map(|gate| gate.id.as_deref()).collect();
                format!(
                    "no gate before has the id `{id}`; {}",
                    suggest::instead(id, &ids)
                )
            }
            Some(it) if it == position => {
                "a gate cannot refer to itself; only gates before it can be referred to".to_owned()
            }
            Some(later) if later > position => match self.leads_back(later, position) {
                true => format!("`{id}` refers to this gate, too; one of them has to do without"),
                false => format!("`{id}` is acquired after this gate; move it before this gate"),
            },
            Some(earlier) => {
                let when = self.gates.get(earlier).map(|gate| &gate.when);
                match when {
                    Some(When::Set(name)) => format!(
                        "`{id}` is left out, because `{name}` is not set; set it, or leave this out, too"
                    ),
                    _ => unresolved.why,
                }
            }
        };
        unresolved.into()
    }

    /// Whether what the gate `from` refers to leads to the gate `to`.
    fn leads_back(&self, from: usize, to: usize) -> bool {
        let mut seen = vec![false; self.gates.len()];
        let mut open = vec![from];
        while let Some(at) = open.pop() {
            if at == to {
                return true;
            }
            let Some(origin) = self.gates.get(at).and_then(|gate| gate.origin.as_ref()) else {
                continue;
            };
            for (next, gate) in self.gates.iter().enumerate() {
                let is_meant = gate.id.as_ref().is_some_and(|id| origin.refers_to(id));
                if let Some(seen) = seen.get_mut(next)
                    && is_meant
                    && !std::mem::replace(seen, true)
                {
                    open.push(next);
                }
            }
        }
        false
    }
}

impl Planned {
    /// The same, its relative paths relative to `directory`.
    pub(crate) fn within(mut self, directory: &Path) -> Planned {
        self.directory = directory.to_owned();
        self
    }

    /// Where in the job file it is described.
    pub(crate) fn origin(&self) -> Option<&Origin> {
        self.origin.as_ref().filter(|origin| origin.is_in_file())
    }

    pub(crate) fn label(&self) -> &str {
        &self.label
    }

    fn notes(&self) -> Vec<String> {
        let limit = |what: &str, limit: Option<std::time::Duration>| {
            limit.map(|limit| format!("{what} within {}", humantime::format_duration(limit)))
        };
        let when = match &self.when {
            When::Always => None,
            When::Set(name) if self.when.holds() => Some(format!("because {name} is set")),
            When::Set(name) => Some(format!("left out: {name} is not set")),
        };
        let notes = [
            limit("acquired", self.limits.acquire),
            limit("undone", self.limits.release),
            when,
        ];
        notes.into_iter().flatten().collect()
    }
}
