//! The connection that lands committed entries: rows as values, checked DDL, and the system tables.

mod changes;

use std::cell::RefCell;
use std::sync::Arc;

use common::entry::{Effect, Effects};
use rusqlite::ffi;

use self::changes::Changes;
pub use self::changes::Landed;
use crate::connection::{Connection, ours};
use crate::definition::define;
use crate::error::{Failure, Result};
use crate::layout::{Layouts, schema_cookie};
use crate::recipe::{self, Location};
use crate::system::{System, SystemState};
use crate::table_sums::{self, Before, Digest, TableSums};
use crate::touched_keys::{KeyWatch, TouchedKeys, WatchList};

/// What a database file is, before it is opened for applying.
#[derive(Clone, Debug, PartialEq)]
pub enum FileContents {
    /// There is no file.
    Absent,
    /// A file without system tables: its making was interrupted. It holds nothing, its applied index is 0.
    Unformed,
    /// A replica's file.
    Replica(Box<SystemState>),
}

/// The applying connection of a replica.
///
/// [`begin`](Applier::begin), any number of log entries, then [`commit`](Applier::commit): their rows and
/// the applied index change together or not at all.
pub struct Applier {
    connection: Connection,
    /// Changes while what is landed is read through the connection.
    layouts: RefCell<Arc<Layouts>>,
    /// Told of rows while what they come from reads through the connection.
    watch: RefCell<KeyWatch>,
    open: bool,
}

impl Applier {
    /// Says what the file is.
    pub fn inspect(location: &Location) -> Result<FileContents> {
        let connection = match recipe::applier(location, false) {
            Ok(connection) => connection,
            Err(Failure::Storage { code, .. }) if is_missing(location, code)? => {
                return Ok(FileContents::Absent);
            }
            Err(other) => return Err(other),
        };
        if !System::exists(connection.raw())? {
            return Ok(FileContents::Unformed);
        }
        Ok(FileContents::Replica(Box::new(System::of(connection.raw()).state()?)))
    }

    /// Makes a replica's file with its system tables, in one transaction. A file whose making was
    /// interrupted is finished.
    ///
    /// # Errors
    /// [`Failure::Storage`] also if the file is a replica's already.
    pub fn create(location: &Location, state: &SystemState) -> Result<Applier> {
        let connection = recipe::applier(location, true)?;
        if System::exists(connection.raw())? {
            return Err(Failure::Storage {
                code: ffi::SQLITE_MISUSE,
                message: format!("{} holds a replica already", location.path.display()),
            });
        }
        connection.run(ours!("BEGIN IMMEDIATE"))?;
        System::create(connection.raw(), state)?;
        connection.run(ours!("COMMIT"))?;
        Applier::over(connection)
    }

    /// Opens a replica's file.
    ///
    /// # Errors
    /// [`Failure::Storage`] also if the file is absent or not a replica's, see [`Applier::inspect`].
    pub fn open(location: &Location) -> Result<Applier> {
        let connection = recipe::applier(location, false)?;
        if !System::exists(connection.raw())? {
            return Err(Failure::diverged(format!("{} is not a replica's file", location.path.display())));
        }
        Applier::over(connection)
    }

    fn over(connection: Connection) -> Result<Applier> {
        let layouts = RefCell::new(Arc::new(Layouts::read(connection.raw())?));
        Ok(Applier { connection, layouts, watch: RefCell::default(), open: false })
    }

    /// Opens a transaction.
    ///
    /// # Panics
    /// If one is open.
    pub fn begin(&mut self) -> Result<()> {
        assert!(!self.open, "a transaction is open already");
        self.connection.run(ours!("BEGIN IMMEDIATE"))?;
        self.open = true;
        let followed = self.follow_schema();
        if followed.is_err() {
            self.rollback();
        }
        followed
    }

    /// Whether a transaction is open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Lands rows, and answers what that does to the tables' sums. A failure means that the replica's rows are not
    /// those of the log.
    ///
    /// # Panics
    /// If no transaction is open.
    pub fn apply(&mut self, effects: &Effects) -> Result<TableSums> {
        match self.land(effects, &TableSums::default())? {
            Landed::Rows(sums) => Ok(sums),
            Landed::Schema { .. } => Err(Failure::diverged("rows were expected, and the schema changes")),
        }
    }

    /// Lands changes of rows and of the schema, given the tables' sums before them.
    ///
    /// # Panics
    /// If no transaction is open.
    pub fn land(&mut self, effects: &Effects, before: &TableSums) -> Result<Landed> {
        assert!(self.open, "no transaction is open");
        let mut changes = Changes::begin(self, &effects.tables, before);
        effects.rows.iter().try_for_each(|effect| changes.land(effect))?;
        Ok(changes.end())
    }

