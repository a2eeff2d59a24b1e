//! Everything that is known about the watched files, under one lock that every watched call holds while it works: when
//! power is lost, nothing else moves.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::c_int;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use serde::{Deserialize, Serialize};

use crate::names::{Change, Names};
use crate::random::Random;
use crate::settings::{Crash, Death, Kind, Misbehaviour, Settings};
use crate::sys::{self, Status};
use crate::unsynced::{SECTOR_BYTES, Unsynced, sectors_of};

/// A file's device and number there.
pub(crate) type FileId = (u64, u64);

/// The state of the library.
pub(crate) struct World {
    pub(crate) settings: Settings,
    /// Watched calls that change something, so far.
    calls: u64,
    writes: u64,
    syncs: u64,
    pub(crate) names: Names,
    files: BTreeMap<FileId, File>,
    random: Random,
    /// The faults so far, in words.
    injected: String,
}

/// One watched file.
#[derive(Debug, Default)]
struct File {
    /// A descriptor of this library. It is never closed: that would release the process' locks on the file.
    handle: Option<c_int>,
    unsynced: Unsynced,
}

/// What outlives a process that is killed: the kernel's cache does, and is still not on the disk.
#[derive(Default, Serialize, Deserialize)]
struct Carried {
    names: Names,
    files: Vec<(FileId, Unsynced)>,
}

/// How a call goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Course {
    /// It does its work.
    Work,
    /// It does its work, and then the process ends.
    WorkAndDie,
    /// It fails with this number.
    Fail(c_int),
    /// It writes a part.
    Short,
}

static WORLD: OnceLock<Option<Mutex<World>>> = OnceLock::new();
/// Calls of the write family that passed through, on any descriptor, and those of this library.
static WRITES_SEEN: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// Whether this thread is inside of the library: what it calls then is not watched.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// The lock, held; and the mark that this thread is inside.
pub(crate) struct Inside {
    world: MutexGuard<'static, World>,
}

impl std::ops::Deref for Inside {
    type Target = World;

    fn deref(&self) -> &World {
        &self.world
    }
}

impl std::ops::DerefMut for Inside {
    fn deref_mut(&mut self) -> &mut World {
        &mut self.world
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        WRITES_SEEN.fetch_add(sys::own_writes(), Ordering::Relaxed);
        INSIDE.set(false);
    }
}

/// Counts a call of the write family.
pub(crate) fn saw_write() {
    WRITES_SEEN.fetch_add(1, Ordering::Relaxed);
}

/// Takes the lock, unless nothing is watched or this thread has it.
pub(crate) fn enter() -> Option<Inside> {
    // A thread that is ending has no marks any more, and does nothing with files.
    if INSIDE.try_with(Cell::get).unwrap_or(true) {
        return None;
    }
    INSIDE.set(true);
    let Some(world) = WORLD.get_or_init(World::begin) else {
        INSIDE.set(false);
        return None;
    };
    let world = world.lock().unwrap_or_else(PoisonError::into_inner);
    Some(Inside { world })
}

extern "C" fn finish() {
    if let Some(world) = enter() {
        world.save_carried();
        world.report();
    }
}

impl World {
    fn begin() -> Option<Mutex<World>> {
        let settings = match Settings::read() {
            Ok(settings) => settings?,
            Err(message) => sys::die(&message),
        };
        let carried: Carried = sys::load(&format!("{}/carried", settings.hidden))
            .map(|content| match postcard::from_bytes(&content) {
                Ok(carried) => carried,
                Err(error) => sys::die(&format!("what was carried over: {error}")),
            })
            .unwrap_or_default();
        let seed = settings.crash.map_or(0, |crash| crash.seed);
        let mut world = World {
            calls: 0,
            writes: 0,
            syncs: 0,
            names: carried.names,
            files: BTreeMap::new(),
            random: Random::new(seed),
            injected: String::new(),
            settings,
        };
        world.adopt(carried.files);
        sys::at_exit(finish);
        Some(Mutex::new(world))
    }

