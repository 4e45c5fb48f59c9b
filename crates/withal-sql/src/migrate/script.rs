//! A file of SQL as statements.
//!
//! It reads as much of SQL as is needed to know where a statement ends: quotes, comments, brackets,
//! and bodies that hold statements of their own.

use super::error::Position;
use super::files::DIRECTIVE;

/// Whose SQL it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    Postgres,
    #[cfg_attr(
        not(feature = "sqlite"),
        expect(dead_code, reason = "there is no session of its kind")
    )]
    Sqlite,
}

/// One statement, without the `;`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Statement<'s> {
    pub(super) sql: &'s str,
    /// Where in the file it begins, in bytes.
    pub(super) start: usize,
}

/// What is wrong, and where.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Flaw {
    pub(super) at: usize,
    pub(super) why: String,
}

/// The statements of a file. If they are to be run `in_transaction`, they may not end it.
pub(super) fn statements(
    sql: &str,
    dialect: Dialect,
    in_transaction: bool,
) -> Result<Vec<Statement<'_>>, Flaw> {
    let mut lexer = Lexer::new(sql, dialect);
    let mut statements = Vec::new();
    while let Some(read) = Read::next(&mut lexer)? {
        read.check(dialect, in_transaction)?;
        statements.push(Statement {
            sql: sql.get(read.start..read.end).unwrap_or_default(),
            start: read.start,
        });
    }
    Ok(statements)
}

/// By which method of a session the rows of a `COPY` come or go, if one of these statements is a
/// `COPY` from or to the client.
#[cfg(feature = "postgres")]
pub(crate) fn copies(sql: &str) -> Option<&'static str> {
    let mut words = sql.as_bytes().windows(3);
    if !words.any(|word| word.eq_ignore_ascii_case(b"STD")) {
        return None;
    }
    let mut lexer = Lexer::new(sql, Dialect::Postgres);
    // What does not end, the server will tell.
    while let Ok(Some(read)) = Read::next(&mut lexer) {
        match read.copy_stream() {
            Some(stream) if is(stream, "STDIN") => return Some("copy_in"),
            Some(_) => return Some("copy_out"),
            None => {}
        }
    }
    None
}

/// Line and column of a byte, both from 1; columns are characters.
pub(super) fn position(text: &str, at: usize) -> Position {
    let before = text.get(..at).unwrap_or(text);
    let line = before.rsplit('\n').next().unwrap_or_default();
    Position {
        line: before.matches('\n').count() + 1,
        column: line.chars().count() + 1,
    }
}

/// A statement that has been read to its end.
#[derive(Debug)]
struct Read<'s> {
    start: usize,
    end: usize,
    /// Its first words.
    head: Vec<&'s str>,
    /// `STDIN` or `STDOUT`, outside of brackets.
    standard_stream: Option<&'s str>,
    is_for_psql: bool,
}

/// How many words say what a statement is: `CREATE OR REPLACE FUNCTION`.
const HEAD: usize = 4;

