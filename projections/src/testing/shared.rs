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
            analytics: query_01_cost_by_day_agent_and_model, query_02_tokens_by_model_and_week,
                query_03_turn_latency_by_channel_agent_and_configuration, query_04_time_to_the_first_chunk_by_model,
                query_05_tool_errors_and_durations_by_tool, query_06_retries_and_outcomes_in_doubt,
                query_07_turns_by_outcome_and_stop_reason, query_08_turns_that_were_superseded,
                query_09_messages_of_a_turn_and_what_gathering_adds, query_10_what_turns_wait_for_a_worker,
                query_11_how_long_people_take_to_decide,
                query_12_decisions_that_nobody_can_have_thought_about, query_23_two_configurations_side_by_side,
                query_24_scores_by_agent, query_25_health_of_the_intake,
                what_makes_no_sense_is_refused_in_words,
                an_answer_with_too_many_rows_is_refused, every_grain_adds_up_to_the_same;
            approvals: those_that_are_open_come_first_and_the_oldest_of_them,
                a_decision_that_was_erased_is_still_one,
                what_an_epoch_leaves_open_is_stale_in_the_next,
                a_key_is_listed_with_where_it_came_and_went;
            policies: query_11_how_long_each_reviewer_takes,
                query_14_verdicts_by_rule_and_day_and_what_people_made_of_them,
                query_15_what_ran_without_an_approval_and_14_what_was_tried_for_what_was_denied,
                query_16_how_unsure_agents_were_and_how_often_that_was_right,
                verdicts_that_were_erased_are_still_decisions;
            interventions: what_waits_most_urgently_comes_first_and_the_oldest_of_it,
                a_turn_that_was_looked_after_is_settled_and_no_call_of_it,
                a_call_for_a_person_whose_payload_is_gone_is_still_one,
                a_person_is_called_for_what_nobody_else_can_find_out,
                what_ends_by_itself_calls_nobody_though_its_start_is_gone;
            owners: events_of_another_session_leave_a_turn_alone, only_events_of_turns_make_turns,
                what_another_session_says_of_a_call_leaves_it_alone,
                a_proposal_takes_a_call_from_who_named_it_without_proposing_it,
                a_proposal_keeps_what_its_own_session_said_before_it;
            closed: a_call_that_never_runs_says_why, a_proposal_that_is_told_late_takes_no_call_back,
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
            memory: what_was_known_and_what_held_is_told_of_every_moment,
                facts_of_a_turn_are_known_from_its_commit_on,
                a_fact_that_is_taken_back_held_until_then_or_never,
                what_is_known_later_goes_before_whatever_stood_first,
                records_of_one_id_in_two_stores_are_two,
                another_extractor_and_a_summary_take_the_place_of_what_they_name;
            memory_edges: the_end_that_decides_is_found_whatever_their_number,
                a_list_of_any_length_is_looked_at_so_far,
                what_an_attempt_wrote_that_failed_is_not_known,
                a_change_from_some_time_on_leaves_what_held_before,
                what_was_known_is_told_of_every_time,
                what_is_served_behind_its_end_is_told,
                versions_are_found_by_each_condition_alone;
            memory_found: a_text_finds_what_has_all_of_its_words,
                a_fact_names_what_it_rests_on_and_who_used_it,
                what_erasure_leaves_of_memory_is_whose_turn_was_committed,
                names_of_memory_may_have_any_length;
            memory_nearest: the_nearest_facts_are_those_that_a_look_at_all_of_them_finds,
                a_vector_of_a_turn_is_known_from_its_commit_on,
                a_vector_of_an_attempt_that_failed_is_not_known,
                a_vector_stays_with_the_version_that_it_was_told_of,
                a_vector_of_a_turn_is_told_of_what_the_turn_has_written,
                a_search_that_would_compare_too_much_says_what_to_narrow,
                a_vector_whose_payload_is_gone_is_not_found;
            outcomes: turns_are_counted_under_each_dimension, all_conditions_of_a_filter_hold;
            erased: erased_payloads_leave_what_their_leaves_say,
                a_payload_that_cannot_be_read_parks_what_needs_it_and_nothing_else;
            limits: every_limit_in_every_field,
                an_unknown_number_lowers_the_coverage_and_a_known_one_is_added,
                costs_of_billions_are_added_up_exactly,
                costs_of_many_sessions_are_carried,
                a_message_with_too_large_a_number_has_none_and_comes_last;
            names: names_that_are_longer_than_a_key_are_told_apart, every_character_comes_back;
            questions: query_09_messages_of_a_turn_and_what_gathering_them_added,
                query_10_depth_and_wait_of_lanes_and_the_turn_that_runs_longest,
                query_17_the_timeline_of_a_session_with_text_and_cost,
                query_18_sessions_of_an_interlocutor_on_all_channels_and_those_with_open_goals,
                query_19_sessions_whose_lane_holds_a_turn_and_in_which_nothing_happens;
            scenarios: a_scenario_tells_where_it_stands_and_what_it_went_through,
                a_scenario_that_is_over_is_another_one_when_it_is_entered_again,
                a_scenario_told_out_of_order_and_twice_is_one,
                a_scenario_whose_payloads_are_gone_is_not_told_of;
            searches: texts_are_found_by_all_their_words_and_no_word_is_an_operator,
                nobody_finds_words_of_another_tenant, words_of_erased_payloads_are_found_no_more;
            pauses: what_is_paused_on_one_node_takes_no_step_on_another,
                a_pause_is_of_one_projection_of_one_ledger,
                a_rebuild_keeps_what_is_paused_where_it_stands,
                one_that_is_far_behind_does_not_hold_up_the_others;
            saved_queries: what_was_saved_last_under_a_name_stands_until_it_is_dropped,
                saved_questions_are_given_page_by_page_in_the_order_of_saving,
                a_saved_question_that_was_erased_is_none;
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