    /// Finds the files again that were not durable when the last process ended.
    fn adopt(&mut self, carried: Vec<(FileId, Unsynced)>) {
        let mut carried: BTreeMap<FileId, Unsynced> = carried.into_iter().collect();
        let mut folders = vec![self.settings.root.clone(), self.settings.hidden.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
                let path = entry.path().to_string_lossy().into_owned();
                let Some(status) = sys::status_of(&path) else {
                    continue;
                };
                if status.is_directory {
                    folders.push(path);
                } else if let Some(unsynced) = carried.remove(&status.id) {
                    let handle = Some(sys::open(&path));
                    self.files.insert(status.id, File { handle, unsynced });
                }
            }
        }
    }

    /// Whether a path is watched.
    pub(crate) fn watches(&self, path: &str) -> bool {
        path.strip_prefix(self.settings.root.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Begins to watch the file behind a descriptor.
    pub(crate) fn watch(&mut self, status: &Status, created: bool) {
        if status.is_file {
            let size = if created { 0 } else { status.size };
            self.files.entry(status.id).or_insert_with(|| File {
                handle: None,
                unsynced: Unsynced::durable(size),
            });
        }
    }

    /// What is behind a descriptor, if it is a file that is watched.
    pub(crate) fn watched(&self, fd: c_int) -> Option<Status> {
        let status = sys::status(fd)?;
        self.files.contains_key(&status.id).then_some(status)
    }

    /// Counts a call that is about to change something, and decides how it goes on.
    pub(crate) fn call(&mut self, kind: Kind, what: &str, target: &str) -> Course {
        self.calls += 1;
        let nth = match kind {
            Kind::Write => {
                self.writes += 1;
                self.writes
            }
            Kind::Sync => {
                self.syncs += 1;
                self.syncs
            }
            Kind::Other => 0,
        };
        if let Some(crash) = self.settings.crash
            && crash.at == self.calls
        {
            let during = self.random.chance(50);
            let when = if during { "in" } else { "before" };
            self.note(&format!("{when} {what} of {target}, call {}", self.calls));
            if during {
                return Course::WorkAndDie;
            }
            self.die(crash);
        }
        let fault = self.settings.faults.iter();
        let mut course = Course::Work;
        for fault in fault.filter(|fault| fault.kind == kind && fault.nth == nth) {
            let text = format!("{:?} in {what} of {target}, call {}; ", fault.what, self.calls);
            self.injected.push_str(&text);
            let path = format!("{}/faults", self.settings.hidden);
            sys::save(&path, self.injected.as_bytes());
            match fault.what {
                Misbehaviour::Error(number) => course = Course::Fail(number),
                Misbehaviour::Short => course = Course::Short,
                Misbehaviour::Delay(millis) => sys::sleep(millis),
            }
        }
        course
    }

    /// Writes down where the process ends, for whoever reads about it.
    fn note(&self, text: &str) {
        sys::save(&format!("{}/crash", self.settings.hidden), text.as_bytes());
    }

    /// Ends the process if this call was to be the last.
    pub(crate) fn settle(&mut self, course: Course) {
        if let (Course::WorkAndDie, Some(crash)) = (course, self.settings.crash) {
            self.die(crash);
        }
    }

    /// How the process is to end.
    pub(crate) fn death(&self) -> Option<Death> {
        self.settings.crash.map(|crash| crash.death)
    }

    fn die(&mut self, crash: Crash) -> ! {
        match crash.death {
            Death::Kill => self.save_carried(),
            Death::Power => {
                self.lose();
                self.names = Names::default();
                self.files.clear();
                self.save_carried();
            }
        }
        sys::kill_self()
    }

    /// Takes from the disk what was not synced.
    fn lose(&mut self) {
        for (id, file) in &self.files {
            let Some(handle) = file.handle else { continue };
            let Some(status) = sys::status(handle).filter(|status| status.id == *id && status.links > 0)
            else {
                continue;
            };
            let left = file.unsynced.lose(status.size, &mut self.random);
            if left.size != status.size {
                sys::truncate(handle, left.size);
            }
            for (sector, content) in left.restored {
                let begin = sector * SECTOR_BYTES;
                let bytes = (left.size - begin).min(SECTOR_BYTES) as usize;
                sys::restore(handle, begin, &content[..bytes]);
            }
        }
        self.names.lose(&mut self.random);
    }

    fn save_carried(&self) {
        let unsynced = self.files.iter().filter_map(|(id, file)| {
            let status = sys::status(file.handle?)?;
            let carried = status.links > 0 && !file.unsynced.is_clean(status.size);
            carried.then(|| (*id, file.unsynced.clone()))
        });
        let carried = Carried {
            names: self.names.clone(),
            files: unsynced.collect(),
        };
        match postcard::to_allocvec(&carried) {
            Ok(content) => sys::save(&format!("{}/carried", self.settings.hidden), &content),
            Err(error) => sys::die(&format!("what is carried over: {error}")),
        }
    }

    /// What a process that ended by itself did: calls that changed something, and writes that did not come by here.
    fn report(&self) {
        let io = sys::load("/proc/self/io").unwrap_or_default();
        let io = String::from_utf8_lossy(&io).into_owned();
        let made = io
            .lines()
            .find_map(|line| line.strip_prefix("syscw: ")?.parse::<u64>().ok());
        let seen = WRITES_SEEN.load(Ordering::Relaxed) + sys::own_writes();
        let missed = made.map_or(0, |made| made.saturating_sub(seen));
        let text = format!("calls {}\nmissed {missed}\n", self.calls);
        sys::save(&format!("{}/report", self.settings.hidden), text.as_bytes());
    }
}

/// What calls do to the model of a file.
impl World {
    fn file(&mut self, status: &Status, fd: c_int) -> (&mut Unsynced, c_int) {
        let file = self.files.entry(status.id).or_default();
        let handle = *file
            .handle
            .get_or_insert_with(|| sys::open(&format!("/proc/self/fd/{fd}")));
        (&mut file.unsynced, handle)
    }

    /// Bytes of a file are about to change.
    pub(crate) fn overwrite(&mut self, fd: c_int, status: &Status, offset: u64, bytes: u64) {
        let sectors = sectors_of(offset, bytes);
        let (unsynced, handle) = self.file(status, fd);
        let count = (sectors.end - sectors.start) * SECTOR_BYTES;
        if count > 0 {
            let old = sys::read(handle, sectors.start * SECTOR_BYTES, count);
            unsynced.overwrite(sectors.start, &old);
        }
    }

    /// A file may have another size now.
    pub(crate) fn resized(&mut self, fd: c_int, status: &Status) {
        if let Some(now) = sys::status(fd) {
            self.file(status, fd).0.resize(now.size);
        }
    }

    /// A write with `O_DSYNC` is done.
    pub(crate) fn synced_write(&mut self, fd: c_int, status: &Status, offset: u64, bytes: u64) {
        if !self.settings.lying_syncs {
            let sectors = sectors_of(offset, bytes);
            self.file(status, fd).0.sync_sectors(sectors, offset + bytes);
        }
    }

    /// A file is synced, or its sync failed.
    pub(crate) fn synced_file(&mut self, fd: c_int, status: &Status, well: bool) {
        if self.settings.lying_syncs {
            return;
        }
        let size = sys::status(fd).map_or(status.size, |now| now.size);
        let Some(file) = self.files.get_mut(&status.id) else {
            return;
        };
        match well {
            true => file.unsynced.sync(size),
            false => file.unsynced.fail_sync(),
        }
    }

    /// A directory is synced.
    pub(crate) fn synced_directory(&mut self, path: &str) {
        if !self.settings.lying_syncs {
            self.names.sync(path);
        }
    }

    /// Keeps what `path` names, which is about to lose that name.
    pub(crate) fn keep(&mut self, path: &str) -> Option<String> {
        let status = sys::status_of(path)?;
        if status.is_directory {
            return None;
        }
        let kept = self.names.link(&self.settings.hidden);
        sys::link(path, &kept);
        Some(kept)
    }

    /// A directory changed.
    pub(crate) fn changed(&mut self, change: Change) {
        self.names.add(change);
    }
}