impl<'s> Read<'s> {
    /// The next one, up to its `;`.
    fn next(lexer: &mut Lexer<'s>) -> Result<Option<Read<'s>>, Flaw> {
        let (start, first) = loop {
            match lexer.next()? {
                None => return Ok(None),
                Some((_, Token::Semicolon)) => {}
                Some(token) => break token,
            }
        };
        let mut read = Read {
            start,
            end: lexer.at,
            head: Vec::new(),
            standard_stream: None,
            is_for_psql: first == Token::Backslash,
        };
        let mut body = Body::default();
        let mut depth = 0_usize;
        let mut next = Some((start, first));
        while let Some((_, token)) = next {
            match token {
                Token::Semicolon if depth == 0 && !read.goes_on(&body, lexer.dialect) => break,
                Token::Open => depth += 1,
                Token::Close => depth = depth.saturating_sub(1),
                Token::Word(word) => read.note(word, depth),
                _ => {}
            }
            body.note(token);
            read.end = lexer.at;
            next = lexer.next()?;
        }
        Ok(Some(read))
    }

    fn note(&mut self, word: &'s str, depth: usize) {
        if self.head.len() < HEAD {
            self.head.push(word);
        }
        if depth == 0 && (is(word, "STDIN") || is(word, "STDOUT")) {
            self.standard_stream = Some(word);
        }
    }

    /// Whether a `;` is one of its body's, and not its own.
    fn goes_on(&self, body: &Body<'_>, dialect: Dialect) -> bool {
        match dialect {
            Dialect::Postgres => self.creates(&["FUNCTION", "PROCEDURE"]) && body.open > 0,
            Dialect::Sqlite => self.creates(&["TRIGGER"]) && !body.has_ended(),
        }
    }

    fn creates(&self, kinds: &[&str]) -> bool {
        let mut words = self.head.iter();
        words.next().is_some_and(|word| is(word, "CREATE"))
            && words
                .find(|word| {
                    !["OR", "REPLACE", "TEMP", "TEMPORARY"]
                        .iter()
                        .any(|skip| is(word, skip))
                })
                .is_some_and(|word| kinds.iter().any(|kind| is(word, kind)))
    }

    fn check(&self, dialect: Dialect, in_transaction: bool) -> Result<(), Flaw> {
        let first = self.head.first().copied().unwrap_or_default();
        if dialect == Dialect::Postgres && self.is_for_psql {
            return Err(self.flaw("a command of psql, which the server does not know: remove it"));
        }
        if let (Dialect::Postgres, Some(stream)) = (dialect, self.copy_stream()) {
            let why = format!("COPY: a migration has no {stream}; write INSERT instead");
            return Err(self.flaw(why));
        }
        if in_transaction && self.ends_transaction() {
            return Err(self.flaw(format!(
                "{first}: all files are applied in one transaction, which is not theirs to begin or \
                 end; remove it, or write `{DIRECTIVE}` in the first line"
            )));
        }
        Ok(())
    }

    /// Of a `COPY`.
    fn copy_stream(&self) -> Option<&'s str> {
        let is_copy = self.head.first().is_some_and(|word| is(word, "COPY"));
        self.standard_stream.filter(|_| is_copy)
    }

    /// Whether it begins or ends a transaction; a savepoint is none.
    fn ends_transaction(&self) -> bool {
        let has = |word| self.head.iter().any(|other| is(other, word));
        let Some(first) = self.head.first() else {
            return false;
        };
        match first.to_ascii_uppercase().as_str() {
            "BEGIN" | "COMMIT" | "END" | "ABORT" => true,
            "START" | "PREPARE" => self.head.get(1).is_some_and(|word| is(word, "TRANSACTION")),
            "ROLLBACK" => !has("TO"),
            _ => false,
        }
    }

    fn flaw(&self, why: impl Into<String>) -> Flaw {
        Flaw {
            at: self.start,
            why: why.into(),
        }
    }
}

fn is(word: &str, keyword: &str) -> bool {
    word.eq_ignore_ascii_case(keyword)
}

/// How far a body of statements has come.
///
/// Postgres' functions may have a body from `BEGIN ATOMIC` to its `END`, in which only `CASE` has an
/// `END`, too. The body of SQLite's triggers ends with `; END`.
#[derive(Debug, Default)]
struct Body<'s> {
    /// How many `BEGIN ATOMIC` and `CASE` wait for an `END`.
    open: usize,
    last: Option<Token<'s>>,
    before: Option<Token<'s>>,
}

impl<'s> Body<'s> {
    fn note(&mut self, token: Token<'s>) {
        if let Token::Word(word) = token {
            let after_begin = matches!(self.last, Some(Token::Word(last)) if is(last, "BEGIN"));
            if is(word, "ATOMIC") && after_begin || is(word, "CASE") && self.open > 0 {
                self.open += 1;
            } else if is(word, "END") {
                self.open = self.open.saturating_sub(1);
            }
        }
        self.before = self.last.replace(token);
    }

