//! The thread that has the connection.

use std::collections::HashMap;
use std::mem;
use std::sync::{Arc, mpsc};

use rusqlite::fallible_iterator::FallibleIterator;
use rusqlite::{Batch, CachedStatement, Connection};
use tokio::sync::oneshot;

use super::config::Config;
use super::connection;
use super::cursor::Reader;
use super::error::{During, explain, explain_on_line, notice, poisoned};
use super::handle::{Envelope, Job, RawJob, Reply, Shared, answer_or_notice};
use super::statement::{begins_at, bind, check_single, read, run};
use super::watch::{Effects, Mark, Ticket, Watch};
use crate::options::TransactionOptions;
use crate::{Error, ErrorKind, Row, Value};

/// What the thread is, from the opening of the connection to its closing.
pub(super) fn main(
    config: Config,
    shared: Arc<Shared>,
    jobs: mpsc::Receiver<Envelope>,
    opening: Arc<Ticket>,
    opened: oneshot::Sender<Result<(), Error>>,
) {
    let _unusable = Unusable(Arc::clone(&shared));
    let watch = Watch::new(config.busy_timeout, opening);
    let mut connection = match connection::open(&config, &watch) {
        Ok(connection) => connection,
        Err(error) => {
            drop(config);
            // Nobody waits for it: it was given up.
            let _ = opened.send(Err(error));
            return;
        }
    };
    // If nobody waits for it, there will be no job either.
    let _ = opened.send(Ok(()));
    let mut state = State {
        config,
        shared,
        watch,
        transaction: None,
        transactions: 0,
        is_touched: false,
        wrote: false,
    };
    let reply = loop {
        let next;
        (next, state) = Worker::new(&connection, state).serve(&jobs);
        match next {
            Next::Raw(ticket, job) => state.raw(&mut connection, &ticket, job),
            Next::Reopen(reply) => state.reopen(&mut connection, reply),
            Next::Close(reply) => break reply,
        }
    };
    let result = close(connection);
    drop(state);
    match reply {
        Some(reply) => answer_or_notice(reply, result),
        None => result.unwrap_or_else(notice),
    }
}

fn close(connection: Connection) -> Result<(), Error> {
    connection.close().map_err(|(_, error)| {
        let message = format!("the connection did not close in order: {error}");
        Error::new(ErrorKind::Refused, message)
    })
}

struct Unusable(Arc<Shared>);

impl Drop for Unusable {
    fn drop(&mut self) {
        self.0.set_unusable();
    }
}

/// What needs the connection for itself, or ends it.
enum Next {
    Raw(Arc<Ticket>, RawJob),
    Reopen(Reply),
    Close(Option<Reply>),
}

struct State {
    config: Config,
    shared: Arc<Shared>,
    watch: Arc<Watch>,
    transaction: Option<Transaction>,
    /// How many there were.
    transactions: u64,
    /// Whether there may be anything left that its next user could see.
    is_touched: bool,
    /// Whether the job at hand may have changed something.
    wrote: bool,
}

struct Transaction {
    id: u64,
    begun_by: Arc<Ticket>,
    is_read_only: bool,
    savepoints: Vec<Box<str>>,
    /// How many savepoints there were when a statement that wrote was given up: whether it was
    /// done, its caller does not know.
    given_up: Option<usize>,
    /// Whether the connection itself was used to end it. There may be another one since.
    is_ended: bool,
}

impl State {
    fn raw(&mut self, connection: &mut Connection, ticket: &Arc<Ticket>, job: RawJob) {
        let before = self.watch.turn_to(Arc::clone(ticket));
        self.is_touched = true;
        // Its panics are its caller's: they come to the other side of the reply.
        job(Ok(connection));
        let _ = self.watch.turn_to(before);
        let effects = self.watch.take_effects();
        if let Some(transaction) = &mut self.transaction {
            transaction.is_ended |= effects.ends();
        }
        // It may have set others.
        if let Err(error) = self.watch.install(connection) {
            self.shared.set_unusable();
            notice(explain(&error, &self.config, During::Statement));
        }
        self.wrote(ticket);
        self.shared.done(false);
    }

