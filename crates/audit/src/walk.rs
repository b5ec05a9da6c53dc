//! Follows the chain entry by entry: what the entries say of the chain must agree with it. The same for the segments on
//! disk and for an export.

use crate::chain::{Chain, Hash, PublicKey, Salt, hex, unhex};
use crate::entry::{Checkpoint, Entry, Pruned, SegmentBegin, What};
use crate::head::Head;
use crate::verify::{Damage, DamageKind, Verification};
use std::collections::BTreeMap;

/// Where in which file something stands.
#[derive(Clone, Debug, Default)]
pub(crate) struct Place {
    pub file: String,
    /// A byte of a segment, a line of an export.
    pub offset: u64,
}

/// The walk along a chain.
pub(crate) struct Walk {
    pub found: Verification,
    pub chain: Chain,
    record: Option<String>,
    started: bool,
    signers: Vec<PublicKey>,
    /// Introduced, and not signed for yet.
    proposed: Vec<PublicKey>,
    /// Heads at the begins of segments, where deletions end.
    boundaries: BTreeMap<u64, Hash>,
    deletions: Vec<(Place, Pruned)>,
    anchors: Vec<Head>,
    pinned: Option<PublicKey>,
    pinned_seen: bool,
}

impl Walk {
    pub fn new(anchors: Vec<Head>, pinned: Option<PublicKey>) -> Walk {
        Walk {
            found: Verification::default(),
            chain: Chain { sequence: 0, head: [0; 32] },
            record: None,
            started: false,
            signers: Vec::new(),
            proposed: Vec::new(),
            boundaries: BTreeMap::new(),
            deletions: Vec::new(),
            anchors,
            pinned,
            pinned_seen: false,
        }
    }

    /// The record that the chain is of, and the chain before the first entry that follows.
    pub fn start(&mut self, record: [u8; 16], before: Chain) {
        self.record = Some(hex(&record));
        self.found.record = hex(&record);
        self.found.first = before.sequence + 1;
        self.chain = before;
        self.started = true;
        self.boundaries.insert(before.sequence, before.head);
        self.pass_anchors();
    }

    pub fn is_started(&self) -> bool {
        self.started
    }

    /// Goes on behind a hole.
    pub fn jump(&mut self, to: Chain) {
        self.chain = to;
        self.boundaries.insert(to.sequence, to.head);
        self.pass_anchors();
    }

    pub fn damage(
        &mut self,
        kind: DamageKind,
        place: &Place,
        before: Option<u64>,
        detail: impl Into<String>,
    ) {
        self.found.damage.push(Damage {
            kind,
            file: place.file.clone(),
            offset: place.offset,
            after: self.chain.sequence,
            before,
            detail: detail.into(),
        });
    }

    /// Takes an entry of which only the leaf is there.
    pub fn leaf(&mut self, leaf: &Hash) {
        self.chain.add_leaf(leaf);
        self.found.withheld += 1;
        self.pass_anchors();
    }

    /// Takes an entry.
    pub fn entry(&mut self, place: &Place, salt: &Salt, text: &str) {
        let entry = Entry::from_json(text);
        match &entry {
            Some(entry) => self.look_at(place, entry),
            // Of a later version; the chain holds it all the same.
            None => *self.found.kinds.entry("unknown".into()).or_default() += 1,
        }
        self.chain.add(salt, text.as_bytes());
        self.found.entries += 1;
        self.pass_anchors();
    }

    fn look_at(&mut self, place: &Place, entry: &Entry) {
        *self.found.kinds.entry(entry.what.kind().into()).or_default() += 1;
        if self.found.first_ms == 0 {
            self.found.first_ms = entry.at_ms;
        }
        self.found.last_ms = entry.at_ms;
        self.found.closed = false;
        match &entry.what {
            What::Segment(begin) => self.segment(place, begin),
            What::Checkpoint(checkpoint) => self.checkpoint(place, checkpoint),
            What::Signer(key) => match PublicKey::from_entry(key) {
                Some(key) => self.proposed.push(key),
                None => {
                    self.damage(DamageKind::CheckpointInvalid, place, None, "the key it introduces is none")
                }
            },
            What::Pruned(pruned) => {
                // It is a statement on a boundary that may come only with the chain itself.
                self.found.pruned_to = self.found.pruned_to.max(pruned.up_to);
                self.deletions.push((place.clone(), pruned.clone()));
            }
            What::Gap(gap) => self.found.lost += gap.lost,
            What::Damaged(damaged) => {
                let known = self.found.damage.iter().any(|one| one.after == damaged.after);
                if !known {
                    let detail = format!("a start of the node found this: {}", damaged.detail);
                    self.damage(DamageKind::FoundEarlier, place, Some(damaged.before), detail);
                    if let Some(last) = self.found.damage.last_mut() {
                        last.after = damaged.after;
                    }
                }
            }
            _ => {}
        }
    }