    fn has_ended(&self) -> bool {
        self.before == Some(Token::Semicolon)
            && matches!(self.last, Some(Token::Word(last)) if is(last, "END"))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'s> {
    /// A keyword or a name without quotes.
    Word(&'s str),
    Semicolon,
    Open,
    Close,
    Backslash,
    /// A quoted thing, a number, an operator.
    Other,
}

struct Lexer<'s> {
    sql: &'s str,
    dialect: Dialect,
    at: usize,
}

impl<'s> Lexer<'s> {
    fn new(sql: &'s str, dialect: Dialect) -> Lexer<'s> {
        let has_mark = sql.starts_with('\u{feff}');
        let at = if has_mark { '\u{feff}'.len_utf8() } else { 0 };
        Lexer { sql, dialect, at }
    }

    fn rest(&self) -> &'s str {
        self.sql.get(self.at..).unwrap_or_default()
    }

    /// The next token, and where it begins.
    fn next(&mut self) -> Result<Option<(usize, Token<'s>)>, Flaw> {
        self.skip_blank()?;
        let start = self.at;
        let Some(first) = self.rest().chars().next() else {
            return Ok(None);
        };
        let is_postgres = self.dialect == Dialect::Postgres;
        let token = match first {
            ';' => self.take(1, Token::Semicolon),
            '(' => self.take(1, Token::Open),
            ')' => self.take(1, Token::Close),
            '\\' => self.take(1, Token::Backslash),
            '\'' | '"' => self.quoted(first, false)?,
            '`' if !is_postgres => self.quoted('`', false)?,
            '[' if !is_postgres => self.up_to("]", "[")?,
            '$' if is_postgres => self.dollar_quoted()?,
            _ if is_word_start(first) => self.word()?,
            _ if first.is_ascii_digit() => {
                let length =
                    self.length_of(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_'));
                self.take(length, Token::Other)
            }
            _ => self.take(first.len_utf8(), Token::Other),
        };
        Ok(Some((start, token)))
    }

    fn take(&mut self, length: usize, token: Token<'s>) -> Token<'s> {
        self.at += length;
        token
    }

    fn length_of(&self, belongs: impl Fn(char) -> bool) -> usize {
        let rest = self.rest();
        rest.find(|c| !belongs(c)).unwrap_or(rest.len())
    }

    /// White space and comments.
    fn skip_blank(&mut self) -> Result<(), Flaw> {
        loop {
            self.at += self.length_of(char::is_whitespace);
            let rest = self.rest();
            if rest.starts_with("--") {
                self.at += rest.find('\n').unwrap_or(rest.len());
            } else if rest.starts_with("/*") {
                self.comment()?;
            } else {
                return Ok(());
            }
        }
    }

    /// Postgres' comments nest, those of SQLite do not.
    fn comment(&mut self) -> Result<(), Flaw> {
        let start = self.at;
        let mut depth = 0_usize;
        loop {
            let rest = self.rest();
            let Some(next) = rest.find(['*', '/']) else {
                return Err(unended(start, "/*"));
            };
            self.at += next;
            let rest = self.rest();
            if rest.starts_with("*/") {
                self.at += 2;
                depth -= 1;
            } else if rest.starts_with("/*") && (depth == 0 || self.dialect == Dialect::Postgres) {
                self.at += 2;
                depth += 1;
            } else {
                self.at += 1;
            }
            if depth == 0 {
                return Ok(());
            }
        }
    }

    /// Up to the quote that is not doubled, nor behind a backslash where that means something.
    fn quoted(&mut self, quote: char, backslashes: bool) -> Result<Token<'s>, Flaw> {
        let start = self.at;
        self.at += 1;
        let mut characters = self.rest().char_indices();
        while let Some((index, character)) = characters.next() {
            if backslashes && character == '\\' {
                let _escaped = characters.next();
            } else if character == quote {
                if !characters.as_str().starts_with(quote) {
                    return Ok(self.take(index + 1, Token::Other));
                }
                let _doubled = characters.next();
            }
        }
        Err(unended(start, quote))
    }

    fn up_to(&mut self, end: &str, begin: &str) -> Result<Token<'s>, Flaw> {
        let start = self.at;
        let inside = self.rest().get(begin.len()..).unwrap_or_default();
        match inside.find(end) {
            Some(length) => Ok(self.take(begin.len() + length + end.len(), Token::Other)),
            None => Err(unended(start, begin)),
        }
    }

