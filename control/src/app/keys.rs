//! The keys of a control plane: the seal's in a file, all others sealed in the store, so that control planes over one store share them.

use std::{fs, io, os::unix::fs::DirBuilderExt, path::Path, sync::Arc};

use aws_lc_rs::rand;
use runtime::{Clock, Secret, Tasks, file::Real};
use wire::time::WallTime;

use super::{Error, state::DIRECTORY};
use crate::{
    ca::{Ca, Signer},
    config::Config,
    publish::Publisher,
    seal::Seal,
    signing_key::{self, SigningKeys},
    state::{self, State},
};

/// The seal's key, below the control plane's folder.
const SEAL: &str = "seal.key";
/// The value that holds the key of sessions.
const SESSION: &str = "session-key";
/// How often it is tried to be the one who makes a key.
const ATTEMPTS: usize = 8;

pub(super) struct Keys {
    pub(super) ca: Arc<Ca>,
    pub(super) signing: Arc<SigningKeys>,
    pub(super) session: Secret<Vec<u8>>,
    pub(super) seal: Arc<Seal>,
}

/// Opens or makes them.
pub(super) async fn open(
    config: &Config,
    state: &Arc<dyn State>,
    clock: &Clock,
    tasks: &Tasks,
) -> Result<Keys, Error> {
    let own = config.data_dir.join(DIRECTORY).join(SEAL);
    let path = config.seal_key.as_deref().unwrap_or(&own);
    let seal = Arc::new(Seal::open(&Real, path)?);
    let session = session(&**state, &seal).await?;
    let kept = signing_key::Config {
        overlap: config.settings.ca.overlap,
        grant_life: config.settings.grants.grant,
    };
    let (stored, sealed) = (Arc::clone(state), Arc::clone(&seal));
    let signing = SigningKeys::open(stored, sealed, clock.clone(), kept, tasks).await?;
    let (stored, sealed) = (Arc::clone(state), Arc::clone(&seal));
    let ca = Ca::open(stored, sealed, clock.clone(), config.settings.ca).await?;
    Ok(Keys {
        ca: Arc::new(ca),
        signing: Arc::new(signing),
        session,
        seal,
    })
}

impl Keys {
    /// What signs slices and is shown to nodes.
    pub(super) fn signer(
        &self,
        publisher: &Publisher,
        clock: &Clock,
    ) -> Result<Arc<Signer>, Error> {
        let current = publisher.current();
        let mesh = current.topology.as_ref().map(|topology| &topology.mesh);
        let now = WallTime(clock.wall_ms());
        Ok(Arc::new(Signer::new(Arc::clone(&self.ca), mesh, now)?))
    }
}

/// The key that sessions are signed with.
async fn session(state: &dyn State, seal: &Seal) -> Result<Secret<Vec<u8>>, Error> {
    for _ in 0..ATTEMPTS {
        if let Some(sealed) = state.value(SESSION).await? {
            return Ok(seal.open_value(SESSION, &sealed)?);
        }
        let mut key = zeroize::Zeroizing::new([0; 32]);
        rand::fill(key.as_mut_slice()).map_err(|_| {
            state::Error::Unavailable("this machine gives no randomness".to_owned())
        })?;
        let sealed = seal.seal(SESSION, key.as_slice())?;
        state.swap_value(SESSION, None, Some(sealed)).await?;
    }
    let why = "other control planes change the key of sessions all the time";
    Err(state::Error::Unavailable(why.to_owned()).into())
}

/// Makes a folder for its owner's eyes alone.
pub(super) fn directory(path: &Path) -> Result<(), Error> {
    let made = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path);
    made.map_err(|source: io::Error| Error::Directory {
        path: path.display().to_string(),
        source,
    })
}
