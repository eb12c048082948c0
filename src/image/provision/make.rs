//! Making the layer that makes an image bootable.

use std::io;
use std::path::PathBuf;
use std::time::SystemTime;

use super::content::Content;
use super::{Readiness, TIMEOUT, content, epoch, family, readiness, root_mode, script, scrub};
use crate::image::catalogue::{Family, Provision};
use crate::image::digest::Digest;
use crate::image::error::{ImageError, Missing};
use crate::image::images::Images;
use crate::image::layer::{Listed, blocking, record};
use crate::image::policy::PullOptions;
use crate::image::rootfs::Rootfs;
use crate::image::store::{
    Holds, ImageRecord, LayerId, LayerRecord, MadeLayer, Scratch, StoreError,
};
use crate::image::target::Target;
use crate::machine::{Build, build};
use crate::packages::{From, PackageCache};
use crate::progress::{Event, Step};

impl Images {
    /// The layer that makes the image bootable, if it needs one: made now, unless it is there.
    pub(in crate::image) async fn provision(
        &self,
        target: &Target<'_>,
        layers: &[LayerId],
        options: &PullOptions,
        holds: &mut Holds,
    ) -> Result<Option<LayerId>, ImageError> {
        let made = self.make_layer(target, layers, options, holds).await?;
        let Some(locked) = &target.locked else {
            return Ok(made);
        };
        let found = match &made {
            Some(id) => self.store.layer_record(id)?.content,
            None => None,
        };
        if found == locked.provision {
            Ok(made)
        } else {
            Err(differs(target, found))
        }
    }

    /// The digest of what the layer holds that makes the image bootable, if it has one.
    pub(in crate::image) fn provision_content(
        &self,
        record: &ImageRecord,
    ) -> Result<Option<Digest>, ImageError> {
        Ok(match &record.provision {
            Some(id) => self.store.layer_record(id)?.content,
            None => None,
        })
    }

    /// Whether the image was made bootable in the way in which it would be now.
    pub(in crate::image) fn is_provisioned(
        &self,
        target: &Target<'_>,
        record: &ImageRecord,
    ) -> Result<bool, ImageError> {
        if record.as_is {
            return Ok(false);
        }
        let Some(id) = &record.provision else {
            // It boots as it is; the catalogue may add something all the same.
            return Ok(!has_recipe(target));
        };
        let look = |source| StoreError::io(self.store.root(), source);
        let family = match target.entry {
            Some(entry) => Some(entry.family),
            None => {
                family(&Rootfs::open(&self.lowers(&record.layers)).map_err(look)?).map_err(look)?
            }
        };
        let Some(family) = family else {
            return Ok(false);
        };
        let script = script_for(target, family);
        let inputs = super::inputs(&script, &record.layers);
        Ok(self.store.layer_record(id)?.inputs == Some(inputs))
    }

    async fn make_layer(
        &self,
        target: &Target<'_>,
        layers: &[LayerId],
        options: &PullOptions,
        holds: &mut Holds,
    ) -> Result<Option<LayerId>, ImageError> {
        let lowers = self.lowers(layers);
        let look = |source| StoreError::io(self.store.root(), source);
        let root = Rootfs::open(&lowers).map_err(look)?;
        let lacks = match readiness(&root).map_err(look)? {
            Readiness::Lacks(lacks) => lacks,
            // It boots; what it installs packages from may still have to be mended.
            Readiness::Ready if has_recipe(target) => "what the catalogue adds",
            Readiness::Ready => return Ok(None),
        };
        let family = match target.entry {
            Some(entry) => Some(entry.family),
            None => family(&root).map_err(look)?,
        };
        let Some(family) = family else {
            return Err(ImageError::NotBootable {
                name: target.name.clone(),
                lacks,
            });
        };
        let script = script_for(target, family);
        let inputs = super::inputs(&script, layers);
        let name = target.name.clone();
        let waiting = || {
            let text = format!("{name}: waiting for another postroj that makes it bootable");
            self.progress.report(&Event::Note(text));
        };
        let _lock = self
            .store
            .lock_exclusive(&format!("layer-{}", inputs.hex()), waiting)
            .await?;
        let wanted = target.locked.as_ref().and_then(|locked| locked.provision);
        if !options.force
            && let Some(id) = self.store.layer_made_from(&inputs, wanted.as_ref())?
            && let Some(hold) = self.store.hold([&id]).await?
        {
            holds.extend(hold);
            return Ok(Some(id));
        }
        if options.offline {
            return Err(ImageError::Offline {
                name: target.name.clone(),
                missing: Missing::Packages(lacks),
            });
        }
        let step = Step::start(
            &self.progress,
            format!("make {} bootable (it lacks {lacks})", target.name),
            None,
        );
        let cache = self.packages(target, family, options.foreign_platform());
        let made = self.run(target, (&root, cache), &lowers, &script);
        let (scratch, content, listed) = made.await?;
        if wanted.is_some_and(|wanted| wanted != content.digest) {
            return Err(differs(target, Some(content.digest)));
        }
        let id = LayerId::derived(Digest::of(format!("{inputs}\n{}", content.digest)));
        let record = LayerRecord {
            entries: content.entries,
            bytes: content.bytes,
            inputs: Some(inputs),
            content: Some(content.digest),
            ..LayerRecord::made_here(format!("the {family} recipe for {}", target.name), &listed)
        };
        let layer = MadeLayer {
            id: id.clone(),
            scratch,
            record,
        };
        holds.extend(self.store.publish(vec![layer]).await?);
        step.finish();
        Ok(Some(id))
    }

