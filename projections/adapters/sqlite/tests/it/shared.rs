//! What every engine has to pass.

use proptest::prelude::*;
use ruche_projections::testing::limits::every_number_is_taken;

use crate::common::{fresh, skipped};

ruche_projections::shared_tests!(crate::common::skipped, crate::common::fresh);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn the_store_takes_every_number_that_schemas_allow(
        choices in proptest::collection::vec(any::<u64>(), 1..80),
        at: u64,
        batch in 1usize..40,
    ) {
        if !skipped() {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(every_number_is_taken(fresh, &choices, at, batch));
        }
    }
}
