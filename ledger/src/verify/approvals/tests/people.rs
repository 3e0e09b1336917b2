//! Who asked does not decide, whichever credentials they have; and what it takes to approve.

use ruche_domain::events::infra::InfraApiKeyCreated;
use ruche_domain::ids::ApiKeyId;

use super::*;

/// A credential of somebody, as the tenant's access stream says.
pub(super) fn credential(story: &Story, who: u128, user: Option<&str>) -> PreparedEvent {
    let said = InfraApiKeyCreated {
        user: user.map(str::to_owned),
        ..InfraApiKeyCreated::new(ApiKeyId(Uuid::from_u128(who)), Digest([9; 32]), vec![])
    };
    story.event(StreamId::new(Category::Access, TENANT.0), ADMIN, said)
}

/// The story of one approval among people who have these credentials, with a request that names who asked. Credentials
/// stand at 1 to 3, the key at 4, the request at 6, the vote at 7.
async fn among(users: [Option<&str>; 3], requested_by: Option<&str>) -> Story {
    let story = Story::new().await;
    let made = [AGENT, ADMIN, DESK].into_iter().zip(users);
    story
        .append(made.map(|(who, user)| credential(&story, who, user)).collect())
        .await;
    told(story, |said| said.requested_by = requested_by.map(str::to_owned)).await
}

/// The key, and a request that says this, approved by one vote and used.
async fn told(story: Story, change: impl FnOnce(&mut ApprovalRequested)) -> Story {
    story.append(vec![story.key(&alice())]).await;
    let mut said = requested();
    change(&mut said);
    let said = with_view(said);
    story
        .append(vec![story.proposed(), story.request(said.clone())])
        .await;
    story.append(story.vote_on(&said, DESK, |_| ()).await).await;
    story
        .append(vec![story.consumed(action()), story.started()])
        .await;
    story
}

#[tokio::test]
async fn whoever_asked_does_not_decide_under_another_credential() {
    let none: [&str; 0] = [];
    let refused = ["VOTE_INVALID 7", "DECISION_WITHOUT_VOTE 8"];
    let carol = Some("carol");
    for (users, found) in [
        // The key is alice's, and so is the agent's credential.
        ([Some("alice"), None, None], &refused[..]),
        ([carol, None, carol], &refused),
        ([carol, carol, None], &refused),
        ([carol, Some("root"), Some("alice")], &none),
        // Two that name nobody may be one person's: that is not seen.
        ([None, None, None], &none),
        ([None, carol, carol], &none),
    ] {
        let story = among(users, users[0]).await;
        assert_eq!(story.judged().await.0, found, "{users:?}");
    }
}

/// Whose a credential is says the record that made it, and a request must not say otherwise or keep quiet.
#[tokio::test]
async fn a_request_says_whose_credential_asked() {
    let mismatch = "REQUEST_MISMATCH 6";
    let as_is = among([Some("carol"), None, None], None).await;
    as_is.finds(&[mismatch]).await;
    among([None, None, None], Some("carol"))
        .await
        .finds(&[mismatch])
        .await;
    let found = [mismatch, "VOTE_INVALID 7", "DECISION_WITHOUT_VOTE 8"];
    among([Some("alice"), None, None], Some("carol"))
        .await
        .finds(&found)
        .await;
    // Of a credential that no record tells of, the request's word is what there is.
    let unknown = told(Story::new().await, |said| {
        said.requested_by = Some("alice".to_owned())
    })
    .await;
    unknown
        .finds(&["VOTE_INVALID 4", "DECISION_WITHOUT_VOTE 5"])
        .await;
    // Nor may it be said twice.
    let story = Story::new().await;
    let twice = [Some("alice"), None].map(|user| credential(&story, AGENT, user));
    story.append(twice.into()).await;
    let story = told(story, |said| said.requested_by = Some("alice".to_owned())).await;
    story.finds(&["VOTE_INVALID 6", "DECISION_WITHOUT_VOTE 7"]).await;
}

/// The server writes one rule. What asks for more, one vote does not meet.
#[tokio::test]
async fn a_rule_that_one_vote_does_not_meet() {
    let by_rule = async |change: fn(&mut ApprovalRule)| {
        let story = told(Story::new().await, |said| change(&mut said.rule)).await;
        story.judged().await.0
    };
    let none: [&str; 0] = [];
    assert_eq!(
        by_rule(|rule| rule.excluded = vec!["requester".to_owned()]).await,
        none
    );
    let found = ["VOTE_INVALID 4", "DECISION_WITHOUT_VOTE 5"];
    for change in [
        (|rule| rule.approvals_required = 2) as fn(&mut ApprovalRule),
        |rule| rule.approvals_required = 0,
        |rule| rule.groups = vec!["finance".to_owned()],
        |rule| rule.excluded = vec!["requester".to_owned(), "config_author".to_owned()],
        |rule| rule.assurance = Some("high".to_owned()),
    ] {
        assert_eq!(by_rule(change).await, found);
    }
}
