//! Who may read the views for tools of others: users of PostgreSQL, each bound to one tenant.

use ruche_domain::ids::LedgerId;
use ruche_ledger_postgres::Database;
use ruche_projections_postgres::{self as models, BiLogin};

use super::{AppError, postgres};
use crate::cli::Common;

/// Lets a user of PostgreSQL read the views of one tenant, which is named as people name it.
///
/// # Errors
/// See [`AppError`]; nothing was granted.
pub async fn bi_grant(
    common: &Common,
    login: &str,
    (tenant, ledger): (&str, LedgerId),
    texts: bool,
) -> Result<(), AppError> {
    let database = database(common).await?;
    Ok(models::grant(&mut database.connect().await?, login, (tenant, ledger), texts).await?)
}

/// Takes the views from a user. False if the user had none.
///
/// # Errors
/// See [`AppError`].
pub async fn bi_revoke(common: &Common, login: &str) -> Result<bool, AppError> {
    let database = database(common).await?;
    Ok(models::revoke(&mut database.connect().await?, login).await?)
}

/// Everybody who reads the views of a tenant.
///
/// # Errors
/// See [`AppError`].
pub async fn bi_logins(common: &Common) -> Result<Vec<BiLogin>, AppError> {
    let database = database(common).await?;
    Ok(models::logins(&database.connect().await?).await?)
}

/// The database, whose schema is there.
async fn database(common: &Common) -> Result<Database, AppError> {
    let Some(url) = &common.database_url else {
        return Err(AppError::Settings(
            "database.url (--database-url) is not set: the embedded store has no users, whoever reads its file sees all of it"
                .to_owned(),
        ));
    };
    super::must_exist(common).await?;
    postgres::reached(common, url).await
}