    /// `$$…$$` or `$tag$…$tag$`; `$1` is a parameter.
    fn dollar_quoted(&mut self) -> Result<Token<'s>, Flaw> {
        let rest = self.rest();
        let inside = rest.get(1..).unwrap_or_default();
        let tag = inside.split('$').next().unwrap_or_default();
        let is_tag = tag.chars().next().is_none_or(is_word_start)
            && tag.chars().all(|c| is_word_start(c) || c.is_ascii_digit())
            && inside.len() > tag.len();
        match rest.get(..tag.len() + 2) {
            Some(quote) if is_tag => self.up_to(quote, quote),
            _ => Ok(self.take(1, Token::Other)),
        }
    }

    /// A word; before a quote, `E` says that backslashes mean something in it.
    fn word(&mut self) -> Result<Token<'s>, Flaw> {
        let length = self.length_of(|c| is_word_start(c) || c.is_ascii_digit() || c == '$');
        let word = self.rest().get(..length).unwrap_or_default();
        self.at += length;
        let is_escaped = self.dialect == Dialect::Postgres && is(word, "E");
        match is_escaped && self.rest().starts_with('\'') {
            true => self.quoted('\'', true),
            false => Ok(Token::Word(word)),
        }
    }
}

fn is_word_start(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_' || !c.is_ascii()
}

fn unended(at: usize, what: impl std::fmt::Display) -> Flaw {
    Flaw {
        at,
        why: format!("`{what}` is not ended: the rest of the file belongs to it"),
    }
}

#[cfg(test)]
mod tests {
    use super::Dialect::{Postgres, Sqlite};
    use super::*;

    #[track_caller]
    fn check(dialect: Dialect, sql: &str, expected: &[&str]) {
        let found = statements(sql, dialect, true).unwrap();
        let found: Vec<&str> = found.iter().map(|statement| statement.sql).collect();
        assert_eq!(found, expected);
    }

    #[track_caller]
    fn check_flaw(dialect: Dialect, sql: &str, at: usize, why: &str) {
        let flaw = statements(sql, dialect, true).unwrap_err();
        assert!(flaw.why.starts_with(why), "{flaw:?}");
        assert_eq!(flaw.at, at, "{flaw:?}");
    }

    #[test]
    fn statements_end_at_semicolons_and_at_the_end() {
        for dialect in [Postgres, Sqlite] {
            check(dialect, "", &[]);
            check(dialect, " ;; -- nothing\n /* ; */ ;", &[]);
            check(dialect, "\u{feff}a; b ;c", &["a", "b", "c"]);
            check(
                dialect,
                "a -- it's; here\n + 1 -- end\n;b",
                &["a -- it's; here\n + 1", "b"],
            );
            check(dialect, "a(b; c); d", &["a(b; c)", "d"]);
            check(dialect, "é;ü", &["é", "ü"]);
        }
    }

    #[test]
    fn quotes_hold_semicolons() {
        for dialect in [Postgres, Sqlite] {
            check(dialect, "'a;''b;';c", &["'a;''b;'", "c"]);
            check(dialect, "\"a;\"\"b;\";c", &["\"a;\"\"b;\"", "c"]);
            check(dialect, "'a\\';b", &["'a\\'", "b"]);
            check(dialect, "'--';'/*';b", &["'--'", "'/*'", "b"]);
        }
        check(Sqlite, "`a;``b`;[c;d];e", &["`a;``b`", "[c;d]", "e"]);
        check(Postgres, "a[1];b", &["a[1]", "b"]);
        check(Postgres, "E'a\\';b';c", &["E'a\\';b'", "c"]);
        check(Postgres, "nameE'a\\';c", &["nameE'a\\'", "c"]);
    }

