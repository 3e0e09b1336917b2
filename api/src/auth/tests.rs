use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use ruche_domain::ids::{LedgerId, TenantId};
use ruche_domain::numbers::Micros;
use ruche_ledger::memory::MemoryStore;
use ruche_ledger::store::EventStore;
use ruche_ledger::testing::{Author, FixedClock, SeededRandom, ledger};

use super::*;

struct World {
    store: Arc<MemoryStore>,
    clock: Arc<FixedClock>,
    access: Access,
}

fn tenant(n: u128) -> TenantId {
    TenantId(ledger(n).0)
}

async fn open(store: &Arc<MemoryStore>, clock: &Arc<FixedClock>, seed: u64) -> Access {
    let random = Arc::new(SeededRandom::new(seed));
    Access::open(store.clone(), clock.clone(), random)
        .await
        .expect("the store answers")
}

async fn world() -> World {
    let clock = Arc::new(FixedClock::at(1_000_000));
    let store = Arc::new(MemoryStore::new(clock.clone()));
    for n in [1, 2] {
        let opening = Author::new(n as u64).opening(ledger(n), 1, None);
        store.open_epoch(ledger(n), opening).await.expect("a new ledger");
    }
    let access = open(&store, &clock, 7).await;
    World { store, clock, access }
}

fn roles_of(roles: &[Role]) -> NewKey<'_> {
    NewKey {
        roles,
        ..NewKey::default()
    }
}

fn credential(plaintext: &str) -> Credential {
    Credential::parse(plaintext).expect("the text of a key")
}

#[tokio::test]
async fn a_key_opens_its_own_tenant_with_its_roles_and_only_with_its_secret() {
    let world = world().await;
    let roles = [Role::Reader, Role::Writer];
    let (summary, text) = world
        .access
        .create_key(
            tenant(1),
            &NewKey {
                label: Some("ci"),
                user: Some("carol"),
                ..roles_of(&roles)
            },
        )
        .await
        .unwrap();
    let principal = world
        .access
        .authenticate(&credential(&text))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(principal.tenant, tenant(1));
    assert_eq!(principal.user.as_deref(), Some("carol"));
    assert_eq!(principal.ledger(), LedgerId(tenant(1).0));
    assert!(principal.roles.allow(&[Role::Writer]) && !principal.roles.allow(&[Role::Auditor]));

    let wrong = Credential::new(summary.key_id, [9; 32]);
    assert_eq!(world.access.authenticate(&wrong).await.unwrap(), None);
    let unknown = Credential::new("00000000-0000-4000-8000-000000000001".parse().unwrap(), [9; 32]);
    assert_eq!(world.access.authenticate(&unknown).await.unwrap(), None);
}

#[tokio::test]
async fn the_ledger_holds_the_digest_and_not_the_secret() {
    let world = world().await;
    let (_, text) = world
        .access
        .create_key(tenant(1), &roles_of(&[Role::Admin]))
        .await
        .unwrap();
    let secret = text.rsplit('_').next().unwrap();
    let records = world
        .store
        .read_stream(
            ledger(1),
            super::streams::stream_of(tenant(1)),
            ruche_domain::numbers::StreamVersion(0),
            10,
        )
        .await
        .unwrap();
    let payload = String::from_utf8(records[0].payload_bytes().unwrap().to_vec()).unwrap();
    assert!(
        payload.contains(&hex::encode(credential(&text).digest())),
        "{payload}"
    );
    assert!(!payload.contains(secret), "{payload}");
}

#[tokio::test]
async fn labels_hold_nothing_that_moves_a_cursor() {
    let world = world().await;
    for label in ["\u{1b}[31mred", "two\nlines", "\u{9b}31m"] {
        let new = NewKey {
            label: Some(label),
            ..roles_of(&[Role::Reader])
        };
        let made = world.access.create_key(tenant(1), &new);
        assert!(matches!(made.await, Err(KeyError::LabelControl)), "{label:?}");
        let new = NewKey {
            user: Some(label),
            ..roles_of(&[Role::Reader])
        };
        let made = world.access.create_key(tenant(1), &new);
        assert!(matches!(made.await, Err(KeyError::User)), "{label:?}");
    }
    assert_eq!(world.access.keys(tenant(1)), []);
}

