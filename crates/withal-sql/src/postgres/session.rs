//! One session.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker, ready};

use futures_core::Stream as _;
use tokio::task::JoinSet;
use tokio_postgres::error::{DbError, Severity, SqlState};
use tokio_postgres::{Client, Statement};

use super::ahead::{Ahead, Seat, lock};
use super::cache::Cache;
use super::committing::{Committing, MARK, Way};
use super::config::Config;
use super::connect::{Canceller, Connected, Pump, connect};
use super::types::Param;
use crate::options::{Isolation, Then, TransactionOptions};
use crate::row::Row;
use crate::{Error, ErrorKind, Value};

/// A session, and what is known of it.
pub(crate) struct Postgres {
    pub(super) client: Arc<Client>,
    pub(super) canceller: Canceller,
    pub(super) cache: Cache,
    /// Held while what was given up comes to its end.
    pub(super) settling: tokio::sync::Mutex<()>,
    pub(super) ahead: Arc<Ahead>,
    state: Arc<Mutex<State>>,
    pump: Pump,
}

/// What we know of the session's state: the driver does not tell what the server says of it.
#[derive(Default)]
pub(super) struct State {
    /// How many futures wait for an answer.
    pub(super) running: u32,
    /// A future was dropped before its answer: what it asked for may run still.
    pub(super) abandoned: bool,
    /// A request to cancel that is on its way: it may hit what is sent before it has ended.
    pub(super) cancelling: Option<Cancelling>,
    /// Parks rows for those who have the driver's client: we do not see when they wait.
    parking: Option<JoinSet<()>>,
    /// A `BEGIN` that goes with the first statement.
    begin: Option<String>,
    in_transaction: bool,
    /// A statement of the transaction has failed: the server refuses all others.
    pub(super) failed: bool,
    /// Statements were run that may have ended the transaction, or prepared some of their own.
    unruly: bool,
    /// A `COMMIT` that was sent, and whose future was dropped.
    pub(super) committing: Option<Committing>,
    /// Somebody has the driver's client: what is given up there, we do not see.
    lent: bool,
    /// Names may mean other things than they do to the next user.
    renamed: bool,
    /// A reset that was sent, until its answer is seen.
    reset: Option<Reset>,
    /// Statements that were being prepared when that was given up: the server has them for ever.
    stray: u32,
    /// Why it must not be used any more.
    pub(super) broken: Option<String>,
}

impl State {
    /// Whether a reset is all that it takes to be as new, outside of a transaction: nothing of its
    /// user runs, nor was anything done that we have not seen.
    fn is_tidy(&self) -> bool {
        self.running == 0
            && !self.abandoned
            && !self.unruly
            && self.stray <= STRAY
            && self.cancelling.is_none()
            && self.reset.is_none()
    }

    fn broken(&mut self, why: impl fmt::Display) {
        let _ = self
            .broken
            .get_or_insert_with(|| format!("the connection must not be used any more: {why}"));
    }
}

/// A reset on its way. It is answered before what is sent after it.
type Reset = Pin<Box<dyn Future<Output = Result<(), tokio_postgres::Error>> + Send>>;

/// A request to cancel.
pub(super) type Cancelling = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

/// So many stray statements are put up with.
const STRAY: u32 = 64;

/// A future that waits for an answer; dropped before that, it is noted.
pub(super) struct Running {
    state: Arc<Mutex<State>>,
    is_answered: bool,
}

impl Running {
    pub(super) fn new(session: &Postgres) -> Running {
        session.state().running += 1;
        Running {
            state: Arc::clone(&session.state),
            is_answered: false,
        }
    }

    pub(super) fn answered(mut self) {
        self.is_answered = true;
    }

    /// What a failure means, and notes what it did to the transaction.
    pub(super) fn failed(&self, failure: Failure) -> Error {
        failed(&self.state, failure)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        state.running -= 1;
        state.abandoned |= !self.is_answered;
    }
}

