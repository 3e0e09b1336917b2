//! Passes: what the browser of a person keeps in place of their key.
//!
//! A pass names a key and the time until which it holds, under a MAC that only the deployment can make. Nothing is kept of
//! it at the server: any node takes it, also after a restart, and there is nothing to fill up. It is good for as long as its
//! key is: who revokes the key ends all passes of it at once. The secret of the key is not in it.

use hmac::{Hmac, KeyInit as _, Mac as _};
use ruche_domain::ids::ApiKeyId;
use ruche_domain::numbers::Micros;
use sha2::Sha256;

use crate::limits::PASS_LIFE;

const VERSION: &str = "p1";
const SECOND_US: u64 = 1_000_000;

/// Makes passes and reads them. Does not print its key.
#[derive(Clone)]
pub struct Passes([u8; 32]);

impl Passes {
    /// With the key that the master seed derives for them.
    pub const fn new(key: [u8; 32]) -> Self {
        Self(key)
    }

    /// A pass of the holder of a key, from now on for [`PASS_LIFE`].
    pub fn issue(&self, key_id: ApiKeyId, now: Micros) -> String {
        let until = now.0 / SECOND_US + PASS_LIFE.as_secs();
        let told = format!("{VERSION}.{key_id}.{until}");
        let mac = self.mac(&told).finalize().into_bytes();
        format!("{told}.{}", hex::encode(mac))
    }

    /// The key that a pass of ours names, if its time is not over. Whether the key is still good is another question.
    pub fn read(&self, text: &str, now: Micros) -> Option<ApiKeyId> {
        let (told, mac) = text.rsplit_once('.')?;
        self.mac(told).verify_slice(&hex::decode(mac).ok()?).ok()?;
        let mut parts = told.split('.');
        let (version, key_id, until) = (parts.next()?, parts.next()?, parts.next()?);
        let is_ours = version == VERSION && parts.next().is_none();
        let until: u64 = until.parse().ok()?;
        (is_ours && now.0 / SECOND_US < until).then_some(())?;
        key_id.parse().ok()
    }

    fn mac(&self, told: &str) -> Hmac<Sha256> {
        let mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.chain_update(told.as_bytes())
    }
}

#[test]
fn a_pass_is_read_by_who_made_it_and_in_its_time_only() {
    let key_id: ApiKeyId = "00112233-4455-4677-8899-aabbccddeeff".parse().unwrap();
    let (passes, now) = (Passes::new([7; 32]), Micros(1_000 * SECOND_US));
    let pass = passes.issue(key_id, now);
    let life = PASS_LIFE.as_secs() * SECOND_US;
    assert_eq!(passes.read(&pass, now), Some(key_id));
    assert_eq!(passes.read(&pass, Micros(now.0 + life - 1)), Some(key_id));
    assert_eq!(passes.read(&pass, Micros(now.0 + life)), None, "its time is over");
    assert_eq!(Passes::new([8; 32]).read(&pass, now), None, "another deployment");
    let other = pass.replace("00112233", "00112234");
    let (told, mac) = pass.rsplit_once('.').unwrap();
    let later = told.replace(".29800", ".99999");
    assert_ne!(later, told);
    let later = format!("{later}.{mac}");
    for bad in [
        "",
        ".",
        "p1",
        told,
        &other,
        &later,
        &pass[..pass.len() - 2],
        &format!("{pass}00"),
    ] {
        assert_eq!(passes.read(bad, now), None, "{bad}");
    }
}
