//! The list of tests that every engine has to pass, word for word.

/// Makes a test of each. `$skipped` tells, without an argument, whether the engine cannot be tested here; `$fresh` is a
/// [`Fresh`](crate::testing::world::Fresh). The caller's crate has tokio.
#[macro_export]
macro_rules! shared_tests {
    ($skipped:path, $fresh:path) => {
        $crate::shared_tests!(@ $skipped, $fresh;
            steps: a_bad_step_does_not_fail_its_neighbours, a_sum_beyond_an_integer_is_refused;
            conversations: a_session_tells_who_and_how_much, totals_are_the_sums_of_the_sessions,
                sessions_are_filtered_and_given_page_by_page, messages_come_back_as_they_went,
                turns_tell_how_they_came_out, the_timeline_has_every_event_in_order,
                an_effect_goes_from_intent_to_outcome, scores_stand_with_their_session_page_by_page;
            figures: configuration_has_a_history_and_values_at_each_version, usage_adds_up_by_every_dimension,
                the_health_of_a_ledger_counts_every_record, a_tenant_sees_nothing_of_another;
            approvals: those_that_are_open_come_first_and_the_oldest_of_them,
                a_decision_that_was_erased_is_still_one,
                what_an_epoch_leaves_open_is_stale_in_the_next,
                a_key_is_listed_with_where_it_came_and_went;
            interventions: what_waits_most_urgently_comes_first_and_the_oldest_of_it,
                a_turn_that_was_looked_after_is_settled_and_no_call_of_it,
                a_call_for_a_person_whose_payload_is_gone_is_still_one,
                a_person_is_called_for_what_nobody_else_can_find_out,
                what_ends_by_itself_calls_nobody_though_its_start_is_gone;
            owners: events_of_another_session_leave_a_turn_alone, only_events_of_turns_make_turns,
                what_another_session_says_of_a_call_leaves_it_alone,
                a_proposal_takes_a_call_from_who_named_it_without_proposing_it,
                a_proposal_keeps_what_its_own_session_said_before_it;
            closed: a_call_that_never_runs_says_why,
                what_stands_in_the_name_of_an_event_holds_when_its_payload_is_gone;
            carried: messages_are_counted_in_the_turn_that_has_them;
            attempts: each_attempt_at_a_turn_says_who_tried_and_how_it_ended,
                an_attempt_whose_payloads_are_gone_is_still_one;
            timers: a_lane_with_many_timers_hides_no_other;
            workers: messages_go_over_to_a_turn_of_another_session,
                steps_are_told_in_the_order_in_which_they_were_begun,
                what_nobody_knows_the_outcome_of_comes_first,
                a_tool_says_who_answers_for_it_and_how_long_it_may_take,
                what_an_import_said_of_a_tool_decides_nothing;
            outcomes: turns_are_counted_under_each_dimension, all_conditions_of_a_filter_hold;
            erased: erased_payloads_leave_what_their_leaves_say,
                a_payload_that_cannot_be_read_parks_what_needs_it_and_nothing_else;
            limits: every_limit_in_every_field,
                an_unknown_number_lowers_the_coverage_and_a_known_one_is_added,
                costs_of_billions_are_added_up_exactly,
                costs_of_many_sessions_are_carried,
                a_message_with_too_large_a_number_has_none_and_comes_last;
            names: names_that_are_longer_than_a_key_are_told_apart, every_character_comes_back;
            rebuilds: a_rebuild_equals_what_was_followed_live, a_follower_goes_on_over_a_rebuild,
                reads_go_on_and_lose_nothing_while_a_rebuild_and_a_follower_work,
                rows_that_somebody_changed_are_found_and_kept_or_replaced,
                rows_of_another_version_are_replaced_without_a_comparison,
                a_run_that_is_dropped_half_way_is_taken_up;
        );
    };
    (@ $skipped:path, $fresh:path; $($module:ident: $($test:ident),*;)*) => {
        $(mod $module {
            $(#[tokio::test]
            async fn $test() {
                if !$skipped() {
                    $crate::testing::$module::$test($fresh).await;
                }
            })*
        })*
    };
}