#[tokio::test]
async fn revoked_and_lapsed_keys_open_nothing() {
    let world = world().await;
    let roles = [Role::Reader];
    let (revoked, text) = world
        .access
        .create_key(tenant(1), &roles_of(&roles))
        .await
        .unwrap();
    assert!(
        world
            .access
            .revoke_key(tenant(2), revoked.key_id, None)
            .await
            .is_err(),
        "not its tenant"
    );
    for was_valid in [true, false] {
        let revoking = world.access.revoke_key(tenant(1), revoked.key_id, Some("lost"));
        assert_eq!(revoking.await.expect("twice is no error"), was_valid);
    }
    assert_eq!(world.access.authenticate(&credential(&text)).await.unwrap(), None);
    assert!(!world.access.is_live(revoked.key_id));
    assert_eq!(
        world.access.holder(revoked.key_id).await.unwrap(),
        None,
        "nor do its passes"
    );

    let lapse = Some(Micros(2_000_000));
    let (lapsing, text) = world
        .access
        .create_key(
            tenant(1),
            &NewKey {
                expires_at: lapse,
                ..roles_of(&roles)
            },
        )
        .await
        .unwrap();
    assert!(world.access.is_live(lapsing.key_id));
    let holder = world.access.holder(lapsing.key_id).await.unwrap();
    assert_eq!(
        holder,
        world.access.authenticate(&credential(&text)).await.unwrap()
    );
    world.clock.0.store(2_000_000, Ordering::SeqCst);
    assert_eq!(world.access.authenticate(&credential(&text)).await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn a_key_made_elsewhere_is_found_without_a_restart() {
    let world = world().await;
    let elsewhere = open(&world.store, &world.clock, 8).await;
    let (_, text) = elsewhere
        .create_key(tenant(2), &roles_of(&[Role::Reader]))
        .await
        .unwrap();
    assert_eq!(
        world.access.authenticate(&credential(&text)).await.unwrap(),
        None,
        "the streams were read less than a second ago"
    );
    tokio::time::advance(crate::limits::ACCESS_REFRESH_INTERVAL).await;
    let principal = world.access.authenticate(&credential(&text)).await.unwrap();
    assert_eq!(principal.map(|principal| principal.tenant), Some(tenant(2)));
}

#[test]
fn a_key_has_one_spelling() {
    let key = Credential::new(
        "00112233-4455-4677-8899-aabbccddeeff".parse().unwrap(),
        [0xab; 32],
    );
    let text = key.plaintext();
    assert_eq!(
        text,
        format!("ruche_00112233445546778899aabbccddeeff_{}", "ab".repeat(32))
    );
    assert_eq!(Credential::parse(&text), Some(key.clone()));
    assert_eq!(
        format!("{key:?}"),
        "Credential(00112233-4455-4677-8899-aabbccddeeff)"
    );
    for bad in [
        "",
        "ruche_",
        &text[1..],
        &text.to_uppercase(),
        &text.replace("ab", "AB"),
        &format!("{text} "),
    ] {
        assert_eq!(Credential::parse(bad), None, "{bad}");
    }
}

#[test]
fn keys_come_as_bearer_or_as_basic_password() {
    use base64::Engine as _;
    let key = Credential::new(
        "00112233-4455-4677-8899-aabbccddeeff".parse().unwrap(),
        [0xab; 32],
    );
    let text = key.plaintext();
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("anyone:{text}"));
    let read = |value: &str| {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, value.parse().unwrap());
        from_headers(&headers)
    };
    assert_eq!(read(&format!("Bearer {text}")), Some(key.clone()));
    assert_eq!(read(&format!("bearer {text}")), Some(key.clone()));
    assert_eq!(read(&format!("Basic {basic}")), Some(key.clone()));
    assert_eq!(read(&text), None);
    assert_eq!(read("Basic !!!"), None);
    let mut twice = HeaderMap::new();
    twice.append(AUTHORIZATION, format!("Bearer {text}").parse().unwrap());
    twice.append(AUTHORIZATION, format!("Bearer {text}").parse().unwrap());
    assert_eq!(from_headers(&twice), None);
}

#[test]
fn admin_carries_every_role() {
    let admin = Roles::of([Role::Admin]);
    assert!(Role::ALL.iter().all(|role| admin.allow(&[*role])));
    assert!(!Roles::of([Role::Reader]).allow(&[Role::Writer, Role::Auditor]));
    assert_eq!("auditor".parse(), Ok(Role::Auditor));
    assert!("root".parse::<Role>().is_err());
}