    /// Notes which keys of some columns are touched, from now on.
    pub fn watch(&mut self, list: &WatchList) {
        self.watch.get_mut().watch(list, self.layouts.get_mut());
    }

    /// The keys that were touched since this was last asked.
    pub fn take_touched(&mut self) -> TouchedKeys {
        self.watch.get_mut().take()
    }

    /// Lands changes as they come. An error of the source ends it.
    ///
    /// # Panics
    /// If no transaction is open.
    pub fn land_each<E: From<Failure>>(
        &self,
        tables: &[String],
        effects: &mut dyn Iterator<Item = std::result::Result<Effect, E>>,
        before: &TableSums,
    ) -> std::result::Result<Landed, E> {
        assert!(self.open, "no transaction is open");
        let mut changes = Changes::begin(self, tables, before);
        for effect in effects {
            changes.land(&effect?)?;
        }
        Ok(changes.end())
    }

    /// The digest of everything that is replicated, as the open transaction, or else the last commit, has it.
    pub fn digest(&self, sums: &TableSums) -> Result<Digest> {
        table_sums::digest(self.connection.raw(), sums)
    }

    /// Runs checked DDL and sets the schema's version; answers the tables' sums afterwards, given those before, or
    /// `None` if the schema has that version or a later one already. On a refusal (a unique index over rows that are not unique) nothing is changed, and it
    /// is the same on every replica.
    ///
    /// # Panics
    /// If no transaction is open.
    pub fn change_schema(
        &mut self,
        version: u64,
        statements: &[String],
        sums: &TableSums,
    ) -> Result<Option<TableSums>> {
        assert!(self.open, "no transaction is open");
        if self.system().schema_version()? >= version {
            return Ok(None);
        }
        self.define(version, statements, sums).map(Some)
    }

    /// Runs DDL, and answers the sums afterwards. On a failure nothing is changed.
    fn define(&self, version: u64, statements: &[String], sums: &TableSums) -> Result<TableSums> {
        let (mut before, old) = (Before::note(self.connection.raw())?, self.layouts());
        self.connection.run(ours!("SAVEPOINT schema"))?;
        // Rows that come from the log were checked before; those that get a new column were not.
        self.connection.run(ours!("PRAGMA ignore_check_constraints=OFF"))?;
        let follow = |sql: &str| before.follow(self.connection.raw(), sql);
        let done = define(&self.connection, statements, false, follow)
            .and_then(|()| self.system().set_schema_version(version));
        self.connection.run(ours!("PRAGMA ignore_check_constraints=ON"))?;
        if done.is_err() {
            self.connection.run(ours!("ROLLBACK TO schema"))?;
        }
        self.connection.run(ours!("RELEASE schema"))?;
        done?;
        self.follow_schema()?;
        before.sums_after(self.connection.raw(), sums, (&old, &self.layouts()))
    }

    /// The system tables, as the open transaction sees and changes them.
    #[must_use]
    pub fn system(&self) -> System<'_> {
        System::of(self.connection.raw())
    }

    /// Commits.
    ///
    /// # Panics
    /// If no transaction is open.
    pub fn commit(&mut self) -> Result<()> {
        assert!(self.open, "no transaction is open");
        let done = self.connection.run(ours!("COMMIT"));
        match done {
            Ok(()) => self.open = false,
            Err(_) => self.rollback(),
        }
        done
    }

    /// Undoes everything since [`Applier::begin`].
    pub fn rollback(&mut self) {
        if !self.connection.raw().is_autocommit() {
            // The only failure is that SQLite has rolled back already.
            let _ = self.connection.run(ours!("ROLLBACK"));
        }
        // SQLite's version of a schema that was rolled back is used again for another one.
        *self.layouts.get_mut() = Arc::default();
        self.open = false;
    }

    fn layouts(&self) -> Arc<Layouts> {
        Arc::clone(&self.layouts.borrow())
    }

    fn follow_schema(&self) -> Result<()> {
        if schema_cookie(self.connection.raw())? != self.layouts.borrow().schema_cookie {
            let layouts = Arc::new(Layouts::read(self.connection.raw())?);
            self.watch.borrow_mut().resolve(&layouts);
            *self.layouts.borrow_mut() = layouts;
        }
        Ok(())
    }
}

/// Whether a file could not be opened because there is none. One that may not be read is there.
fn is_missing(location: &Location, code: i32) -> Result<bool> {
    if code & 0xff != ffi::SQLITE_CANTOPEN {
        return Ok(false);
    }
    if location.vfs.is_some() {
        return Ok(true);
    }
    location
        .path
        .try_exists()
        .map(|exists| !exists)
        .map_err(|error| Failure::Storage { code, message: format!("{}: {error}", location.path.display()) })
}
