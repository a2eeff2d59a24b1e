//! Which groups run here, and which are on their way in or out.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::error::NodeError;
use super::group::Group;
use crate::types::GroupId;

/// The groups of a host by their ids.
#[derive(Debug, Default)]
pub(super) struct Directory {
    groups: Mutex<BTreeMap<GroupId, Place>>,
}

#[derive(Debug)]
enum Place {
    /// Somebody holds a [`Claim`] on it.
    Claimed,
    Running(Arc<Group>),
}

impl Directory {
    /// The group with this id, if it runs.
    pub(super) fn group(&self, id: GroupId) -> Option<Arc<Group>> {
        match self.lock().get(&id)? {
            Place::Running(group) => Some(group.clone()),
            Place::Claimed => None,
        }
    }

    /// All that run, by id.
    pub(super) fn groups(&self) -> Vec<Arc<Group>> {
        let groups = self.lock();
        let running = groups.values().filter_map(|place| match place {
            Place::Running(group) => Some(group.clone()),
            Place::Claimed => None,
        });
        running.collect()
    }

    /// Takes a place that is free, so that nobody else does.
    pub(super) fn claim(&self, id: GroupId) -> Result<Claim<'_>, NodeError> {
        let mut groups = self.lock();
        match groups.get(&id) {
            Some(Place::Running(_)) => return Err(NodeError::GroupRuns(id)),
            Some(Place::Claimed) => return Err(NodeError::GroupBusy(id)),
            None => groups.insert(id, Place::Claimed),
        };
        Ok(Claim { directory: self, id })
    }

    /// Takes the place of a group that is to go, and returns the group if it runs.
    pub(super) fn evict(&self, id: GroupId) -> Result<(Claim<'_>, Option<Arc<Group>>), NodeError> {
        let mut groups = self.lock();
        if let Some(Place::Claimed) = groups.get(&id) {
            return Err(NodeError::GroupBusy(id));
        }
        let running = match groups.insert(id, Place::Claimed) {
            Some(Place::Running(group)) => Some(group),
            Some(Place::Claimed) | None => None,
        };
        Ok((Claim { directory: self, id }, running))
    }

    /// `group` has ended. Its place is free, unless somebody else took it.
    pub(super) fn ended(&self, group: &Group) {
        let mut groups = self.lock();
        if let Some(Place::Running(running)) = groups.get(&group.config.group)
            && std::ptr::eq(Arc::as_ptr(running), group)
        {
            groups.remove(&group.config.group);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<GroupId, Place>> {
        // No change above can stop halfway.
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in the directory that is held. Dropping it frees the place.
#[derive(Debug)]
pub(super) struct Claim<'a> {
    directory: &'a Directory,
    id: GroupId,
}

impl Claim<'_> {
    /// The group runs from now on.
    pub(super) fn fill(self, group: &Arc<Group>) {
        let mut groups = self.directory.lock();
        groups.insert(self.id, Place::Running(group.clone()));
        drop(groups);
        std::mem::forget(self);
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.directory.lock().remove(&self.id);
    }
}
