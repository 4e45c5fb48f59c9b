//! `--redis-lock`, with a private server.

use super::leases::{self, Leases};

#[test]
fn the_command_has_a_token_and_each_is_greater() {
    leases::the_command_has_a_token_and_each_is_greater(&Leases::on_redis());
}

#[test]
fn a_lease_that_somebody_has_is_busy() {
    leases::a_lease_that_somebody_has_is_busy(&Leases::on_redis());
}

#[test]
fn a_lease_that_is_lost_stops_the_command() {
    leases::a_lease_that_is_lost_stops_the_command(&Leases::on_redis());
}

#[test]
fn a_lease_that_is_lost_may_be_a_warning() {
    leases::a_lease_that_is_lost_may_be_a_warning(&Leases::on_redis());
}

#[test]
fn a_run_that_was_stopped_looks_at_its_lease_first() {
    leases::a_run_that_was_stopped_looks_at_its_lease_first(&Leases::on_redis());
}

#[test]
fn a_signal_ends_the_wait() {
    leases::a_signal_ends_the_wait(&Leases::on_redis());
}

#[test]
fn where_the_server_is_stands_in_a_variable_or_a_file() {
    leases::where_the_server_is_stands_in_a_variable_or_a_file(&Leases::on_redis());
}

#[test]
fn what_a_killed_run_has_left_is_released_by_recover() {
    leases::what_a_killed_run_has_left_is_released_by_recover(&Leases::on_redis());
}
