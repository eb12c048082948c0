//! The tests that have the machine to themselves: they look at what is there before and after.
//!
//! By this module's name they come first, one after the other, and not now and then, when all others
//! would have to make way.

#[test]
fn chain_nothing_is_left_behind() {
    crate::chain::nothing_is_left_behind();
}

#[test]
fn lifecycle_an_end_while_rebooting() {
    crate::lifecycle::an_end_while_rebooting();
}

#[test]
fn limits_layer_on_the_disk_goes_with_a_killed_supervisor() {
    crate::limits::layer_on_the_disk_goes_with_a_killed_supervisor();
}

#[test]
fn machines_second_of_a_name_directly() {
    crate::machines::second_of_a_name_directly();
}

#[test]
fn machines_kept_machine_directly() {
    crate::machines::kept_machine_directly();
}

#[test]
fn machines_shell_in_a_kept_machine() {
    crate::machines::shell_in_a_kept_machine();
}

#[test]
fn network_pasta_killed_directly() {
    crate::network::pasta_killed_directly();
}

#[test]
fn run_with_a_system_around_it() {
    crate::run::booted::with_a_system_around_it();
}

#[test]
fn run_a_killed_postroj_takes_its_command_along() {
    crate::run::ending::a_killed_postroj_takes_its_command_along();
}

#[test]
fn run_interrupted_on_a_terminal_while_it_starts() {
    crate::run::ending::interrupted_on_a_terminal_while_it_starts();
}

#[test]
fn signals_interrupted_directly() {
    crate::signals::interrupted_directly();
}

#[test]
fn signals_terminated_directly() {
    crate::signals::terminated_directly();
}

#[test]
fn signals_killed_directly() {
    crate::signals::killed_directly();
}

#[test]
fn signals_supervisor_killed_directly() {
    crate::signals::supervisor_killed_directly();
}

#[test]
fn task_nothing_of_a_removed_task_is_left() {
    crate::task::nothing_of_a_removed_task_is_left();
}

#[test]
fn task_whoever_interrupts_the_creation_gets_no_task() {
    crate::task::whoever_interrupts_the_creation_gets_no_task();
}

#[test]
fn users_two_containers_and_one_that_shares_directly() {
    crate::users::two_containers_and_one_that_shares_directly();
}
