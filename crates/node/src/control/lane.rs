//! What the REST API asks of the node beside what each subject offers.

use super::Control;
use ravelin_protect::CertificateFacts;

impl Control {
    /// Whether what was administered while the node ran has revoked this certificate, or the identity that it proves. The
    /// revocation lists of files are the business of whoever verified its chain.
    pub fn is_revoked(&self, certificate: &CertificateFacts, identity: Option<&str>) -> bool {
        let policy = self.policy();
        let revocations = &policy.programme.revocations;
        let by_identity = identity.and_then(|name| revocations.of_identity(name, Some(certificate)));
        revocations.of_certificate(certificate).or(by_identity).is_some()
    }

    /// What the store counted since it was opened; `None` once it has closed.
    pub fn store_stats(&self) -> Option<ravelin_store::Stats> {
        self.records().store_stats()
    }
}