impl Postgres {
    pub(crate) async fn open(config: &Config) -> Result<Postgres, Error> {
        let Connected {
            client,
            canceller,
            pump,
        } = connect(config).await?;
        Ok(Postgres {
            client: Arc::new(client),
            canceller,
            cache: Cache::default(),
            settling: tokio::sync::Mutex::default(),
            ahead: Arc::default(),
            state: Arc::default(),
            pump,
        })
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    pub(crate) async fn execute(&self, sql: &str, params: &[Value<'_>]) -> Result<u64, Error> {
        let execute = move || async move {
            let statement = self.prepare(sql, params.len()).await?;
            let params = params.iter().map(Param);
            Ok(self.client.execute_raw(&statement, params).await?)
        };
        self.run_prepared(sql, execute).await
    }

    pub(crate) async fn query(&self, sql: &str, params: &[Value<'_>]) -> Result<Vec<Row>, Error> {
        let query = move || async move {
            let statement = self.prepare(sql, params.len()).await?;
            self.rows(&statement, params).await
        };
        self.run_prepared(sql, query).await
    }

    /// Runs a user's statement; once more, if it was prepared for tables that are not so any more.
    pub(super) async fn run_prepared<T, F: Future<Output = Result<T, Failure>>>(
        &self,
        sql: &str,
        work: impl Fn() -> F,
    ) -> Result<T, Error> {
        self.admit(sql)?;
        match self.run(sql, work()).await {
            Err(error) if self.is_stale(sql, &error).await => {
                let again = self.run(sql, work()).await;
                again.inspect_err(|error| self.note_lasting(error))
            }
            result => result,
        }
    }

    /// All rows.
    pub(super) async fn rows(
        &self,
        statement: &Statement,
        params: &[Value<'_>],
    ) -> Result<Vec<Row>, Failure> {
        let params = params.iter().map(Param);
        let mut stream = pin!(self.client.query_raw(statement, params).await?);
        let mut rows = Vec::new();
        while let Some(row) = poll_fn(|context| stream.as_mut().poll_next(context)).await {
            rows.push(Row::postgres(row?));
        }
        Ok(rows)
    }

    pub(crate) async fn batch(&self, sql: &str) -> Result<(), Error> {
        self.state().unruly = true;
        if has_word(sql, &RENAMING) {
            self.renamed();
        }
        self.simple(sql).await
    }

    pub(crate) async fn ping(&self) -> Result<(), Error> {
        self.simple("").await
    }

    /// Statements without parameters, not prepared.
    pub(super) async fn simple(&self, sql: &str) -> Result<(), Error> {
        let work = async { Ok(self.client.batch_execute(sql).await?) };
        self.run(sql, work).await
    }

    pub(crate) fn is_usable(&self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        let is_dirty = matches!(self.poll_reset(&mut context), Poll::Ready(Err(_)));
        !is_dirty && !self.client.is_closed() && self.state().broken.is_none()
    }

    /// Nobody knows its state any more: all that is left is to end it.
    pub(super) fn broken(&self, why: impl fmt::Display) {
        self.state().broken(why);
    }

    /// What its last user has left is still there.
    pub(super) fn not_clean(&self, error: &tokio_postgres::Error) {
        self.broken(format_args!("{NOT_CLEAN}: {error}"));
    }

    pub(super) fn check_broken(&self) -> Result<(), Error> {
        match &self.state().broken {
            None => Ok(()),
            Some(why) => Err(Error::new(ErrorKind::ConnectionLost, why.clone())),
        }
    }

    /// Ends it: in order, unless nobody answers any more.
    pub(crate) async fn close(self, is_silent: bool) -> Result<(), Error> {
        let (is_busy, is_silent) = {
            let state = self.state();
            let is_busy = state.running > 0 || state.abandoned;
            (is_busy, is_silent || state.broken.is_some())
        };
        if is_silent {
            // What it does on the server ends there, once it is seen that nobody is here.
            return Ok(());
        }
        let is_committed = self.wait_committed().await;
        if is_busy && !is_committed {
            // Otherwise the server goes on with it.
            self.cancel().await?;
        }
        let Postgres {
            client,
            mut pump,
            state,
            ..
        } = self;
        // A reset has the client, too.
        drop((client, state));
        pump.wait_ended().await
    }

    /// The driver's client, for what this crate does not do.
    pub(crate) async fn client(&self) -> Result<&Client, Error> {
        self.settle().await?;
        self.send_begin().await?;
        let mut state = self.state();
        state.unruly = true;
        state.renamed = true;
        state.lent = true;
        let _ = state.parking.get_or_insert_with(|| {
            let ahead = Arc::clone(&self.ahead);
            let mut seat = Seat::default();
            let mut parking = JoinSet::new();
            let _ = parking.spawn(poll_fn(move |context| {
                ahead.wait(&mut seat, context);
                ahead.park(&mut seat, context);
                Poll::Pending
            }));
            parking
        });
        Ok(&self.client)
    }

    /// The statement, prepared now or earlier.
    pub(super) async fn prepare(&self, sql: &str, params: usize) -> Result<Statement, Failure> {
        let statement = match self.cache.get(sql) {
            Some(statement) => statement,
            None => {
                let statement = self.preparing(sql).await?;
                self.cache.put(sql, statement.clone());
                statement
            }
        };
        match statement.params().len() {
            wanted if wanted == params => Ok(statement),
            wanted => Err(Failure::Ours(Error::new(
                ErrorKind::Parameter,
                format!("it takes {wanted} parameters, and was given {params}"),
            ))),
        }
    }

    /// Prepares a statement; dropped, it is noted.
    pub(super) fn preparing(
        &self,
        sql: &str,
    ) -> impl Future<Output = Result<Statement, tokio_postgres::Error>> + Send + use<> {
        let (client, state) = (Arc::clone(&self.client), Arc::clone(&self.state));
        let sql = sql.to_owned();
        async move {
            let stray = Stray(Some(state));
            let statement = client.prepare(&sql).await;
            stray.known();
            statement
        }
    }

    /// Waits for an answer; rows of cursors that come before it are parked.
    pub(super) async fn answer<T>(&self, answer: impl Future<Output = T>) -> T {
        let mut answer = pin!(answer);
        let mut seat = Seat::default();
        poll_fn(|context| {
            let answer = answer.as_mut().poll(context);
            if answer.is_pending() {
                self.ahead.park(&mut seat, context);
            }
            answer
        })
        .await
    }

    /// Does one thing, with what has to be done before.
    pub(super) async fn run<T>(
        &self,
        sql: &str,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Error> {
        self.settle().await?;
        let running = Running::new(self);
        let (begin, is_reset) = {
            let mut state = self.state();
            (state.begin.take(), state.reset.is_none())
        };
        let result = match begin {
            None => self.answer(work).await,
            Some(begin) => {
                // They are sent together, in this order, and answered in it.
                let begin = self.client.batch_execute(&begin);
                let both = async { tokio::join!(biased; begin, work) };
                let (begun, result) = self.answer(both).await;
                if let Err(error) = &begun {
                    // What was sent with it may have been done without it.
                    self.broken(format_args!("BEGIN failed: {error}"));
                }
                begun.map_err(Failure::from).and(result)
            }
        };
        match &result {
            // Dropped, it is noted: the server goes on with it.
            Err(Failure::HalfDone(_)) => drop(running),
            _ => running.answered(),
        }
        if !is_reset {
            self.wait_reset().await?;
        }
        result.map_err(|failure| self.failed(failure).of_statement(sql))
    }

    /// Sees to the answer of a reset that was sent. What is answered after it need not wait.
    pub(super) async fn wait_reset(&self) -> Result<(), Error> {
        poll_fn(|context| self.poll_reset(context)).await
    }

    fn poll_reset(&self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let mut state = self.state();
        let Some(reset) = &mut state.reset else {
            return Poll::Ready(Ok(()));
        };
        let answer = ready!(reset.as_mut().poll(context));
        state.reset = None;
        drop(state);
        Poll::Ready(answer.map_err(|error| {
            self.not_clean(&error);
            Error::new(ErrorKind::ConnectionLost, NOT_CLEAN).with_source(error)
        }))
    }

    /// Whether it failed because what was prepared earlier does not fit the tables any more, and
    /// can be tried again.
    async fn is_stale(&self, sql: &str, error: &Error) -> bool {
        let is_type = error.kind() == ErrorKind::Parameter
            || matches!(error.code(), Some("22P02" | "22P03" | "42804" | "42883"));
        if !is_type && !matches!(error.code(), Some("0A000" | "26000")) {
            return false;
        }
        let Some(old) = self.cache.forget(sql) else {
            return false;
        };
        // In a transaction the error has ended that.
        if self.state().failed {
            return false;
        }
        let work = async { self.prepare(sql, old.params().len()).await };
        match self.run(sql, work).await {
            Ok(new) => !is_type || new.params() != old.params(),
            // The first error tells more.
            Err(_) => false,
        }
    }

    /// Sends a `BEGIN` that still waits for a first statement.
    pub(super) async fn send_begin(&self) -> Result<(), Error> {
        let is_waiting = self.state().begin.is_some();
        match is_waiting {
            true => self.run("BEGIN", async { Ok(()) }).await,
            false => Ok(()),
        }
    }

    /// What a failure means, and notes what it did to the transaction.
    pub(super) fn failed(&self, failure: Failure) -> Error {
        failed(&self.state, failure)
    }

    /// A transaction is ended by whoever began it. What else its words may do to the session that we
    /// do not see is noted.
    pub(super) fn admit(&self, sql: &str) -> Result<(), Error> {
        const WORDS: [&str; 11] = [
            "BEGIN",
            "START",
            "COMMIT",
            "END",
            "ROLLBACK",
            "ABORT",
            "PREPARE",
            "DEALLOCATE",
            "DISCARD",
            "RELEASE",
            "DO",
        ];
        let word = first_word(sql);
        let is_setting = has_word(word, &["SET"]) && has_word(sql, &RENAMING);
        if is_setting || has_word(word, &RENAMING) {
            self.renamed();
        }
        let is = |known: &&str| word.eq_ignore_ascii_case(known);
        // Where a comment comes first, who knows.
        if !word.is_empty() && !WORDS.iter().any(is) {
            return Ok(());
        }
        let mut state = self.state();
        let is_end = match is(&"ROLLBACK") {
            // To a savepoint of their own.
            true => !sql
                .split_whitespace()
                .any(|word| word.eq_ignore_ascii_case("TO")),
            false => ["COMMIT", "END", "ABORT"].iter().any(is),
        };
        if state.in_transaction && is_end {
            let message = "a transaction is ended by its block";
            return Err(Error::new(ErrorKind::Refused, message).of_statement(sql));
        }
        state.unruly = true;
        Ok(())
    }

    /// What was prepared may be for other tables than its names mean from now on.
    fn renamed(&self) {
        self.state().renamed = true;
        self.cache.clear();
    }

    /// What the driver itself has prepared is gone, and it does not prepare it again.
    fn note_lasting(&self, error: &Error) {
        if error.code() == Some("26000") {
            self.broken("its prepared statements are gone");
        }
    }

    pub(crate) async fn begin(&self, options: &TransactionOptions) -> Result<(), Error> {
        let mut begin = "BEGIN".to_owned();
        match options.isolation {
            Some(Isolation::ReadCommitted) => begin.push_str(" ISOLATION LEVEL READ COMMITTED"),
            Some(Isolation::RepeatableRead) => begin.push_str(" ISOLATION LEVEL REPEATABLE READ"),
            Some(Isolation::Serializable) => begin.push_str(" ISOLATION LEVEL SERIALIZABLE"),
            None => {}
        }
        if options.read_only {
            begin.push_str(" READ ONLY");
        }
        if options.deferrable {
            begin.push_str(" DEFERRABLE");
        }
        begin.push_str(MARK);
        self.settle().await?;
        let is_plain = *options == TransactionOptions::default();
        {
            let mut state = self.state();
            state.in_transaction = true;
            state.failed = false;
            state.begin = Some(begin);
        }
        // With options it may be refused, and what follows must not run outside of it.
        match is_plain {
            true => Ok(()),
            false => self.send_begin().await,
        }
    }

    /// Commits; gives whether it is as new then.
    pub(crate) async fn commit(&self, then: Then) -> Result<bool, Error> {
        let was_sent = self.state().begin.take().is_none();
        if !was_sent {
            self.ended();
            return Ok(false);
        }
        self.take_back();
        self.settle().await?;
        let has_failed = self.state().failed;
        if has_failed {
            self.rollback().await?;
            return Err(Error::new(
                ErrorKind::Poisoned,
                "not committed: a statement of the transaction failed or was given up",
            ));
        }
        let way = {
            let state = self.state();
            match then {
                Then::Renew if state.is_tidy() => Way::Reset,
                _ if state.unruly => Way::Marked,
                _ => Way::Plain,
            }
        };
        let running = Running::new(self);
        let result = self.send_commit(way).await;
        running.answered();
        match result {
            Ok(is_new) => {
                self.ended();
                if is_new {
                    self.renewed(None);
                }
                Ok(is_new)
            }
            Err(error) => {
                // If that fails, nobody uses the session any more, and its pool says why.
                let _ = self.rollback().await;
                Err(error.of_statement("COMMIT"))
            }
        }
    }

    /// Nobody has the driver's client any more: what runs for it still is given up.
    fn take_back(&self) {
        let mut state = self.state();
        let was_lent = std::mem::take(&mut state.lent);
        state.abandoned |= was_lent;
    }

    /// If it fails, the session is not used any more.
    pub(crate) async fn rollback(&self) -> Result<(), Error> {
        let was_sent = self.state().begin.take().is_none();
        let is_committed = self.wait_committed().await;
        if was_sent && !is_committed {
            let rolled_back = self.quiet("ROLLBACK").await;
            rolled_back.inspect_err(|error| self.broken(error))?;
        }
        self.ended();
        Ok(())
    }

    fn ended(&self) {
        let mut state = self.state();
        state.in_transaction = false;
        state.failed = false;
        state.abandoned = false;
    }

    pub(crate) async fn savepoint(&self, name: &str) -> Result<(), Error> {
        let sql = format!("SAVEPOINT {name}");
        self.simple(&sql).await
    }

    pub(crate) async fn release(&self, name: &str) -> Result<(), Error> {
        self.take_back();
        self.settle().await?;
        let has_failed = self.state().failed;
        if has_failed {
            self.rollback_to(name).await?;
            return Err(Error::new(
                ErrorKind::Poisoned,
                "undone to the savepoint: a statement since failed or was given up",
            ));
        }
        let sql = format!("RELEASE SAVEPOINT {name}");
        self.simple(&sql).await
    }

    pub(crate) async fn rollback_to(&self, name: &str) -> Result<(), Error> {
        let sql = format!("ROLLBACK TO SAVEPOINT {name}; RELEASE SAVEPOINT {name}");
        self.quiet(&sql).await?;
        self.state().failed = false;
        Ok(())
    }

    /// Makes settings and temporary tables as in a new session, in a transaction or not, which goes on
    /// being ours.
    pub(crate) async fn reset_settings(&self) -> Result<(), Error> {
        let mark = match self.state().in_transaction {
            true => MARK,
            false => "",
        };
        let reset =
            format!("SET SESSION AUTHORIZATION DEFAULT; RESET ROLE; RESET ALL; DISCARD TEMP{mark}");
        self.batch(&reset).await
    }

    /// If it fails, the session is not used any more.
    pub(crate) async fn reset(&self, is_settled: bool) -> Result<(), Error> {
        let (is_tidy, is_unruly, stray) = {
            let state = self.state();
            let is_tidy = state.is_tidy() && !state.in_transaction;
            (is_tidy, state.unruly, state.stray)
        };
        self.check_broken()?;
        if stray > STRAY {
            let message = format!("{stray} statements were left behind half prepared");
            return Err(Error::new(ErrorKind::ConnectionLost, message));
        }
        if is_settled && is_tidy {
            // Not waited for: what comes next is answered after it, and sees whether it was done.
            // There is no transaction to roll back: the server would log a warning each time.
            let client = Arc::clone(&self.client);
            let mut reset: Reset = Box::pin(async move { client.batch_execute(RESET).await });
            let answered = reset.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            let reset = match answered {
                Poll::Ready(answered) => {
                    answered.map_err(describe)?;
                    None
                }
                Poll::Pending => Some(reset),
            };
            self.renewed(reset);
            return Ok(());
        }
        self.quiet(&format!("ROLLBACK; {RESET}")).await?;
        if is_unruly {
            self.quiet(&deallocate(self.cache.len())).await?;
        }
        self.renewed(None);
        Ok(())
    }

    /// It is as new, or will be once the reset on its way is done.
    fn renewed(&self, reset: Option<Reset>) {
        let mut state = self.state();
        let (is_renamed, stray) = (state.renamed, state.stray);
        *state = State {
            reset,
            stray,
            ..State::default()
        };
        drop(state);
        if is_renamed {
            self.cache.clear();
        }
    }
}

/// A statement is being prepared. Dropped, the server will have it, and nobody knows its name.
struct Stray(Option<Arc<Mutex<State>>>);

impl Stray {
    fn known(mut self) {
        self.0 = None;
    }
}

impl Drop for Stray {
    fn drop(&mut self) {
        if let Some(state) = &self.0 {
            lock(state).stray += 1;
        }
    }
}

fn failed(state: &Mutex<State>, failure: Failure) -> Error {
    let mut state = lock(state);
    let error = match failure {
        Failure::Ours(error) => return error,
        Failure::HalfDone(error) => {
            state.failed |= state.in_transaction;
            return error;
        }
        Failure::Driver(error) => error,
    };
    let refused = error.as_db_error();
    state.failed |= state.in_transaction && refused.is_some();
    let severity = refused.and_then(DbError::parsed_severity);
    let is_fatal = matches!(severity, Some(Severity::Fatal | Severity::Panic));
    let error = describe(error);
    if is_fatal || error.kind() == ErrorKind::ConnectionLost {
        // Its next user must not be the one to find out.
        state.broken(&error);
    }
    error
}

const NOT_CLEAN: &str = "it could not be made clean after its last use";

/// What gives names of tables another meaning has one of these words.
const RENAMING: [&str; 7] = [
    "CREATE",
    "ALTER",
    "DROP",
    "DO",
    "RESET",
    "SCHEMA",
    "SEARCH_PATH",
];

/// Everything that a session may leave to the next user of the connection, if it is in no
/// transaction.
pub(super) const RESET: &str = "CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ALL; UNLISTEN *; \
    SELECT pg_advisory_unlock_all(); DISCARD TEMP; DISCARD SEQUENCES";

/// Forgets what its user has prepared by SQL. What the driver has prepared has to be there still: it
/// would not prepare it again.
fn deallocate(ours: usize) -> String {
    format!(
        "DO $$ DECLARE prepared text; BEGIN \
         IF (SELECT count(*) FROM pg_prepared_statements WHERE NOT from_sql) < {ours} \
         THEN RAISE 'its prepared statements are gone'; END IF; \
         FOR prepared IN SELECT name FROM pg_prepared_statements WHERE from_sql \
         LOOP EXECUTE format('DEALLOCATE %I', prepared); END LOOP; END $$"
    )
}

/// Why something was not done.
#[derive(Debug)]
pub(super) enum Failure {
    Driver(tokio_postgres::Error),
    /// Nothing runs on the server.
    Ours(Error),
    /// We have given it up half way: it runs still.
    HalfDone(Error),
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Failure {
        Failure::Driver(error)
    }
}

fn first_word(sql: &str) -> &str {
    let sql = sql.trim_start_matches(|c: char| c.is_whitespace() || c == ';' || c == '(');
    let end = sql.find(|c: char| !c.is_ascii_alphabetic());
    sql.get(..end.unwrap_or(sql.len())).unwrap_or_default()
}

/// Whether one of these words is in it, be it quoted or in a comment.
pub(super) fn has_word(sql: &str, words: &[&str]) -> bool {
    sql.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .any(|word| words.iter().any(|known| word.eq_ignore_ascii_case(known)))
}

/// The driver's error in our words.
pub(super) fn describe(error: tokio_postgres::Error) -> Error {
    let Some(refused) = error.as_db_error() else {
        let source: &dyn std::error::Error = &error;
        let source = source.source().map(ToString::to_string);
        let (kind, message) = match source {
            _ if error.is_closed() => (
                ErrorKind::ConnectionLost,
                "the connection is closed".to_owned(),
            ),
            Some(why) if error.to_string().contains("parameter") => (ErrorKind::Parameter, why),
            // It was not sent.
            Some(why) if error.to_string().starts_with("error encoding") => {
                (ErrorKind::Refused, why)
            }
            Some(why) => (
                ErrorKind::ConnectionLost,
                format!("the connection is lost: {why}"),
            ),
            None => (ErrorKind::ConnectionLost, error.to_string()),
        };
        return Error::new(kind, message).with_source(error);
    };
    let kind = match *refused.code() {
        SqlState::T_R_SERIALIZATION_FAILURE | SqlState::T_R_DEADLOCK_DETECTED => ErrorKind::Retry,
        SqlState::IN_FAILED_SQL_TRANSACTION => ErrorKind::Poisoned,
        SqlState::ADMIN_SHUTDOWN
        | SqlState::CRASH_SHUTDOWN
        | SqlState::IDLE_SESSION_TIMEOUT
        | SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT => ErrorKind::ConnectionLost,
        _ => ErrorKind::Refused,
    };
    let mut message = refused.message().to_owned();
    if let Some(hint) = refused.hint() {
        message = format!("{message}; {hint}");
    }
    let code = refused.code().code().to_owned();
    Error::new(kind, message).with_code(code).with_source(error)
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("Postgres")
            .field("running", &state.running)
            .field("abandoned", &state.abandoned)
            .field("in_transaction", &state.in_transaction)
            .field("failed", &state.failed)
            .field("broken", &state.broken)
            .finish_non_exhaustive()
    }
}
