use proptest::prelude::*;
use ruche_domain::approval::{
    KeyPossession, Nonce, POSSESSION_TYPE, RequestFacts, STATEMENT_TYPE, Statement,
};
use ruche_domain::events::{ApprovalDecision, InfraKeyRegistered, VoteRefusal};
use ruche_domain::ids::{ApprovalId, TenantId};
use ruche_domain::measures::Digest;
use ruche_domain::numbers::{Epoch, Micros, Position};
use uuid::Uuid;

use super::{Ballot, KeyRefusal, ReviewerKey, Sender, hinted_key, judge, key_id};
use crate::dsse::PrivateKey;

const TENANT: TenantId = TenantId(Uuid::from_u128(1));
const AGENT: Uuid = Uuid::from_u128(10);
const ADMIN: Uuid = Uuid::from_u128(11);
const DESK: Uuid = Uuid::from_u128(12);

fn private() -> PrivateKey {
    PrivateKey::from_seed(&[7; 32])
}

fn registration(reviewer: &str, proven: &KeyPossession) -> InfraKeyRegistered {
    let key = private().public();
    let proof = private().sign(POSSESSION_TYPE, &proven.to_bytes()).unwrap();
    InfraKeyRegistered::new(
        key_id(&key),
        reviewer.to_owned(),
        Digest(*key.as_bytes()),
        proof.to_json(),
    )
}

fn possession(tenant: TenantId, reviewer: &str) -> KeyPossession {
    KeyPossession::new(tenant, reviewer, *private().public().as_bytes()).unwrap()
}

fn alice() -> ReviewerKey {
    let registered = registration("alice", &possession(TENANT, "alice"));
    ReviewerKey::registered(&registered, TENANT, Some(ADMIN)).unwrap()
}

fn request() -> RequestFacts {
    RequestFacts {
        ledger: "example.org/k3f/e1".to_owned(),
        approval_id: ApprovalId::from_bytes([3; 16]),
        position: Position::new(1, 17),
        leaf_hash: Digest([4; 32]),
        action_digest: Digest([5; 32]),
        view_digest: Digest([6; 32]),
        policy_digest: Some(Digest([1; 32])),
        config_digest: Some(Digest([7; 32])),
        nonce: Nonce([8; 16]),
        expires_at: Micros(1_000),
    }
}

fn signed(request: RequestFacts, reviewer: &str) -> String {
    let key = key_id(&private().public()).to_string();
    let statement = Statement::new(request, reviewer, &key, ApprovalDecision::Approve, None).unwrap();
    let envelope = private().sign(STATEMENT_TYPE, &statement.to_bytes()).unwrap();
    envelope.to_json()
}

fn sender(credential: Uuid) -> Sender<'static> {
    Sender {
        credential: Some(credential),
        user: None,
    }
}

/// Judges a good vote after `change` was made to it.
fn refusal(envelope: &str, change: impl FnOnce(&mut Ballot<'_>, &mut ReviewerKey)) -> Option<VoteRefusal> {
    let (request, mut key) = (request(), alice());
    let mut ballot = Ballot {
        envelope,
        key: None,
        request: &request,
        requester: sender(AGENT),
        voter: sender(DESK),
        now: Micros(999),
        is_open: true,
        now_in: Some(Epoch(1)),
    };
    change(&mut ballot, &mut key);
    let key = Some(&key);
    judge(&Ballot { key, ..ballot })
        .err()
        .map(|refused| refused.refusal)
}

#[test]
fn a_vote_counts_until_its_last_moment() {
    let envelope = signed(request(), "alice");
    assert_eq!(hinted_key(&envelope), Some(alice().id()));
    assert_eq!(refusal(&envelope, |_, _| ()), None);
}

#[test]
fn each_refusal_has_its_name() {
    let good = signed(request(), "alice");
    let check =
        |expected: VoteRefusal, envelope: &str, change: &dyn Fn(&mut Ballot<'_>, &mut ReviewerKey)| {
            assert_eq!(refusal(envelope, change), Some(expected));
        };
    check(VoteRefusal::Malformed, "{}", &|_, _| ());
    check(VoteRefusal::RevokedKey, &good, &|_, key| key.revoked = true);
    check(VoteRefusal::OtherReviewer, &signed(request(), "bob"), &|_, _| ());
    check(VoteRefusal::Requester, &good, &|ballot, _| {
        ballot.voter = sender(AGENT)
    });
    check(VoteRefusal::Requester, &good, &|ballot, _| {
        ballot.requester = Sender::default()
    });
    check(VoteRefusal::Requester, &good, &|_, key| {
        key.registered_by = Some(AGENT)
    });
    check(VoteRefusal::Expired, &good, &|ballot, _| {
        ballot.now = Micros(1_000)
    });
    check(VoteRefusal::Decided, &good, &|ballot, _| ballot.is_open = false);
    check(VoteRefusal::Epoch, &good, &|ballot, _| {
        ballot.now_in = Some(Epoch(2))
    });
    check(VoteRefusal::Epoch, &good, &|ballot, _| ballot.now_in = None);
    let other_type = private().sign(POSSESSION_TYPE, b"{}").unwrap().to_json();
    check(VoteRefusal::BadSignature, &other_type, &|_, _| ());
    let no_statement = private().sign(STATEMENT_TYPE, b"{}").unwrap().to_json();
    check(VoteRefusal::Malformed, &no_statement, &|_, _| ());
    let mallory = PrivateKey::from_seed(&[9; 32]);
    let forged = mallory.sign(STATEMENT_TYPE, b"{}").unwrap().to_json();
    check(VoteRefusal::BadSignature, &forged, &|_, _| ());
}

/// A person with several credentials is one person.
#[test]
fn whoever_asked_does_not_decide_under_another_credential() {
    let good = signed(request(), "alice");
    let check = |requester: Option<&'static str>, voter, registrar: Option<&str>| {
        refusal(&good, |ballot, key| {
            ballot.requester.user = requester;
            ballot.voter.user = voter;
            key.registrar = registrar.map(str::to_owned);
        })
    };
    let refused = Some(VoteRefusal::Requester);
    assert_eq!(check(Some("alice"), None, None), refused, "the key is theirs");
    assert_eq!(check(Some("carol"), Some("carol"), None), refused);
    assert_eq!(check(Some("carol"), None, Some("carol")), refused);
    assert_eq!(check(Some("carol"), Some("alice"), Some("root")), None);
    assert_eq!(check(Some("carol"), None, None), None);
    // Of credentials that name nobody no more is known than that they are others.
    assert_eq!(check(None, Some("alice"), Some("alice")), None);
}