    #[test]
    fn dollar_quotes_are_those_of_postgres() {
        check(
            Postgres,
            "do $$ a; $b$ c; $$;d",
            &["do $$ a; $b$ c; $$", "d"],
        );
        check(Postgres, "$b$ a; $$ ; $b$;c", &["$b$ a; $$ ; $b$", "c"]);
        check(Postgres, "$1;$2;a$b$;c", &["$1", "$2", "a$b$", "c"]);
        check(Sqlite, "$a$;$a$", &["$a$", "$a$"]);
    }

    #[test]
    fn comments_nest_in_postgres_only() {
        check(Postgres, "/* a /* b */ ; */ c", &["c"]);
        check(Sqlite, "/* a /* b */ c; d", &["c", "d"]);
        check(Postgres, "a /**/; /*/ ; */ b", &["a", "b"]);
    }

    #[test]
    fn bodies_of_triggers_and_functions_stay_whole() {
        let trigger = "CREATE TEMP TRIGGER t AFTER INSERT ON a BEGIN\n\
            UPDATE a SET b = CASE WHEN c THEN 1 ELSE 2 END;\n DELETE FROM d; END";
        check(
            Sqlite,
            &format!("{trigger};\nSELECT 1;"),
            &[trigger, "SELECT 1"],
        );
        let function = "create or replace function f() returns int begin atomic\n\
            select 1; select case when true then 2 end; end";
        check(
            Postgres,
            &format!("{function};select 1;"),
            &[function, "select 1"],
        );
        let rule = "CREATE RULE r AS ON UPDATE TO a DO ALSO (DELETE FROM b; DELETE FROM c)";
        check(Postgres, &format!("{rule};a"), &[rule, "a"]);
    }

    #[test]
    fn what_does_not_end_is_said_where_it_begins() {
        check_flaw(Postgres, "a; 'b;", 3, "`'` is not ended");
        check_flaw(Postgres, "/* /* */", 0, "`/*` is not ended");
        check_flaw(Postgres, "do $x$ a $$;", 3, "`$x$` is not ended");
        check_flaw(Sqlite, "a \"b", 2, "`\"` is not ended");
        check_flaw(Sqlite, "[", 0, "`[` is not ended");
    }

    #[test]
    fn what_a_migration_may_not_do_is_refused() {
        for dialect in [Postgres, Sqlite] {
            for word in ["BEGIN", "commit", "Rollback", "END", "BEGIN IMMEDIATE"] {
                let first = word.split(' ').next().unwrap();
                check_flaw(
                    dialect,
                    &format!("a; {word};"),
                    3,
                    &format!("{first}: all files"),
                );
            }
            check(
                dialect,
                "SAVEPOINT a; ROLLBACK TO SAVEPOINT a; RELEASE a",
                &["SAVEPOINT a", "ROLLBACK TO SAVEPOINT a", "RELEASE a"],
            );
        }
        assert_eq!(
            statements("BEGIN;a;COMMIT", Sqlite, false).unwrap().len(),
            3
        );
        check_flaw(Postgres, "START TRANSACTION", 0, "START: all files");
        check_flaw(
            Postgres,
            "COPY a FROM stdin;\n1\n\\.\n",
            0,
            "COPY: a migration has no stdin",
        );
        check_flaw(Postgres, "a;\n\\connect b\n", 3, "a command of psql");
        check(
            Postgres,
            "COPY a FROM '/stdin.csv'",
            &["COPY a FROM '/stdin.csv'"],
        );
    }

    #[test]
    fn positions_count_lines_and_characters_from_one() {
        let check = |at, line, column| {
            assert_eq!(position("ab\né c\n", at), Position { line, column });
        };
        check(0, 1, 1);
        check(2, 1, 3);
        check(3, 2, 1);
        check(6, 2, 3);
        check(8, 3, 1);
        check(99, 3, 1);
    }
}