    fn reopen(&mut self, connection: &mut Connection, reply: Reply) {
        // The new one first: the last to close would sync and remove the log.
        let result = connection::open(&self.config, &self.watch).map(|new| {
            let old = mem::replace(connection, new);
            close(old).unwrap_or_else(notice);
            self.is_touched = false;
        });
        if result.is_err() {
            self.shared.set_unusable();
        }
        self.shared.done(result.is_ok());
        answer_or_notice(reply, result);
    }

    fn wrote(&mut self, ticket: &Ticket) {
        if let Some(transaction) = &self.transaction {
            let mark = Mark {
                transaction: transaction.id,
                depth: transaction.savepoints.len(),
            };
            if ticket.wrote(mark) {
                self.shared.give_up(mark);
            }
        }
    }

    fn during(&self) -> During {
        match &self.transaction {
            None => During::Statement,
            Some(transaction) if transaction.is_read_only => During::ReadOnlyTransaction,
            Some(_) => During::Transaction,
        }
    }
}

/// Serves jobs one after the other, as long as they share the connection.
pub(super) struct Worker<'c> {
    connection: &'c Connection,
    cursors: HashMap<u64, OpenCursor<'c>>,
    state: State,
}

struct OpenCursor<'c> {
    reader: Reader<'c>,
    /// The transaction it was opened in, and at which depth.
    opened: Option<Mark>,
}