#[test]
fn nobody_votes_with_a_key_that_is_not_registered() {
    let request = request();
    let ballot = Ballot {
        envelope: &signed(request.clone(), "alice"),
        key: None,
        request: &request,
        requester: sender(AGENT),
        voter: sender(DESK),
        now: Micros(1),
        is_open: true,
        now_in: Some(Epoch(1)),
    };
    assert_eq!(judge(&ballot).unwrap_err().refusal, VoteRefusal::UnknownKey);
}

#[test]
fn a_vote_is_about_one_request_in_every_part() {
    let changes: [fn(&mut RequestFacts); 10] = [
        |facts| facts.ledger = "example.org/other/e1".to_owned(),
        |facts| facts.approval_id = ApprovalId::from_bytes([9; 16]),
        |facts| facts.position = Position::new(1, 18),
        |facts| facts.leaf_hash = Digest([9; 32]),
        |facts| facts.action_digest = Digest([9; 32]),
        |facts| facts.view_digest = Digest([9; 32]),
        |facts| facts.policy_digest = None,
        |facts| facts.config_digest = Some(Digest([9; 32])),
        |facts| facts.nonce = Nonce([9; 16]),
        |facts| facts.expires_at = Micros(2_000),
    ];
    for change in changes {
        let mut other = request();
        change(&mut other);
        let envelope = signed(other.clone(), "alice");
        assert_eq!(
            refusal(&envelope, |_, _| ()),
            Some(VoteRefusal::Mismatch),
            "{other:?}"
        );
    }
}

#[test]
fn a_key_is_registered_by_who_holds_it_for_one_tenant_and_person() {
    let good = registration("alice", &possession(TENANT, "alice"));
    assert!(ReviewerKey::registered(&good, TENANT, None).is_ok());
    let other_tenant = ReviewerKey::registered(&good, TenantId(Uuid::from_u128(2)), None);
    assert!(matches!(other_tenant, Err(KeyRefusal::Possession(_))));
    let other_name = registration("bob", &possession(TENANT, "alice"));
    assert!(matches!(
        ReviewerKey::registered(&other_name, TENANT, None),
        Err(KeyRefusal::Possession(_))
    ));
    let mut other_id = good.clone();
    other_id.key_id = Digest([0; 32]);
    assert_eq!(
        ReviewerKey::registered(&other_id, TENANT, None),
        Err(KeyRefusal::Id)
    );
    // Somebody else's key, with that person's public half and his own signature.
    let mallory = PrivateKey::from_seed(&[9; 32]);
    let mut stolen = good.clone();
    let proof = mallory.sign(POSSESSION_TYPE, &possession(TENANT, "alice").to_bytes());
    stolen.proof_of_possession = proof.unwrap().to_json();
    assert!(matches!(
        ReviewerKey::registered(&stolen, TENANT, None),
        Err(KeyRefusal::Possession(_))
    ));
    let mut weak = good;
    weak.public_key = Digest([0; 32]);
    assert_eq!(ReviewerKey::registered(&weak, TENANT, None), Err(KeyRefusal::Key));
}

proptest! {
    /// No change of one character makes another vote of it: it reads as the same vote, or does not count.
    #[test]
    fn a_changed_envelope_does_not_count(place in any::<prop::sample::Index>(), bit in 0_u8..7) {
        let good = signed(request(), "alice");
        let mut bytes = good.clone().into_bytes();
        let at = place.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(changed) = String::from_utf8(bytes) {
            let (request, key) = (request(), alice());
            let ballot = Ballot {
                envelope: &changed,
                key: Some(&key),
                request: &request,
                requester: sender(AGENT),
                voter: sender(DESK),
                now: Micros(1),
                is_open: true,
        now_in: Some(Epoch(1)),
            };
            if let Ok(statement) = judge(&ballot) {
                // The hint is not signed, and a base64 alphabet can change: what was signed is the same.
                prop_assert_eq!(statement.decision, ApprovalDecision::Approve);
                prop_assert_eq!(statement.request, request.clone());
                prop_assert_eq!(&changed[..at.min(good.len())], &good[..at]);
                let is_hint = good[..at].contains("\"keyid\":\"") && !good[..at].contains("\"sig\"");
                prop_assert!(is_hint, "{} at {}", changed, at);
            }
        }
    }
}