    fn segment(&mut self, place: &Place, begin: &SegmentBegin) {
        self.found.segments += 1;
        self.boundaries.insert(self.chain.sequence, self.chain.head);
        let agrees = begin.sequence == self.chain.sequence + 1
            && unhex(&begin.head) == Some(self.chain.head)
            && self.record.as_deref() == Some(&begin.record);
        if !agrees {
            let detail = format!("segment {} says that it begins elsewhere", begin.segment);
            self.damage(DamageKind::ChainBroken, place, None, detail);
        }
        let Some(key) = PublicKey::from_entry(&begin.signer) else {
            return self.damage(DamageKind::CheckpointInvalid, place, None, "the key that signs is none");
        };
        if self.signers.is_empty() {
            self.found.keys.push(key.fingerprint());
            self.signers.push(key);
        } else if !self.signers.contains(&key) {
            let detail = format!("key {} signs from here on, and no earlier key signed for it", key.id());
            self.damage(DamageKind::UnknownSigner, place, None, detail);
            self.found.keys.push(key.fingerprint());
            self.signers.push(key);
        }
    }

    fn checkpoint(&mut self, place: &Place, checkpoint: &Checkpoint) {
        self.found.checkpoints += 1;
        let Some(key) = self.signers.iter().find(|key| key.id() == checkpoint.key).cloned() else {
            let detail = format!("signed with key {}, which nobody introduced", checkpoint.key);
            return self.damage(DamageKind::UnknownSigner, place, None, detail);
        };
        if !key.verifies(checkpoint) {
            return self.damage(DamageKind::CheckpointInvalid, place, None, "its signature is not valid");
        }
        let in_place =
            checkpoint.sequence == self.chain.sequence && self.record.as_deref() == Some(&checkpoint.record);
        if !in_place {
            let detail = format!("it is for entry {}, and stands elsewhere", checkpoint.sequence);
            return self.damage(DamageKind::CheckpointInvalid, place, None, detail);
        }
        let signed = unhex(&checkpoint.head);
        if signed != Some(self.chain.head) {
            let before = Some(checkpoint.sequence + 1);
            let detail = "what was signed is not what is there: an entry between was altered or exchanged";
            self.damage(DamageKind::Altered, place, before, detail);
            if let Some(last) = self.found.damage.last_mut() {
                last.after = self.found.signed;
            }
            // The signature vouches for the head; what follows can be verified again.
            self.chain.head = signed.unwrap_or(self.chain.head);
        }
        self.pinned_seen |= self.pinned.as_ref() == Some(&key);
        for key in std::mem::take(&mut self.proposed) {
            if !self.signers.contains(&key) {
                self.found.keys.push(key.fingerprint());
                self.signers.push(key);
            }
        }
        self.found.signed = checkpoint.sequence;
        self.found.signed_ms = checkpoint.signed_ms;
        self.found.closed = checkpoint.closed;
    }

    /// Compares the anchors that are for the entry that was taken last.
    fn pass_anchors(&mut self) {
        let (sequence, head) = (self.chain.sequence, hex(&self.chain.head));
        let (here, later): (Vec<_>, Vec<_>) = std::mem::take(&mut self.anchors)
            .into_iter()
            .partition(|anchor| anchor.checkpoint.sequence == sequence);
        self.anchors = later;
        for anchor in here {
            if anchor.checkpoint.head == head && self.record.as_deref() == Some(&anchor.checkpoint.record) {
                self.found.anchors += 1;
                continue;
            }
            let detail = format!("the anchor for entry {sequence} is for another entry, or another record");
            self.damage(DamageKind::AnchorMismatch, &Place::default(), None, detail);
        }
    }

    /// Who may have signed, as far as the chain told.
    pub fn knows_signer(&self, key: &PublicKey) -> bool {
        self.signers.contains(key) || self.proposed.contains(key)
    }

    /// After the last entry: the begin, the deletions, the anchors that were for none of the entries, the pinned key.
    pub fn finish(mut self) -> Verification {
        self.found.last = self.chain.sequence;
        self.found.head = hex(&self.chain.head);
        for (place, pruned) in std::mem::take(&mut self.deletions) {
            let known = self.boundaries.get(&pruned.up_to).map(|head| hex(head));
            if known.is_some_and(|head| head != pruned.head) {
                let detail = format!("it tells of a deletion up to {}, but of another chain", pruned.up_to);
                self.damage(DamageKind::ChainBroken, &place, None, detail);
            }
        }
        let missing = self.found.first.saturating_sub(1);
        if self.started && !self.found.partial && missing > self.found.pruned_to {
            let after = self.found.pruned_to;
            let detail = format!("entries {} to {missing} are gone, and nobody signed for that", after + 1);
            self.damage(DamageKind::BeginMissing, &Place::default(), Some(self.found.first), detail);
            if let Some(last) = self.found.damage.last_mut() {
                last.after = after;
            }
        }
        for anchor in std::mem::take(&mut self.anchors) {
            let sequence = anchor.checkpoint.sequence;
            if sequence < self.found.first && self.started {
                self.found.anchors_too_old += 1;
                continue;
            }
            let detail = format!("the anchor says that there were {sequence} entries");
            self.damage(DamageKind::Cut, &Place::default(), None, detail);
        }
        if self.pinned.is_some() && !self.pinned_seen {
            let detail = "nothing in the record is signed with the key that was given";
            self.damage(DamageKind::UnknownSigner, &Place::default(), None, detail);
        }
        self.found
    }
}