impl<'c> Worker<'c> {
    fn new(connection: &'c Connection, state: State) -> Worker<'c> {
        Worker {
            connection,
            cursors: HashMap::new(),
            state,
        }
    }

    /// Until something needs the connection for itself.
    fn serve(mut self, jobs: &mpsc::Receiver<Envelope>) -> (Next, State) {
        let next = loop {
            let Ok(Envelope { ticket, job }) = jobs.recv() else {
                break Next::Close(None);
            };
            self.roll_back_unwanted();
            if ticket.is_given_up() {
                self.publish();
                continue;
            }
            match job {
                Job::Run(job) => job(&mut self),
                Job::Wake => self.publish(),
                Job::Close(reply) => break Next::Close(reply),
                Job::Raw(job) => match self.admit_raw() {
                    Ok(()) => break Next::Raw(ticket, job),
                    Err(error) => {
                        job(Err(error));
                        self.publish();
                    }
                },
                Job::Reset(reply) => {
                    self.reset();
                    if self.state.is_touched {
                        break Next::Reopen(reply);
                    }
                    self.publish();
                    answer_or_notice(reply, Ok(()));
                }
            }
        };
        self.cursors.clear();
        (next, self.state)
    }

    /// Whoever had it begun is gone, and never heard of it.
    fn roll_back_unwanted(&mut self) {
        let transaction = self.state.transaction.as_ref();
        if transaction.is_some_and(|transaction| transaction.begun_by.is_given_up()) {
            self.roll_back().unwrap_or_else(notice);
        }
    }

    /// Runs a job, which is cancelled once its ticket is given up.
    pub(super) fn perform<T>(
        &mut self,
        ticket: &Arc<Ticket>,
        job: impl FnOnce(&mut Self) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let before = self.state.watch.turn_to(Arc::clone(ticket));
        self.state.wrote = false;
        let result = job(self);
        let _ = self.state.watch.turn_to(before);
        let _ = self.note_effects();
        if result.is_err() && ticket.is_given_up() {
            self.state.config.cancelled.count();
        }
        if self.state.wrote {
            self.state.wrote(ticket);
        }
        result
    }

    /// The job is done: others may know.
    pub(super) fn publish(&self) {
        let is_clean = self.state.transaction.is_none()
            && !self.state.is_touched
            && self.cursors.is_empty()
            && self.connection.is_autocommit();
        self.state.shared.done(is_clean);
    }

    fn note_effects(&mut self) -> Effects {
        let effects = self.state.watch.take_effects();
        self.state.is_touched |= effects.touches();
        effects
    }

    fn explain(&self, error: &rusqlite::Error) -> Error {
        explain(error, &self.state.config, self.state.during())
    }

    /// In a transaction that was begun here, nothing runs outside of it.
    pub(super) fn check(&mut self) -> Result<(), Error> {
        let given_up = self.state.shared.take_given_up();
        let Some(transaction) = &mut self.state.transaction else {
            return Ok(());
        };
        if let Some(mark) = given_up.filter(|mark| mark.transaction == transaction.id) {
            let depth = transaction.given_up.unwrap_or(mark.depth).min(mark.depth);
            transaction.given_up = Some(depth);
        }
        if transaction.is_ended {
            return Err(poisoned("it was ended behind its back"));
        }
        if self.connection.is_autocommit() {
            return Err(poisoned(
                "SQLite has ended it, as it does if a statement that writes is interrupted",
            ));
        }
        match transaction.given_up {
            Some(_) => Err(poisoned("a statement that writes was given up")),
            None => Ok(()),
        }
    }

    pub(super) fn execute(&mut self, sql: &str, params: &[Value<'_>]) -> Result<u64, Error> {
        self.step(sql, params, |worker, statement| {
            let before = worker.connection.total_changes();
            let count = run(statement)?;
            Ok(if statement.readonly() {
                count
            } else if worker.connection.total_changes() == before {
                0
            } else {
                worker.connection.changes()
            })
        })
    }

    pub(super) fn query(&mut self, sql: &str, params: &[Value<'_>]) -> Result<Vec<Row>, Error> {
        self.step(sql, params, |_, statement| {
            let mut rows = Vec::new();
            let _ = read(&mut statement.raw_query(), &mut None, usize::MAX, &mut rows)?;
            Ok(rows)
        })
    }

    fn step<T>(
        &mut self,
        sql: &str,
        params: &[Value<'_>],
        run: impl FnOnce(&Self, &mut CachedStatement<'c>) -> rusqlite::Result<T>,
    ) -> Result<T, Error> {
        self.check()?;
        check_single(self.connection, sql)?;
        let prepared = self.connection.prepare_cached(sql);
        let effects = self.note_effects();
        let mut statement = prepared.map_err(|error| self.explain(&error).of_statement(sql))?;
        let result = self
            .admit(effects)
            .and_then(|()| bind(&mut statement, params))
            .and_then(|()| {
                self.state.wrote |= !statement.readonly();
                run(self, &mut statement).map_err(|error| self.explain(&error))
            });
        // Preparing is when SQLite tells what it does, and when a pragma is set: from the cache,
        // it would not be seen.
        match effects.is_none() {
            true => drop(statement),
            false => statement.discard(),
        }
        result.map_err(|error| error.of_statement(sql))
    }

    /// A transaction is ended by whoever began it.
    fn admit(&self, effects: Effects) -> Result<(), Error> {
        match &self.state.transaction {
            Some(_) if effects.ends() => Err(Error::new(
                ErrorKind::Refused,
                "this would end the transaction, which is for its own scope to do",
            )),
            _ => Ok(()),
        }
    }

    fn admit_raw(&mut self) -> Result<(), Error> {
        self.check()?;
        match self.cursors.is_empty() {
            true => Ok(()),
            false => Err(Error::new(
                ErrorKind::Refused,
                "the connection itself cannot be used while a cursor is open on it",
            )),
        }
    }

    pub(super) fn batch(&mut self, sql: &str) -> Result<(), Error> {
        let mut at = 0;
        let mut batch = Batch::new(self.connection, sql);
        loop {
            self.check()?;
            let prepared = batch.next();
            let effects = self.note_effects();
            let mut statement = match prepared {
                Ok(Some(statement)) => statement,
                Ok(None) => return Ok(()),
                Err(error) => return Err(self.explain_unread(sql, at, &error)),
            };
            // Without parameters, this is its text.
            let text = statement.expanded_sql().unwrap_or_default();
            let rest = sql.get(at..).unwrap_or_default();
            at += rest.find(&*text).unwrap_or(0);
            let begin = at + begins_at(&text);
            at += text.len();
            let result = self
                .admit(effects)
                .and_then(|()| bind(&mut statement, &[]))
                .and_then(|()| {
                    self.state.wrote |= !statement.readonly();
                    let run = run(&mut statement);
                    run.map_err(|error| self.explain_in(sql, begin, &error))
                });
            let shown = sql.get(begin..at).unwrap_or_default();
            let _: u64 = result.map_err(|error| error.of_statement(shown))?;
        }
    }

    /// Of what cannot be read, nobody knows where it ends: it is shown with the rest.
    fn explain_unread(&self, script: &str, at: usize, error: &rusqlite::Error) -> Error {
        let rest = script.get(at..).unwrap_or_default();
        let begin = at + begins_at(rest);
        let wrong_at = match error {
            rusqlite::Error::SqlInputError { sql, offset, .. } => {
                let offset = usize::try_from(*offset).unwrap_or(0);
                script.len().saturating_sub(sql.len()) + offset
            }
            _ => begin,
        };
        self.explain_in(script, wrong_at.max(begin), error)
            .with_offset(wrong_at.saturating_sub(begin))
            .of_statement(script.get(begin..).unwrap_or_default())
    }

    fn explain_in(&self, script: &str, at: usize, error: &rusqlite::Error) -> Error {
        let newlines = script
            .bytes()
            .take(at)
            .filter(|byte| *byte == b'\n')
            .count();
        let line = script.contains('\n').then_some(1 + newlines);
        explain_on_line(line, error, &self.state.config, self.state.during())
    }

    pub(super) fn begin(
        &mut self,
        ticket: &Arc<Ticket>,
        options: TransactionOptions,
    ) -> Result<(), Error> {
        if self.state.transaction.is_some() {
            let message = "there is a transaction already";
            return Err(Error::new(ErrorKind::Refused, message));
        }
        let sql = match options.read_only {
            true => "BEGIN; PRAGMA query_only = ON",
            false => "BEGIN IMMEDIATE",
        };
        self.state.transactions += 1;
        self.state.transaction = Some(Transaction {
            id: self.state.transactions,
            begun_by: Arc::clone(ticket),
            is_read_only: options.read_only,
            savepoints: Vec::new(),
            given_up: None,
            is_ended: false,
        });
        self.control(sql).inspect_err(|_| {
            self.roll_back().unwrap_or_else(notice);
        })
    }

    pub(super) fn commit(&mut self) -> Result<(), Error> {
        if self.state.transaction.is_none() {
            return Err(poisoned("it was never begun, or has been rolled back"));
        }
        self.close_cursors(0);
        let result = self.check().and_then(|()| self.control("COMMIT"));
        match result {
            Ok(()) => self.end_transaction(),
            Err(error) => {
                self.roll_back().unwrap_or_else(notice);
                Err(error)
            }
        }
    }

    pub(super) fn roll_back(&mut self) -> Result<(), Error> {
        self.close_cursors(0);
        let rolled_back = match self.connection.is_autocommit() {
            true => Ok(()),
            false => self.control("ROLLBACK"),
        };
        rolled_back.and(self.end_transaction())
    }

    /// Undoes what beginning has set.
    fn end_transaction(&mut self) -> Result<(), Error> {
        match self.state.transaction.take() {
            Some(transaction) if transaction.is_read_only => {
                self.control("PRAGMA query_only = OFF")
            }
            _ => Ok(()),
        }
    }

    pub(super) fn savepoint(&mut self, name: &str) -> Result<(), Error> {
        self.check()?;
        if self.state.transaction.is_none() {
            return Err(poisoned("it was never begun, or has been rolled back"));
        }
        self.control(&format!("SAVEPOINT {}", quoted(name)))?;
        if let Some(transaction) = &mut self.state.transaction {
            transaction.savepoints.push(name.into());
        }
        Ok(())
    }

    pub(super) fn release(&mut self, name: &str) -> Result<(), Error> {
        self.check()?;
        let depth = self
            .depth_of(name)
            .ok_or_else(|| poisoned("there is no such savepoint"))?;
        self.close_cursors(depth + 1);
        self.control(&format!("RELEASE {}", quoted(name)))?;
        self.forget_savepoints(depth);
        Ok(())
    }

    /// A savepoint that is not there was given up before it was set, and so nothing was done in it.
    pub(super) fn roll_back_to(&mut self, name: &str) -> Result<(), Error> {
        let checked = self.check();
        match &self.state.transaction {
            None => return Err(poisoned("it has been rolled back as a whole")),
            Some(transaction) if transaction.is_ended || self.connection.is_autocommit() => {
                return checked;
            }
            Some(_) => {}
        }
        let Some(depth) = self.depth_of(name) else {
            return Ok(());
        };
        self.close_cursors(depth + 1);
        let name = quoted(name);
        let result = self.control(&format!("ROLLBACK TO {name}; RELEASE {name}"));
        if let Some(transaction) = &mut self.state.transaction {
            transaction.given_up = match result {
                Ok(()) => transaction.given_up.filter(|given_up| *given_up <= depth),
                Err(_) => Some(0),
            };
        }
        self.forget_savepoints(depth);
        result
    }

    fn depth_of(&self, savepoint: &str) -> Option<usize> {
        let mut names = self.state.transaction.as_ref()?.savepoints.iter();
        names.rposition(|name| **name == *savepoint)
    }

    fn forget_savepoints(&mut self, depth: usize) {
        if let Some(transaction) = &mut self.state.transaction {
            transaction.savepoints.truncate(depth);
        }
    }

    /// Runs a statement of our own.
    fn control(&mut self, sql: &str) -> Result<(), Error> {
        let result = self.connection.execute_batch(sql);
        let _ = self.state.watch.take_effects();
        result.map_err(|error| self.explain(&error).of_statement(sql))
    }

    fn reset(&mut self) {
        self.cursors.clear();
        if let Err(error) = self.roll_back() {
            self.state.is_touched = true;
            notice(error);
        }
    }

    pub(super) fn open_cursor(
        &mut self,
        id: u64,
        sql: &str,
        params: &[Value<'_>],
        batch: usize,
    ) -> Result<(), Error> {
        self.check()?;
        check_single(self.connection, sql)?;
        // Not from the cache: it may be half read for long.
        let prepared = self.connection.prepare(sql);
        let effects = self.note_effects();
        let mut statement = prepared.map_err(|error| self.explain(&error).of_statement(sql))?;
        self.admit(effects)
            .and_then(|()| bind(&mut statement, params))
            .map_err(|error| error.of_statement(sql))?;
        self.state.wrote |= !statement.readonly();
        let opened = self.state.transaction.as_ref().map(|transaction| Mark {
            transaction: transaction.id,
            depth: transaction.savepoints.len(),
        });
        let reader = Reader::new(statement, sql, batch);
        let _ = self.cursors.insert(id, OpenCursor { reader, opened });
        self.read_ahead(id);
        Ok(())
    }

    /// The batch that was read ahead; empty at the end.
    pub(super) fn next_batch(&mut self, id: u64) -> Result<Vec<Row>, Error> {
        self.check()?;
        match self.cursors.get_mut(&id) {
            Some(cursor) => cursor.reader.take_batch(),
            None => Err(Error::new(
                ErrorKind::Refused,
                "the cursor was closed at the end of its transaction",
            )),
        }
    }

    pub(super) fn read_ahead(&mut self, id: u64) {
        let (config, during) = (&self.state.config, self.state.during());
        if let Some(cursor) = self.cursors.get_mut(&id) {
            cursor
                .reader
                .read_batch(|error| explain(error, config, during));
        }
    }

    pub(super) fn close_cursor(&mut self, id: u64) {
        let _ = self.cursors.remove(&id);
    }

    /// Closes those that were opened in the transaction, at this depth or below.
    fn close_cursors(&mut self, depth: usize) {
        let Some(Transaction { id, .. }) = &self.state.transaction else {
            return;
        };
        self.cursors.retain(|_, cursor| match cursor.opened {
            Some(opened) => opened.transaction != *id || opened.depth < depth,
            None => true,
        });
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