    /// Runs the script on top of the image's layers; gives what it has written, cleaned.
    async fn run(
        &self,
        target: &Target<'_>,
        (root, cache): (&Rootfs, Option<PackageCache>),
        lowers: &[PathBuf],
        script: &str,
    ) -> Result<(Scratch, Content, Listed), ImageError> {
        let look = |source| StoreError::io(self.store.root(), source);
        let scratch = self.store.scratch()?;
        let (upper, work) = (scratch.path().join("root"), scratch.path().join("work"));
        for path in [&upper, &work] {
            std::fs::create_dir(path).map_err(|source| StoreError::io(path, source))?;
        }
        let mode = rustix::fs::Mode::from_raw_mode(root_mode(root).map_err(look)?);
        rustix::fs::chmod(&upper, mode).map_err(|source| StoreError::io(&upper, source))?;
        let epoch = epoch(root).map_err(look)?;
        let script = format!("export SOURCE_DATE_EPOCH={epoch}\n{script}");
        let kept = scratch.path().join("packages");
        let lease = cache.and_then(|cache| usable(cache.lease()));
        let overlaid = match &lease {
            Some(lease) => usable(lease.overlaid_keeping(&kept)).unwrap_or_default(),
            None => Vec::new(),
        };
        let began = SystemTime::now();
        let output = build(Build {
            image: &target.machine_name,
            lowers,
            upper: &upper,
            work: &work,
            overlaid: &overlaid,
            script: &script,
            timeout: TIMEOUT,
        })
        .await
        .map_err(|source| ImageError::Provision {
            name: target.name.clone(),
            source: Box::new(source),
        })?;
        tracing::debug!(image = target.name, "{output}");
        let (below, listing) = (upper.clone(), MadeLayer::listing(&scratch));
        let taken = blocking(move |cancel| {
            scrub(&below)?;
            std::fs::remove_dir_all(&work)?;
            if let Some(mut lease) = lease {
                // Nothing but the distribution's own packages has run.
                usable(lease.harvest(&From::Written(kept.clone()), true));
            }
            if kept.exists() {
                std::fs::remove_dir_all(&kept)?;
            }
            content::clamp_times(&below, began, epoch)?;
            let content = content::content(&below)?;
            Ok((content, record(&below, &listing, cancel)?))
        })
        .await;
        let (content, listed) = taken
            .and_then(|outcome: io::Result<_>| outcome)
            .map_err(|source| StoreError::io(&upper, source))?;
        Ok((scratch, content, listed))
    }
}

/// Without a cache it takes longer, and that is all.
fn usable<T>(outcome: io::Result<T>) -> Option<T> {
    outcome
        .inspect_err(|error| tracing::warn!(%error, "packages are not kept"))
        .ok()
}

fn has_recipe(target: &Target<'_>) -> bool {
    target
        .entry
        .is_some_and(|entry| entry.provision != Provision::default())
}

fn script_for(target: &Target<'_>, family: Family) -> String {
    let plain = Provision::default();
    script(
        family,
        target.entry.map_or(&plain, |entry| &entry.provision),
    )
}

fn differs(target: &Target<'_>, found: Option<Digest>) -> ImageError {
    ImageError::LockedDiffers {
        name: target.name.clone(),
        what: "the layer that makes it bootable",
        expected: target.locked.as_ref().and_then(|locked| locked.provision),
        found,
    }
}
