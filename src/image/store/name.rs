//! Names of layers.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::image::digest::Digest;

/// The name of a layer's directory.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct LayerId {
    kind: Kind,
    digest: Digest,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Kind {
    Diff,
    Chain,
    Derived,
}

impl LayerId {
    /// A layer that is what its archive alone says.
    pub(in crate::image) fn diff(diff_id: Digest) -> Self {
        Self {
            kind: Kind::Diff,
            digest: diff_id,
        }
    }

    /// A layer that also depends on the ones below it.
    pub(in crate::image) fn chain(chain_id: Digest) -> Self {
        Self {
            kind: Kind::Chain,
            digest: chain_id,
        }
    }

    /// Enough of the name for people to tell it from others.
    pub fn short(&self) -> String {
        let name = self.to_string();
        let end = name.find('-').map_or(name.len(), |at| at + 13);
        name[..end].to_owned()
    }

    /// Whether it was made here.
    pub(super) fn is_derived(&self) -> bool {
        self.kind == Kind::Derived
    }

    /// A layer that was made here.
    pub(in crate::image) fn derived(inputs: Digest) -> Self {
        Self {
            kind: Kind::Derived,
            digest: inputs,
        }
    }
}

impl fmt::Display for LayerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Diff => "sha256",
            Kind::Chain => "chain",
            Kind::Derived => "derived",
        };
        write!(f, "{kind}-{}", self.digest.hex())
    }
}

impl From<LayerId> for String {
    fn from(id: LayerId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for LayerId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no name of a layer");
        let (kind, hex) = text.split_once('-').ok_or_else(wrong)?;
        let kind = match kind {
            "sha256" => Kind::Diff,
            "chain" => Kind::Chain,
            "derived" => Kind::Derived,
            _ => return Err(wrong()),
        };
        let digest = Digest::parse(&format!("sha256:{hex}")).map_err(|_| wrong())?;
        Ok(Self { kind, digest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_layers_are_read_back() {
        for id in [
            LayerId::diff(Digest::of("x")),
            LayerId::chain(Digest::of("x")),
            LayerId::derived(Digest::of("x")),
        ] {
            assert_eq!(LayerId::try_from(id.to_string()).unwrap(), id);
        }
        for bad in ["", "sha256-../x", "other-x", "sha256"] {
            assert!(LayerId::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }
}
