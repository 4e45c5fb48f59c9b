//! What must not leak, each kind once, on a real Postgres. The long form is `cargo xtask proof pg`.
#![cfg(feature = "postgres")]
#![allow(missing_docs, clippy::panic, clippy::unwrap_used, reason = "tests")]

use std::sync::OnceLock;

use tokio::runtime::Runtime;
use withal_core::ContextManager;
use withal_proofs_pg::{Amount, Lab, Limits, ROWS, Who, soak};
use withal_testkit::servers::{PostgresServer, postgres};

/// One for all tests: each has a database of its own.
fn server() -> &'static PostgresServer {
    static SERVER: OnceLock<PostgresServer> = OnceLock::new();
    SERVER.get_or_init(|| ContextManager::enter(postgres()).unwrap())
}

fn runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().unwrap()
}

#[track_caller]
fn holds(name: &str) {
    let row = ROWS.iter().find(|row| row.name == name).unwrap();
    let tried = runtime().block_on(async {
        let lab = Lab::new(server(), Who::Withal, Limits::patient()).await;
        row.run(&lab.unwrap()).await.unwrap()
    });
    assert!(tried.runs > 0);
    assert!(tried.bad.is_empty(), "{name}: {:#?}", tried.bad);
}

#[test]
fn a_transaction_cancelled_anywhere_leaves_nothing() {
    holds("transaction guard, cancelled everywhere");
}

#[test]
fn a_borrowing_transaction_cancelled_anywhere_leaves_nothing() {
    holds("the same by `with_ref`");
}

#[test]
fn a_transaction_cancelled_inside_any_message_leaves_nothing() {
    holds("every message of the server in two pieces");
}

#[test]
fn a_transaction_cancelled_while_it_connects_leaves_nothing() {
    holds("cold pool");
}

#[test]
fn a_transaction_begun_by_hand_and_cancelled_anywhere_leaves_nothing() {
    holds("BEGIN and COMMIT as SQL");
}

#[test]
fn savepoints_cancelled_anywhere_leave_nothing() {
    holds("nested savepoint, all dropped");
}

#[test]
fn a_savepoint_that_is_dropped_alone_neither_loses_nor_makes_money() {
    holds("nested savepoint alone dropped, outer goes on");
}

#[test]
fn a_cleanup_that_is_cancelled_goes_on() {
    holds("cancelled again in the cleanup");
}

#[test]
fn a_cursor_cancelled_anywhere_leaves_nothing() {
    holds("stream abandoned, other statements may run");
}

#[test]
fn an_exclusive_cursor_cancelled_anywhere_leaves_nothing() {
    holds("stream abandoned, exclusive");
}

#[test]
fn a_panic_leaves_nothing() {
    holds("panic");
}

#[test]
fn an_error_leaves_nothing() {
    holds("statement refused, user's error");
}

#[test]
fn a_transaction_begun_by_hand_and_left_early_leaves_nothing() {
    holds("BEGIN as SQL, then an early return");
}

#[test]
fn a_timeout_at_any_moment_leaves_nothing() {
    holds("timeout at any moment");
}

#[test]
fn session_state_is_not_seen_by_the_next_user() {
    holds("six kinds of session state, seen by the next");
}

#[test]
fn a_connection_dropped_without_a_runtime_comes_back() {
    holds("dropped on a thread without a runtime");
}

#[test]
fn a_connection_that_is_forgotten_is_reported() {
    holds("lease forgotten: reported, the other slots work");
}

#[test]
fn a_slow_statement_that_is_dropped_is_gone_from_the_server() {
    holds("slow statement dropped");
}

#[test]
fn a_slow_statement_whose_pool_is_dropped_is_gone_from_the_server() {
    holds("slow statement, pool dropped");
}

#[test]
fn lines_that_fall_silent_in_a_statement_cost_no_slot() {
    holds("line silent in a statement");
}

#[test]
fn lines_that_fall_silent_while_idle_cost_no_slot() {
    holds("line silent while idle");
}

#[test]
fn a_pool_closed_with_work_out_says_so_and_ends_it_when_it_is_back() {
    holds("pool closed with work out");
}

#[test]
fn a_server_that_restarts_loses_nothing_that_was_committed() {
    holds("server restarted under load");
}

#[test]
fn a_server_that_is_full_is_told_of_and_costs_no_slot() {
    holds("max_connections of the server reached");
}

#[test]
fn tasks_cancelled_at_random_leave_nothing() {
    let soaked = runtime().block_on(async {
        let lab = Lab::new(server(), Who::Withal, Limits::patient()).await;
        soak(&lab.unwrap(), Amount::Tasks(1000)).await.unwrap()
    });
    assert_eq!(soaked.tasks, 1000);
    assert!(soaked.cancelled > 100, "{soaked:?}");
    assert!(soaked.bad.is_empty(), "{:#?}", soaked.bad);
}

#[test]
fn every_row_is_tried_here() {
    let source = include_str!("main.rs");
    for row in ROWS {
        assert!(
            source.contains(&format!("holds(\"{}\")", row.name)),
            "{row:?}"
        );
    }
}
