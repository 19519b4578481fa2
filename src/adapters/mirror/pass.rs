//! A pass over all items of a collection, page by page. Items that no page has are read by
//! id before they are removed: a page may miss an item that was written meanwhile.

use std::sync::Arc;

use super::items::MirroredItems;
use crate::{
    adapters::qdrant::{QdrantItemStore, ScrollOffset},
    blocking,
    domain::ids::ContentId,
    ports::{ItemRefusal, StoreError, StoreErrorKind},
};

/// Items of a page. A page that is too large for a reply is halved.
pub(super) const PAGE_ITEMS: u32 = 1_000;
/// Pages that Qdrant does not return in time are halved, too, down to this.
const MIN_PAGE_ITEMS: u32 = 50;
/// Items that are read by id in one step.
pub(super) const IDS_PER_READ: usize = 200;

/// A pass that has begun.
pub(super) struct Pass {
    pub(super) items: Arc<MirroredItems>,
    stage: PassStage,
    seen: foldhash::HashSet<ContentId>,
    page_items: u32,
    /// Number of items that the pass has added, replaced or removed.
    pub(super) changed: usize,
}

enum PassStage {
    Pages(Option<ScrollOffset>),
    /// The rest of the items that no page had.
    Unseen(Vec<ContentId>),
}

/// Why a pass does not go on.
#[derive(Debug)]
pub(super) enum PassError {
    /// Qdrant did not answer. The step can be repeated.
    Store(StoreError),
    /// The items do not fit into memory.
    TooLarge,
    /// The collection has other vectors than when its first item was read.
    OtherVectors,
}

impl From<ItemRefusal> for PassError {
    fn from(refusal: ItemRefusal) -> Self {
        match refusal {
            ItemRefusal::Full => Self::TooLarge,
            ItemRefusal::VectorSize { .. } => Self::OtherVectors,
        }
    }
}

impl Pass {
    pub(super) fn over(items: Arc<MirroredItems>) -> Self {
        Self {
            items,
            stage: PassStage::Pages(None),
            seen: foldhash::HashSet::default(),
            page_items: PAGE_ITEMS,
            changed: 0,
        }
    }

    /// Reads and applies the next items. Returns whether there are more.
    ///
    /// # Errors
    /// [`PassError`].
    pub(super) async fn step(&mut self, source: &QdrantItemStore) -> Result<bool, PassError> {
        match std::mem::replace(&mut self.stage, PassStage::Pages(None)) {
            PassStage::Pages(start) => match self.page(source, start.clone()).await {
                Ok(Some(next)) => self.stage = PassStage::Pages(Some(next)),
                Ok(None) => {
                    let seen = std::mem::take(&mut self.seen);
                    self.stage = PassStage::Unseen(self.items.memory.ids_outside(&seen));
                }
                Err(error) => {
                    self.stage = PassStage::Pages(start);
                    self.shrink_page(source, error).await?;
                }
            },
            PassStage::Unseen(mut ids) => {
                let rest = ids.split_off(ids.len().min(IDS_PER_READ));
                match reread(&self.items, source, &ids).await {
                    Ok(changed) => {
                        self.changed += changed;
                        self.stage = PassStage::Unseen(rest);
                    }
                    Err(error) => {
                        ids.extend(rest);
                        self.stage = PassStage::Unseen(ids);
                        return Err(error);
                    }
                }
            }
        }
        Ok(!matches!(&self.stage, PassStage::Unseen(ids) if ids.is_empty()))
    }

    async fn page(
        &mut self,
        source: &QdrantItemStore,
        start: Option<ScrollOffset>,
    ) -> Result<Option<ScrollOffset>, PassError> {
        let items = Arc::clone(&self.items);
        let read = items.begin_read();
        let page = source.point_page(start, self.page_items).await;
        let page = page.map_err(PassError::Store)?;
        if source.vector_shape().as_ref() != Some(&self.items.vectors) {
            return Err(PassError::OtherVectors);
        }
        blocking::in_place(|| {
            for point in page.items {
                let id = point.item.id.clone();
                if let Some(changed) = read.apply_point(point)? {
                    self.changed += usize::from(changed);
                    self.seen.insert(id);
                }
            }
            Ok::<(), PassError>(())
        })?;
        Ok(page.next)
    }

    /// Makes pages smaller if an error may be due to their size.
    ///
    /// # Errors
    /// The error itself, if it has another cause.
    async fn shrink_page(
        &mut self,
        source: &QdrantItemStore,
        error: PassError,
    ) -> Result<(), PassError> {
        let PassError::Store(cause) = &error else {
            return Err(error);
        };
        if cause.kind() == StoreErrorKind::Unavailable {
            self.page_items = (self.page_items / 2).max(MIN_PAGE_ITEMS.min(self.page_items));
        }
        if cause.kind() != StoreErrorKind::Corrupt {
            return Err(error);
        }
        let now = source.describe_vectors().await.map_err(PassError::Store)?;
        if now != self.items.vectors {
            return Err(PassError::OtherVectors);
        }
        if self.page_items == 1 {
            return Err(error);
        }
        self.page_items /= 2;
        Ok(())
    }
}

/// Reads items by id and applies them. Each id is given once. Returns how many items have
/// changed.
///
/// # Errors
/// [`PassError`]; then some of them may be applied.
pub(super) async fn reread(
    items: &MirroredItems,
    source: &QdrantItemStore,
    ids: &[ContentId],
) -> Result<usize, PassError> {
    let mut changed = 0;
    for ids in ids.chunks(IDS_PER_READ) {
        let read = items.begin_read();
        let found = source.read_uncached(&items.with_keys(ids)).await;
        let found = found.map_err(PassError::Store)?;
        if source.vector_shape().as_ref() != Some(&items.vectors) {
            return Err(PassError::OtherVectors);
        }
        for (id, found) in ids.iter().zip(found) {
            changed += usize::from(read.apply(id, found)?);
        }
    }
    Ok(changed)
}
