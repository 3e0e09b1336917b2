//! The contract of stores.

use ruche_projections::testing::contract;

use crate::common::{database, open, server};

#[tokio::test]
async fn the_contract_holds() {
    let Some(server) = server() else { return };
    let models = open(&database(&server).await).await;
    contract::run(&models).await;
}
