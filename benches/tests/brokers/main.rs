//! Broker lanes on real brokers: what is killed, emptied, late or dead on the way costs no place.

mod lane;
mod pool;
mod support;
mod trouble;
mod wire_ends;

use framelane_bench::brokers::Broker;
use wire::broker::Kind;

/// A Redis starts in no time, so each test has one of its own.
macro_rules! on_redis {
    ($($module:ident :: $name:ident),* $(,)?) => {
        mod redis {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let mut broker = super::Broker::start(super::Kind::Redis).await.expect("a Redis");
                super::support::within(super::$module::$name(&mut broker)).await;
            })*
        }
    };
}

on_redis! {
    lane::answers_come_in_order_and_the_books_balance,
    lane::a_broker_that_is_killed_and_comes_back_loses_nothing,
    lane::while_the_broker_is_away_another_lane_serves,
    lane::without_workers_nothing_is_handed_out,
    lane::a_worker_that_stops_finishes_what_it_holds,
    lane::a_redis_that_is_emptied_is_set_up_again,
    lane::cancelled_work_leaves_the_stream,
    trouble::what_a_paused_worker_held_is_done_by_another_and_its_late_answers_are_dropped,
    trouble::a_broker_that_stands_still_is_left_and_comes_back,
    wire_ends::what_a_dead_worker_held_is_told_to_be_gone,
    wire_ends::late_jobs_are_dropped,
    wire_ends::jobs_of_a_session_that_is_over_are_dropped,
    wire_ends::what_cannot_be_read_is_dropped,
    pool::three_servers_share_four_workers_and_one_of_each_is_killed,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_that_keeps_what_it_has() {
    let mut broker = Broker::start_redis_that_keeps().await.expect("a Redis");
    support::within(trouble::a_redis_that_comes_back_with_old_jobs_loses_nothing(&mut broker)).await;
}

/// A RabbitMQ takes seconds, so one does for all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rabbitmq() {
    let mut broker = Broker::start(Kind::Amqp).await.expect("a RabbitMQ");
    macro_rules! all {
        ($($module:ident :: $name:ident),* $(,)?) => {
            $(eprintln!(concat!("rabbitmq: ", stringify!($name)));
            support::within($module::$name(&mut broker)).await;)*
        };
    }
    all! {
        lane::answers_come_in_order_and_the_books_balance,
        lane::without_workers_nothing_is_handed_out,
        lane::a_worker_that_stops_finishes_what_it_holds,
        wire_ends::what_a_dead_worker_held_is_told_to_be_gone,
        wire_ends::late_jobs_are_dropped,
        wire_ends::jobs_of_a_session_that_is_over_are_dropped,
        wire_ends::what_cannot_be_read_is_dropped,
        wire_ends::a_queue_that_is_deleted_ends_both_sessions,
        wire_ends::a_full_queue_says_so_and_takes_more_later,
        trouble::a_queue_that_is_deleted_is_made_again,
        trouble::while_a_queue_is_full_jobs_wait_and_are_charged_nothing,
        trouble::what_a_paused_worker_held_is_done_by_another_and_its_late_answers_are_dropped,
        trouble::a_broker_that_stands_still_is_left_and_comes_back,
        lane::a_broker_that_is_killed_and_comes_back_loses_nothing,
        lane::while_the_broker_is_away_another_lane_serves,
        pool::three_servers_share_four_workers_and_one_of_each_is_killed,
    }
    broker.stop().await.expect("it ends");
}
